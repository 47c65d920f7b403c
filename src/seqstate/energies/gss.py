"""Generalised sigsoftmax: logits bent once, slope k below c and 1 above. Rank D + 1 at k = 1.

f(z) = z + (k - 1) logsigmoid(z - c), z_v = <h, w_v> + bias_v.

k = 1 is the plain softmax (rank D + 1), k = 2 with c = 0 is `sigsoftmax`. Built by its authors to show that
a high rank of the log-probability matrix is neither necessary nor sufficient for a better perplexity.
Source: Parthiban, Mao & Inkpen 2021, "On the softmax bottleneck of recurrent language models", AAAI,
https://doi.org/10.1609/aaai.v35i15.17608, equations 3 and 5: f(z) = k (z - c) + c - (k - 1) softplus(z - c),
which is the formula above. Defaults: their choice on the Penn Treebank.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from seqstate.energies._pointwise import PointwiseHead


class GSS(PointwiseHead):
    """c: where the curve bends. k: its slope below the bend. Both are fixed."""

    def __init__(
        self, *, width: int = 128, vocab_size: int, c: float = -1.5, k: float = 2.5
    ) -> None:
        super().__init__(width, vocab_size)
        if k <= 0:
            raise ValueError(f"k={k}, but the slope must be positive for f to increase")
        self.c, self.k = c, k

    def bend(self, z: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return z + (self.k - 1) * F.logsigmoid(z - self.c)

    def rank_bound(self) -> int | None:
        return self.width + 1 if self.k == 1 else None
