"""The laws of tasks, over every file of `tasks/`."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from laws.grid import TASK_OPTIONS
from seqstate.core import registry
from seqstate.core.model import IGNORE

SPECS = [*registry.names("tasks"), *TASK_OPTIONS]
SIZE = 200


@pytest.fixture(params=SPECS)
def task(request):
    return registry.build("tasks", request.param)


def asked(task, size=SIZE, seed=1):
    """Tokens, targets and the oracle's log-probabilities at the positions asked."""
    batch = task.sample(size, seed)
    where = batch.targets != IGNORE
    return batch, batch.targets[where], task.oracle(batch.tokens)[where]


def test_the_same_seed_gives_the_same_batch_and_another_another(task):
    one, same, other = task.sample(20, 7), task.sample(20, 7), task.sample(20, 8)
    assert torch.equal(one.tokens, same.tokens) and torch.equal(one.targets, same.targets)
    assert one.tags.keys() == same.tags.keys()
    assert all(torch.equal(one.tags[name], same.tags[name]) for name in one.tags)
    assert one.tokens.shape != other.tokens.shape or not torch.equal(one.tokens, other.tokens)


def test_sampling_neither_reads_nor_moves_the_global_generator(task):
    before = torch.random.get_rng_state()
    first = task.sample(5, 7)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(99)
    assert torch.equal(first.tokens, task.sample(5, 7).tokens)


def test_tokens_targets_and_tags_are_well_formed(task):
    batch = task.sample(20, 3)
    assert batch.tokens.shape == batch.targets.shape and len(batch.tokens) == 20
    assert batch.tokens.dtype == batch.targets.dtype == torch.long
    wanted = batch.targets[batch.targets != IGNORE]
    for ids in (batch.tokens, wanted):
        assert ids.min() >= 0 and ids.max() < task.vocab_size
    assert len(wanted) >= 20
    for tag in batch.tags.values():
        assert tag.shape == batch.tokens.shape and tag.dtype == torch.long


def test_the_oracle_gives_distributions(task):
    out = task.oracle(task.sample(6, 3).tokens)
    assert out.shape[-1] == task.vocab_size
    torch.testing.assert_close(out.exp().sum(-1), torch.ones(out.shape[:-1]))


def test_the_oracle_is_certain_or_costs_exactly_the_entropy(task):
    _, targets, log_probabilities = asked(task)
    nll = F.nll_loss(log_probabilities, targets, reduction="none").double()
    if task.entropy == 0:
        assert nll.max() == 0
        assert torch.equal(log_probabilities.argmax(-1), targets)
    else:
        # positions of a sequence are dependent: sequences are the observations
        rows = nll.view(SIZE, -1).mean(1)
        assert abs(rows.mean() - task.entropy) < 4 * rows.std() / math.sqrt(SIZE)


def test_the_oracle_does_not_see_the_future(task):
    tokens = task.sample(8, 5).tokens
    whole = task.oracle(tokens)
    for length in range(1, tokens.shape[1], 3):
        assert torch.equal(task.oracle(tokens[:, :length]), whole[:, :length])


def test_the_chance_level_is_what_the_best_constant_answer_scores(task):
    commonest = torch.bincount(asked(task, 1000, seed=1)[1]).argmax()
    batch = task.sample(1000, 2)
    where = batch.targets != IGNORE
    right = ((batch.targets == commonest) & where).sum(1).double()
    share = right.sum() / where.sum()
    # a ratio of sums over sequences: its error by the delta method
    off = right - share * where.sum(1)
    stderr = float(off.square().sum().sqrt() / where.sum())
    assert abs(float(share) - task.chance) < 4 * stderr + 5 / 1000  # rare answers: a few sequences


def test_the_oracle_is_above_chance(task):
    _, targets, log_probabilities = asked(task)
    assert (log_probabilities.argmax(-1) == targets).double().mean() > task.chance
