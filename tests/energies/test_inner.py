"""The inner product, against its slow twin and its rank theorem."""

from __future__ import annotations

import pytest
import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs
from seqstate.model import build_head


def test_it_is_the_scaled_product():
    rows, words = hidden(), hidden(6)
    wanted = scores_by_pairs(lambda h, w: slow.inner(h, w, 0.3), rows, words)
    torch.testing.assert_close(-pairwise("inner(scale=0.3)")(rows, words), wanted)


def test_its_rank_is_d_plus_one():
    scorer = head("inner", 40)
    assert log_probability_rank(scorer) == scorer.rank_bound() == 9


@pytest.mark.parametrize(
    "spec", ["inner(start=0.125, scale=8.0)", "multi_hamming(groups=4, start=0.125, tau=32.0)"]
)
def test_a_fresh_word_has_the_length_asked_for_and_a_step_on_it_counts_for_more(spec):
    torch.manual_seed(0)
    short = build_head(spec, width=16, vocab_size=500)
    plain = build_head(spec.partition("(")[0], width=16, vocab_size=500)
    assert float(short.table().detach().norm(dim=1).mean()) == pytest.approx(0.125, rel=0.05)
    rows, wanted = torch.randn(40, 16), torch.randint(500, (40,))
    changes = []
    for scorer in (short, plain):
        before = scorer(rows).detach()
        scorer.loss(rows, wanted).backward()
        with torch.no_grad():  # the first step of Adam is the sign of the gradient
            scorer.table().sub_(0.01 * scorer.table().grad.sign())
        changes.append(float((scorer(rows) - before).detach().abs().mean()))
    assert changes[0] > 6 * changes[1]


def test_a_word_without_length_is_refused():
    with pytest.raises(ValueError, match="start=0.0"):
        build_head("inner(start=0.0)", width=16, vocab_size=5)
