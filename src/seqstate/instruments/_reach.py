"""Which words a linear head can put on top: a witness or a proof, each checked in float64.

A set S wins at h if w_i h + b_i > w_j h + b_j for all i in S and j outside. With vectors of any length the
question is homogeneous, (w_i - w_j) x + (b_i - b_j) s >= 1 with s >= 0; with |h| <= radius it is not, and the
answer is the length of the shortest h that satisfies it. Both are least-distance programmes, solved exactly
by non-negative least squares (Lawson & Hanson 1974, ch. 23) on the few words that matter: those that beat S
at the last solution are added until none does (then h is a witness) or until the constraints contradict
each other (then their multipliers u >= 0 are a proof: |x| >= u.g / |u G| for every solution x of G x >= g).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import linprog, nnls
from torch import Tensor

Vector = NDArray[np.float64]

MARGIN = 1e-6  # nats by which a set must win at a bounded h
INFINITE = 1e8  # a solution proven to be longer than this (words scaled to 1) does not exist
WORST = 32  # rivals added at a time
ROUNDS = 300
TILE = 1 << 22  # logits held at once
SLACK = 1e-12  # of the largest logit: a win by less is rounding


@dataclass
class Verdict:
    """witness: a hidden vector at which the set wins. impossible: proven that there is none.

    rivals: the words that, taken alone, already make it impossible.
    """

    witness: Float[Tensor, " D"] | None = None
    impossible: bool = False
    rivals: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Words:
    """The words as rivals see them; `free`: hidden vectors of any length, so the bias is a coordinate."""

    weight: Float[Tensor, "V D"]
    bias: Float[Tensor, " V"]
    radius: float
    table: Float[Tensor, "V P"]
    free: bool
    unit: float  # a hidden vector is unit * x / s

    @classmethod
    def of(
        cls,
        weight: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"],
        radius: float = float("inf"),
    ) -> Words:
        weight, bias = weight - weight.mean(0), bias - bias.mean()
        if radius < float("inf"):
            return cls(weight, bias, radius, weight, False, 1.0)
        size, bias_size = (float(part.abs().max()) or 1.0 for part in (weight, bias))
        table = torch.cat([weight / size, bias.unsqueeze(1) / bias_size], 1)
        return cls(weight, bias, radius, table, True, bias_size / size)

    def hidden(self, x: Vector) -> Float[Tensor, " D"]:
        """The hidden vector of a solution. Its margin of 1 allows s to be raised to 1/4."""
        found = torch.from_numpy(x).to(self.weight)
        return self.unit * found[:-1] / found[-1].clamp(min=0.25) if self.free else found

    def start(self, sets: Int[Tensor, "N M"]) -> Float[Tensor, "N D"]:
        """Where to look first: along the words themselves."""
        own = self.weight[sets].mean(1)
        size = float(self.weight.abs().max()) or 1.0
        length = own.norm(dim=-1, keepdim=True).clamp(min=1e-9 * size)
        if not self.free:
            return own * (self.radius * (1 - 1e-9) / length)
        # long enough to count for more than the biases do
        return own * (4 * float(self.bias.abs().max()) + 1) / length.square()

    def constraints(self, chosen: list[int], rivals: list[int]) -> tuple[Vector, Vector]:
        """G and g of G x >= g: each chosen word beats each rival (and s >= 0)."""
        gaps = (self.table[chosen].unsqueeze(1) - self.table[rivals]).flatten(0, 1)
        if not self.free:
            owed = self.bias[rivals] - self.bias[chosen].unsqueeze(1)
            return gaps.numpy(), owed.flatten().numpy() + MARGIN
        scale = np.eye(self.table.shape[1])[-1:]
        return np.concatenate([gaps.numpy(), scale]), np.append(np.ones(len(gaps)), 0.0)


def decide(words: Words, sets: Int[Tensor, "N M"]) -> list[Verdict]:
    """For each set of words: can a hidden vector, no longer than the radius, put it above all others?

    All sets go in step, so that scoring the vocabulary is one matrix product. A verdict that is neither a
    witness nor impossible is open: the solver's precision was exhausted.
    """
    verdicts = [Verdict() for _ in range(len(sets))]
    hidden, open_ = words.start(sets), list(range(len(sets)))
    for _ in range(ROUNDS):
        better = _beaten_by(words, sets[open_], hidden)
        going, found = [], []
        for index, vector, rivals in zip(open_, hidden, better, strict=True):
            following = _advance(words, sets[index].tolist(), verdicts[index], vector, rivals)
            if following is not None:
                going.append(index)
                found.append(following)
        if not going:
            break
        open_, hidden = going, torch.stack(found)
    return verdicts


def _advance(
    words: Words, chosen: list[int], verdict: Verdict, hidden: Tensor, better: list[int]
) -> Tensor | None:
    """One round of one set: settle its verdict (None), or the next hidden vector to try."""
    if not better and hidden.norm() <= words.radius:
        verdict.witness = hidden
        return None
    fresh = sorted(set(better) - set(verdict.rivals))
    if not fresh:
        return None
    verdict.rivals += fresh
    try:
        x, multipliers, bound = shortest(*words.constraints(chosen, verdict.rivals))
    except RuntimeError:  # the solver's iterations are exhausted: the verdict stays open
        return None
    if bound > (INFINITE if words.free else words.radius):
        verdict.impossible = True
        used = multipliers[: len(chosen) * len(verdict.rivals)].reshape(len(chosen), -1).sum(0)
        verdict.rivals = [rival for rival, u in zip(verdict.rivals, used, strict=True) if u > 0]
        return None
    return words.hidden(x)


def _beaten_by(
    words: Words, sets: Int[Tensor, "N M"], hidden: Float[Tensor, "N D"]
) -> list[list[int]]:
    """For each set, the outsiders (the WORST at most) that do not score clearly below all its words."""
    out = []
    for part, vectors in zip(
        *(x.split(max(1, TILE // len(words.bias))) for x in (sets, hidden)), strict=True
    ):
        logits = vectors @ words.weight.T + words.bias
        least = logits.gather(1, part).amin(1, keepdim=True)
        slack = SLACK * logits.abs().amax(1, keepdim=True)
        logits.scatter_(1, part, -torch.inf)
        top, who = logits.topk(min(WORST, logits.shape[1]))
        wrong = top >= least - slack
        out += [who[row][wrong[row]].tolist() for row in range(len(part))]
    return out


def shortest(left: Vector, right: Vector) -> tuple[Vector, Vector, float]:
    """The shortest x with left @ x >= right, its multipliers, and a proven lower bound of its length."""
    stacked = np.column_stack([left, right]).T
    wanted = np.zeros(len(stacked))
    wanted[-1] = 1.0
    multipliers, _ = nnls(stacked, wanted, maxiter=100 * stacked.shape[1])
    residual = stacked @ multipliers - wanted
    x = -residual[:-1] / min(residual[-1], -1e-300)
    bound = (right @ multipliers) / max(float(np.linalg.norm(residual[:-1])), 1e-300)
    return x, multipliers, float(bound)


def programme_agrees(words: Words, word: int, rivals: list[int]) -> bool:
    """Whether linear programming, too, finds no hidden vector that puts `word` above these rivals.

    max t subject to (w_v - w_j) x + (b_v - b_j) s >= t, |x_i| <= 1, 0 <= s <= 1, by HiGHS: t is positive
    exactly if the word can win (after Grivas, Bogoychev & Lopez 2022, section 4).
    """
    assert words.free, "a ball is not a linear constraint"
    gaps = (words.table[word] - words.table[rivals]).numpy()
    width = gaps.shape[1]
    found = linprog(
        np.append(np.zeros(width), -1.0),
        A_ub=np.column_stack([-gaps, np.ones(len(rivals))]),
        b_ub=np.zeros(len(rivals)),
        bounds=[(-1.0, 1.0)] * (width - 1) + [(0.0, 1.0), (None, 1.0)],
        method="highs",
    )
    return bool(found.status == 0 and -found.fun <= 1e-7)
