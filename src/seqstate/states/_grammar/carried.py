"""What a grammar carries of the sentences that are open: their charts, aligned at the newest word."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.state import State, select_rows
from seqstate.states._grammar.chart import Cells, Chart
from seqstate.states._grammar.prefix import Prefixes


@dataclass(frozen=True)
class Reading:
    """R sentences read side by side; row r's opened at boundary start[r]."""

    words: Int[Tensor, "R N"]
    start: Int[Tensor, " R"]
    chart: Chart
    prefixes: Prefixes
    ends: Float[Tensor, "R E"]


def empty(rows: int, depth: int, memory: int, due: int, like: Tensor) -> State:
    """The state of rows without an open sentence, as wide as one of `depth` words."""
    scales = like.new_zeros(0, dtype=torch.float64)
    whole = torch.zeros(rows, dtype=torch.long, device=like.device)
    return {
        "count": whole,
        "words": whole.unsqueeze(-1).repeat(1, depth),
        "cells": like.new_zeros(rows, depth + 1, depth, memory),
        "scale": scales.new_full((rows, depth + 1, depth), -torch.inf),
        "memory": like.new_zeros(rows, depth + 1, memory),
        "log": scales.new_zeros(rows, depth + 1),
        "due": like.new_zeros(rows, due),
    }


def keep(reading: Reading, rows: Int[Tensor, " M"], count: Int[Tensor, " M"], depth: int) -> State:
    """The state of some rows after `count` words, widened on the left to `depth` words."""
    n = reading.words.shape[1]
    start = reading.start[rows]
    device = rows.device
    boundary, slot = torch.arange(depth + 1, device=device), torch.arange(depth, device=device)
    shift = (start + count - depth)[:, None]  # from a boundary here to the same one there
    real = boundary >= (depth - count)[:, None]
    there = (boundary + shift).clamp(0, n)
    inside = (boundary[:, None] - (depth - slot)) >= (depth - count)[:, None, None]
    which = (there[:, :, None], rows[:, None, None], (slot + n - depth).clamp_min(0))
    cells, lines = reading.chart.cells, rows[:, None]
    return {
        "count": count,
        "words": reading.words[lines, (slot + shift).clamp(0, n - 1)] * real[:, 1:],
        "cells": cells.values[which] * inside.unsqueeze(-1),
        "scale": cells.scale[which].masked_fill(~inside, -torch.inf),
        "memory": reading.prefixes.memory[lines, there] * real.unsqueeze(-1),
        "log": reading.prefixes.log[lines, there] * real,
        "due": reading.prefixes.due[rows, start + count],
    }


def gather(states: list[State], order: Int[Tensor, " B"]) -> State:
    """Rows of several states of equal width, one after another, put into `order`."""
    joined = {key: torch.cat([state[key] for state in states]) for key in states[0]}
    return select_rows(joined, order)


def resume(state: State, rows: Int[Tensor, " R"]) -> tuple[Tensor, Tensor, Cells, Prefixes]:
    """Words, counts, cells and prefixes of some rows, cut to the deepest of them."""
    state = select_rows(state, rows)
    depth, most = state["words"].shape[1], int(state["count"].max())
    cut, cut_boundaries = slice(depth - most, depth), slice(depth - most, depth + 1)
    cells = Cells(
        state["cells"][:, cut_boundaries, cut].transpose(0, 1),
        state["scale"][:, cut_boundaries, cut].transpose(0, 1),
    )
    # earlier boundaries only need their memory: nothing is due there any more
    due = torch.stack([torch.zeros_like(state["due"])] * most + [state["due"]], 1)
    prefixes = Prefixes(state["memory"][:, cut_boundaries], state["log"][:, cut_boundaries], due)
    return state["words"][:, cut], state["count"], cells, prefixes
