"""Hard attention: each token picks one predecessor, a drawn one, or few: the graph made explicit.

The stack of `attention`, whose mean over graphs is replaced by the best graph, at temperature 0 (`map`), by
draws at temperature 1 (`sample`, Gumbel-max), or by sparse weights (`top_k`, `sparsemax`, `entmax`). Queries
and keys are normalised, so a sharpness per head is all that sharpens. Xu et al. 2015 (hard attention,
https://arxiv.org/abs/1502.03044), Gupta et al. 2021 (top-k, https://arxiv.org/abs/2106.06899), Correia et al.
2019 (entmax, https://arxiv.org/abs/1909.00015).
"""

from __future__ import annotations

from seqstate.states._attention_layer import Shape
from seqstate.states._attention_picks import build_picker
from seqstate.states._attention_stack import AttentionStack


class HardAttention(AttentionStack):
    """mode: map, sample(draws=1), top_k(k=8), sparsemax or entmax(alpha=1.5).

    Draws depend on `seed` [B] in the state and on positions alone: 0 in evaluation, so results repeat and
    a text in pieces equals the text at once (set `state["seed"]` for other draws); new ones from torch's
    generator whenever a text is begun in training. The other options are those of `attention`.
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
        mode: str = "map",
        dropout: float = 0.0,
    ) -> None:
        shape = Shape(
            width=width,
            layers=layers,
            heads=heads,
            kv_heads=heads,
            window=window,
            energy=energy,
            qk_norm=True,
            dropout=dropout,
        )
        super().__init__(shape, positions, build_picker(mode))
