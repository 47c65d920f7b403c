"""What `generate` carries from call to call as `past_key_values`: the state of every row of a batch.

It answers to the few methods that transformers asks of a cache and is no subclass of theirs, whose abstract
methods change between versions. Reading returns a new object, so the state of a prompt can be used again
and again; only `reorder_cache`, `crop` and their kin change one in place, as transformers expects.

Padding never enters a state: the real tokens of a row are moved to the front and read by their number. Rows
with nothing to read in a call (a chunk of left padding) stay as they are, in a part of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from seqstate.core.state import State, select_rows

# (inputs [B, T] or [B, T, D], state, lengths) -> (values [B, T, X] or [B, X], state)
Reader = Callable[[Tensor, State | None, Tensor | None], tuple[Tensor, Any]]


@dataclass(frozen=True)
class Part:
    """Some rows of the batch and their common state; None: nothing was read yet."""

    rows: Int[Tensor, " R"]
    state: Any

    def pick(self, which: Int[Tensor, " P"]) -> Part:
        state = self.state
        return Part(self.rows[which], None if state is None else select_rows(state, which))


@dataclass(frozen=True)
class Step:
    """One call that may be taken back: what there was before, and what was read."""

    before: tuple[Part, ...]
    inputs: Tensor
    mask: Bool[Tensor, "B T"] | None

    def first(self, count: int) -> Step:
        """Its first `count` positions."""
        mask = None if self.mask is None else self.mask[:, :count]
        return Step(self.before, self.inputs[:, :count], mask)

    def followed_by(self, step: Step) -> Step:
        """Both as one, from where this one began."""
        if self.inputs.ndim != step.inputs.ndim:
            raise ValueError("a prompt given as vectors cannot be cropped; give it as tokens")
        inputs = torch.cat([self.inputs, step.inputs], 1)
        if self.mask is None and step.mask is None:
            return Step(self.before, inputs, None)
        masks = [
            torch.ones(one.inputs.shape[:2], dtype=torch.bool, device=inputs.device)
            if one.mask is None
            else one.mask
            for one in (self, step)
        ]
        return Step(self.before, inputs, torch.cat(masks, 1))


@dataclass
class Carried:
    """parts: None before anything was read. positions: read so far, padding counted.

    steps: calls that `crop` can take back, kept once `activate_past_recording` was called. again: tokens
    that a crop inside a call left to be read once more, with their mask.
    """

    parts: tuple[Part, ...] | None = None
    positions: int = 0
    recording: bool = False
    steps: list[Step] = field(default_factory=list)
    again: Step | None = None

    is_compileable = False

    @property
    def is_croppable(self) -> bool:
        return self.recording

    @property
    def batch_size(self) -> int:
        """Rows; 0 before anything was read."""
        return sum(len(part.rows) for part in self.parts or ())

    def read(
        self,
        reader: Reader,
        inputs: Tensor,
        mask: Bool[Tensor, "B T"] | None,
        *,
        each: bool = True,
    ) -> tuple[Tensor, Carried]:
        """Read T positions, leaving out padding (mask False); the values and the new state.

        each: `reader` gives a value at every position (zeros come back at padding); False: one a row.
        """
        step, left = Step(self._parts_for(inputs), inputs, mask), 0
        if self.again is not None:
            step, left = self.again.followed_by(step), self.again.inputs.shape[1]
        values, after = read_parts(reader, step, each)
        steps = [*self.steps, step] if self.recording else []
        positions = self.positions + inputs.shape[1]
        kept = values[:, left:] if each else values
        return kept, Carried(after, positions, self.recording, steps)

    def _parts_for(self, inputs: Tensor) -> tuple[Part, ...]:
        if self.parts is None:
            return (Part(torch.arange(inputs.shape[0], device=inputs.device), None),)
        if self.batch_size != inputs.shape[0]:
            raise ValueError(
                f"{inputs.shape[0]} rows were given with a state of {self.batch_size}; "
                "give as many, or start without a state"
            )
        return self.parts

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.positions

    def get_max_length(self, layer_idx: int | None = None) -> int:
        return -1  # no limit

    get_max_cache_shape = get_max_length  # its name until 5.10

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.positions + query_length, 0

    def reset(self) -> None:
        """Forget everything."""
        self.parts, self.positions, self.steps, self.again = None, 0, [], None

    def reorder_cache(self, beam_idx: Int[Tensor, " B"]) -> None:
        """Row b becomes what row beam_idx[b] was."""
        if self.steps or self.again is not None:
            raise ValueError(
                "a state that records its past cannot be reordered; use one or the other"
            )
        self.parts = None if self.parts is None else tuple(_reordered(self.parts, beam_idx))

    batch_select_indices = reorder_cache

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row `repeats` times, one copy after the other."""
        rows = torch.arange(self.batch_size)
        if self.parts is not None:
            self.reorder_cache(rows.repeat_interleave(repeats).to(self.parts[0].rows.device))

    def activate_past_recording(self) -> None:
        """From now on keep what `crop` needs: the state before every call."""
        self.recording = True

    def crop(self, tokens: int) -> None:
        """Take back -tokens positions (tokens > 0: all after the first `tokens`), and keep the rest for good.

        Raises ValueError if they were not recorded.
        """
        remove = -tokens if tokens <= 0 else max(0, self.positions - tokens)
        if remove and self.again is not None:
            self.steps = [replace(self.again, before=self.parts or ())]
        self.positions -= remove
        while remove and self.steps:
            last = self.steps.pop()
            size = last.inputs.shape[1]
            self.parts = last.before
            self.again = last.first(size - remove) if remove < size else None
            remove = max(0, remove - size)
        if remove:
            raise ValueError(
                f"{remove} positions more than were recorded cannot be taken back; call "
                "activate_past_recording() on the state first"
            )
        self.steps = []


def read_parts(reader: Reader, step: Step, each: bool) -> tuple[Tensor, tuple[Part, ...]]:
    """Values (see Carried.read) and the parts afterwards."""
    inputs = step.inputs
    rows, time = inputs.shape[:2]
    if step.mask is None and len(step.before) == 1:
        part = step.before[0]  # the usual case: all rows together and nothing to move
        values, state = reader(inputs, part.state, None)
        return values, (Part(part.rows, state),)
    order, lengths = _real_first(step.mask, inputs)
    out: Tensor | None = None
    after: list[Part] = []
    for part in step.before:
        asked = lengths[part.rows] > 0
        if not bool(asked.all()):
            after.append(part.pick((~asked).nonzero().squeeze(1)))
            part = part.pick(asked.nonzero().squeeze(1))
        if not len(part.rows):
            continue
        count = lengths[part.rows]
        widest = int(count.max())
        picked = order[part.rows, :widest]
        equal = bool((count == widest).all())
        values, state = reader(
            inputs[part.rows[:, None], picked], part.state, None if equal else count
        )
        after.append(Part(part.rows, state))
        if out is None:
            out = values.new_zeros(rows, *((time, *values.shape[2:]) if each else values.shape[1:]))
        if each:
            real = torch.arange(widest, device=inputs.device) < count[:, None]
            row = part.rows[:, None].expand(-1, widest)
            # out of place: the values may have a gradient
            out = out.index_put((row[real], picked[real]), values[real])
        else:
            out = out.index_copy(0, part.rows, values)
    if out is None:
        raise ValueError("every position is padding; there is nothing to read")
    return out, tuple(after)


def _real_first(
    mask: Tensor | None, inputs: Tensor
) -> tuple[Int[Tensor, "B T"], Int[Tensor, " B"]]:
    """Where the real positions of each row are, in order, padding after them; and how many there are."""
    rows, time = inputs.shape[:2]
    if mask is None:
        every = torch.arange(time, device=inputs.device).expand(rows, time)
        return every, torch.full((rows,), time, device=inputs.device)
    return (~mask).long().argsort(dim=-1, stable=True), mask.sum(-1)


def _reordered(parts: tuple[Part, ...], order: Int[Tensor, " B"]) -> Iterator[Part]:
    size = sum(len(part.rows) for part in parts)
    for part in parts:
        place = torch.full((size,), -1, device=part.rows.device)
        place[part.rows] = torch.arange(len(part.rows), device=part.rows.device)
        picked = place[order.to(place.device)]
        rows = (picked >= 0).nonzero().squeeze(1)
        if len(rows):
            yield replace(part.pick(picked[rows]), rows=rows)
