"""Whether the soft bits act as bits: saturation, balance, entropy, and words that share a code.

For each kind of bit an energy has (`query`, `word`, `match`), features averaged:

    <kind>_bit_saturation   share of values below 0.1 or above 0.9 (1: hard bits; 0: a linear zone)
    <kind>_bit_balance      2 min(r, 1 - r), r the share of samples in which a feature is on (1: half)
    <kind>_bit_entropy      entropy of a rounded bit, in bits (1: tells most; 0: constant)
    <kind>_bit_temperature  1 / root mean square of ln(b / (1 - b)), b the soft bit (falls as bits harden)
and for the codes of one side:
    <kind>_code_entropy     entropy of the whole rounded code over the samples, in bits
    <kind>_code_collisions  share of samples whose rounded code another sample also has
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from seqstate.core.energy import EnergyHead, HasBits, Head
from seqstate.core.instrument import HeadInstrument
from seqstate.core.model import device_of
from seqstate.core.record import Reading
from seqstate.core.task import Batch

SHUT, OPEN = 0.1, 0.9
READ_ROWS, READ_TOKENS = 8, 128  # of text on which bits are followed through a training


class Bits(HeadInstrument):
    """pairs: queries and words sampled, evenly, for the `match` bits. Codes use all of them."""

    capability = HasBits

    def __init__(self, *, pairs: int = 128) -> None:
        if pairs < 1:
            raise ValueError(f"pairs is {pairs}; sample at least 1")
        self.pairs = pairs

    def read(
        self,
        head: Head,
        hidden: Float[Tensor, "R D"],
        targets: Int[Tensor, " R"] | None = None,
    ) -> list[Reading]:
        bits = head.energy if isinstance(head, EnergyHead) else head
        words = head.table()
        assert isinstance(bits, HasBits) and words is not None
        few_rows, few_words = (x[:: math.ceil(len(x) / self.pairs)] for x in (hidden, words))
        with torch.no_grad():
            found = bits.soft_bits(few_rows, few_words)
            if "query" in found:
                found["query"] = bits.soft_bits(hidden, words[:1])["query"]
            if "word" in found:
                found["word"] = bits.soft_bits(hidden[:1], words)["word"]
        readings = []
        for kind, values in found.items():
            samples = values.flatten(0, -2)
            readings += bit_readings(kind, samples)
            if kind != "match":
                readings += code_readings(kind, samples > 0.5)
        return readings


def bit_readings(kind: str, values: Float[Tensor, "N G"]) -> list[Reading]:
    """How each feature's values are distributed; `by_feature` in the tags holds the on-rates."""
    count = len(values)
    saturated = ((values < SHUT) | (values > OPEN)).double().mean()
    on = (values > 0.5).double().mean(0)
    balance = 2 * torch.minimum(on, 1 - on).mean()
    entropy = (torch.special.entr(on) + torch.special.entr(1 - on)).mean() / math.log(2)
    tags = {"by_feature": on.tolist()}
    return [
        Reading(f"{kind}_bit_saturation", float(saturated), "share of soft bits", count),
        Reading(f"{kind}_bit_balance", float(balance), "share", count, tags=tags),
        Reading(f"{kind}_bit_entropy", float(entropy), "bit", count),
        Reading(f"{kind}_bit_temperature", _temperature(values), "1", count),
    ]


def _temperature(values: Float[Tensor, "N G"]) -> float:
    """Between 0.07 (bits hard to 1e-6) and 1e6 (all at one half)."""
    spread = values.double().logit(eps=1e-6).square().mean().sqrt()
    return 1 / max(1e-6, float(spread))


def code_readings(kind: str, codes: Tensor) -> list[Reading]:
    """How many samples share a whole code."""
    count = len(codes)
    sizes = codes.unique(dim=0, return_counts=True)[1].double()
    entropy = torch.special.entr(sizes / count).sum() / math.log(2)
    shared = float(sizes[sizes > 1].sum()) / count
    return [
        Reading(f"{kind}_code_entropy", float(entropy), "bit", count),
        Reading(f"{kind}_code_collisions", shared, "share of samples", count),
    ]


def bits_of(model: nn.Module, ids: NDArray) -> list[Reading]:
    """The readings on the start of a text (1-d ids), in rows; none for a model without soft bits."""
    instrument = Bits()
    if not instrument.applies_to(model):
        return []
    rows, length = (
        (READ_ROWS, READ_TOKENS) if len(ids) > READ_ROWS * READ_TOKENS else (1, len(ids) - 1)
    )
    tokens = torch.from_numpy(np.asarray(ids[: rows * length]).astype(np.int64))
    tokens = tokens.view(rows, length).to(device_of(model))
    return instrument.measure(model, Batch(tokens, tokens))  # what follows does not matter to bits
