"""Latent: every token solves for a query in equilibrium with gated slots, at run time.

Per head, with slots of keys r_m and values u_m that forget (as in `gated_slots`), and a query q_t, the latent
minimises an energy,

    E(z) = 1/2 |z - q_t|^2 - pull log sum_m exp<z, r_m>,   so   z = q_t + pull sum_m softmax_m(<z, r_m>) r_m,

and the token is given sum_m softmax_m(<z, r_m>) u_m. A plain step of the right side never raises E, as in
modern Hopfield networks (Ramsauer et al. 2021, https://arxiv.org/abs/2008.02217); the equilibrium and its
implicit gradient follow Bai et al. 2019 (https://arxiv.org/abs/1909.01377), but each
position has a solver of its own, so nothing leaks from the future at any number of iterations.
"""

from __future__ import annotations

import math
import warnings

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqstate.core.model import HasConvergence
from seqstate.states._fixed_point import GRADIENTS, Solved, Step
from seqstate.states._forgetting import Forgetting
from seqstate.states._mixer import Mixer, Shape, Tokens, at_least_one
from seqstate.states._mixer_stack import MixerStack
from seqstate.states._slot_memory import SlotMemory, cut, join

CONVOLUTION = 4  # inputs a token sees before it is projected


class Latent(MixerStack, HasConvergence):
    """slots: per head. iterations: at most, per token. tolerance: of the last step over the latent's length.

    gradient: implicit (from the equation at the solution, in constant memory) or unrolled (through every
    iteration). dropout: after each sublayer. Latents that do not converge are told of by one warning, with
    the figures. State per layer: `held` [B, H, S, 2K], keys beside values.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        slots: int = 16,
        iterations: int = 64,
        tolerance: float = 1e-5,
        gradient: str = "implicit",
        dropout: float = 0.0,
    ) -> None:
        if gradient not in GRADIENTS:
            raise ValueError(f"unknown gradient {gradient!r}; there are {', '.join(GRADIENTS)}")
        if not 0 < tolerance < 1:
            raise ValueError(f"tolerance is {tolerance}; wanted a number between 0 and 1")
        shape = Shape(width, layers, heads, CONVOLUTION, dropout)
        at_least_one("slots", slots), at_least_one("iterations", iterations)
        super().__init__(shape, lambda: Equilibrium(shape, slots, iterations, tolerance, gradient))
        self.tolerance = tolerance

    def convergence(self, x: Float[Tensor, "B T D"]) -> dict[str, Float[Tensor, "N B H T"]]:
        state, found = self.init_state(x.shape[0]), []
        for i, (mixer, tokens, _) in enumerate(self.walk(x)):
            _, solved = mixer.solve(tokens, state["mixed"][i])
            both = torch.stack([solved.residual, solved.iterations], -1)
            found.append(join(both, x.shape[1]).transpose(1, 2))
        residual, iterations = torch.stack(found).unbind(-1)
        return {"residual": residual, "iterations": iterations}


class Equilibrium(Mixer):
    """Slots that forget, and a latent per token and head in equilibrium with them."""

    def __init__(
        self, shape: Shape, slots: int, iterations: int, tolerance: float, gradient: str
    ) -> None:
        super().__init__()
        self.slots = Forgetting(shape, slots)
        self.log_pull = nn.Parameter(torch.full((shape.heads,), -0.5 * math.log(shape.head_width)))
        self.iterations, self.tolerance = iterations, tolerance
        self.by_gradient = GRADIENTS[gradient]
        self.warned = False

    def init_state(self, batch_size: int) -> dict[str, Tensor]:
        return {"held": self.slots.start(batch_size)}

    def forward(self, tokens: Tokens, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        memory, solved = self.solve(tokens, state)
        share = memory.scores(solved.latent).softmax(-1)
        return join(memory.values(share), tokens.key.shape[1]), {"held": memory.after}

    def solve(self, tokens: Tokens, state: dict[str, Tensor]) -> tuple[SlotMemory, Solved]:
        """The slots, and the latents with what is known of them, P B H L K."""
        query, key, value = (cut(part) for part in tokens[:3])
        memory = SlotMemory(key, value, self.slots.weights(tokens), state["held"])
        pull = self.log_pull.exp()[:, None, None]

        def step(latent: Tensor) -> Tensor:
            return query + pull * memory.keys(memory.scores(latent).softmax(-1))

        def back_through(latent: Tensor) -> Step:
            # the derivative, pull R' (diag(s) - s s') R with R the keys, is symmetric
            share = memory.scores(latent.detach()).softmax(-1)

            def through(y: Tensor) -> Tensor:
                scores = memory.scores(y)
                along = (share * scores).sum(-1, keepdim=True)
                return pull * memory.keys(share * (scores - along))

            return through

        how = (self.iterations, self.tolerance, self._tell, back_through)
        return memory, self.by_gradient(step, query, *how)

    def _tell(self, what: str, solved: Solved) -> None:
        """Warn, once, of what did not converge."""
        unsolved = solved.residual > self.tolerance
        if self.warned or not bool(unsolved.any()):
            return
        self.warned = True
        warnings.warn(
            f"{int(unsolved.sum())} of {unsolved.numel()} {what} did not converge in "
            f"{self.iterations} iterations (largest residual {float(solved.residual.max()):.1e}, "
            f"wanted {self.tolerance:.1e}); give more iterations or a larger tolerance",
            stacklevel=2,
        )
