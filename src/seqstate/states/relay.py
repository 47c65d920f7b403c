"""Relay: tokens see their chunk exactly, and all before it through one shared node a head.

The Star Transformer (Guo et al. 2019, https://arxiv.org/abs/1902.09113) made causal: its relay asks with a
query made of the relay itself, which is affordable once a chunk. Per head, with relay (r, u) standing for n
tokens and a chunk j of keys and values (k_s, v_s):

    a        = normalised(query + turn r)
    (r', u') = softmax over {r + log n, k_s in j} of <a, key>, times (r, u) and (k_s, v_s)
    out_t    = softmax over {r + log n + weight, k_s in j, s <= t} of <q_t, key>, times values

so that an unsharpened relay is the plain mean of all keys and values before the chunk, and pooling is all
that keeps the layer from exact attention. Two learnt nodes stand before the text.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.states._chunk_grid import ChunkGrid
from seqstate.states._chunk_nodes import Asking, chunk_nodes
from seqstate.states._mixer import Mixer, Shape, Tokens, at_least_one
from seqstate.states._mixer_stack import MixerStack

FIRST = 2  # learnt nodes before the text
LEAST = -8.0  # nats added to the relay's score, to begin with, in the head that looks nearest


class Relay(MixerStack):
    """chunk: tokens between two refreshments of the relay. convolution: inputs a token sees before it is
    projected. dropout: after each sublayer.

    State per layer: `relay` [B, H, 2K], keys beside values, `chunk` [B, chunk, H, 2K], the tokens of an
    unfinished chunk, and `read` [B], the tokens read.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        chunk: int = 32,
        convolution: int = 4,
        dropout: float = 0.0,
    ) -> None:
        shape = Shape(width, layers, heads, convolution, dropout)
        super().__init__(shape, lambda: Star(shape, at_least_one("chunk", chunk)))


class Star(Mixer):
    """Every token attends to its chunk so far and to the relay."""

    def __init__(self, shape: Shape, chunk: int) -> None:
        super().__init__()
        self.chunk, self.size = chunk, shape.head_width
        heads, size = shape.heads, shape.head_width
        self.first = nn.Parameter(torch.randn(FIRST, heads, 2 * size))
        self.query = nn.Parameter(torch.randn(heads, size))
        self.turn = nn.Parameter(torch.randn(heads, size, size) / math.sqrt(size))
        self.log_sharpness = nn.Parameter(torch.full((heads,), 0.5 * math.log(size)))
        # a relay that stands for a thousand tokens drowns a chunk's: some heads start by looking near
        self.weight = nn.Parameter(torch.linspace(0, LEAST, heads))

    def init_state(self, batch_size: int) -> dict[str, Tensor]:
        relay, node = (part.expand(batch_size, -1, -1) for part in self.first)
        read = torch.zeros(batch_size, dtype=torch.int64, device=relay.device)
        chunk = relay.new_zeros(batch_size, self.chunk, *relay.shape[1:])
        alone = node.transpose(0, 1)[None, :, :, None]
        mass = relay.new_ones(1, batch_size)
        with torch.autocast(relay.device.type, enabled=False):  # as when it is refreshed
            _, relay = chunk_nodes(alone, relay, self._asking(), mass, torch.ones_like(read))
        return {"relay": relay, "chunk": chunk, "read": read}

    def forward(self, tokens: Tokens, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        time, read = tokens.key.shape[1], state["read"]
        begun = read % self.chunk  # tokens of the chunk read before
        total = begun + (time if tokens.real is None else tokens.real.sum(1))
        grid = ChunkGrid(self.chunk, begun, time)
        chunks = grid.cut(torch.cat([tokens.key, tokens.value], -1), state["chunk"])
        mass = self._masses(read - begun, grid.count)
        nodes, relay = chunk_nodes(chunks, state["relay"], self._asking(), mass, total)
        mixed = self._mix(grid, tokens.query, nodes, mass)
        after = {"relay": relay, "chunk": grid.unfinished(chunks, total)}
        return mixed, {**after, "read": read + total - begun}

    def _asking(self) -> Asking:
        sharpness = self.log_sharpness.exp()[:, None] / math.sqrt(self.size)
        return Asking(self.query, self.turn, sharpness)

    def _masses(self, before: Int[Tensor, " B"], chunks: int) -> Float[Tensor, "P B"]:
        """How many tokens the relay stands for, chunk by chunk."""
        steps = self.chunk * torch.arange(chunks, device=before.device)
        return (before + steps[:, None] + FIRST).to(self.query.dtype)

    def _mix(
        self,
        grid: ChunkGrid,
        query: Float[Tensor, "B T H K"],
        nodes: Float[Tensor, "P H B M X"],
        mass: Float[Tensor, "P B"],
    ) -> Float[Tensor, "B T H K"]:
        """What every token is given by the relay and its chunk so far."""
        keys, values = nodes.split(self.size, -1)
        place = torch.arange(-1, self.chunk, device=query.device)[:, None]
        if query.shape[1] == 1:  # one token needs no grid of queries
            asked = query.permute(2, 0, 1, 3).unsqueeze(0)
            hidden = place > grid.begun[:, None, None]
        else:
            asked, hidden = grid.cut(query), place > place[1:, 0]
        # nodes before tokens, and a sum in place of a choice: each is worth a few percent of the whole
        scores = keys @ asked.mT
        scores += torch.zeros_like(hidden, dtype=scores.dtype).masked_fill_(hidden, -torch.inf)
        scores[..., 0, :] += (mass.log().unsqueeze(1) + self.weight[:, None]).unsqueeze(-1)
        mixed = scores.softmax(-2).mT @ values
        return mixed[0].permute(1, 2, 0, 3) if query.shape[1] == 1 else grid.join(mixed)
