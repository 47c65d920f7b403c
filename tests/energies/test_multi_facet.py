"""The multi-facet softmax."""

from __future__ import annotations

import pytest
import torch
from reference import energies as slow
from torch.nn import functional as F

from energies.common import VOCAB, head, hidden, log_probability_rank
from seqstate.core import energy as contract
from seqstate.core.model import IGNORE


@pytest.mark.parametrize(("softmaxes", "parts"), [(3, 4), (1, 2), (2, 1)])
def test_it_is_the_mixture_with_a_facet_for_each_part(softmaxes, parts):
    scorer, rows = head(f"multi_facet(softmaxes={softmaxes}, parts={parts})"), hidden()

    def prior(block):
        return scorer.prior(torch.tensor(block, dtype=torch.float64)).tolist()

    for h, given in zip(rows.tolist(), scorer(rows), strict=True):
        wanted = slow.multi_facet(
            h,
            scorer.weight.tolist(),
            scorer.bias.tolist(),
            scorer.mix.weight.tolist(),
            prior,
            scorer.facets.transpose(1, 2).tolist(),
            parts,
        )
        torch.testing.assert_close(given, torch.tensor(wanted, dtype=torch.float64))


def test_ranks_of_one_softmax_and_of_three():
    parted = head("multi_facet(softmaxes=1, parts=4)", 60)
    assert log_probability_rank(parted) == parted.rank_bound() == 17
    assert log_probability_rank(head("multi_facet", 60)) == 59


def test_the_loss_over_many_tiles_is_the_loss_at_once(monkeypatch):
    scorer, rows, targets = head("multi_facet"), hidden(13), torch.randint(VOCAB, (13,))
    targets[3] = IGNORE
    wanted = F.nll_loss(scorer(rows), targets, reduction="none", ignore_index=IGNORE)
    monkeypatch.setattr(contract, "TILE", 3 * VOCAB)
    given = scorer.nll(rows, targets).double()
    torch.testing.assert_close(given, wanted, atol=1e-5, rtol=1e-5)


def test_no_parts_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        head("multi_facet(parts=0)")
