"""One pre-norm layer: every token picks predecessors by an energy, then an MLP rewrites it.

LayerNorm before each sublayer (Xiong et al. 2020), squared ReLU (So et al. 2021), no biases anywhere.
LayerNorm rather than RMSNorm because torch computes it in one kernel on a CPU, six times faster; squared
ReLU rather than SwiGLU or GELU because it was both faster and better on characters at nanoGPT's CPU shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate.core import registry
from seqstate.core.energy import Energy
from seqstate.core.spec import Spec, parse
from seqstate.states import _attention_cache as cache
from seqstate.states._attention_heads import Aim, split_heads
from seqstate.states._attention_picks import Picker, gumbel
from seqstate.states._mlp import MLP


@dataclass(frozen=True)
class Shape:
    """What all layers agree on. kv_heads: heads of keys and values, each serving heads / kv_heads queries."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    window: int
    energy: str
    qk_norm: bool
    dropout: float

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(
                f"width {self.width} is not a multiple of heads {self.heads}; "
                f"try heads={math.gcd(self.width, self.heads)}"
            )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}; "
                f"try kv_heads={math.gcd(self.heads, self.kv_heads)}"
            )
        if self.window < 0:
            raise ValueError(f"window is {self.window}; wanted a number of tokens, 0 for no limit")

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def build_energy(self) -> Energy:
        """The pairwise energy that picks predecessors, one per layer."""
        if not issubclass(registry.find("energies", parse(self.energy).name), Energy):
            raise ValueError(
                f"energy {self.energy!r} scores words only; attention needs one that scores pairs, "
                "such as 'inner' or 'multi_hamming'"
            )
        return registry.build("energies", self.energy, width=self.head_width)


@dataclass(frozen=True)
class Place:
    """Where one read stands; the same for all layers."""

    turn: Complex[Tensor, "_ T 1 K2"] | None  # rotation of each new token's queries and keys
    bias: Float[Tensor, "*_ T S"] | None  # added to scores; -inf where a key is not visible
    causal: bool  # the plain triangle is all the bias there is, and is not stored
    read: Int[Tensor, " B"]  # tokens read before
    seed: Int[Tensor, " B"] | None  # of sampled graphs


class Layer(nn.Module):
    """x + picked values, then x + MLP. picker: from scores to edge weights (None: softmax)."""

    def __init__(self, shape: Shape, index: int, picker: Picker | None) -> None:
        super().__init__()
        self.shape, self.index, self.picker = shape, index, picker
        self.plain = parse(shape.energy) == Spec("inner")
        self.norm = nn.LayerNorm(shape.width, bias=False)
        vectors = shape.heads + 2 * shape.kv_heads  # queries, keys, values
        self.project = nn.Linear(shape.width, vectors * shape.head_width, bias=False)
        self.energy = shape.build_energy()
        self.log_sharpness = nn.Parameter(torch.zeros(shape.heads)) if shape.qk_norm else None
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.mlp = MLP(shape.width, 4 * shape.width)
        for last in (self.out, self.mlp.down):  # a stack starts near the identity (GPT-2)
            nn.init.normal_(last.weight, std=0.5 / math.sqrt(last.in_features * shape.layers))

    def forward(
        self, x: Float[Tensor, "B T D"], past: tuple[Tensor, Tensor], place: Place
    ) -> tuple[Float[Tensor, "B T D"], tuple[Tensor, Tensor]]:
        """The tokens after this layer, and all keys and values in order of time."""
        query, key, value = self.read(x, place)
        key, value = cache.append(past[0], key), cache.append(past[1], value)
        x = x + self._dropout(self.out(self.mix(query, key, value, place)))
        return x + self._dropout(self.mlp(x)), (key, value)

    def project_heads(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T J K"]:
        """Queries, keys and values before anything is normalised or rotated."""
        return self.project(self.norm(x)).view(*x.shape[:2], -1, self.shape.head_width)

    def read(self, x: Float[Tensor, "B T D"], place: Place) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of new tokens, each [B, T, heads, K]."""
        projected = self.project_heads(x)
        short = projected.dtype in (torch.bfloat16, torch.float16)  # no complex numbers that short
        # products take their sharpness from the queries, other energies on their scores
        gain = self.log_sharpness if self.plain else None
        aim = Aim(self.shape.heads, self.shape.kv_heads, self.shape.qk_norm, place.turn)
        heads = split_heads(projected.float() if short else projected, gain, aim)
        return tuple(part.to(projected.dtype) for part in heads) if short else heads

    def mix(
        self, query: Tensor, key: Tensor, value: Tensor, place: Place
    ) -> Float[Tensor, "B T D"]:
        """The values each query picks, heads side by side."""
        if self.plain and self.picker is None:
            mixed = F.scaled_dot_product_attention(
                query.transpose(1, 2),
                key.transpose(1, 2),
                value.transpose(1, 2),
                attn_mask=place.bias,
                is_causal=place.causal,
                enable_gqa=self.shape.kv_heads != self.shape.heads,
            )
        else:
            mixed = self.weights(query, key, place) @ self._per_query_head(value)
        return mixed.transpose(1, 2).flatten(2)

    def weights(self, query: Tensor, key: Tensor, place: Place) -> Float[Tensor, "B H T S"]:
        """The weight of every edge from a query to a key."""
        energy = self.energy(query.transpose(1, 2), self._per_query_head(key))
        scores = energy * (-1 / math.sqrt(self.shape.head_width))
        if self.log_sharpness is not None and not self.plain:
            scores = scores * self.log_sharpness.exp()[:, None, None]
        if place.causal:
            ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(ahead, -torch.inf)
        elif place.bias is not None:
            scores = scores + place.bias
        if self.picker is None:
            return scores.softmax(-1)
        return self.picker(scores, partial(self._noise, scores, place))

    def _noise(self, scores: Tensor, place: Place, draw: int) -> Tensor:
        return gumbel(scores, place.seed, place.read, layer=self.index, draw=draw)

    def _dropout(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        rate = self.shape.dropout
        return F.dropout(x, rate) if rate and self.training else x

    def _per_query_head(self, kept: Float[Tensor, "B S Hkv K"]) -> Float[Tensor, "B H S K"]:
        return kept.transpose(1, 2).repeat_interleave(self.shape.heads // self.shape.kv_heads, 1)
