"""Random problems for the fused losses, and their comparison with the twin written out in float64."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import torch
from reference import fused as slow

from seqstate import native
from seqstate.core.model import IGNORE
from seqstate.native import losses

DISTANCES = ("tanh", "exponential", "clipped")
KINDS = ("inner", "sigmoid", "clamped", "rational", "rbf", *DISTANCES, "absolute")
NAMES = ("hidden", "words", "bias", "tau", "a", "b")
USED = {"inner": 3, "rbf": 5, "absolute": 3} | dict.fromkeys(
    DISTANCES, 5
)  # inputs that a kind has, if not all six

SHAPES = [  # rows, vocabulary, groups, numbers of a group
    (1, 1, 1, 1),
    (1, 70, 3, 5),
    (50, 1, 2, 4),
    (97, 130, 8, 8),
    (101, 333, 2, 33),
    (64, 257, 16, 2),
    (13, 129, 16, 1),
    (31, 99, 1, 63),
    (200, 65, 4, 16),
]


@dataclass
class Problem:
    """Inputs of one loss, in float32 and needing gradients."""

    kind: str
    inputs: list[torch.Tensor]
    targets: torch.Tensor
    upstream: torch.Tensor
    smoothing: float = 0.0
    z_loss: float = 0.0
    scale: float = 0.75

    def losses(self) -> torch.Tensor:
        hidden, words, bias, *scalars = self.inputs
        extras = {"label_smoothing": self.smoothing, "z_loss": self.z_loss}
        if self.kind == "inner":
            return losses.cross_entropy_inner(
                hidden, words, bias, self.targets, scale=self.scale, **extras
            )
        if self.kind == "rbf":
            return losses.cross_entropy_rbf(
                hidden, words, *scalars[:2], bias, self.targets, **extras
            )
        if self.kind == "absolute":
            return losses.cross_entropy_l1(hidden, words, bias, self.targets, **extras)
        if self.kind in DISTANCES:
            return losses.cross_entropy_hamming(
                hidden, words, *scalars[:2], bias, self.targets, distance=self.kind, **extras
            )
        return losses.cross_entropy_multi_hamming(
            hidden, words, *scalars, bias, self.targets, activation=self.kind, **extras
        )

    def run(self) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        given = self.losses()
        names = NAMES[: USED.get(self.kind)]
        return given.detach(), dict(
            zip(
                names,
                torch.autograd.grad(given, self.inputs[: len(names)], self.upstream),
                strict=True,
            )
        )


def problem(kind, rows, vocab, groups, width_of_group, *, size=1.0, seed=0, ignored=True, **extras):
    """Entries are multiples of 1/64, so that an argument near a kink lies on the same side in float64."""
    generator = torch.Generator().manual_seed(seed)
    width = groups * width_of_group

    def draw(*shape):
        return (size * 64 * torch.randn(*shape, generator=generator)).round() / 64

    def positive(*shape):
        return torch.randint(1, 9, shape, generator=generator) / 4

    inputs = [draw(rows, width), draw(vocab, width), draw(vocab)]
    groups = width if kind in slow.DISTANCES else groups
    inputs += [positive(groups), positive(groups), draw(groups)]
    if kind == "rbf":  # near enough for the peaks to be felt
        inputs[0], inputs[1] = (x / (2 * width_of_group**0.5) for x in inputs[:2])
    targets = torch.randint(vocab, (rows,), generator=generator)
    if ignored:
        targets[1::4] = IGNORE
    upstream = torch.randn(rows, generator=generator)
    return Problem(kind, [x.requires_grad_() for x in inputs], targets, upstream, **extras)


def check(given: Problem, tolerance: float = 1e-5, **others: float) -> None:
    """Losses and every gradient within `tolerance` of the twin, relative to the size of their terms.

    others: tolerances of single gradients, by name.
    """
    found, gradients = given.run()
    wanted, twins = slow.loss_and_gradients(
        [x.detach().double() for x in given.inputs],
        given.targets,
        given.upstream.double(),
        kind=given.kind,
        scale=given.scale,
        smoothing=given.smoothing,
        z_loss=given.z_loss,
    )
    error = (found - wanted).abs() / wanted.abs().clamp(min=1)
    assert error.max() <= tolerance, f"losses are off by {error.max():.1e}"
    for name, gradient in gradients.items():
        twin, size = twins[name]
        error = (gradient - twin).abs().max() / size.clamp(min=1e-30)
        assert error <= others.get(name, tolerance), (
            f"gradient of {name} is off by {error:.1e} of its terms"
        )


@contextmanager
def threads(count: int):
    """As many threads as asked, however small the problem."""
    before, work = torch.get_num_threads(), native.THREAD_WORK
    torch.set_num_threads(count)
    native.THREAD_WORK = 1
    try:
        yield
    finally:
        torch.set_num_threads(before)
        native.THREAD_WORK = work


def isas() -> tuple[str, ...]:
    return native.isa_names()
