"""What changes over a training by plan, and what training pays for beside the likelihood."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from laws.grid import awake
from torch.nn import functional as F

from energies.common import head, hidden, pairwise
from seqstate.core.model import IGNORE
from seqstate.core.record import RunConfig
from seqstate.core.schedule import Scheduled, geometric
from seqstate.energies._bits import uneven
from seqstate.model import build_head, build_model
from seqstate.train import fit

ANNEALED = [
    "multi_hamming(groups=4, anneal=8.0)",
    "soft_bits(anneal=8.0)",
    "soft_minimum(anneal=8.0)",
    "coded_hamming(groups=4, learn='soft', anneal=8.0)",
]


def test_a_schedule_goes_by_equal_factors():
    assert [geometric(1.0, 16.0, share) for share in (0, 0.25, 0.5, 1)] == [1, 2, 4, 16]


@pytest.mark.parametrize("spec", ANNEALED)
def test_it_starts_as_without_and_depends_on_the_share_alone(spec):
    torch.manual_seed(0)
    annealed = head(spec)
    torch.manual_seed(0)
    plain = head(spec.replace(", anneal=8.0", "").replace("anneal=8.0", ""))
    rows, scheduled = hidden(), next(m for m in annealed.modules() if isinstance(m, Scheduled))
    scheduled.schedule(0.0)
    torch.testing.assert_close(annealed(rows), plain(rows))
    scheduled.schedule(1.0)
    end = annealed(rows)
    assert not torch.allclose(end, plain(rows))
    for share in (0.3, 0.7, 1.0):
        scheduled.schedule(share)
    assert torch.equal(annealed(rows), end)


def test_sharpness_multiplies_what_the_sigmoids_see():
    annealed, sharp = (
        pairwise("multi_hamming(groups=4, anneal=3.0)"),
        pairwise("multi_hamming(groups=4)"),
    )
    annealed.schedule(1.0)
    with torch.no_grad():
        sharp.log_a.add_(torch.tensor(3.0).log())
        sharp.b.mul_(3.0)
    rows, words = hidden(), hidden(6)
    torch.testing.assert_close(annealed(rows, words), sharp(rows, words))
    mine, others = (e.soft_bits(rows, words)["match"] for e in (annealed, sharp))
    torch.testing.assert_close(mine, others)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("spec", ANNEALED)
def test_the_fused_loss_follows_the_schedule(spec, share):
    scorer = awake(build_head(spec, width=16, vocab_size=301))
    next(m for m in scorer.modules() if isinstance(m, Scheduled)).schedule(share)
    rows, targets = torch.randn(20, 16), torch.randint(301, (20,))
    wanted = F.cross_entropy(scorer(rows), targets, reduction="none")
    torch.testing.assert_close(scorer.nll(rows, targets), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spec", ANNEALED)
def test_training_drives_it_and_saves_where_it_ended(spec):
    config = RunConfig(
        state="lstm(width=8)",
        energy=spec,
        corpus="test",
        steps=8,
        batch_size=2,
        context=8,
        eval_every=8,
    )
    model = build_model(config.state, spec, vocab_size=11)
    ids = np.random.default_rng(0).integers(11, size=300).astype(np.uint16)
    fit(model, ids, ids[:100], config)
    buffers = {k.rpartition(".")[2]: v.item() for k, v in model.named_buffers() if v.dim() == 0}
    first = {"sharpness": 1.0, "temperature": 0.25 if "coded" in spec else 1.0}
    (name, last), share = next(iter(buffers.items())), 7 / 8  # before the last step
    end = first[name] * 8 if name == "sharpness" else first[name] / 8
    assert last == pytest.approx(geometric(first[name], end, share))


def test_the_end_of_a_schedule_is_kept_although_an_earlier_model_predicted_better():
    spec = "multi_hamming(groups=4, anneal=0.001)"
    config = RunConfig(
        state="lstm(width=8)", energy=spec, corpus="test", steps=60, batch_size=4, context=8,
        eval_every=6, patience=1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = build_model(config.state, spec, vocab_size=11)
    ids = (np.arange(600) % 11).astype(np.uint16)
    outcome = fit(model, ids, ids[:100], config)
    nats = [point["valid_nats"] for point in outcome.curve]
    assert outcome.stopped == "budget" and nats[-1] > min(nats)
    assert model.head.energy.sharpness.item() == pytest.approx(geometric(1.0, 0.001, 59 / 60))


def test_even_and_separate_bits_cost_nothing_and_others_do():
    both = torch.tensor([[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)]).double()
    assert uneven(both) == pytest.approx(0.0, abs=1e-9)
    assert uneven(both[:, [0, 0]]) == pytest.approx(1.0, abs=0.01)  # the same bit twice
    assert uneven(torch.ones(4, 2).double()) == pytest.approx(1.0)  # always on
    assert torch.autograd.gradcheck(uneven, torch.rand(5, 3).double().requires_grad_())


@pytest.mark.parametrize("spec", ["multi_hamming(groups=4, penalty=0.7)", "soft_bits(penalty=0.7)"])
def test_training_has_the_gradient_of_loss_plus_penalty_but_shows_the_loss(spec):
    scorer = head(spec).train()
    rows, targets = hidden(20), torch.randint(11, (20,))
    targets[3] = IGNORE
    plain = copy.deepcopy(scorer).eval()
    assert torch.equal(scorer.nll(rows, targets), plain.nll(rows, targets))

    scorer.loss(rows, targets).backward()
    asked = targets != IGNORE
    penalty = plain.energy.penalty(rows[asked], plain.weight[targets[asked]])
    (plain.loss(rows, targets) + 0.7 * penalty).backward()
    for (name, mine), other in zip(scorer.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, msg=name)


def test_the_penalty_evens_the_bits_out():
    found = []
    for penalty in (0.0, 10.0):
        torch.manual_seed(0)
        scorer = build_head(f"multi_hamming(groups=4, penalty={penalty})", width=16, vocab_size=31)
        rows, targets = torch.randn(64, 16) + 0.5, torch.randint(31, (64,))
        with torch.no_grad():
            scorer.energy.b.fill_(2.0)
        optimiser = torch.optim.Adam(scorer.parameters(), lr=0.03)
        for _ in range(60):
            optimiser.zero_grad()
            scorer.loss(rows, targets).backward()
            optimiser.step()
        found.append(scorer.energy.penalty(rows, scorer.weight[targets]).item())
    assert found[1] < 0.5 * found[0]


@pytest.mark.parametrize(
    "spec",
    ["multi_hamming(anneal=0.0)", "multi_hamming(penalty=-1.0)", "soft_bits(anneal=-1.0)",
     "soft_minimum(anneal=0.0)", "coded_hamming(learn='soft', anneal=0.0)"],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(spec):
    with pytest.raises(ValueError, match="anneal="):
        build_head(spec, width=16, vocab_size=11)


def test_a_killed_run_goes_on_at_the_sharpness_it_would_have_had(tmp_path):
    config = RunConfig(
        state="lstm(width=8)", energy="multi_hamming(groups=4, anneal=4.0, penalty=0.3)", corpus="test",
        steps=8, batch_size=2, context=8, eval_every=4,
    )  # fmt: skip
    ids = np.random.default_rng(0).integers(11, size=300).astype(np.uint16)

    def trained(watch=None, **options):
        torch.manual_seed(0)
        model = build_model(config.state, config.energy, vocab_size=11)
        fit(model, ids, ids[:100], config, watch=watch, **options)
        return model.state_dict()

    def killed(progress):
        if progress.step == 5:
            raise KeyboardInterrupt

    whole = trained()
    with pytest.raises(KeyboardInterrupt):
        trained(killed, folder=tmp_path, checkpoint_seconds=0)
    resumed = trained(folder=tmp_path, resume=True)
    for name, one in whole.items():
        assert torch.equal(one, resumed[name]), name
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    temperatures = [line["match_bit_temperature"] for line in lines]
    assert len(temperatures) == 2 and temperatures[1] < temperatures[0]
    assert {"match_bit_saturation", "match_bit_balance", "match_bit_entropy"} < set(lines[0])
