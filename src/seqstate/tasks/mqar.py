"""Multi-query associative recall: pairs of key and value first, then the keys again, in any order.

    k1 v1 k2 v2 ... | . . k2 . . . k1 .        targets  v2 at k2, v1 at k1, nothing elsewhere

As zoology defines it (Arora et al. 2023, https://arxiv.org/abs/2312.04927): keys from the lower half of the
vocabulary (0 excepted), values from the upper half, both without repetition in a sequence; queries stand at
even distances whose law is a power, p(gap) ~ gap^(power - 1); the rest is filled with random tokens. Only
queries are asked. The state must hold pairs x (log2 keys + log2 values) bits, less log2 of pairs!.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.model import IGNORE
from seqstate.core.task import Batch, Task, certain, generator


class MQAR(Task):
    """vocab: tokens. length: of a sequence. pairs: keys to remember. power: of the law of gaps (1: uniform).

    filler: random tokens between the queries; False: zeros.
    """

    entropy = 0.0

    def __init__(
        self,
        *,
        vocab: int = 512,
        length: int = 64,
        pairs: int = 8,
        power: float = 0.01,
        filler: bool = True,
    ) -> None:
        if length % 2 or not 1 <= pairs <= length // 4:
            raise ValueError(
                f"wanted an even length and 1 <= pairs <= length / 4, found length={length}, pairs={pairs}"
            )
        if vocab // 2 - 1 < pairs:
            raise ValueError(
                f"{vocab} tokens have {vocab // 2 - 1} keys, fewer than pairs={pairs}; "
                f"try vocab={2 * pairs + 2}"
            )
        self.vocab_size, self.length, self.pairs = vocab, length, pairs
        self.power, self.filler = power, filler
        self.chance = 1 / (vocab - vocab // 2)

    def sample(self, size: int, seed: int) -> Batch:
        """Tag `distance`: tokens back to the key's first appearance, where asked; -1 elsewhere."""
        draw, half, known = generator(seed), self.vocab_size // 2, 2 * self.pairs
        keys = 1 + _without_repetition(torch.zeros(size, half - 1), self.pairs, draw)
        values = half + _without_repetition(
            torch.zeros(size, self.vocab_size - half), self.pairs, draw
        )
        places = torch.arange(1, (self.length - known) // 2 + 1, dtype=torch.float64)
        law = ((self.power - 1) * places.log()).expand(size, -1)
        queries = known + 2 * _without_repetition(law, self.pairs, draw)
        shape = (size, self.length)
        tokens = torch.randint(self.vocab_size, shape, generator=draw) * self.filler
        tokens[:, 0:known:2], tokens[:, 1:known:2] = keys, values
        tokens.scatter_(1, queries, keys)
        targets = torch.full(shape, IGNORE).scatter_(1, queries, values)
        distance = queries - 2 * torch.arange(self.pairs)
        return Batch(
            tokens, targets, {"distance": torch.full(shape, -1).scatter_(1, queries, distance)}
        )

    def oracle(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        known = 2 * self.pairs
        answers = torch.full_like(tokens, IGNORE)
        if tokens.shape[1] > known:
            keys, values = tokens[:, 0:known:2], tokens[:, 1:known:2]
            same = tokens[:, known:].unsqueeze(2) == keys.unsqueeze(1)  # B T pairs
            value = values.gather(1, same.int().argmax(2))
            answers[:, known:] = value.where(same.any(2), torch.tensor(IGNORE))
        return certain(answers, self.vocab_size)


def _without_repetition(
    log_weights: Float[Tensor, "B N"], count: int, draw: torch.Generator
) -> Int[Tensor, "B K"]:
    """`count` indices a row, one after another in proportion to the weights left (Gumbel top-k)."""
    uniform = torch.rand(log_weights.shape, generator=draw, dtype=torch.float64)
    gumbel = -(-uniform.clamp(min=1e-300).log()).log()
    return (log_weights + gumbel).topk(count, dim=1).indices
