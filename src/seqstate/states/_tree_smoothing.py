"""Interpolated Kneser-Ney over a context tree, its discounts tuned on held-out words.

    node            p(w | c) = (a(cw) - D(a(cw))) / sum_x a(cx) + b(c) p(w | c one word shorter)
    between nodes   p(w | c) = (1 - U) / kinds + U p(w | c one word shorter)

a: distinct words seen before cw, which between nodes is 1 for each of the `kinds` words seen after c.
D: discounts of counts 1, 2, 3 or more; U: what a context between nodes leaves; both go by the length of c.
This is Kneser-Ney of unlimited order: every context length takes part, with one number stored per node. The
closed formula for D (Chen & Goodman 1999) is too sure of itself where lengths have no end, so D and U
maximise the likelihood of held-out words.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.states._context_tree import ContextTree
from seqstate.states._context_walk import Path
from seqstate.states._ngram_counts import Array
from seqstate.states._sorted_tables import ended, find

LENGTHS = 13  # longer contexts share the discounts of length 12
CEILING = (1.0, 2.0, 3.0, 1.0)  # of the discounts of counts 1, 2, 3 or more, and of U
START = (0.8, 1.2, 1.6, 0.87)
STEPS = 30


@dataclass(frozen=True)
class Discounts:
    """amounts: D of counts 0, 1, 2, 3 or more by length of context (4 x LENGTHS). spread: U (LENGTHS)."""

    amounts: Array
    spread: Array

    def log_left(self, longest: int) -> Array:
        """log of the product of U over the context lengths 1 to n, for n = 0 to `longest`."""
        lengths = np.minimum(np.arange(1, longest + 1), LENGTHS - 1)
        return np.append(0, np.cumsum(np.log(self.spread[lengths])))


@dataclass(frozen=True)
class Smoothed:
    """unigram: V log-probabilities. logp: of the tree's pairs. left: log of what a node leaves."""

    unigram: Array
    logp: Array
    left: Array


def default_discounts() -> Discounts:
    """Where tuning starts."""
    return _unpacked(_start())


def smooth(tree: ContextTree, discounts: Discounts, vocab_size: int, longest: int) -> Smoothed:
    """Probabilities of every pair and what every node leaves to shorter contexts."""
    node, word = tree.pairs()
    nodes = tree.length.size
    discount = discounts.amounts[
        np.minimum(tree.pair_counts, 3), np.minimum(tree.length, LENGTHS - 1)[node]
    ]
    total = np.bincount(node, tree.pair_counts, nodes)
    spared = np.bincount(node, discount, nodes) / total
    above = np.maximum(tree.parent, 0)
    log_left = discounts.log_left(longest)
    between = np.exp(log_left[np.maximum(tree.length - 1, 0)] - log_left[tree.length[above]])
    own = (tree.pair_counts - discount) / total[node]
    own += (spared * (1 - between) / np.bincount(node, minlength=nodes))[node]
    left = spared * between
    unigram = np.full(vocab_size, spared[0] / vocab_size)
    unigram[word[node == 0]] += own[node == 0]
    probability = np.where(node == 0, unigram[word], own)
    shorter = np.searchsorted(tree.pair_keys, (above[node] << tree.bits) | word)
    by_level = np.argsort(tree.level[node], kind="stable")
    ends = np.cumsum(np.bincount(tree.level[node]))
    for start, end in pairwise(ends):
        pairs = by_level[start:end]
        probability[pairs] += left[node[pairs]] * probability[shorter[pairs]]
    return Smoothed(np.log(unigram), np.log(probability), np.log(left))


def tune(
    tree: ContextTree,
    path: Path,
    text: Array,
    targets: Int[Tensor, " Q"],
    vocab_size: int,
    longest: int,
) -> Discounts:
    """The discounts under which the words that follow Q held-out contexts are likeliest.

    A Gaussian prior around the start (deviation 1 on the logit scale) decides where words are few.
    """
    loss = _HeldOut(tree, path, torch.from_numpy(text), targets, vocab_size, longest)
    start = _start()
    logits = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([logits], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        total = loss(logits) + (logits - start).square().sum() / 2
        total.backward()
        return total

    with torch.enable_grad():
        optimiser.step(closure)
    return _unpacked(logits.detach())


def _start() -> Float[Tensor, "4 L"]:
    ceiling = torch.tensor(CEILING, dtype=torch.float64)
    share = torch.tensor(START, dtype=torch.float64) / ceiling
    return torch.logit(share)[:, None].repeat(1, LENGTHS)


def _unpacked(logits: Float[Tensor, "4 L"]) -> Discounts:
    numbers = (torch.sigmoid(logits) * torch.tensor(CEILING)[:, None]).numpy()
    return Discounts(np.concatenate([np.zeros((1, LENGTHS)), numbers[:3]]), numbers[3])


class _HeldOut:
    """Negative log-likelihood of held-out words as a function of the discounts, by the same recursion."""

    def __init__(
        self,
        tree: ContextTree,
        path: Path,
        text: Tensor,
        targets: Tensor,
        vocab_size: int,
        longest: int,
    ) -> None:
        node, _ = tree.pairs()
        nodes = tree.length.size
        self.uniform, self.longest, self.targets = 1 / vocab_size, longest, targets
        self.keys, self.bits = ended(tree.pair_keys), tree.bits
        self.counts = torch.from_numpy(np.append(tree.pair_counts, 0))
        classes = np.minimum(tree.pair_counts, 3)
        of_class = [np.bincount(node, classes == k, nodes) for k in range(4)]
        self.of_class = torch.from_numpy(np.stack(of_class))
        self.total = torch.from_numpy(np.bincount(node, tree.pair_counts, nodes))
        self.kinds = self.of_class.sum(0)
        self.length = torch.from_numpy(tree.length)
        self.above = torch.from_numpy(tree.length[np.maximum(tree.parent, 0)])
        queries = torch.arange(len(targets))
        self.steps = [
            self._step(*step) for step in [(queries, torch.zeros_like(queries)), *path.steps]
        ]
        self._ends(path, text)

    def _step(self, queries: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return queries, nodes, self._count(nodes, self.targets[queries])

    def _count(self, nodes: Tensor, words: Tensor) -> Tensor:
        place, found = find(self.keys, (nodes << self.bits) | words)
        return self.counts[place] * found

    def _ends(self, path: Path, text: Tensor) -> None:
        self.inside = path.inside.nonzero()[:, 0]
        onward, at = path.onward[self.inside], path.at[self.inside]
        once = onward < 0
        hit = self._count(onward.clamp(min=0), self.targets[self.inside]) > 0
        hit = torch.where(once, text[at + 1] == self.targets[self.inside], hit)
        self.share = hit / torch.where(once, 1, self.kinds[onward.clamp(min=0)])
        self.span = path.base[self.inside], path.length[self.inside]

    def __call__(self, logits: Float[Tensor, "4 L"]) -> Float[Tensor, ""]:
        numbers = torch.sigmoid(logits) * torch.tensor(CEILING)[:, None]
        amounts = torch.cat([torch.zeros_like(numbers[:1]), numbers[:3]])
        lengths = torch.arange(1, self.longest + 1).clamp(max=LENGTHS - 1)
        log_left = torch.cat([logits.new_zeros(1), numbers[3].log()[lengths].cumsum(0)])
        p = logits.new_full((len(self.targets),), self.uniform)
        for queries, nodes, count in self.steps:
            before = p[queries]
            between = (
                log_left[(self.length[nodes] - 1).clamp(min=0)] - log_left[self.above[nodes]]
            ).exp()
            before = (1 - between) * (count > 0) / self.kinds[nodes] + between * before
            length = self.length[nodes].clamp(max=LENGTHS - 1)
            spared = (amounts[:, length] * self.of_class[:, nodes]).sum(0)
            discounted = count - amounts[count.clamp(max=3), length]
            p = p.index_put((queries,), (discounted + spared * before) / self.total[nodes])
        between = (log_left[self.span[1]] - log_left[self.span[0]]).exp()
        ends = (1 - between) * self.share + between * p[self.inside]
        return -p.index_put((self.inside,), ends).log().sum()
