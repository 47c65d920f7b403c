"""Whether latents are solved: last relative step, iterations, share not converged.

A position counts as not converged if its last step is above the state's tolerance, relative to the length of
the latent. `worst` in the tags is the largest residual; `by_head` is N x H; `histogram` counts latents by
iterations from 0 on.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from seqstate.core.instrument import StateInstrument
from seqstate.core.model import HasConvergence, device_of
from seqstate.core.record import Reading
from seqstate.core.task import Batch
from seqstate.instruments._mean import mean_reading

READ_ROWS, READ_TOKENS = 8, 128  # of a text on which latents are looked at when it is evaluated


class Convergence(StateInstrument):
    """Residuals and iterations, no options."""

    capability = HasConvergence

    def read(self, states: nn.Module, x: Float[Tensor, "B T D"]) -> list[Reading]:
        assert isinstance(states, HasConvergence)
        found = states.convergence(x)
        residual, iterations = found["residual"].double(), found["iterations"].double()
        open_ = (residual > states.tolerance).double()
        histogram = torch.bincount(iterations.flatten().long()).tolist()
        return [
            mean_reading(
                "residual",
                residual.mean((0, 2, 3)),
                "share of length",
                worst=float(residual.max()),
                by_head=residual.mean((1, 3)).tolist(),
            ),
            mean_reading(
                "iterations",
                iterations.mean((0, 2, 3)),
                "iteration",
                by_head=iterations.mean((1, 3)).tolist(),
                histogram=histogram,
            ),
            mean_reading("not_converged", open_.mean((0, 2, 3)), "share of latents"),
        ]


def convergence_of(model: nn.Module, ids: NDArray) -> list[Reading]:
    """The share of latents that do not converge on the start of a text; [] for states without latents."""
    if not Convergence().applies_to(model):
        return []
    rows, tokens = READ_ROWS, READ_TOKENS
    if len(ids) <= rows * tokens:
        rows, tokens = 1, len(ids) - 1
    start = np.asarray(ids[: rows * tokens]).astype(np.int64).reshape(rows, tokens)
    read = torch.from_numpy(start).to(device_of(model))
    found = Convergence().measure(model, Batch(read, read))
    return [reading for reading in found if reading.name == "not_converged"]
