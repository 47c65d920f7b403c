"""The laws as measurements: each function reads one model and says how far it is from keeping a law.

The tests assert on the numbers; `benchmarks/seams.py` puts them, ours and those of other libraries, in a
table. A difference is |a - b| / (1 + |b|), the largest of all entries; equal infinities differ by 0, NaN
stays NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from seqstate.core.state import leaves, map_state, select_rows, state_bytes

ROUNDING = 1e-5  # two ways to one number may differ by this much
NOTHING = 1e-6  # a change below this is none


class Reader(Protocol):
    """A model as the laws see it; `inputs` is what it reads, B x T (x D), axis 0 the batch."""

    module: nn.Module
    inputs: Tensor

    def read(
        self, inputs: Tensor, state: Any = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Any]: ...
    def nll(self, tokens: Tensor, targets: Tensor) -> Tensor: ...
    def start(self, batch_size: int) -> Any: ...
    def select(self, state: Any, rows: Tensor) -> Any: ...
    def clone(self, state: Any) -> Any: ...
    def leaves(self, state: Any) -> list[Tensor]: ...


class SeqstateReader:
    """A state model or a language model of this library."""

    def __init__(self, module: nn.Module, inputs: Tensor) -> None:
        self.module, self.inputs = module, inputs

    def read(self, inputs, state=None, lengths=None):
        return self.module(inputs, state, lengths)

    def nll(self, tokens, targets):
        return self.module.nll(tokens, targets)[0]

    def start(self, batch_size):
        return self.module.init_state(batch_size)

    def select(self, state, rows):
        return select_rows(state, rows)

    def clone(self, state):
        return map_state(torch.clone, state)

    def leaves(self, state):
        return list(leaves(state))


def difference(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        raise ValueError(f"shape {tuple(one.shape)} instead of {tuple(other.shape)}")
    if not one.numel():
        return 0.0
    same, one, other = one == other, one.double(), other.double()
    gap = (one - other).abs() / (1 + other.abs())
    return gap.masked_fill(same, 0.0).max().item()


def _worst(numbers: list[float]) -> float:
    return torch.tensor(numbers).max().item()  # unlike max(), keeps NaN


def _continuation(reader: Reader, one: Any, other: Any) -> float:
    """How differently two states go on; both are left as they are."""
    probe = reader.inputs.flip(1)
    return difference(
        reader.read(probe, reader.clone(one))[0], reader.read(probe, reader.clone(other))[0]
    )


@torch.no_grad()
def pieces(reader: Reader) -> float:
    """Reading in two pieces, cut anywhere, against reading at once: outputs, and how the state goes on."""
    whole, after = reader.read(reader.inputs)
    found = []
    for cut in range(1, reader.inputs.shape[1]):
        first, state = reader.read(reader.inputs[:, :cut])
        second, end = reader.read(reader.inputs[:, cut:], state)
        found.append(difference(torch.cat([first, second], 1), whole))
        found.append(_continuation(reader, end, after))
    return _worst(found)


@torch.no_grad()
def steps(reader: Reader) -> float:
    """Reading token by token from the starting state (cached) against reading at once (full)."""
    whole, _ = reader.read(reader.inputs)
    state, outputs = reader.start(len(reader.inputs)), []
    for t in range(reader.inputs.shape[1]):
        out, state = reader.read(reader.inputs[:, t : t + 1], state)
        outputs.append(out)
    return difference(torch.cat(outputs, 1), whole)


@torch.no_grad()
def first(reader: Reader) -> float:
    """Reading a prefix of length 1 against the first output of the whole."""
    alone, _ = reader.read(reader.inputs[:, :1])
    return difference(alone, reader.read(reader.inputs)[0][:, :1])


@torch.no_grad()
def influence(reader: Reader) -> Tensor:
    """T x T: by how much changing input s (row) changes output t (column) at most."""
    whole, _ = reader.read(reader.inputs)
    found = []
    for s in range(reader.inputs.shape[1]):
        changed = reader.inputs.clone()
        # not + 1 on vectors: a layer normalisation rightly ignores a shift of all numbers
        changed[:, s] = (
            changed[:, s].flip(-1)
            if changed.is_floating_point()
            else (changed[:, s] + 1) % whole.shape[-1]
        )
        out, _ = reader.read(changed)
        found.append((out - whole).abs().masked_fill(out == whole, 0.0).amax((0, 2)))
    return torch.stack(found)


def leak(reader: Reader) -> float:
    """The largest change of an output by an input of its future."""
    return influence(reader).tril(-1).max().item()


def unread(reader: Reader) -> float:
    """The smallest change of an output by its newest input: 0 if one is not read."""
    return influence(reader).diagonal().min().item()


@torch.no_grad()
def rows(reader: Reader) -> float:
    """Reading a row alone against reading it within a batch."""
    whole, _ = reader.read(reader.inputs)
    return _worst(
        [
            difference(reader.read(reader.inputs[row : row + 1])[0], whole[row : row + 1])
            for row in range(len(reader.inputs))
        ]
    )


@torch.no_grad()
def unequal(reader: Reader) -> float:
    """Rows of unequal lengths in one batch against each alone: outputs, and how the state goes on."""
    lengths = torch.tensor([reader.inputs.shape[1], 1, 4])
    padded, state = reader.read(reader.inputs, lengths=lengths)
    found = []
    for row, length in enumerate(lengths.tolist()):
        alone, end = reader.read(reader.inputs[row : row + 1, :length])
        found.append(difference(padded[row : row + 1, :length], alone))
        kept = reader.select(reader.clone(state), torch.tensor([row]))
        probe = reader.inputs[row : row + 1]
        found.append(difference(reader.read(probe, kept)[0], reader.read(probe, end)[0]))
    return _worst(found)


@torch.no_grad()
def reordering(reader: Reader) -> float:
    """Going on from reordered and repeated rows of a state, as beam search does."""
    order = torch.tensor([2, 0, 0, 1])
    _, state = reader.read(reader.inputs)
    straight, _ = reader.read(reader.inputs, reader.clone(state))
    picked, _ = reader.read(reader.inputs[order], reader.select(state, order))
    return difference(picked, straight[order])


@torch.no_grad()
def complete(reader: Reader) -> float:
    """Going on from a copy of a state, and from the state after other texts were read in between."""
    _, state = reader.read(reader.inputs)
    one, _ = reader.read(reader.inputs, reader.clone(state))
    reader.read(reader.inputs.flip(0))
    return difference(reader.read(reader.inputs, state)[0], one)


@torch.no_grad()
def changed_in_place(reader: Reader) -> float:
    """How much reading changes the state it was given, so that it cannot be gone on from twice.

    Infinite if what was given has other shapes afterwards.
    """
    _, state = reader.read(reader.inputs)
    before = [leaf.clone() for leaf in reader.leaves(state)]
    reader.read(reader.inputs, state)
    after = reader.leaves(state)
    if [leaf.shape for leaf in after] != [leaf.shape for leaf in before]:
        return math.inf
    return _worst([difference(*both) for both in zip(after, before, strict=True)])


@torch.no_grad()
def bytes_carried(reader: Reader) -> int:
    """Bytes of one row of the state after reading; ValueError if not B rows, or if stored as more or less."""
    for state in (reader.start(len(reader.inputs)), reader.read(reader.inputs)[1]):
        parts = reader.leaves(state)
        if any(len(leaf) != len(reader.inputs) for leaf in parts):
            raise ValueError("axis 0 of a leaf of the state is not the batch")
    counted = state_bytes(tuple(parts))
    stored = save({str(i): leaf[:1].clone().contiguous() for i, leaf in enumerate(parts)})
    header = 8 + int.from_bytes(stored[:8], "little")
    if counted != len(stored) - header:
        raise ValueError(f"{counted} bytes are counted but {len(stored) - header} stored")
    return counted


@torch.no_grad()
def probabilities(reader: Reader) -> float:
    """After every prefix: the sum over the vocabulary of exp(- loss of that word as target), minus 1."""
    size = reader.read(reader.inputs)[0].shape[-1]
    targets = torch.arange(size).repeat_interleave(len(reader.inputs))
    nats = reader.nll(
        reader.inputs.repeat(size, 1), targets[:, None].expand(-1, reader.inputs.shape[1])
    )
    total = nats.double().neg().exp().unflatten(0, (size, -1)).sum(0)
    return (total - 1).abs().max().item()


def without_gradient(reader: Reader) -> list[str]:
    """Names of trainable parameters whose gradient is missing, not finite, or 0 everywhere."""
    out, _ = reader.read(reader.inputs)
    named = [(n, p) for n, p in reader.module.named_parameters() if p.requires_grad]
    if not named:
        return []  # a counted model has none
    reader.module.zero_grad()
    (out * torch.randn_like(out)).sum().backward()
    return [
        name
        for name, parameter in named
        if parameter.grad is None
        or not parameter.grad.isfinite().all()
        or parameter.grad.abs().max() == 0
    ]


@torch.no_grad()
def saving(reader: Reader) -> float:
    """Reading before against after storing all tensors as safetensors, wiping them, and loading."""
    whole, _ = reader.read(reader.inputs)
    kept = {name: value.clone().contiguous() for name, value in reader.module.state_dict().items()}
    stored = save(kept)
    for parameter in reader.module.parameters():
        parameter.zero_()
    reader.module.load_state_dict(load(stored))
    return difference(reader.read(reader.inputs)[0], whole)


# the columns of the table: what is measured, and what is asked of it
LAWS: dict[str, tuple[Callable[[Reader], Any], float]] = {
    "pieces": (pieces, ROUNDING),
    "cached = full": (steps, ROUNDING),
    "prefix of 1": (first, ROUNDING),
    "future leak": (leak, NOTHING),
    "rows apart": (rows, ROUNDING),
    "unequal lengths": (unequal, ROUNDING),
    "beam reordering": (reordering, ROUNDING),
    "state complete": (complete, 0.0),
    "state untouched": (changed_in_place, 0.0),
    "sum to 1": (probabilities, ROUNDING),
    "save and load": (saving, 0.0),
    "no gradient": (without_gradient, 0),
    "state bytes": (bytes_carried, float("inf")),
}
