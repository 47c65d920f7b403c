"""Words that may be among the likeliest: the kernel against its torch twin, and both against all logits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqstate import native
from seqstate.native import shortlist, tiles
from seqstate.native.mismatches import few_mismatches, packed
from seqstate.native.shortlist import Scalars, bounds, pack, shortlists


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scalars(groups, activation="sigmoid", seed=3):
    tau, a, b = random(seed, 3, groups)
    return Scalars(activation, tau.exp(), a.exp(), b)


def logits(words, bias, rows, found):
    words, rows = words.double(), rows.double()
    bias = None if bias is None else bias.double()
    if found is None:
        return tiles.inner_logits(rows, words, bias, 1.0)
    three = (found.tau.double(), found.a.double(), found.b.double())
    return tiles.multi_hamming_logits(rows, words, *three, bias, found.activation)


CASES = [
    pytest.param(None, 24, id="products"),
    pytest.param(scalars(3), 24, id="sigmoid"),
    pytest.param(scalars(24), 24, id="one number a feature"),
    pytest.param(scalars(6, "clamped"), 30, id="clamped"),
    pytest.param(scalars(2, "rational"), 10, id="rational"),
]


@pytest.mark.parametrize(("found", "width"), CASES)
@pytest.mark.parametrize("size", [1e-6, 1.0, 300.0])
def test_bounds_hold_and_are_close(found, width, size):
    words, bias, rows = size * random(0, 131, width), random(1, 131), random(2, 40, width)
    lower, upper = bounds(pack(words, bias, found), rows)
    true = logits(words, bias, rows, found)
    assert (lower <= true).all() and (true <= upper).all()
    steep = 1.0 if found is None else float((found.tau * found.a).norm()) / 4
    reach = steep * rows.norm(dim=-1)[:, None] * words.norm(dim=-1)
    assert ((upper - lower) < 0.03 * reach + 1e-3).all()


@pytest.mark.parametrize(("found", "width"), CASES)
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("vocabulary", [1, 63, 200, 1500])
def test_the_kernel_keeps_what_its_twin_keeps(found, width, biased, vocabulary):
    words, rows = random(vocabulary, vocabulary, width), random(2, 7, width)
    bias = random(1, vocabulary) if biased else None
    given = pack(words, bias, found)
    for k in (1, 5, 3000):
        ours, slow = shortlists(given, rows, k), shortlist._torch_shortlists(given, rows, k)
        best = logits(words, bias, rows, found).topk(min(k, vocabulary)).indices
        for row in range(len(rows)):
            assert set(best[row].tolist()) <= set(ours[row].tolist())
            # only words on the very edge of the bounds may differ
            assert len(set(ours[row].tolist()) ^ set(slow[row].tolist())) <= 1


@settings(max_examples=60)
@given(st.data())
def test_ties_zeros_and_extremes_never_lose_a_winner(data):
    numbers = st.sampled_from([0.0, 1.0, -1.0, 1e-30, 1e30, 1e-3, 127.0, 3.3333333])
    vocabulary, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 9))
    table = data.draw(st.lists(numbers, min_size=width * 3, max_size=width * 3))
    words = torch.tensor(table).view(3, width)[torch.arange(vocabulary) % 3]
    row = torch.tensor([data.draw(st.lists(numbers, min_size=width, max_size=width))])
    k = data.draw(st.integers(1, vocabulary))
    kept = shortlists(pack(words, None), row, k)[0]
    true = (words.double() @ row[0].double()).tolist()
    edge = sorted(true, reverse=True)[k - 1]
    assert set(kept.tolist()) >= {v for v in range(vocabulary) if true[v] > edge}
    assert len(kept) >= k


def test_a_row_that_is_not_finite_keeps_all_words():
    given = pack(random(0, 70, 8), None)
    rows = random(1, 3, 8)
    rows[1, 2] = torch.nan
    kept = shortlists(given, rows, 1)
    assert len(kept[0]) < 70 and len(kept[1]) == 70


@pytest.mark.parametrize("what", ["word", "bias"])
def test_a_table_that_is_not_finite_is_refused(what):
    words, bias = random(0, 5, 4), random(1, 5)
    (words if what == "word" else bias).view(-1)[3] = torch.inf
    with pytest.raises(ValueError, match="not a finite number"):
        pack(words, bias)


def test_many_equal_words_all_stay():
    words = random(0, 1, 8).repeat(5000, 1)
    assert len(shortlists(pack(words, None), random(1, 1, 8), 1)[0]) == 5000


def test_a_table_takes_a_quarter_of_float32():
    given = pack(random(0, 6400, 128), random(1, 6400))
    assert given.bytes_per_word == 128 + 4 * 4


@pytest.mark.parametrize("bits", [1, 64, 70, 200])
def test_mismatches_are_counted_in_the_places_that_count(bits):
    draw = torch.Generator().manual_seed(bits)
    codes, asked, counted = (torch.rand(n, bits, generator=draw) < 0.5 for n in (1300, 4, 4))
    most = torch.tensor([0, 1, bits // 4 + 1, bits + 1])
    given = packed(codes).T.contiguous(), packed(asked), packed(counted), most
    apart = ((codes != asked[:, None]) & counted[:, None]).sum(-1)
    for row, found in enumerate(few_mismatches(*given)):
        assert found.tolist() == (apart[row] < most[row]).nonzero().squeeze(-1).tolist()


def test_without_a_kernel_the_same_words_stay(monkeypatch):
    given, rows = pack(random(0, 300, 8), None), random(1, 3, 8)
    ours = shortlists(given, rows, 4)
    codes, asked = torch.rand(300, 70) < 0.5, torch.rand(3, 70) < 0.5
    scan = packed(codes).T.contiguous(), packed(asked), packed(~asked), torch.tensor([0, 20, 40])
    few = few_mismatches(*scan)
    monkeypatch.setattr(native, "available", lambda: False)
    assert [row.tolist() for row in shortlists(given, rows, 4)] == [row.tolist() for row in ours]
    assert [row.tolist() for row in few_mismatches(*scan)] == [row.tolist() for row in few]
