"""Bracketed trees as text: Penn-style files are read as one sentence a tree, and the trees kept beside.

A tree's document is its words with a space before each, so that every word is one token of a tokeniser that
cuts at spaces (`space`). .ptb, .tree and .mrg (.gz): trees on one line or over several, with or without an
outer wrapper. What is not of the words goes: comment lines (`#`), traces (`-NONE-`) and what dominates
nothing else, function tags and indices (NP-SBJ-1: NP).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".ptb", ".tree", ".mrg", ".ptb.gz", ".tree.gz", ".mrg.gz")
BRACKETS = re.compile(r"[()]|[^\s()]+")
DEEPEST = 200  # brackets inside each other; what is deeper was not drawn by hand


@dataclass(frozen=True)
class Tree:
    """A labelled node over words (str) or word ids (int); a preterminal has one child, its word."""

    label: str
    children: tuple[Tree | str | int, ...]

    def __str__(self) -> str:
        return f"({self.label} {' '.join(str(child) for child in self.children)})"

    @property
    def is_preterminal(self) -> bool:
        return len(self.children) == 1 and not isinstance(self.children[0], Tree)

    def leaves(self) -> list[str | int]:
        """The words, left to right."""
        words: list[str | int] = []
        for node in self.nodes():
            words += [child for child in node.children if not isinstance(child, Tree)]
        return words

    def nodes(self) -> Iterator[Tree]:
        """This node and all below it, parents first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack += [child for child in reversed(node.children) if isinstance(child, Tree)]

    def spans(self) -> list[tuple[str, int, int]]:
        """(label, start, end) of every node, preterminals included, children first."""
        found: list[tuple[str, int, int]] = []
        _spans(self, 0, found)
        return found

    def map_words(self, change) -> Tree:
        """The same tree over other words: `change` takes a word."""
        children = tuple(
            child.map_words(change) if isinstance(child, Tree) else change(child)
            for child in self.children
        )
        return Tree(self.label, children)


def _spans(node: Tree, start: int, found: list) -> int:
    end = start
    for child in node.children:
        end = _spans(child, end, found) if isinstance(child, Tree) else end + 1
    found.append((node.label, start, end))
    return end


def draw(tree: Tree) -> str:
    """The tree as indented text: one line a node, words on their preterminal's line.

    >>> print(draw(read_tree("(S (NP (DT the) (NN state)) (VP (VBZ evolves)))")))
    S
    ├─ NP
    │  ├─ DT the
    │  └─ NN state
    └─ VP
       └─ VBZ evolves
    """
    lines: list[str] = []
    _draw(tree, "", "", lines)
    return "\n".join(lines)


def _draw(node: Tree | str | int, own: str, below: str, lines: list[str]) -> None:
    if not isinstance(node, Tree):
        lines.append(f"{own}{node}")
    elif node.is_preterminal:
        lines.append(f"{own}{node.label} {node.children[0]}")
    else:
        lines.append(f"{own}{node.label}")
        for child in node.children[:-1]:
            _draw(child, f"{below}├─ ", f"{below}│  ", lines)
        _draw(node.children[-1], f"{below}└─ ", f"{below}   ", lines)


def sentence(tree: Tree) -> str:
    """The document of a tree: its words, a space before each."""
    return "".join(f" {word}" for word in tree.leaves())


def read_tree(text: str) -> Tree:
    """One bracketed tree, `(S (NP (DT the) (NN state)) (VP (VBZ evolves)))`, kept as written."""
    trees = list(_parse(text.splitlines(), "the text"))
    if len(trees) != 1:
        raise ValueError(f"found {len(trees)} trees in {text[:60]!r}, wanted one")
    return trees[0]


def read_trees(path: str | Path) -> list[Tree]:
    """The trees of a bracket file in UTF-8, as `of_lines`."""
    with open(path, encoding="utf-8") as file:
        return list(of_lines(file, str(path)))


def of_lines(lines: Iterable[str], name: str) -> Iterator[Tree]:
    """The trees of lines (Penn, CRAFT, ...), cleaned for a grammar over words.

    Comment lines and outer wrappers without a label, or labelled ROOT or TOP, are taken off; traces and empty
    nodes are dropped; function tags and indices go; a word written with spaces, (NN Xpd TTD), becomes
    Xpd_TTD. Trees without words are left out. Raises ValueError with the line for unbalanced brackets.
    """
    cleaned = (clean(tree) for tree in _parse(lines, name))
    return (tree for tree in cleaned if tree is not None)


def _parse(lines: Iterable[str], name: str) -> Iterator[Tree]:
    stack: list[list] = []
    opened = number = 0
    for number, line in enumerate(lines, start=1):
        if line.startswith("#"):
            continue
        for token in BRACKETS.findall(line):
            if token == "(":
                opened = opened if stack else number
                stack.append([])
                if len(stack) > DEEPEST:
                    raise ValueError(
                        f"{name}, line {opened:,}: the tree that begins here is more than {DEEPEST} "
                        "brackets deep; is one left open?"
                    )
            elif token != ")":
                if not stack:
                    raise ValueError(
                        f"{name}, line {number:,}: found {token!r} outside brackets, wanted '('"
                    )
                stack[-1].append(token)
            else:
                if not stack:
                    raise ValueError(f"{name}, line {number:,}: found ')' without its '('")
                node = _node(stack.pop())
                if stack:
                    stack[-1].append(node)
                else:
                    yield node
    if stack:
        raise ValueError(
            f"{name}, line {opened:,}: a tree begins here and does not end, wanted {len(stack)} more ')'"
        )


def _node(parts: list) -> Tree:
    if parts and isinstance(parts[0], str):
        return Tree(parts[0], tuple(parts[1:]))
    return Tree("", tuple(parts))


def clean(tree: Tree) -> Tree | None:
    """A tree without wrappers, traces, empty nodes, function tags and indices; None if nothing is left."""
    if tree.label == "-NONE-" or not tree.children:
        return None
    if not any(isinstance(child, Tree) for child in tree.children):
        return Tree(_plain(tree.label), ("_".join(map(str, tree.children)),))
    children = []
    for child in tree.children:
        kept = clean(child) if isinstance(child, Tree) else Tree(_plain(tree.label), (child,))
        if kept is not None:
            children.append(kept)
    if not children:
        return None
    if tree.label in ("", "ROOT", "TOP") and len(children) == 1 and isinstance(children[0], Tree):
        return children[0]
    return Tree(_plain(tree.label), tuple(children))


def _plain(label: str) -> str:
    """NP-SBJ-1 and NP=2: NP; -LRB- stays."""
    if label.startswith("-"):
        return label
    return label.split("-")[0].split("=")[0] or "ROOT"


def binary(tree: Tree) -> Tree:
    """Chomsky normal form: unary chains become one node `S+VP` and long rules branch to the right.

    A node with children A B C D becomes A (@X B (@X C D)): the new node knows its parent X and nothing of
    its sisters (horizontal order 0). `unbinary` undoes it.
    """
    label, children = tree.label, tree.children
    while len(children) == 1 and isinstance(children[0], Tree):
        label, children = f"{label}+{children[0].label}", children[0].children
    parts = [binary(child) if isinstance(child, Tree) else child for child in children]
    if len(parts) <= 2:
        return Tree(label, tuple(parts))
    rest = Tree(f"@{label}", tuple(parts[-2:]))
    for part in reversed(parts[1:-2]):
        rest = Tree(f"@{label}", (part, rest))
    return Tree(label, (parts[0], rest))


def unbinary(tree: Tree) -> Tree:
    """Undo `binary`: splice `@` nodes into their parents and unfold chains."""
    children: list = []
    for child in tree.children:
        if not isinstance(child, Tree):
            children.append(child)
            continue
        whole = unbinary(child)
        children += whole.children if child.label.startswith("@") else [whole]
    *above, label = tree.label.split("+")
    node = Tree(label, tuple(children))
    for outer in reversed(above):
        node = Tree(outer, (node,))
    return node


def word_ids(
    trees: Iterable[Tree], *, min_count: int = 2, boundary: str = "<doc>", unknown: str = "<unk>"
) -> dict[str, int]:
    """Ids of the words of a treebank: `boundary` 0, `unknown` 1, then words by frequency.

    Words seen fewer than `min_count` times have no id: they are `unknown`. Map a tree to ids with
    `tree.map_words(lambda word: ids.get(word, 1))`.
    """
    counts = Counter(word for tree in trees for word in tree.leaves())
    kept = sorted((-count, word) for word, count in counts.items() if count >= min_count)
    return {word: i for i, word in enumerate([boundary, unknown, *(word for _, word in kept)])}
