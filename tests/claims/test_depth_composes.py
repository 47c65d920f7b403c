"""The verdict of the claim on depth, on made-up records, and how its accuracies are counted."""

import pytest
import torch

from seqstate.claims.depth_composes import HOPS, LAYERS, TASK, DepthComposes, by_hops
from seqstate.core import registry
from seqstate.core.claim import TrialRecord
from seqstate.core.model import LanguageModel
from seqstate.core.record import Reading


def record(layers, solved, seed=0):
    """Accuracy 0.96 on the k that are solved, 0.5 on the others."""
    found = {f"accuracy_{k}": 0.96 if k in solved else 0.5 for k in range(HOPS + 1)}
    found |= {"parameters": 1000.0, "cpu_seconds": 1.0}
    settings = {"layers": layers, "seed": seed}
    return TrialRecord(settings, [Reading(name, value, "1") for name, value in found.items()], 1.0)


def records(solved, seeds=(0, 1)):
    """solved: layers to the k they solve, in every seed."""
    return [record(layers, solved[layers], seed) for layers in LAYERS for seed in seeds]


ONE_A_LAYER = {1: [], 2: [1, 2], 3: [1, 2, 3], 4: [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("solved", "holds"),
    [
        (ONE_A_LAYER, True),
        (ONE_A_LAYER | {3: [1, 2, 3, 4]}, False),  # four hops by three layers
        (ONE_A_LAYER | {1: [1, 2]}, False),  # two by one
        (ONE_A_LAYER | {4: [1, 2, 3, 6]}, False),  # six by four, though four were not learnt
        (ONE_A_LAYER | {4: [1, 2, 3]}, None),  # nobody learnt four hops: nothing is decided
        ({layers: [] for layers in LAYERS}, None),
    ],
)
def test_fewer_layers_than_hops_refute_and_what_nobody_learnt_decides_nothing(solved, holds):
    assert DepthComposes().verdict(records(solved)).holds is holds


def test_one_seed_that_fails_is_not_solved():
    found = [*records(ONE_A_LAYER | {3: [1, 2, 3, 4]}), record(3, [1, 2, 3], seed=2)]
    verdict = DepthComposes().verdict(found)
    assert verdict.holds is True
    assert "k = 4: 4, k = 5: none" in verdict.reason


def test_the_theory_is_judged_beside_the_essay():
    deep = {1: [], 2: [1], 3: [1, 2, 3], 4: [1, 2, 3, 4, 5]}
    verdict = DepthComposes().verdict(records(deep))
    assert verdict.holds is False
    assert verdict.reason.endswith("floor(log2 k) + 2 layers did for k = 1, 2, 3, 4, 5")


def test_too_few_seeds_decide_nothing():
    verdict = DepthComposes().verdict(records(ONE_A_LAYER, seeds=(0,)))
    assert verdict.holds is None and "2 seeds" in verdict.reason
    diverged = TrialRecord({"layers": 4, "seed": 1}, [], 1.0)
    one_less = [one for one in records(ONE_A_LAYER) if (one["layers"], one["seed"]) != (4, 1)]
    assert DepthComposes().verdict([*one_less, diverged]).holds is None
    assert DepthComposes().verdict([]).holds is None


class Told(LanguageModel):
    """Knows the answers to some numbers of hops, and says a wrong symbol to the others."""

    def __init__(self, task, known):
        super().__init__()
        self.task, self.known, self.vocab_size = task, known, task.vocab_size

    def init_state(self, batch_size):
        return {}

    def forward(self, tokens, state=None, lengths=None):
        logits = self.task.oracle(tokens)
        hops = tokens[:, 0] - self.task.symbols
        knows = torch.isin(hops, torch.tensor(self.known))
        return logits.where(knows[:, None, None], logits.roll(1, -1)), {}


def test_accuracy_is_told_hop_by_hop():
    task = registry.build("tasks", TASK)
    found = by_hops(Told(task, [0, 3, 4]), task, 100)
    assert [one.value for one in found] == [1, 0, 0, 1, 1, 0, 0]
    assert all(one.count > 50 for one in found)
