"""Trees: how they are held, read from bracket files, drawn, and made binary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


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


def read_tree(text: str) -> Tree:
    """One bracketed tree, `(S (NP (DT the) (NN state)) (VP (VBZ evolves)))`, kept as written."""
    trees = list(_parse(text, "the text"))
    if len(trees) != 1:
        raise ValueError(f"found {len(trees)} trees in {text[:60]!r}, wanted one")
    return trees[0]


def read_trees(path: str | Path) -> list[Tree]:
    """The trees of a bracket file (Penn, CRAFT, ...), cleaned for a grammar over words.

    Comment lines (`#`) and outer wrappers without a label, or labelled ROOT or TOP, are taken off; traces
    (`-NONE-`) and what dominates nothing else are dropped; function tags and indices go (NP-SBJ-1: NP); a
    word written with spaces, (NN Xpd TTD), becomes Xpd_TTD. Trees without words are left out. Raises
    ValueError for unbalanced brackets.
    """
    text = Path(path).read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    cleaned = (clean(tree) for tree in _parse("\n".join(lines), str(path)))
    return [tree for tree in cleaned if tree is not None]


def _parse(text: str, where: str) -> Iterator[Tree]:
    stack: list[list] = []
    for token in text.replace("(", " ( ").replace(")", " ) ").split():
        if token == "(":
            stack.append([])
        elif token != ")":
            if not stack:
                raise ValueError(f"{where}: found {token!r} outside brackets, wanted '('")
            stack[-1].append(token)
        else:
            if not stack:
                raise ValueError(f"{where}: found ')' without its '('")
            node = _node(stack.pop())
            if stack:
                stack[-1].append(node)
            else:
                yield node
    if stack:
        raise ValueError(f"{where}: found the end of the text, wanted {len(stack)} more ')'")


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


def brackets(tree: Tree, *, ignore: Iterable[str] = ()) -> set[tuple[int, int]]:
    """The unlabelled spans that a score counts: of 2 words or more, not the whole sentence, each once.

    Words whose preterminal is in `ignore` (punctuation) are taken out before positions are counted, as
    evalb does; what then covers fewer than two words, or all of them, is no bracket.
    """
    ignored = set(ignore)
    preterminals = [node.label for node in tree.nodes() if node.is_preterminal]
    position = [0]
    for label in preterminals:
        position.append(position[-1] + (label not in ignored))
    spans = {(position[start], position[end]) for _, start, end in tree.spans()}
    whole = (0, position[-1])
    return {(start, end) for start, end in spans if end - start > 1 and (start, end) != whole}


PUNCTUATION = ("``", "''", ".", ":", ",")  # Penn tags that evalb's COLLINS.prm takes out


@dataclass(frozen=True)
class BracketScore:
    """Unlabelled agreement of parses with gold trees. Per cent; `sentence_f1` averages over sentences."""

    precision: float
    recall: float
    f1: float
    sentence_f1: float
    sentences: int
    brackets: int  # of the gold trees


def score_brackets(
    parses: Iterable[Tree], golds: Iterable[Tree], *, ignore: Iterable[str] = PUNCTUATION
) -> BracketScore:
    """Compare parses with gold trees over the same words; which words are punctuation, the gold says.

    Trivial spans (single words, the whole sentence) and repeated spans do not count. A sentence whose gold
    tree has no bracket scores 1 in `sentence_f1` if the parse has none either, as in Kim et al. 2019.
    Raises ValueError if a pair does not have the same number of words.
    """
    right = found = wanted = 0
    scores = []
    for parse, gold in zip(parses, golds, strict=True):
        tags = [node.label for node in gold.nodes() if node.is_preterminal]
        if len(parse.leaves()) != len(tags):
            raise ValueError(f"a parse has {len(parse.leaves())} words, its gold tree {len(tags)}")
        ours = brackets(retag(parse, tags), ignore=ignore)
        theirs = brackets(gold, ignore=ignore)
        right, found, wanted = right + len(ours & theirs), found + len(ours), wanted + len(theirs)
        scores.append(_f1(len(ours & theirs), len(ours), len(theirs)))
    return BracketScore(
        100 * right / max(found, 1),
        100 * right / max(wanted, 1),
        100 * _f1(right, found, wanted),
        100 * sum(scores) / max(len(scores), 1),
        len(scores),
        wanted,
    )


def _f1(right: int, found: int, wanted: int) -> float:
    return 2 * right / (found + wanted) if found + wanted else 1.0


def retag(tree: Tree, tags: list[str]) -> Tree:
    """The same tree with other preterminals, left to right."""
    rest = iter(tags)

    def change(node: Tree) -> Tree:
        if node.is_preterminal:
            return Tree(next(rest), node.children)
        return Tree(node.label, tuple(change(child) for child in node.children))

    return change(tree)


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
