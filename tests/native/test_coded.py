"""Losses and logits of words that are codes, against float64 and against torch's look-ups."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from native.common import isas
from seqstate import native
from seqstate.core.model import IGNORE
from seqstate.native import coded, tiles

SHAPES = [  # rows, vocabulary, groups, codes
    (1, 1, 1, 1),
    (1, 70, 3, 5),
    (50, 1, 2, 4),
    (97, 130, 8, 16),
    (33, 333, 5, 33),
    (13, 129, 2, 256),
    (70, 64, 17, 2),
]


def draw(rows, vocab, groups, codes, size=1.0):
    generator = torch.Generator().manual_seed(rows + vocab)
    tables = size * torch.randn(rows, groups, codes, generator=generator)
    bias = size * torch.randn(vocab, generator=generator)
    drawn = torch.randint(codes, (vocab, groups), generator=generator, dtype=torch.uint8)
    targets = torch.randint(vocab, (rows,), generator=generator)
    targets[1::4] = IGNORE
    upstream = torch.randn(rows, generator=generator)
    return [tables.requires_grad_(), bias.requires_grad_()], drawn, targets, upstream


def run(inputs, codes, targets, upstream, **extras):
    loss = coded.cross_entropy_coded(inputs[0], codes, inputs[1], targets, **extras)
    return loss.detach(), *torch.autograd.grad(loss, inputs, upstream)


def twin(inputs, codes, targets, upstream, *, label_smoothing=0.0, z_loss=0.0):
    tables, bias = inputs = [x.detach().double().requires_grad_() for x in inputs]
    spelt = F.one_hot(codes.long(), tables.shape[-1]).double()  # V G C
    logits = torch.einsum("rgc,vgc->rv", tables, spelt) + bias
    loss = F.cross_entropy(
        logits, targets, reduction="none", label_smoothing=label_smoothing, ignore_index=IGNORE
    )
    loss = loss + z_loss * logits.logsumexp(-1).square() * (targets != IGNORE)
    return loss.detach(), *torch.autograd.grad(loss, inputs, upstream.double())


def compare(found, wanted, tolerance=1e-5):
    for one, other in zip(found, wanted, strict=True):
        error = (one - other).abs().max() / other.abs().max().clamp(min=1)
        assert error <= tolerance


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_the_twins(monkeypatch, shape, threads, isa):
    monkeypatch.setenv("SEQSTATE_ISA", isa)
    monkeypatch.setattr(native, "THREAD_WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    for extras in ({}, {"label_smoothing": 0.1, "z_loss": 0.01}):
        given = draw(*shape)
        compare(run(*given, **extras), twin(*given, **extras))


def test_many_blocks_of_rows_add_up():
    """Large tables leave room for few rows at a time: the gradient of the bias is a sum over blocks."""
    given = draw(100, 40, 60, 256, size=0.1)
    compare(run(*given), twin(*given))


@pytest.mark.parametrize("isa", isas())
def test_extreme_scores_stay_finite_and_right(monkeypatch, isa):
    monkeypatch.setenv("SEQSTATE_ISA", isa)
    given = draw(20, 90, 4, 8, size=30.0)
    with torch.no_grad():
        given[0][1].mul_(300)
    found = run(*given)
    assert all(part.isfinite().all() for part in found)
    compare(found, twin(*given), 2e-3)


def test_ignored_rows_may_be_anything_and_a_nan_that_counts_is_not_hidden():
    inputs, codes, targets, upstream = draw(40, 90, 4, 8)
    wanted = run(inputs, codes, targets, upstream)
    with torch.no_grad():
        inputs[0][targets == IGNORE] = float("nan")
    assert all(map(torch.equal, run(inputs, codes, targets, upstream), wanted))
    with torch.no_grad():
        inputs[0][0, 2] = float("nan")
    found = run(inputs, codes, targets, upstream)[0]
    assert found[0].isnan() and found.isnan().sum() == 1
    targets.fill_(IGNORE)
    assert not any(part.any() for part in run(inputs, codes, targets, upstream))


def test_forbidden_words_have_bias_minus_infinity():
    inputs, codes, targets, upstream = draw(9, 200, 4, 8)
    targets.clamp_(max=149)
    with torch.no_grad():
        inputs[1][150:] = -torch.inf
    kept = [inputs[0], inputs[1][:150].detach().requires_grad_()]
    found = run(inputs, codes, targets, upstream)
    wanted = run(kept, codes[:150], targets, upstream)
    compare((*found[:2], found[2][:150]), wanted, 1e-6)
    assert not found[2][150:].any()


def test_a_second_derivative_goes_through_torch():
    inputs, codes, targets, _ = draw(6, 9, 3, 4)

    def second(inputs):
        loss = coded.cross_entropy_coded(inputs[0], codes, inputs[1], targets).sum()
        first = torch.autograd.grad(loss, inputs[0], create_graph=True)[0]
        return torch.autograd.grad(first.square().sum(), inputs[1])[0]

    double = [x.detach().double().requires_grad_() for x in inputs]
    torch.testing.assert_close(second(inputs).double(), second(double), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_are_torchs_bit_for_bit(monkeypatch, shape, isa):
    monkeypatch.setenv("SEQSTATE_ISA", isa)
    monkeypatch.setattr(coded, "scans_fixed", lambda: False)
    (tables, bias), codes, *_ = draw(*shape)
    tables, bias = tables.detach(), bias.detach()
    for offset in (bias, None):
        wanted = tiles.coded_logits(tables, codes, offset)
        packed = coded.pack(codes)
        assert (packed is None) == (shape[3] > 16)
        assert torch.equal(coded.coded_logits(tables, codes, offset, packed), wanted)
        assert torch.equal(coded.coded_logits(tables[0], codes, offset), wanted[0])


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e20])
@pytest.mark.parametrize("shape", [*(s for s in SHAPES if s[3] <= 16), (3, 100, 256, 16)], ids=str)
def test_sums_in_fixed_point_are_as_near_as_stated(shape, size):
    (tables, bias), codes, *_ = draw(*shape, size=size)
    tables, bias = tables.detach(), bias.detach()
    found = coded.coded_logits(tables, codes, bias, coded.pack(codes))
    wanted = tiles.coded_logits(tables.double(), codes, bias.double())
    ranges = tables.amax(-1) - tables.amin(-1)  # R G
    stated = shape[2] / 2**25 * ranges.amax(-1)
    rounding = (tables.abs().amax(-1).sum(-1) + ranges.sum(-1) + bias.abs().max()) / 2**23
    assert ((found - wanted).abs().amax(-1) <= stated + rounding).all()


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), 3e38])
def test_numbers_that_no_fixed_point_holds_are_added_as_floats(number):
    (tables, bias), codes, *_ = draw(3, 200, 6, 16)
    tables, bias = tables.detach(), bias.detach()
    tables[1, 2, 5], tables[1, 2, 6] = number, -3e38
    found = coded.coded_logits(tables, codes, bias, coded.pack(codes))
    wanted = tiles.coded_logits(tables, codes, bias)
    torch.testing.assert_close(found[1], wanted[1], atol=0, rtol=0, equal_nan=True)
    torch.testing.assert_close(found, wanted, equal_nan=True)


def test_more_groups_than_32_bits_add_up_are_added_as_floats():
    (tables, bias), codes, *_ = draw(2, 80, 257, 3)
    tables, bias = tables.detach(), bias.detach()
    found = coded.coded_logits(tables, codes, bias, coded.pack(codes))
    assert torch.equal(found, tiles.coded_logits(tables, codes, bias))


def test_what_does_not_fit_is_refused():
    inputs, codes, targets, upstream = draw(5, 7, 2, 3)
    codes[4, 1] = 3
    with pytest.raises(ValueError, match="codes up to 3, but the tables have 3 numbers a group"):
        run(inputs, codes, targets, upstream)
    codes[4, 1], targets[0] = 0, 7
    with pytest.raises(IndexError, match=r"target 7 of row 0 is outside the vocabulary 0\.\.6"):
        run(inputs, codes, targets, upstream)


@pytest.mark.parametrize(
    ("tables", "codes", "bias"),
    [
        ((5, 2, 3), (7, 3), (7,)),
        ((5, 0, 3), (7, 0), (7,)),
        ((5, 2, 3), (0, 2), (0,)),
        ((5, 2, 3), (7, 2), (6,)),
    ],
)
def test_sizes_that_do_not_fit_are_refused(tables, codes, bias):
    sizes = torch.zeros(tables), torch.zeros(codes, dtype=torch.uint8), torch.zeros(bias)
    with pytest.raises(ValueError, match=r"codes \[.*, tables \[.* do not fit; wanted \[V, G\]"):
        coded._check_sizes(*sizes)


def test_codes_of_another_type_are_refused():
    (tables, bias), codes, *_ = draw(5, 7, 2, 3)
    with pytest.raises(ValueError, match=r"\(torch.int64\), .* wanted \[V, G\] \(torch.uint8\)"):
        coded._check_sizes(tables, codes.long(), bias)


def test_tables_too_large_for_packed_codes_are_looked_up_in_the_codes():
    """No word has a code above 15, so that the codes could be packed."""
    (tables, bias), codes, *_ = draw(3, 20, 8, 256)
    tables, codes = tables.detach(), codes.clamp(max=15)
    found = coded.coded_logits(tables, codes, bias.detach(), coded.pack(codes))
    assert torch.equal(found, tiles.coded_logits(tables, codes, bias.detach()))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_working_memory_is_bounded_whatever_the_sizes(threads):
    assert native.available()
    for rows in (1, 1024, 10**6):
        for vocab in (50, 10**7):
            for groups, codes in ((8, 16), (64, 16), (32, 256)):
                used = coded.workspace_bytes(
                    rows, vocab, groups, codes, threads=threads, backward=True
                )
                assert used <= 8 << 20
