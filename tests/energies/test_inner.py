"""The inner product, against its slow twin and its rank theorem."""

from __future__ import annotations

import torch
from reference import energies as slow

from energies.common import head, hidden, log_probability_rank, pairwise, scores_by_pairs


def test_it_is_the_scaled_product():
    rows, words = hidden(), hidden(6)
    wanted = scores_by_pairs(lambda h, w: slow.inner(h, w, 0.3), rows, words)
    torch.testing.assert_close(-pairwise("inner(scale=0.3)")(rows, words), wanted)


def test_its_rank_is_d_plus_one():
    scorer = head("inner", 40)
    assert log_probability_rank(scorer) == scorer.rank_bound() == 9
