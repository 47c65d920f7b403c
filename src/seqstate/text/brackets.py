"""Unlabelled brackets of parses against gold trees, and what needs no grammar to guess them.

As evalb counts: spans of two words or more, not the whole sentence, each once; words whose gold tag is
punctuation are taken out before positions are counted. Two averages are usual: F1 of all brackets of a corpus
together, and the mean F1 of its sentences (grammar induction reports the latter).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from seqstate.text.trees import Tree

PUNCTUATION = ("``", "''", ".", ":", ",")  # Penn tags that evalb's COLLINS.prm takes out
Spans = set[tuple[int, int]]  # [start, end) of words


@dataclass(frozen=True)
class BracketScore:
    """Unlabelled agreement of parses with gold trees, in per cent, and standard errors over sentences.

    f1: of all brackets together. sentence_f1: mean over sentences. exact: sentences with every bracket right.
    """

    precision: float
    recall: float
    f1: float
    f1_stderr: float
    sentence_f1: float
    sentence_f1_stderr: float
    exact: float
    sentences: int
    brackets: int  # of the gold trees


def spans_of(tree: Tree) -> Spans:
    """All spans of a tree, single words included."""
    return {(start, end) for _, start, end in tree.spans()}


def tags_of(tree: Tree) -> list[str]:
    """The preterminals, left to right."""
    return [node.label for node in tree.nodes() if node.is_preterminal]


def brackets(tree: Tree, *, ignore: Iterable[str] = ()) -> Spans:
    """The spans that a score counts, words tagged with any of `ignore` taken out."""
    return counted(spans_of(tree), tags_of(tree), ignore)


def counted(spans: Spans, tags: Sequence[str], ignore: Iterable[str] = PUNCTUATION) -> Spans:
    """What is left of spans over words with these tags once trivial ones are gone."""
    ignored, position = set(ignore), [0]
    for tag in tags:
        position.append(position[-1] + (tag not in ignored))
    moved = {(position[start], position[end]) for start, end in spans}
    return {(s, e) for s, e in moved if e - s > 1 and (s, e) != (0, position[-1])}


def over_words(spans: Spans, word: Sequence[int]) -> Spans:
    """Spans of tokens as spans of words; token i is of word `word[i]`. What parts a word is left out."""
    last = len(word)
    return {
        (word[start], word[end - 1] + 1)
        for start, end in spans
        if (start == 0 or word[start - 1] != word[start])
        and (end == last or word[end] != word[end - 1])
    }


def score_brackets(
    parses: Iterable[Tree], golds: Iterable[Tree], *, ignore: Iterable[str] = PUNCTUATION
) -> BracketScore:
    """Compare parses with gold trees over the same words; which words are punctuation, the gold says.

    Raises ValueError if a pair does not have the same number of words.
    """
    pairs = list(zip(parses, golds, strict=True))
    for parse, gold in pairs:
        if (found := len(parse.leaves())) != (wanted := len(gold.leaves())):
            raise ValueError(f"a parse has {found} words, its gold tree {wanted}")
    golds = [gold for _, gold in pairs]
    return score_spans([spans_of(parse) for parse, _ in pairs], golds, ignore=ignore)


def score_spans(
    found: Sequence[Spans], golds: Sequence[Tree], *, ignore: Iterable[str] = PUNCTUATION
) -> BracketScore:
    """Compare spans over the words of gold trees with theirs.

    A sentence whose gold tree has no bracket scores 1 if the parse has none either (Kim et al. 2019).
    """
    ignored = tuple(ignore)
    right, ours, theirs = [], [], []
    for spans, gold in zip(found, golds, strict=True):
        tags = tags_of(gold)
        one, other = counted(spans, tags, ignored), counted(spans_of(gold), tags, ignored)
        right.append(len(one & other))
        ours.append(len(one))
        theirs.append(len(other))
    of_sentence = [_f1(*row) for row in zip(right, ours, theirs, strict=True)]
    hit, made, wanted, count = sum(right), sum(ours), sum(theirs), len(right)
    mean, whole = sum(of_sentence) / max(count, 1), _f1(hit, made, wanted)
    # a ratio of sums: its error is that of the residuals 2 right - F1 (ours + theirs)
    left = [2 * r - whole * (o + t) for r, o, t in zip(right, ours, theirs, strict=True)]
    return BracketScore(
        precision=100 * hit / max(made, 1),
        recall=100 * hit / max(wanted, 1),
        f1=100 * whole,
        f1_stderr=100 * math.sqrt(sum(x * x for x in left)) / max(made + wanted, 1),
        sentence_f1=100 * mean,
        sentence_f1_stderr=100
        * math.sqrt(sum((f - mean) ** 2 for f in of_sentence))
        / max(count, 1),
        exact=100 * sum(f == 1.0 for f in of_sentence) / max(count, 1),
        sentences=count,
        brackets=wanted,
    )


def _f1(right: int, found: int, wanted: int) -> float:
    return 2 * right / (found + wanted) if found + wanted else 1.0


def right_branching(length: int) -> Spans:
    """Every span that reaches the last word."""
    return {(start, length) for start in range(length)}


def left_branching(length: int) -> Spans:
    """Every span that begins with the first word."""
    return {(0, end) for end in range(1, length + 1)}


def random_bracketing(length: int, generator: random.Random) -> Spans:
    """A binary tree drawn so that all of them are equally likely."""
    trees = [1]  # the number of binary trees over k + 1 words
    for k in range(length):
        trees.append(trees[-1] * 2 * (2 * k + 1) // (k + 2))
    found, open_spans = set(), [(0, length)]
    while open_spans:
        start, end = open_spans.pop()
        found.add((start, end))
        if (size := end - start) > 1:
            at = generator.randrange(trees[size - 1])
            split = 1
            while (ways := trees[split - 1] * trees[size - split - 1]) <= at:
                at, split = at - ways, split + 1
            open_spans += [(start, start + split), (start + split, end)]
    return found


BASELINES = {
    "right_branching": lambda length, generator: right_branching(length),
    "left_branching": lambda length, generator: left_branching(length),
    "random_trees": random_bracketing,
}
