"""Equal parameters: the width at which `state + energy` has a wanted number of parameters."""

from __future__ import annotations

from functools import lru_cache

import torch

from seqstate.core import registry
from seqstate.core.model import Counted, count_parameters
from seqstate.core.spec import Spec, parse
from seqstate.model import build_model

STEP, WIDEST = 4, 8192


@lru_cache(maxsize=4096)
def parameters_of(
    state: str, energy: str | None, vocab_size: int, tie: bool, head_width: int | None = None
) -> int:
    """Trainable numbers of a model, counted without allocating it. Raises what the parts refuse."""
    with torch.device("meta"):
        model = build_model(state, energy, vocab_size=vocab_size, tie=tie, head_width=head_width)
    return count_parameters(model)


def has_width(state: str | Spec) -> bool:
    """Whether a state has a width that can be solved for."""
    return "width" in registry.options(registry.find("states", parse(state).name))


def is_counted(state: str | Spec) -> bool:
    """Whether a state is estimated by counting; it has no parameters to match and no seed."""
    return issubclass(registry.find("states", parse(state).name), Counted)


def match_width(
    state: str,
    energy: str | None,
    *,
    vocab_size: int,
    tie: bool,
    head_width: int | None,
    parameters: int,
) -> str:
    """The spec of `state` with the width (a multiple of 4) whose model comes nearest to `parameters`.

    Raises ValueError if no width is accepted by the parts, with the reason of the last refusal.
    """
    spec = parse(state)
    refusal = "no width was tried"

    def size(width: int) -> int | None:
        nonlocal refusal
        try:
            sized = str(spec.replace(width=width))
            return parameters_of(sized, energy, vocab_size, tie, head_width)
        except ValueError as error:
            refusal = str(error)
            return None

    best: tuple[int, int] | None = None
    low, high = 1, WIDEST // STEP
    while low <= high:  # sizes grow with width; refused widths are stepped over upwards
        middle = (low + high) // 2
        probe, found = middle, None
        while probe <= high and (found := size(probe * STEP)) is None:
            probe += 1
        if found is None:
            high = middle - 1
            continue
        off = abs(found - parameters)
        if best is None or off < best[0]:
            best = (off, probe * STEP)
        if found < parameters:
            low = probe + 1
        else:
            high = middle - 1
    if best is None:
        raise ValueError(f"no width suits {state} + {energy}: {refusal}")
    return str(spec.replace(width=best[1]))
