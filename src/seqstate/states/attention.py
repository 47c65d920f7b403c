"""Attention: every token picks predecessors by an energy; keys and values in sight are the state.

Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762). A pre-norm decoder whose edge weights are
softmax(-beta_h energy(query, key)), the mean field over graphs of predecessors; beta_h starts at 1/sqrt(K).
The cache is bounded: a token sees the last `window` tokens of its layer's input, itself included, exactly.
"""

from __future__ import annotations

from seqstate.states._attention_layer import Shape
from seqstate.states._attention_stack import AttentionStack


class Attention(AttentionStack):
    """heads: graphs per layer. window: tokens in sight (0: all, and a state without bound).

    energy: what picks predecessors, at the width of a head; `inner` runs in torch's fused kernel.
    positions: rotary, alibi, learned (a number per head and distance) or none.
    qk_norm: queries and keys of fixed length, and a learnt sharpness beta per head (Henry et al. 2020);
    otherwise their lengths are free and beta = 1/sqrt(K). dropout: after each sublayer.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        window: int = 128,
        energy: str = "inner",
        positions: str = "rotary",
        qk_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        shape = Shape(
            width=width,
            layers=layers,
            heads=heads,
            kv_heads=heads,
            window=window,
            energy=energy,
            qk_norm=qk_norm,
            dropout=dropout,
        )
        super().__init__(shape, positions)
