"""Grouped attention: heads share keys and values, so that the state is as much smaller.

Multi-query (one head of keys and values): Shazeer 2019 (https://arxiv.org/abs/1911.02150); grouped: Ainslie
et al. 2023 (https://arxiv.org/abs/2305.13245). Otherwise the stack of `attention` under the inner product.
"""

from __future__ import annotations

from seqstate.states._attention_layer import Shape
from seqstate.states._attention_stack import AttentionStack


class GroupedAttention(AttentionStack):
    """kv_heads: heads of keys and values, each serving heads / kv_heads heads of queries.

    The other options are those of `attention`.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        kv_heads: int = 1,
        window: int = 128,
        positions: str = "rotary",
        qk_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        shape = Shape(
            width=width,
            layers=layers,
            heads=heads,
            kv_heads=kv_heads,
            window=window,
            energy="inner",
            qk_norm=qk_norm,
            dropout=dropout,
        )
        super().__init__(shape, positions)
