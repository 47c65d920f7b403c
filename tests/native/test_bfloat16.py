"""Products in bfloat16: scores are exact on numbers that are such, gradients are sums of rounded terms."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from native import common
from native.common import SHAPES, Problem, isas, problem, threads
from seqstate import native
from seqstate.native import losses

KINDS = ("inner", "sigmoid", "clamped", "rational")


class Short(Problem):
    """Numbers of bfloat16, held in float32 so that gradients come back unrounded."""

    def losses(self) -> torch.Tensor:
        hidden, words, bias, *scalars = self.inputs
        if self.kind == "inner":
            scalars = [None, None, None]
        options = losses.Options(self.kind, self.smoothing, self.z_loss, True, self.scale)
        return losses._Fused.apply(hidden, words, bias, *scalars, self.targets, options)[0]


def short(kind: str, *shape: int, **extras) -> Short:
    """A problem whose two sides are numbers of bfloat16."""
    given = Short(**vars(problem(kind, *shape, **extras)))
    with torch.no_grad():
        for side in given.inputs[:2]:
            side.copy_(side.bfloat16())
    return given


def check(given: Short) -> None:
    """As for float32, but for sums whose terms have one factor rounded to 8 bits, where that is done."""
    off = 2**-8 if taken() else 1e-5
    common.check(given, 1e-5, hidden=off, words=off, a=off)


def taken() -> bool:
    """True if the products under test are there with the instruction set in use."""
    return native.extension().multiplies_bfloat16(native.isa())


@pytest.mark.parametrize("isa", isas())
def test_the_products_are_taken_where_the_processor_has_them(isa, monkeypatch):
    monkeypatch.setenv("SEQSTATE_ISA", isa)
    has = "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    assert taken() == (isa == "avx512" and has)


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_short_numbers_are_multiplied_exactly(kind, shape, isa, monkeypatch):
    monkeypatch.setenv("SEQSTATE_ISA", isa)
    for extras in ({}, {"smoothing": 0.1, "z_loss": 0.01}):
        check(short(kind, *shape, seed=sum(shape), **extras))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [2, 3])
def test_threads_and_blocks_of_rows_add_up(kind, count):
    with threads(count):
        check(short(kind, 150, 900, 3, 7))
        check(short(kind, 1100, 3, 2, 255, size=0.05))


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_on_both_sides_of_the_clamp_are_right(kind):
    given = short(kind, 20, 90, 2, 9, size=3.0)
    with torch.no_grad():
        given.inputs[5].add_(1 / 128)  # no argument lies on a kink
    check(given)


@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_that_counts_is_not_hidden(kind):
    given = short(kind, 9, 40, 2, 5, ignored=False)
    with torch.no_grad():
        given.inputs[0][4, 3] = float("nan")
    found, _ = given.run()
    assert found[4].isnan()
    assert found.isnan().sum() == 1


@pytest.mark.parametrize("isa", isas())
def test_words_are_rounded_to_nearest_even_as_torch_does(isa, monkeypatch):
    """A row that is one unit vector reads one number of every word; half of them are ties."""
    monkeypatch.setenv("SEQSTATE_ISA", isa)
    generator = torch.Generator().manual_seed(0)
    words = torch.randn(50, 17, generator=generator)
    words[::2] = 1 + torch.randint(128, (25, 17), generator=generator) / 256
    targets = torch.arange(17)
    found = native.cross_entropy_inner(torch.eye(17).bfloat16(), words, None, targets)
    read = words.bfloat16() if taken() else words
    wanted, exact = (
        torch.nn.functional.cross_entropy(t.double().T, targets, reduction="none")
        for t in (read, words)
    )
    torch.testing.assert_close(found.double(), wanted, atol=1e-6, rtol=1e-6)
    assert ((found - exact).abs().max() > 1e-3) == taken()


@pytest.mark.parametrize("activation", KINDS[1:])
def test_bits_take_short_tensors_and_give_gradients_of_their_types(activation):
    given = short(activation, 40, 300, 3, 6)
    hidden, words, bias, *scalars = given.inputs
    brief = hidden.detach().bfloat16().requires_grad_()
    found = native.cross_entropy_multi_hamming(
        brief, words, *scalars, bias, given.targets, activation=activation
    )
    assert torch.equal(found, given.losses())
    of_hidden, of_words = torch.autograd.grad(found, [brief, words], given.upstream)
    _, gradients = given.run()
    assert torch.equal(of_hidden, gradients["hidden"].bfloat16())
    assert torch.equal(of_words, gradients["words"])
