"""High rank: a Markov chain whose log-probability matrix has full rank, sampled exactly.

Row i of the V x V matrix is softmax(sharpness x standard normal numbers): centred, its rank is V - 1, so a
hidden vector of D < V - 2 numbers under an inner product cannot say it (the softmax bottleneck, Yang et al.
2018), whatever the state model knows. The chain starts in its stationary law, so that every position has the
same entropy, sum_i pi_i H(P_i). The table is drawn from `table`, and is part of the task: not of the sample.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.task import Batch, Task, generator


class HighRank(Task):
    """symbols: V. length: of a sequence. sharpness: of the rows. table: seed of the matrix."""

    def __init__(
        self, *, symbols: int = 64, length: int = 64, sharpness: float = 2.0, table: int = 0
    ) -> None:
        if symbols < 2 or length < 1 or sharpness <= 0:
            raise ValueError(
                f"wanted symbols >= 2, length >= 1 and sharpness > 0, found symbols={symbols}, "
                f"length={length}, sharpness={sharpness}"
            )
        self.vocab_size, self.length = symbols, length
        numbers = torch.randn(symbols, symbols, generator=generator(table), dtype=torch.float64)
        self.log_matrix = (sharpness * numbers).log_softmax(-1)
        matrix = self.log_matrix.exp()
        self.stationary = _stationary(matrix)
        self.entropy = float(self.stationary @ torch.special.entr(matrix).sum(-1))
        self.chance = float(self.stationary.max())

    def sample(self, size: int, seed: int) -> Batch:
        draw = generator(seed)
        tokens = torch.empty(size, self.length + 1, dtype=torch.long)
        tokens[:, 0] = torch.multinomial(self.stationary, size, replacement=True, generator=draw)
        matrix = self.log_matrix.exp()
        for t in range(self.length):
            tokens[:, t + 1] = torch.multinomial(matrix[tokens[:, t]], 1, generator=draw)[:, 0]
        return Batch(tokens[:, :-1].clone(), tokens[:, 1:].clone())

    def oracle(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        return self.log_matrix[tokens].float()


def _stationary(matrix: Float[Tensor, "V V"]) -> Float[Tensor, " V"]:
    """The law pi with pi P = pi: P^T less the identity, its last row replaced by "sums to 1"."""
    balance = matrix.T - torch.eye(len(matrix), dtype=matrix.dtype)
    balance[-1] = 1
    wanted = torch.zeros(len(matrix), dtype=matrix.dtype)
    wanted[-1] = 1
    return torch.linalg.solve(balance, wanted).clamp(min=0)
