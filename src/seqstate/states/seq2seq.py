"""Seq2seq: an encoder hands its final state, and its vectors if asked, to a decoder that writes.

Cho et al. 2014 (https://arxiv.org/abs/1406.1078), both parts gated recurrent units of torch; with attention,
Luong et al. 2015 (see _source_pick). A document is a source, a separator and a target, in one stream: the
encoder reads up to the separator, whose vector is the first that the decoder reads, from the encoder's state.

The stream stays causal and can be cut anywhere, so the encoder reads in one direction only. While the source
is being read, the hidden vector is the one the decoder would begin with if the source ended there. A text
without separators is read so throughout: the decoder is then one more layer over a GRU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seqstate.core.model import Marks, ReadsSource, StateModel
from seqstate.core.state import State
from seqstate.states._cells import read_layer, weights_of
from seqstate.states._source_pick import SourcePick, filled, newest, sight


class Seq2Seq(StateModel, ReadsSource):
    """layers: of the encoder and of the decoder. dropout: between them.

    attention: the energy by which the decoder picks among the source's vectors, such as `inner`; `none`: it
    knows the encoder's final state only. window: the newest vectors of a source that can be picked.
    State: `hidden` [B, N, D], of the encoder and, once the source is over (`writing` [B]), of the decoder;
    with attention also `source` [B, S, D], newest last (S <= window), and `read` [B].
    """

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 1,
        attention: str = "inner",
        window: int = 256,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"window is {window}; wanted at least 1, or attention='none'")
        self.width, self.layers, self.window, self.dropout = width, layers, window, dropout
        self.encoder = nn.GRU(width, width, layers, batch_first=True)
        self.decoder = nn.GRU(width, width, layers, batch_first=True)
        # stands for the separator where the decoder is asked before one is read
        self.go = nn.Parameter(torch.randn(width))
        self.pick = None if attention == "none" else SourcePick(width, attention)

    def init_state(self, batch_size: int) -> State:
        hidden = self.go.new_zeros(batch_size, self.layers, self.width)
        read = torch.zeros(batch_size, dtype=torch.int64, device=self.go.device)
        state = {"hidden": hidden, "writing": read.bool()}
        if self.pick is not None:
            state |= {"source": hidden.new_zeros(batch_size, 0, self.width), "read": read}
        return state

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
        marks: Marks | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        state = self.init_state(x.shape[0]) if state is None else state
        end = x.new_full(x.shape[:1], x.shape[1], dtype=torch.int64)
        out = torch.zeros_like(x)
        for part in _documents(marks, state["writing"], end if lengths is None else lengths):
            state = self._begin(state, part)
            if (part.turn > part.start).any():
                vectors, state = self._read(_cut(x, part.start, part.turn), state, part)
                out = _put(out, vectors, part.start, part.turn)
            if (part.end > part.turn).any():
                vectors, state = self._write(_cut(x, part.turn, part.end), state, part)
                out = _put(out, vectors, part.turn, part.end)
        return out, state

    def _begin(self, state: State, part: _Document) -> State:
        """A new document starts from nothing; slots of the source that `read` does not count are empty."""
        moved = part.end > part.start
        after = {**state, "writing": torch.where(moved, part.end > part.turn, state["writing"])}
        if part.fresh.any():
            after["hidden"] = state["hidden"].masked_fill(part.fresh[:, None, None], 0.0)
            if self.pick is not None:
                after["read"] = state["read"].masked_fill(part.fresh, 0)
        return after

    def _read(
        self, x: Float[Tensor, "B T D"], state: State, part: _Document
    ) -> tuple[Float[Tensor, "B T D"], State]:
        """The encoder over some of the source; at each place, what the decoder would begin with."""
        count, time = part.turn - part.start, x.shape[1]
        vectors, hidden = self._run(self.encoder, x, state["hidden"], count)
        opening = self.go.expand(x.shape[0] * time, 1, -1)
        for layer, start in enumerate(vectors):
            start = start.flatten(0, 1)[None].contiguous()
            opening, _ = read_layer(opening, (start,), weights_of(self.decoder, layer), None)
            opening = self._between(opening, layer)
        first, after = opening.view_as(x), {**state, "hidden": hidden}
        if self.pick is None:
            return first, after
        seen = torch.cat([state["source"].to(x.dtype), vectors[-1].to(x.dtype)], 1)
        after["source"] = newest(seen, time, self.window, count)
        after["read"] = state["read"] + count
        visible = sight(time, self.window, seen.shape[1], state["read"] + time)
        return self.pick(first, seen, visible), after

    def _write(
        self, x: Float[Tensor, "B T D"], state: State, part: _Document
    ) -> tuple[Float[Tensor, "B T D"], State]:
        """The decoder over some of the target."""
        vectors, hidden = self._run(self.decoder, x, state["hidden"], part.end - part.turn)
        after = {**state, "hidden": hidden}
        if self.pick is None:
            return vectors[-1], after
        visible = filled(state["source"].shape[1], state["read"])
        return self.pick(vectors[-1], state["source"], visible), after

    def _run(
        self,
        cell: nn.GRU,
        x: Float[Tensor, "B T D"],
        hidden: Float[Tensor, "B N D"],
        count: Int[Tensor, " B"],
    ) -> tuple[list[Tensor], Float[Tensor, "B N D"]]:
        """The vectors of every layer and the last ones; rows with nothing to read keep theirs."""
        lengths, last, vectors = _unless_equal(count.clamp(min=1), x.shape[1]), [], []
        for layer in range(self.layers):
            start = hidden[:, layer][None].contiguous()
            x, (end,) = read_layer(x, (start,), weights_of(cell, layer), lengths)
            vectors.append(x)
            last.append(end[0])
            x = self._between(x, layer)
        return vectors, torch.where((count > 0)[:, None, None], torch.stack(last, 1), hidden)

    def _between(self, x: Tensor, layer: int) -> Tensor:
        return F.dropout(x, self.dropout, self.training and layer + 1 < self.layers)


class _Document(NamedTuple):
    """Where each row's document, or what this read holds of it, starts, turns and ends."""

    start: Int[Tensor, " B"]
    turn: Int[Tensor, " B"]
    end: Int[Tensor, " B"]
    fresh: Bool[Tensor, " B"]


def _documents(
    marks: Marks | None, writing: Bool[Tensor, " B"], lengths: Int[Tensor, " B"]
) -> Iterator[_Document]:
    """The documents of every row, the first of all rows together, then the second, ..."""
    start = torch.zeros_like(lengths)
    if marks is None:
        turn = torch.where(writing, start, lengths)
        yield _Document(start, turn, lengths, torch.zeros_like(writing))
        return
    place = torch.arange(marks.opens.shape[1], device=lengths.device)
    while (start < lengths).any():
        fresh = (marks.opens & (place == start[:, None])).any(1) & (start < lengths)
        end = _first(marks.opens & (place > start[:, None]), lengths)
        turn = _first(marks.turns & (place >= start[:, None]), end)
        turn = torch.where(writing & ~fresh, start, turn)
        yield _Document(start, turn, end, fresh)
        start, writing = end, torch.zeros_like(writing)


def _first(where: Bool[Tensor, "B T"], otherwise: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """The first place that is true, at most `otherwise`."""
    place = torch.arange(where.shape[1], device=where.device)
    return torch.where(where, place, otherwise[:, None]).amin(1).minimum(otherwise)


def _cut(
    x: Float[Tensor, "B T D"], start: Int[Tensor, " B"], end: Int[Tensor, " B"]
) -> Float[Tensor, "B T2 D"]:
    """A stretch of each row, from its start; what is behind its end means nothing."""
    longest = int((end - start).max())
    if (
        longest == x.shape[1]
    ):  # it starts at 0 then, and other rows end earlier or later without harm
        shared = bool((start == 0).all())
        if shared:
            return x
    place = start[:, None] + torch.arange(longest, device=x.device)
    index = place.clamp(max=x.shape[1] - 1)[..., None].expand(-1, -1, x.shape[2])
    return x.gather(1, index)


def _put(
    out: Float[Tensor, "B T D"],
    vectors: Float[Tensor, "B T2 D"],
    start: Int[Tensor, " B"],
    end: Int[Tensor, " B"],
) -> Float[Tensor, "B T D"]:
    """`out` with the stretches in their places."""
    step = torch.arange(vectors.shape[1], device=out.device)
    row, step = (step < (end - start)[:, None]).nonzero(as_tuple=True)
    return out.index_put((row, start[row] + step), vectors[row, step].to(out.dtype))


def _unless_equal(lengths: Int[Tensor, " B"], time: int) -> Int[Tensor, " B"] | None:
    return None if bool((lengths == time).all()) else lengths
