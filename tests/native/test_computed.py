"""The inner product over a table computed block by block, against the whole table in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from native.common import isas, threads
from seqstate.core.model import IGNORE
from seqstate.energies.soft_bits import SoftBits
from seqstate.native import computed


def in_blocks(monkeypatch, numbers):
    """Tables of so many numbers at a time, and none kept whole."""
    monkeypatch.setattr(computed, "BLOCK", numbers)
    monkeypatch.setattr(computed, "KEPT", 0)


def bits(words, weight, offset):
    return torch.tanh(F.linear(words, weight, offset) / 2)


def draw(rows, vocab, store, width, size=1.0):
    generator = torch.Generator().manual_seed(rows + vocab)
    shapes = (rows, width), (vocab, store), (width, store), (width,), (vocab,)
    inputs = [size * torch.randn(*shape, generator=generator) for shape in shapes]
    targets = torch.randint(vocab, (rows,), generator=generator)
    targets[1::4] = IGNORE
    return [x.requires_grad_() for x in inputs], targets, torch.randn(rows, generator=generator)


def run(inputs, targets, upstream, **extras):
    hidden, words, weight, offset, bias = inputs
    loss = computed.cross_entropy_computed(
        hidden, words, (weight, offset), bias, targets, read=bits, **extras
    )
    return loss.detach(), torch.autograd.grad(loss, inputs, upstream)


def twin(inputs, targets, upstream, *, label_smoothing=0.0, z_loss=0.0):
    inputs = [x.detach().double().requires_grad_() for x in inputs]
    hidden, words, weight, offset, bias = inputs
    logits = hidden @ bits(words, weight, offset).T + bias
    loss = F.cross_entropy(
        logits, targets, reduction="none", label_smoothing=label_smoothing, ignore_index=IGNORE
    )
    loss = loss + z_loss * logits.logsumexp(-1).square() * (targets != IGNORE)
    return loss.detach(), torch.autograd.grad(loss, inputs, upstream.double())


def compare(found, wanted, tolerance=1e-5):
    for one, other in zip((found[0], *found[1]), (wanted[0], *wanted[1]), strict=True):
        error = (one - other).abs().max() / other.abs().max().clamp(min=1)
        assert error <= tolerance


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 70, 3, 5), (50, 1, 2, 4), (37, 203, 5, 33)])
@pytest.mark.parametrize("block", [1, 70, 1000])
def test_blocks_of_words_add_up_to_the_whole_table(monkeypatch, shape, block, isa):
    monkeypatch.setenv("SEQSTATE_ISA", isa)
    in_blocks(monkeypatch, block * shape[3])
    for extras in ({}, {"label_smoothing": 0.1, "z_loss": 0.01}):
        given = draw(*shape)
        compare(run(*given, **extras), twin(*given, **extras))


def test_threads_and_extreme_scores(monkeypatch):
    in_blocks(monkeypatch, 50 * 8)
    inputs, targets, upstream = draw(30, 240, 6, 8, size=3.0)
    with torch.no_grad():
        inputs[4].mul_(3000)
    with threads(2):
        compare(run(inputs, targets, upstream), twin(inputs, targets, upstream), 2e-3)


def test_ignored_rows_may_be_anything_and_words_may_be_forbidden(monkeypatch):
    in_blocks(monkeypatch, 50 * 8)
    inputs, targets, upstream = draw(30, 240, 6, 8)
    targets[targets >= 0] = targets[targets >= 0].clamp(min=100)
    with torch.no_grad():
        inputs[4][:100] = -torch.inf  # two whole blocks
    wanted = twin(inputs, targets, upstream)
    with torch.no_grad():
        inputs[0][targets == IGNORE] = float("nan")
    found = run(inputs, targets, upstream)
    assert all(gradient.isfinite().all() for gradient in found[1])
    compare(found, wanted)


def test_a_second_derivative_goes_through_torch(monkeypatch):
    in_blocks(monkeypatch, 16)
    inputs, targets, _ = draw(6, 9, 3, 4)

    def second(inputs, loss):
        first = torch.autograd.grad(loss, inputs[0], create_graph=True)[0]
        return torch.autograd.grad(first.square().sum(), inputs[1])[0]

    def loss(inputs):
        hidden, words, *parameters, bias = inputs
        return computed.cross_entropy_computed(
            hidden, words, tuple(parameters), bias, targets, read=bits
        ).sum()

    double = [x.detach().double().requires_grad_() for x in inputs]
    found, wanted = second(inputs, loss(inputs)), second(double, loss(double))
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-4)


def test_a_target_outside_the_vocabulary_is_refused(monkeypatch):
    in_blocks(monkeypatch, 16)
    inputs, targets, upstream = draw(6, 9, 3, 4)
    targets[2] = 9
    with pytest.raises(IndexError, match=r"target 9 of row 2 is outside the vocabulary 0\.\.8"):
        run(inputs, targets, upstream)


def test_blocks_are_read_in_float32_whatever_autocast_is_on(monkeypatch):
    in_blocks(monkeypatch, 50 * 8)
    inputs, targets, upstream = draw(30, 240, 6, 8)
    hidden, words, *parameters, bias = inputs
    with torch.autocast("cpu", torch.bfloat16):
        loss = computed.cross_entropy_computed(
            hidden, words, tuple(parameters), bias, targets, read=bits
        )
    found = loss.detach(), torch.autograd.grad(loss, inputs, upstream)
    compare(found, twin(inputs, targets, upstream))


@pytest.mark.parametrize("read", [lambda words, *_: words, lambda words, *_: words[:, :4].double()])
def test_a_reading_of_another_size_or_type_is_refused(monkeypatch, read):
    in_blocks(monkeypatch, 16)
    (hidden, words, *_), targets, _ = draw(6, 9, 5, 4)
    with pytest.raises(ValueError, match=r"words were read as \[4, .*; wanted \[4, 4\] in"):
        computed.cross_entropy_computed(hidden, words, (), None, targets, read=read)


@pytest.mark.parametrize("form", ["word", "both", "residual"])
def test_soft_bits_learn_the_same_whether_in_blocks_or_not(monkeypatch, form):
    head = SoftBits(width=12, bits=20, form=form).over(300)
    hidden, targets = torch.randn(40, 12), torch.randint(300, (40,))
    results = []
    monkeypatch.setattr(computed, "BLOCK", 1000)
    for kept in (1 << 22, 0):
        monkeypatch.setattr(computed, "KEPT", kept)
        head.zero_grad()
        head.loss(hidden, targets).backward()
        results.append([p.grad for p in head.parameters()])
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)
