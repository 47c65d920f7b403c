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
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

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
        standing = relay.new_zeros(batch_size)
        read = torch.zeros(batch_size, dtype=torch.int64, device=relay.device)
        chunk = relay.new_zeros(batch_size, self.chunk, *relay.shape[1:])
        relay = self._refresh(relay, standing, node[:, :, None], self._sharpness())
        return {"relay": relay, "chunk": chunk, "read": read}

    def forward(self, tokens: Tokens, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        time, read = tokens.key.shape[1], state["read"]
        count = time if tokens.real is None else tokens.real.sum(1)
        begun = read % self.chunk  # tokens of the chunk read before
        grid = self._grid(state["chunk"], torch.cat([tokens.key, tokens.value], -1), begun)
        mass = self._masses(read - begun, len(grid))
        relays = self._relays(state["relay"], grid, mass, begun + count)
        query, visible = self._ask(tokens.query, begun, len(grid))
        mixed = self._mix(query, visible, grid, relays[:-1], mass)
        after = self._keep(grid, relays, begun + count)
        return _ungrid(mixed, begun, time), {**after, "read": read + count}

    def _grid(
        self, old: Float[Tensor, "B L H X"], new: Float[Tensor, "B T H X"], begun: Int[Tensor, " B"]
    ) -> Float[Tensor, "P B H L X"]:
        """Chunks of old and new tokens in order of time; what follows a row's last token is anything."""
        time = new.shape[1]
        # one token is in one chunk, whatever was begun
        chunks = 1 if time == 1 else math.ceil((int(begun.max()) + time) / self.chunk)
        slot = torch.arange(chunks * self.chunk, device=new.device)
        behind = slot - begun[:, None]
        index = torch.where(
            behind < 0, slot, (behind + self.chunk).clamp(max=self.chunk + time - 1)
        )
        rows = torch.arange(new.shape[0], device=new.device)[:, None]
        nodes = torch.cat([old.to(new.dtype), new], 1)[rows, index]
        return nodes.unflatten(1, (chunks, -1)).permute(1, 0, 3, 2, 4)

    def _masses(self, before: Int[Tensor, " B"], chunks: int) -> Float[Tensor, "P B"]:
        """How many tokens the relay stands for, chunk by chunk."""
        steps = self.chunk * torch.arange(chunks, device=before.device)
        return (before + steps[:, None] + FIRST).to(self.query.dtype)

    def _relays(
        self,
        relay: Float[Tensor, "B H X"],
        grid: Float[Tensor, "P B H L X"],
        mass: Float[Tensor, "P B"],
        total: Int[Tensor, " B"],
    ) -> Float[Tensor, "P1 B H X"]:
        """The relay before each chunk, and after the last; an unfinished chunk does not change it."""
        full = total >= self.chunk * torch.arange(1, len(grid) + 1, device=grid.device)[:, None]
        if torch.compiler.is_exporting():  # a graph asks every row
            some, every = [True] * len(grid), [False] * len(grid)
        else:
            some, every = full.any(1).tolist(), full.all(1).tolist()
        relays, sharpness, standing = [relay.to(grid.dtype)], self._sharpness(), mass.log()
        for n, nodes in enumerate(grid):
            after = relays[-1]
            if some[n]:
                after = self._refresh(after, standing[n], nodes, sharpness)
            if some[n] and not every[n]:
                after = torch.where(full[n, :, None, None], after, relays[-1])
            relays.append(after)
        return torch.stack(relays)

    def _sharpness(self) -> Float[Tensor, "H 1"]:
        return self.log_sharpness.exp()[:, None] / math.sqrt(self.size)

    def _refresh(
        self,
        relay: Float[Tensor, "B H X"],
        standing: Float[Tensor, " B"],
        nodes: Float[Tensor, "B H L X"],
        sharpness: Float[Tensor, "H 1"],
    ) -> Float[Tensor, "B H X"]:
        """The relay and the nodes of a chunk pooled by the relay's own query. standing: log of its mass."""
        key = relay[..., : self.size]
        aim = self.query + (key.unsqueeze(-2) @ self.turn).squeeze(-2)
        aim = F.normalize(aim, dim=-1) * sharpness
        own = (aim * key).sum(-1, keepdim=True) + standing[:, None, None]
        scores = (nodes[..., : self.size] @ aim.unsqueeze(-1)).squeeze(-1)
        share = torch.cat([own, scores], -1).softmax(-1).unsqueeze(-2)
        return share[..., 0] * relay + (share[..., 1:] @ nodes).squeeze(-2)

    def _ask(
        self, query: Float[Tensor, "B T H K"], begun: Int[Tensor, " B"], chunks: int
    ) -> tuple[Float[Tensor, "P B H Q K"], Bool[Tensor, "_ Q L"]]:
        """Queries at their places, and which tokens of its chunk each may see."""
        slot = torch.arange(self.chunk, device=query.device)
        if query.shape[1] == 1:  # one token needs no grid of queries
            return query.transpose(1, 2).unsqueeze(0), (slot <= begun[:, None]).unsqueeze(1)
        place = torch.arange(chunks * self.chunk, device=query.device) - begun[:, None]
        rows = torch.arange(len(query), device=query.device)[:, None]
        grid = query[rows, place.clamp(0, query.shape[1] - 1)]
        grid = grid.unflatten(1, (chunks, -1)).permute(1, 0, 3, 2, 4)
        return grid, (slot <= slot[:, None]).unsqueeze(0)

    def _mix(
        self,
        query: Float[Tensor, "P B H Q K"],
        visible: Bool[Tensor, "_ Q L"],
        grid: Float[Tensor, "P B H L X"],
        relays: Float[Tensor, "P B H X"],
        mass: Float[Tensor, "P B"],
    ) -> Float[Tensor, "P B H Q K"]:
        keys, values = grid.split(self.size, -1)
        key, value = relays.unsqueeze(-2).split(self.size, -1)
        scores = (query @ keys.mT).masked_fill(~visible.unsqueeze(1), -torch.inf)
        standing = mass.log()[:, :, None] + self.weight
        own = query @ key.mT + standing[:, :, :, None, None]
        share = torch.cat([own, scores], -1).softmax(-1)
        return share[..., :1] * value + share[..., 1:] @ values

    def _keep(
        self, grid: Float[Tensor, "P B H L X"], relays: Float[Tensor, "P1 B H X"], total: Tensor
    ) -> dict[str, Tensor]:
        """The newest relay of every row, and its unfinished chunk."""
        done, rows = total // self.chunk, torch.arange(grid.shape[1], device=grid.device)
        nodes = grid[done.clamp(max=len(grid) - 1), rows].transpose(1, 2)  # B L H X
        filled = torch.arange(self.chunk, device=grid.device) < (total % self.chunk)[:, None]
        return {"relay": relays[done, rows], "chunk": nodes * filled[:, :, None, None]}


def _ungrid(
    mixed: Float[Tensor, "P B H Q K"], begun: Int[Tensor, " B"], time: int
) -> Float[Tensor, "B T H K"]:
    """New tokens only, in order of time."""
    rows = mixed.permute(1, 0, 3, 2, 4).flatten(1, 2)
    if time == 1 and rows.shape[1] == 1:
        return rows
    index = begun[:, None] + torch.arange(time, device=mixed.device)
    return rows[torch.arange(len(rows), device=mixed.device)[:, None], index]
