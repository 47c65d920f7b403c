"""A treebank's part in a run: a grammar counted from its trees, and parses scored against them.

A leaf is the tokens of its word: one where the tokeniser cuts at spaces, as it does unless told otherwise.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from seqstate.core import registry
from seqstate.core.model import LearnsTrees, Parses
from seqstate.core.record import Reading, RunConfig
from seqstate.core.spec import parse
from seqstate.material import validate
from seqstate.text.brackets import (
    BASELINES,
    BracketScore,
    Spans,
    over_words,
    score_spans,
    spans_of,
)
from seqstate.text.sources import documents, find
from seqstate.text.tokenizer import TextCodec
from seqstate.text.trees import Tree, unbinary
from seqstate.train import Outcome
from seqstate.trained import ModelConfig, Trained

if TYPE_CHECKING:
    from seqstate.text.store import Corpus

Progress = Callable[[str, float | None], None]
TOGETHER = 512  # words parsed at once, padding counted
FLATTENED = 0.7  # how the proposal differs from the distribution it estimates
PARSED = 1000  # trees that are parsed after a training, at most


def counts_trees(config: RunConfig, corpus: Corpus) -> bool:
    """Whether a run counts trees in place of a training."""
    return corpus.treebank and issubclass(
        registry.find("states", parse(config.state).name), LearnsTrees
    )


def count(config: RunConfig, corpus: Corpus) -> tuple[Trained, Outcome]:
    """The grammar of the training trees. Raises ValueError for options that the trees decide."""
    cpu, wall = time.process_time(), time.monotonic()
    spec, tokenizer = parse(config.state), corpus.tokenizer
    part = registry.find("states", spec.name)
    assert issubclass(part, LearnsTrees)
    registry.check_options(part, spec)
    if decided := [name for name in part.decided if name in spec.options]:
        raise ValueError(
            f"the trees of {corpus.name} decide {' and '.join(decided)} of {spec.name}; leave them out"
        )
    encode = encoder(tokenizer)
    model = part.from_trees(
        [over_tokens(tree, encode) for tree in corpus.trees("train")],
        vocab_size=tokenizer.vocab_size,
        boundary=tokenizer.boundary,
        **spec.options,
    )
    described = ModelConfig.of(config, tokenizer, treebank=True)
    described = replace(described, state=str(spec.replace(**model.symbols())))
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    nats = validate(model.eval(), corpus.valid)
    point = {"step": 1, "tokens": len(corpus.train), "cpu_seconds": cpu, "wall_seconds": wall}
    outcome = Outcome([{**point, "valid_nats": nats}], 1, cpu, wall)
    return Trained(model, tokenizer, described), outcome


Encode = Callable[[str], tuple[int, ...]]


def encoder(tokenizer: TextCodec) -> Encode:
    """A word to its tokens, as it is read inside a sentence; every word is looked up once."""
    return lru_cache(maxsize=None)(lambda word: tuple(tokenizer.encode(f" {word}").tolist()))


def over_tokens(tree: Tree, encode: Encode) -> Tree:
    """The same tree over token ids; a word of several tokens becomes a node over as many parts."""
    children: list[Tree | str | int] = []
    for child in tree.children:
        if isinstance(child, Tree):
            children.append(over_tokens(child, encode))
        elif len(ids := encode(str(child))) == 1:
            children.append(ids[0])
        else:
            children += [Tree(f"{tree.label}~", (token,)) for token in ids]
    return Tree(tree.label, tuple(children))


def readings(
    trained: Trained,
    golds: Sequence[Tree],
    most: int = PARSED,
    progress: Progress = lambda stage, share: None,
) -> list[Reading]:
    """Unlabelled F1 of the best trees and of what needs no grammar; none for a model without trees.

    At most `most` trees, evenly spread. In per cent; see text.brackets for what counts.
    """
    if not isinstance(trained.model, Parses) or not golds:
        return []
    size = min(most, len(golds))
    chosen = [golds[place * len(golds) // size] for place in range(size)]
    scores = {"parse": score_spans(best_spans(trained, chosen, progress), chosen)}
    for name, guess in BASELINES.items():
        generator = random.Random(0)
        scores[name] = score_spans([guess(len(g.leaves()), generator) for g in chosen], chosen)
    return [reading for name, score in scores.items() for reading in _readings(name, score)]


def _readings(name: str, score: BracketScore) -> list[Reading]:
    count = score.sentences
    exact = score.exact / 100
    spread = 100 * math.sqrt(exact * (1 - exact) / count)
    return [
        Reading(f"{name}_f1", score.sentence_f1, "%", count, score.sentence_f1_stderr),
        Reading(f"{name}_f1_corpus", score.f1, "%", count, score.f1_stderr),
        Reading(f"{name}_exact", score.exact, "%", count, spread),
    ]


def best_spans(trained: Trained, golds: Sequence[Tree], progress: Progress) -> list[Spans]:
    """The spans of the best tree over the words of each gold tree; a closing token is no word of a grammar,
    and its place is in no span of two words.
    """
    model, encode = trained.model, encoder(trained.tokenizer)
    assert isinstance(model, Parses)
    closing = set(model.closing.tolist())
    tokens: list[list[int]] = []
    words: list[list[int]] = []
    for gold in golds:
        pairs = [
            (token, place)
            for place, word in enumerate(gold.leaves())
            for token in encode(str(word))
            if token not in closing
        ]
        tokens.append([token for token, _ in pairs])
        words.append([place for _, place in pairs])
    trees = best_trees(model, tokens, progress)
    return [
        over_words(spans_of(tree), word) if tree else set()
        for tree, word in zip(trees, words, strict=True)
    ]


@torch.no_grad()
def best_trees(
    model: Parses, sentences: Sequence[Sequence[int]], progress: Progress
) -> list[Tree | None]:
    """The best tree of each sentence of token ids; None for one without words."""
    found: list[Tree | None] = [None] * len(sentences)
    done = 0
    order = sorted((i for i, s in enumerate(sentences) if s), key=lambda i: len(sentences[i]))
    for some in _batches(order, [len(sentence) for sentence in sentences]):
        words, lengths = together([sentences[i] for i in some], model.closing.device)
        for i, tree in zip(some, model.distribution(words, lengths).argmax, strict=True):
            found[i] = tree
        done += len(some)
        progress("parsing", done / len(order))
    return found


def together(
    sentences: Sequence[Sequence[int]], device: torch.device
) -> tuple[Int[Tensor, "B N"], Int[Tensor, " B"]]:
    """Sentences as rows, filled up with their own first words, and their lengths."""
    lengths = [len(sentence) for sentence in sentences]
    rows = [[*s, *s[:1] * (max(lengths) - len(s))] for s in map(list, sentences)]
    return torch.tensor(rows, device=device), torch.tensor(lengths, device=device)


def _batches(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * lengths[index] > TOGETHER:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def sentences_in(trained: Trained, text: str) -> list[tuple[list[int], list[str]]]:
    """The sentences of a text as token ids, and how each token is shown.

    Words stand apart where the tokeniser cuts at spaces; a token that closes a sentence is in none of them.
    Raises ValueError for a text without words and for a model without trees.
    """
    model, tokenizer = trained.model, trained.tokenizer
    if not isinstance(model, Parses):
        raise ValueError("this model draws no trees; a grammar does (pcfg, table_pcfg, ...)")
    if tokenizer.kind == "space":
        encode = encoder(tokenizer)
        pairs = [(token, word) for word in text.split() for token in encode(word)]
    else:
        pairs = [(t, tokenizer.token_text(t).strip()) for t in tokenizer.encode(text).tolist()]
    closing, found = set(model.closing.tolist()), [[]]
    for token, shown in pairs:
        if token in closing:
            found.append([])
        else:
            found[-1].append((token, shown or "_"))
    sentences = [([t for t, _ in some], [shown for _, shown in some]) for some in found if some]
    if not sentences:
        raise ValueError(f"there is no word in {text!r}")
    return sentences


@dataclass(frozen=True)
class Parsed:
    """trees: with their log-probabilities given the words, in nats. log_prob: of the words, all trees summed.

    estimate: the same from sampled trees, its standard error, and how many independent ones they are worth.
    """

    trees: list[tuple[Tree, float]]
    log_prob: float
    estimate: tuple[float, float, float] | None = None


@torch.no_grad()
def parsed(
    model: Parses,
    ids: Sequence[int],
    shown: Sequence[str],
    *,
    samples: int = 0,
    estimate: int = 0,
    seed: int = 0,
) -> Parsed:
    """The best tree of a sentence, or `samples` exact draws; `estimate`: log P from so many others, too."""
    generator = torch.Generator().manual_seed(seed)
    words, lengths = together([ids], model.closing.device)
    found = model.distribution(words, lengths)
    drawn = found.sample(samples, generator) if samples else [found.argmax]
    trees = [(row[0], found.log_prob(row).item()) for row in drawn]
    leaves = iter(shown * len(trees))
    trees = [(unbinary(tree.map_words(lambda _: next(leaves))), log) for tree, log in trees]
    guess = None
    if estimate:
        made = found.estimate(estimate, found.flattened(FLATTENED), generator)
        error = (made.log_stderr - made.log_prob).exp().item()
        guess = (made.log_prob.item(), error, made.effective.item())
    return Parsed(trees, found.partition.item(), guess)


def evaluated(
    trained: Trained, paths: Sequence[str], how: dict[str, Any], progress: Progress
) -> list[Reading]:
    """The readings of all trees of some files; none where they hold text or the model draws no trees."""
    if not isinstance(trained.model, Parses) or find(paths)[0].format != "trees":
        return []
    golds = [piece.tree for piece in documents(paths, **how) if piece.tree is not None]
    return readings(trained, golds, len(golds), progress)
