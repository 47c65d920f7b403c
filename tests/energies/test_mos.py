"""The mixture of softmaxes."""

from __future__ import annotations

import torch
from reference import energies as slow
from torch.nn import functional as F

from energies.common import VOCAB, head, hidden, log_probability_rank
from seqstate.core import energy as contract
from seqstate.core.model import IGNORE


def test_it_is_the_mixture_written_out():
    scorer, rows = head("mos(components=3)"), hidden()
    latent = scorer.latent.weight.view(3, scorer.width, scorer.width).tolist()
    for h, given in zip(rows.tolist(), scorer(rows), strict=True):
        wanted = slow.mos(
            h,
            scorer.weight.tolist(),
            scorer.bias.tolist(),
            scorer.prior.weight.tolist(),
            latent,
            scorer.latent.bias.view(3, -1).tolist(),
        )
        torch.testing.assert_close(given, torch.tensor(wanted, dtype=torch.float64))


def test_one_component_is_a_softmax_of_a_squashed_state():
    scorer, rows = head("mos(components=1)"), hidden()
    plain = F.linear(torch.tanh(scorer.latent(rows)), scorer.weight, scorer.bias)
    torch.testing.assert_close(scorer(rows), plain.log_softmax(-1))


def test_two_components_pass_the_rank_that_holds_one():
    assert log_probability_rank(head("mos(components=1)", 40)) == scorer_bound("mos(components=1)")
    assert log_probability_rank(head("mos(components=2)", 40)) == 39  # all: centring takes one


def scorer_bound(spec):
    return head(spec).rank_bound()


def test_the_loss_over_many_tiles_is_the_loss_at_once(monkeypatch):
    scorer, rows = head("mos"), hidden(13)
    targets = torch.randint(VOCAB, (13,))
    targets[3] = IGNORE
    wanted = F.nll_loss(scorer(rows), targets, reduction="none", ignore_index=IGNORE)
    monkeypatch.setattr(contract, "TILE", 3 * VOCAB)
    torch.testing.assert_close(
        scorer.nll(rows, targets), wanted.float(), atol=1e-6, rtol=1e-5, check_dtype=False
    )


def test_a_component_that_is_sure_and_wrong_costs_its_weight_only():
    """The logarithm of a probability that underflows in one component stays exact in the mixture."""
    scorer, rows = head("mos(components=2)"), hidden(1)
    with torch.no_grad():
        scorer.latent.weight.zero_()
        scorer.latent.bias.zero_()
        scorer.latent.bias[0] = 20.0
        scorer.prior.weight.zero_()
        scorer.bias.zero_()
        scorer.weight.zero_()
        scorer.weight[0, 0] = 2000.0
    logits = scorer(rows)
    torch.testing.assert_close(logits[0, 1].exp(), torch.tensor(0.5 / VOCAB).double())
    target = torch.tensor([1])
    torch.testing.assert_close(scorer.nll(rows, target)[0].double(), -logits[0, 1])
