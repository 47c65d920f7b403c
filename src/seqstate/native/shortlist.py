"""Words whose logit may be among the k largest: bounds from products in 8 bits, certain for every row.

A word is kept as a scale and a byte a number (`pack`), a quarter of float32's memory. Its products with a row
in 16 bits are exact, what rounding can add to a logit is bounded by Cauchy-Schwarz, and a word is thrown away
if k others are certainly above it. The margin also covers float32's rounding in a full computation of the
logits, in whatever order it adds. Energies whose misses change by a quarter of their argument or less (all
activations of `multi_hamming`) are bounded through it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from seqstate import native
from seqstate.native import tiles
from seqstate.native.losses import KINDS

BLOCK, QUAD = 64, 4  # words of a block, numbers of a word that lie side by side: as in shortlist.h
ROUNDING = 2.0**-23  # twice float32's, a term of a sum
MISS_ROUNDING = 2e-6
MOST = 32512.0  # of a number of a row in 16 bits


@dataclass(frozen=True)
class Scalars:
    """tau, a and b of misses, G each; without them a logit is bias + <row, word>."""

    activation: str
    tau: Float[Tensor, " G"]
    a: Float[Tensor, " G"]
    b: Float[Tensor, " G"]


@dataclass(frozen=True)
class Packed:
    """Words in 8 bits a number. V' is V in whole blocks, K' a group's K in whole quads.

    error: length of what the 8 bits leave of a word; length: of the word, or of its 8 bits if longer.
    """

    words: int
    width: int
    numbers: UInt8[Tensor, "blocks quads 64 4"]
    scale: Float[Tensor, " V2"]
    error: Float[Tensor, " V2"]
    length: Float[Tensor, " V2"]
    bias: Float[Tensor, " V2"] | None
    most_bias: float
    scalars: Scalars | None

    @property
    def groups(self) -> int:
        return 1 if self.scalars is None else len(self.scalars.tau)

    @property
    def bytes_per_word(self) -> float:
        kept = [self.numbers, self.scale, self.error, self.length, self.bias]
        return sum(t.numel() * t.element_size() for t in kept if t is not None) / self.words


def pack(
    words: Float[Tensor, "V D"], bias: Float[Tensor, " V"] | None, scalars: Scalars | None = None
) -> Packed:
    """The words in 8 bits a number. Raises ValueError for numbers that are not finite."""
    words = words.detach().float().cpu()
    if not (words.isfinite().all() and (bias is None or bias.isfinite().all())):
        raise ValueError("a word vector or bias is not a finite number, so it bounds nothing")
    groups = 1 if scalars is None else len(scalars.tau)
    scale = words.abs().amax(-1).div(127).clamp(min=torch.finfo(torch.float32).tiny)
    whole = (words / scale.unsqueeze(-1)).round().clamp(-127, 127)
    near = scale.double().unsqueeze(-1) * whole.double()
    lengths = torch.stack([words.double().norm(dim=-1), near.norm(dim=-1)]).amax(0)
    error = (words.double() - near).norm(dim=-1)
    beyond = -len(words) % BLOCK

    def padded(x: Tensor) -> Tensor:
        return torch.cat([x.float() * (1 + 1e-6), x.new_zeros(beyond).float()])

    split = torch.nn.functional.pad(
        whole.unflatten(-1, (groups, -1)), (0, -(words.shape[1] // groups) % QUAD)
    ).flatten(1)
    rows = torch.nn.functional.pad(split, (0, 0, 0, beyond)).add(128).to(torch.uint8)
    numbers = rows.view(-1, BLOCK, split.shape[1] // QUAD, QUAD).transpose(1, 2).contiguous()
    if bias is not None:
        bias = torch.nn.functional.pad(bias.detach().float().cpu(), (0, beyond))
    return Packed(
        *(len(words), words.shape[1], numbers),
        scale=torch.nn.functional.pad(scale, (0, beyond)),
        error=padded(error),
        length=padded(lengths),
        bias=bias,
        most_bias=0.0 if bias is None else float(bias.abs().max()),
        scalars=scalars,
    )


def shortlists(packed: Packed, rows: Float[Tensor, "R D"], k: int) -> list[Int[Tensor, " _"]]:
    """The words of each row that may be among its k likeliest, ascending; all if a number is not finite."""
    rows = rows.detach().float().cpu().contiguous()
    if not native.available():
        return _torch_shortlists(packed, rows, k)
    scalars, nowhere = packed.scalars, (0, 0, 0)
    found = native.extension().shortlists(
        native.isa(),
        packed.words,
        packed.groups,
        packed.numbers.shape[1] // packed.groups,
        *(t.data_ptr() for t in (packed.numbers, packed.scale, packed.error, packed.length)),
        0 if packed.bias is None else packed.bias.data_ptr(),
        packed.most_bias,
        KINDS["inner" if scalars is None else scalars.activation],
        *(nowhere if scalars is None else (t.data_ptr() for t in _three(scalars))),
        *rows.shape,
        rows.data_ptr(),
        k,
    )
    if found is None:
        return _torch_shortlists(packed, rows, k)
    return [torch.frombuffer(words, dtype=torch.int64) for words in found]


def bounds(
    packed: Packed, rows: Float[Tensor, "R D"]
) -> tuple[Float[Tensor, "R V"], Float[Tensor, "R V"]]:
    """Lower and upper bounds of all logits, in float64: by torch what the kernel computes as it goes."""
    unit = rows.abs().amax(-1, keepdim=True).float() / MOST
    unit = torch.where(unit > 0, unit, torch.ones_like(unit))
    near = (rows / unit).round().clamp(-MOST, MOST).double() * unit.double()
    rows, groups, scalars = rows.double(), packed.groups, packed.scalars
    scale, error, length = (
        t[: packed.words].double() for t in (packed.scale, packed.error, packed.length)
    )
    bias = None if packed.bias is None else packed.bias[: packed.words].double()
    words = scale.unsqueeze(-1) * _unpacked(packed)
    if scalars is None:
        steep, cost = torch.ones(1, dtype=torch.float64), 0.0
        logits = tiles.inner_logits(near, words, bias, 1.0)
    else:
        tau, a, b = (t.double() for t in _three(scalars))
        steep, cost = (tau * a).abs() / 4, float((tau.abs() * (1 + b.abs())).sum())
        logits = tiles.multi_hamming_logits(near, words, tau, a, b, bias, scalars.activation)

    def size(x: Tensor) -> Tensor:
        return (steep * x.unflatten(-1, (groups, -1)).norm(dim=-1)).norm(dim=-1, keepdim=True)

    off = size(rows) * (error + (packed.width + 16) * ROUNDING * length)
    off = off + size(rows - near) * length
    off = off + (MISS_ROUNDING + groups * ROUNDING) * cost + 4 * ROUNDING * packed.most_bias
    return logits - off, logits + off


def _unpacked(packed: Packed) -> Float[Tensor, "V D"]:
    """The whole numbers of every word, without what fills quads and blocks up."""
    rows = packed.numbers.transpose(1, 2).flatten(2).flatten(0, 1)[: packed.words].double() - 128
    split = rows.unflatten(-1, (packed.groups, -1))
    return split[..., : packed.width // packed.groups].flatten(1)


def _torch_shortlists(packed: Packed, rows: Tensor, k: int) -> list[Tensor]:
    found = []
    for row in rows:
        kept = torch.arange(packed.words)
        if bool(row.isfinite().all()):
            lower, upper = bounds(packed, row[None])
            least = lower[0].topk(min(k, packed.words)).values[-1]
            kept = kept[upper[0] >= least]
        found.append(kept)
    return found


def _three(scalars: Scalars) -> tuple[Tensor, Tensor, Tensor]:
    return scalars.tau, scalars.a, scalars.b
