"""Solving z = step(z) for many latents at once, each on its own, with gradients by either way.

Every latent stops when its own step is small and is then left alone, so what one does never depends on
another: read in pieces or at once, in any company, after any number of iterations, it is the same. Solvers
that stop or mix across a whole sequence (Bai et al. 2019, https://arxiv.org/abs/1909.01377) leak the future
until they have converged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Step = Callable[[Tensor], Tensor]
BackThrough = Callable[[Tensor], Step]
TINY = 1e-30
FURTHEST = 20.0  # lengths of the last move; a direction that shrinks by 0.95 a step wants 19


class Solved(NamedTuple):
    """residual: length of the last step over that of the latent. iterations: steps taken."""

    latent: Float[Tensor, "*N K"]
    residual: Float[Tensor, "*N"]
    iterations: Float[Tensor, "*N"]


def iterate(step: Step, start: Float[Tensor, "*N K"], most: int, tolerance: float) -> Solved:
    """Step until every latent's residual is within the tolerance, or `most` times.

    A step goes on along the line through the last two images, as far as Anderson's mixing of depth 1 says
    (Walker & Ni 2011): where one direction is slow, as near a fork of solutions, plain steps take hundreds.
    """
    latent, image, change = start, None, None
    residual = torch.full_like(start[..., 0], torch.inf)
    iterations = torch.zeros_like(residual)
    for _ in range(most):
        before, last, image = image, change, step(latent)
        change = image - latent
        going = residual > tolerance
        with torch.no_grad():
            found = change.norm(dim=-1) / image.norm(dim=-1).clamp(min=TINY)
            residual = torch.where(going, found, residual)
            iterations = iterations + going
        still = residual > tolerance
        onwards = image
        if before is not None:
            # a latent that has just converged takes its plain step and stops there
            far = _further(change, last) * still.unsqueeze(-1)
            onwards = torch.addcmul(image, far, image - before)
        # exact at 0 and 1, and a quarter of the time of a choice
        latent = torch.lerp(latent, onwards, going.to(latent.dtype).unsqueeze(-1))
        if not bool(still.any()):
            break
    return Solved(latent, residual, iterations)


def _further(change: Float[Tensor, "*N K"], last: Float[Tensor, "*N K"]) -> Float[Tensor, "*N 1"]:
    """How far beyond the newest image to go, in lengths of the last move; never backwards."""
    bend = last - change
    share = (change * bend).sum(-1, keepdim=True)
    return (share / bend.square().sum(-1, keepdim=True).clamp(min=TINY)).clamp(0, FURTHEST)


def solve_implicitly(
    step: Step,
    start: Float[Tensor, "*N K"],
    most: int,
    tolerance: float,
    report: Callable[[str, Solved], None],
    back_through: BackThrough | None = None,
) -> Solved:
    """As `iterate`; gradients from the equation at the solution, whatever was done to find it.

    With J the derivative of step at the solution, a gradient g becomes the solution of y = g + J' y, found
    by the same iteration, times the derivative of step to everything but the latent. `report` is told of
    both solutions. back_through: y -> J' y at a solution, where it is cheaper than what autograd makes of
    step. Memory does not grow with the iterations.
    """
    with torch.no_grad():
        solved = iterate(step, start, most, tolerance)
    report("latents", solved)
    if not torch.is_grad_enabled():
        return solved._replace(latent=step(solved.latent))
    latent = step(solved.latent)
    through = (back_through or _by_autograd(step))(latent.detach())

    def back(grad: Tensor) -> Tensor:
        with torch.no_grad():
            found = iterate(lambda y: grad + through(y), grad, most, tolerance)
        report("gradients of latents", found)
        return found.latent

    if latent.requires_grad:
        latent.register_hook(back)
    return solved._replace(latent=latent)


def solve_unrolled(
    step: Step,
    start: Float[Tensor, "*N K"],
    most: int,
    tolerance: float,
    report: Callable[[str, Solved], None],
    back_through: BackThrough | None = None,
) -> Solved:
    """As `iterate`; gradients through every iteration, so that memory grows with them.

    back_through is not needed.
    """
    solved = iterate(step, start, most, tolerance)
    report("latents", solved)
    return solved._replace(latent=step(solved.latent))


def _by_autograd(step: Step) -> BackThrough:
    def back_through(latent: Tensor) -> Step:
        with torch.enable_grad():
            around = latent.requires_grad_()
            image = step(around)

        def through(y: Tensor) -> Tensor:
            with torch.enable_grad():
                return torch.autograd.grad(image, around, y, retain_graph=True)[0]

        return through

    return back_through


GRADIENTS = {"implicit": solve_implicitly, "unrolled": solve_unrolled}
