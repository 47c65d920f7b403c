"""A grammar's tables from a treebank: relative frequencies with Witten-Bell smoothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from seqstate.text.trees import Tree, binary


@dataclass(frozen=True)
class Counts:
    """Smoothed probabilities. Roots start with the empty sentence; closing tokens have no word weight."""

    nonterminals: tuple[str, ...]
    preterminals: tuple[str, ...]
    roots: Float[Tensor, " S_plus_1"]
    rules: Float[Tensor, "A S S"]
    words: Float[Tensor, "P V"]


def count_trees(
    trees: Sequence[Tree], vocab_size: int, closing: set[int], min_count: int
) -> Counts:
    """Count binary forms of `trees`, whose leaves are word ids.

    Every table backs off by its own number of different continuations: rules to independent children and
    these to any symbol, words to their frequency anywhere and that to any word.
    """
    if not trees:
        raise ValueError("found no trees, wanted at least one to count")
    trees = plain_chains([binary(tree) for tree in trees], min_count)
    above = sorted(
        {node.label for tree in trees for node in tree.nodes() if not node.is_preterminal}
    )
    tags = sorted({node.label for tree in trees for node in tree.nodes() if node.is_preterminal})
    above = above or ["S"]  # a treebank of single words has no rule to name
    ids = {(label, False): i for i, label in enumerate(above)}
    ids |= {(label, True): len(above) + i for i, label in enumerate(tags)}
    a, s = len(above), len(above) + len(tags)
    roots: Counter = Counter()
    rules: Counter = Counter()
    words: Counter = Counter()
    for tree in trees:
        roots[(1 + ids[tree.label, tree.is_preterminal],)] += 1
        for node in tree.nodes():
            symbol = ids[node.label, node.is_preterminal]
            if node.is_preterminal:
                words[symbol - a, _word(node.children[0], vocab_size, closing)] += 1
            else:
                left, right = (ids[child.label, child.is_preterminal] for child in node.children)
                rules[symbol, left, right] += 1
    taken = set(above)
    tags = tuple(f"{tag}/word" if tag in taken else tag for tag in tags)
    return Counts(
        tuple(above),
        tags,
        _smooth_roots(_table(roots, 1 + s)),
        _smooth_rules(_table(rules, a, s, s)),
        _smooth_words(_table(words, s - a, vocab_size), closing),
    )


def plain_chains(trees: list[Tree], min_count: int) -> list[Tree]:
    """Binary trees whose rare chain labels are cut: S+VP to S; over a word, NP+NN to NN."""
    seen = Counter((node.label, node.is_preterminal) for tree in trees for node in tree.nodes())

    def change(node: Tree) -> Tree:
        label = node.label
        if "+" in label and seen[label, node.is_preterminal] < min_count:
            parts = label.split("+")
            label = parts[-1] if node.is_preterminal else parts[0]
        children = (change(child) if isinstance(child, Tree) else child for child in node.children)
        return Tree(label, tuple(children))

    return [change(tree) for tree in trees]


def _table(counts: Counter, *shape: int) -> Tensor:
    index = torch.tensor(sorted(counts)).reshape(-1, len(shape)).T
    values = torch.tensor([float(counts[key]) for key in sorted(counts)], dtype=torch.float64)
    return torch.zeros(shape, dtype=torch.float64).index_put(tuple(index), values)


def witten_bell(
    counts: Float[Tensor, "*B K"], backoff: Float[Tensor, "*B K"]
) -> Float[Tensor, "*B K"]:
    """(count + kinds x backoff) / (total + kinds), kinds the number of different things counted."""
    kinds = (counts > 0).sum(-1, keepdim=True).clamp_min(1)
    return (counts + kinds * backoff) / (counts.sum(-1, keepdim=True) + kinds)


def _smooth_roots(counts: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    return witten_bell(counts, torch.full_like(counts, 1 / len(counts)))


def _smooth_rules(counts: Float[Tensor, "A S S"]) -> Float[Tensor, "A S S"]:
    uniform = torch.full_like(counts[:, 0], 1 / counts.shape[1])
    left, right = witten_bell(counts.sum(2), uniform), witten_bell(counts.sum(1), uniform)
    apart = left[:, :, None] * right[:, None]
    return witten_bell(counts.flatten(1), apart.flatten(1)).view_as(counts)


def _smooth_words(counts: Float[Tensor, "P V"], closing: set[int]) -> Float[Tensor, "P V"]:
    is_word = torch.ones_like(counts[0])
    is_word[sorted(closing)] = 0
    anywhere = witten_bell(counts.sum(0), is_word / is_word.sum())
    return witten_bell(counts, anywhere.expand_as(counts))


def _word(word: str | int, vocab_size: int, closing: set[int]) -> int:
    if isinstance(word, str) or not 0 <= word < vocab_size or word in closing:
        raise ValueError(
            f"found the leaf {word!r}, wanted a word id below {vocab_size} that closes no sentence "
            f"(closing: {sorted(closing)}); see word_ids"
        )
    return word
