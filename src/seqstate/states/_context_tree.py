"""The tree of all contexts of a text, read backwards from their newest word, of any length.

A context is a run of words that ends where a prediction is asked. Contexts that differ only in how far back
they reach, yet occur at the same places, are one: the tree has a node only where what stands before a
context differs from place to place (a suffix tree of the reversed text). It is grown one word of length at a
time over the places whose context still occurs elsewhere, so a text without long repeats costs a few sorts.

McCreight 1976 (suffix trees); Wood et al. 2009, "A stochastic memoizer for sequence data", and Shareghi et
al. 2016, "Fast, small and exact: infinite-order language modelling with compressed suffix trees".
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from seqstate.states._ngram_counts import Array, context_reach, word_bits


@dataclass(frozen=True)
class ContextTree:
    """Node 0 is the empty context; a node's parent is the longest shorter context that is a node.

    parent, level (number of ancestors), length (words of the context): of every node.
    edge_keys: sorted `parent << bits | first word beyond the parent`. edge_node: the node an edge leads to,
    -1 for a context that occurs once. edge_length: words of the context at its end. edge_at: a place of the
    text where it ends.
    pair_keys: sorted `node << bits | next word`. pair_counts: distinct words before context and next word
    together; occurrences where the context opens a document.
    """

    parent: Array
    level: Array
    length: Array
    edge_keys: Array
    edge_node: Array
    edge_length: Array
    edge_at: Array
    pair_keys: Array
    pair_counts: Array
    bits: int

    def pairs(self) -> tuple[Array, Array]:
        """Node and next word of every pair."""
        return self.pair_keys >> self.bits, self.pair_keys & ((1 << self.bits) - 1)


@dataclass(frozen=True)
class _Groups:
    """Contexts of one length that occur more than once, and the edge each stands on."""

    parent: Array
    word: Array
    level: Array


def grow(stream: Array, boundary: int, vocab_size: int, longest: int) -> ContextTree:
    """The tree of a closed stream, whose contexts have at most `longest` words and stop at a boundary.

    Raises ValueError for a text too long for packed 64-bit keys.
    """
    nothing = vocab_size  # stands before a context that reaches no further back
    bits = word_bits(vocab_size + 1)
    if int(stream.size).bit_length() + 2 * bits > 63:
        raise ValueError(
            f"found a text of {stream.size} tokens with {vocab_size} ids, more than 64-bit keys hold; "
            "use a smaller vocabulary or a part of the text"
        )
    reach = context_reach(stream, boundary, longest)
    at = np.arange(stream.size - 1)
    group = np.zeros(at.size, dtype=np.int64)
    groups = _Groups(np.array([-1]), np.array([0]), np.array([0]))
    parts: list[dict[str, Array]] = []
    made = length = 0
    while at.size:
        before = np.where(reach[at] > length, stream[np.maximum(at - length, 0)], nothing)
        key = (group << bits) | before
        order = np.argsort(key)
        key, at, group, before = key[order], at[order], group[order], before[order]
        starts = _starts(key)
        first = np.flatnonzero(starts)
        size = np.diff(first, append=at.size)
        owner, word = group[first], before[first]
        node = _nodes(owner, word, nothing, made, whole=length == 0)
        once = (size == 1) & (word != nothing)
        # a branch of a node begins a new edge; of any other context, it is the same edge
        branches = node[owner] >= 0
        parent = np.where(branches, node[owner], groups.parent[owner])
        label = np.where(branches, word, groups.word[owner])
        level = groups.level[owner] + branches
        parts.append(
            _made_nodes(groups, node, length, at[first[_starts(owner)]])
            | _pairs(node[group], stream[at + 1], before, nothing, bits)
            | _single_edges(parent[once], label[once], at[first[once]], reach)
        )
        made += int((node >= 0).sum())
        again = (size > 1) & (word != nothing)
        member = np.cumsum(starts) - 1
        stays = again[member]
        at, group = at[stays], (np.cumsum(again) - 1)[member[stays]]
        groups = _Groups(parent[again], label[again], level[again])
        length += 1
    return _assemble(parts, bits)


def _starts(values: Array) -> Array:
    starts = np.ones(values.size, dtype=bool)
    np.not_equal(values[1:], values[:-1], out=starts[1:])
    return starts


def _nodes(owner: Array, word: Array, nothing: int, made: int, *, whole: bool) -> Array:
    """Number of the node each group becomes; -1 if the same word stands before it everywhere."""
    groups = int(owner[-1]) + 1
    differs = np.bincount(owner, minlength=groups) > 1
    differs[owner[word == nothing]] = True
    if whole:
        differs[:] = True
    return np.where(differs, made + np.cumsum(differs) - 1, -1)


def _made_nodes(groups: _Groups, node: Array, length: int, at: Array) -> dict[str, Array]:
    """The new nodes, and the edges that lead to them."""
    new = node >= 0
    return {
        "parent": groups.parent[new],
        "level": groups.level[new],
        "word": groups.word[new],
        "length": np.full(int(new.sum()), length),
        "at": at[new],
    }


def _pairs(
    node: Array, following: Array, before: Array, nothing: int, bits: int
) -> dict[str, Array]:
    """For every new node and next word, how many distinct words stand before."""
    inside = node >= 0
    triple = (((node[inside] << bits) | following[inside]) << bits) | before[inside]
    triple.sort()
    pair = triple >> bits
    counts = _starts(triple) | ((triple & ((1 << bits) - 1)) == nothing)
    first = np.flatnonzero(_starts(pair)) if pair.size else np.zeros(0, dtype=np.int64)
    total = np.add.reduceat(counts.astype(np.int64), first) if pair.size else first
    return {"pair_keys": pair[first], "pair_counts": total}


def _single_edges(parent: Array, word: Array, at: Array, reach: Array) -> dict[str, Array]:
    return {"once_parent": parent, "once_word": word, "once_at": at, "once_length": reach[at]}


def _assemble(parts: list[dict[str, Array]], bits: int) -> ContextTree:
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    nodes = np.arange(whole["parent"].size)
    keys = (np.append(whole["parent"][1:], whole["once_parent"]) << bits) | np.append(
        whole["word"][1:], whole["once_word"]
    )
    order = np.argsort(keys)
    edges = {
        "edge_keys": keys,
        "edge_node": np.append(nodes[1:], np.full(whole["once_at"].size, -1)),
        "edge_length": np.append(whole["length"][1:], whole["once_length"]),
        "edge_at": np.append(whole["at"][1:], whole["once_at"]),
    }
    whole |= {name: values[order] for name, values in edges.items()}
    names = {field.name for field in fields(ContextTree)} - {"bits"}
    return ContextTree(**{name: whole[name] for name in names}, bits=bits)
