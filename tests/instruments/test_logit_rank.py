import math

import pytest
import torch
from torch.nn import functional as F

from instruments.common import linear, named, read
from seqstate.instruments import LogitRank
from seqstate.instruments.logit_rank import entropic_rank, mass_rank


def with_spectrum(*values, rows=40, words=30):
    """A centred matrix with exactly these singular values."""
    left = torch.linalg.qr(torch.randn(rows, len(values), dtype=torch.float64)).Q
    right = torch.randn(words, len(values), dtype=torch.float64)
    right = torch.linalg.qr(right - right.mean(0)).Q
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


def test_a_known_spectrum_is_read_back():
    found = named(LogitRank().of_logits(with_spectrum(5.0, 2.0, 0.5)))
    spectrum = torch.tensor(found["logit_rank"].tags["spectrum"])
    torch.testing.assert_close(spectrum[:3], torch.tensor([5.0, 2.0, 0.5]))
    assert spectrum[3:].max() < 1e-12
    assert found["logit_rank"].value == 3
    assert found["eps_rank_mass"].value == 2  # 29 of 29.25 is more than 99 %


def test_a_constant_per_row_changes_nothing():
    matrix = with_spectrum(5.0, 2.0, 0.5)
    shifted = matrix + 7 * torch.randn(40, 1, dtype=torch.float64)
    for name, reading in named(LogitRank().of_logits(matrix)).items():
        assert math.isclose(reading.value, named(LogitRank().of_logits(shifted))[name].value)


def test_rounding_in_single_precision_is_not_counted_as_rank():
    matrix = with_spectrum(5.0, 2.0, 0.5) + 3.0
    assert named(LogitRank().of_logits(matrix.float()))["logit_rank"].value == 3


def test_the_entropic_rank_of_equal_values_is_their_number():
    assert math.isclose(entropic_rank(torch.full((7,), 3.0)), 7, rel_tol=1e-6)
    assert math.isclose(entropic_rank(torch.tensor([4.0, 0.0, 0.0])), 1, rel_tol=1e-6)


def test_the_mass_rank_keeps_the_promised_share():
    values = torch.tensor([3.0, 1.0])  # 90 % and 10 % of the mass
    assert mass_rank(values, 0.11) == 1
    assert mass_rank(values, 0.09) == 2
    assert mass_rank(torch.zeros(3), 0.1) == 0


def test_the_kl_rank_costs_at_most_eps_and_one_less_costs_more():
    matrix = torch.randn(25, 12, dtype=torch.float64)
    matrix -= matrix.mean(-1, keepdim=True)
    left, spectrum, right = torch.linalg.svd(matrix, full_matrices=False)

    def cost(k):
        kept = left[:, :k] @ torch.diag(spectrum[:k]) @ right[:k]
        pairs = (kept.log_softmax(-1), matrix.log_softmax(-1))
        return F.kl_div(*pairs, log_target=True, reduction="batchmean").item()

    for eps in (0.3, 0.03, 0.003):
        k = int(named(LogitRank(eps=eps).of_logits(matrix))["eps_rank_kl"].value)
        assert cost(k) <= eps < cost(k - 1)


def test_contexts_that_all_predict_alike_need_no_dimension():
    found = named(LogitRank().of_logits(torch.zeros(9, 5, dtype=torch.float64)))
    assert [found[name].value for name in ("logit_rank", "eps_rank_kl", "entropic_rank")] == [
        0,
        0,
        0,
    ]


def test_too_few_rows_are_said_to_cap_the_rank():
    head, hidden = linear(torch.randn(50, 8)), torch.randn(100, 8)
    assert "capped" in read(LogitRank(rows=5), head, hidden)["logit_rank"].tags["note"]
    assert read(LogitRank(), head, hidden)["logit_rank"].tags["note"] == ""
    with pytest.raises(ValueError, match="rows"):
        LogitRank(rows=1)
