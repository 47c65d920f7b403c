"""Is a sentence's likelihood had by sampling trees, in place of the sum over all of them?

The essay (E11): a grammar's likelihood "is estimated by sampling trees". A grammar is counted from a
treebank; on held-out sentences the estimate of `seqstate parse --estimate` meets the exact inside sum.
Two proposals: the posterior with the weights of words flattened, which needs the chart of the exact sum
itself, and all bracketings alike, which needs no grammar. 1,000 trees a sentence are drawn in hundreds of
tens, so that the same trees give 100 estimates of 10, 10 of 100 and one of 1,000.

    error_N, stderr_N      mean distance from log P, and mean standard error as told, in nats
    percent_N, tenth_N     share of estimates within 1 % of log P, and within 0.1 nats
    covered_N              share within 2 standard errors, as told
    needed                 trees for a standard error of 0.1 nats, projected from the spread of the weights
    cost                   processor time of a tree over that of the exact sum
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqstate.core.claim import Claim, Trial, TrialRecord, Verdict
from seqstate.core.model import Parses
from seqstate.core.record import Reading, RunConfig
from seqstate.text.store import Corpus
from seqstate.treebank import FLATTENED, count, encoder, together

STATE = "table_pcfg"
WORDS = ((5, 10), (11, 20), (21, 30), (31, 40))
PROPOSALS = ("flattened", "uniform")
GROUP, SIZES = 10, (10, 100, 1000)  # trees a draw; trees an estimate
SENTENCES = 3  # of each length
PERCENT, TENTH, ERRORS = 0.01, 0.1, 2.0
WITHIN, COVERED = 0.95, 0.9
EFFORTS = {"full": (1000, WORDS, SENTENCES), "small": (100, WORDS[:1], 1)}


class SampledTrees(Claim):
    """See the file's docstring."""

    statement = (
        "The likelihood of a sentence under a grammar is had from 1,000 sampled trees, at every length up to "
        "40 words, with a standard error that can be believed."
    )
    criterion = (
        "On every treebank, from the flattened posterior or from uniform bracketings, for held-out sentences "
        "of 5 to 10, 11 to 20, 21 to 30 and 31 to 40 words (3 or more each): 95 % or more of the estimates "
        "from 1,000 trees are within 1 % of log P, and 90 % or more of those from 100 trees within 2 of the "
        "standard errors told. Grammar: table_pcfg counted from the training trees."
    )
    texts = 1
    tokenizer = "space"

    def runs(
        self, corpora: Sequence[str], effort: str, done: Mapping[str, TrialRecord]
    ) -> list[Trial]:
        samples, lengths, sentences = EFFORTS[effort]
        return [
            Trial(
                {
                    "corpus": corpus,
                    "state": STATE,
                    "proposal": proposal,
                    "shortest": shortest,
                    "longest": longest,
                    "sentence": sentence,
                    "samples": samples,
                    "seed": sentence,
                },
                seconds=samples * longest * (2e-3 if proposal == "flattened" else 2e-4),
            )
            for corpus in corpora
            for shortest, longest in lengths
            for proposal in PROPOSALS
            for sentence in range(sentences)
        ]

    def measure(
        self, trial: Trial, corpora: Mapping[str, Any], folder: Path, tell: Any = None
    ) -> list[Reading]:
        wanted, corpus = trial.settings, corpora[trial.settings["corpus"]]
        torch.set_num_threads(1)
        model, ids = _sentence(corpus, wanted)
        words, lengths = together([ids], model.closing.device)
        with torch.no_grad():
            began = time.process_time()
            exact = model.distribution(words, lengths)
            log_prob = exact.partition.double()
            summed = time.process_time() - began
            flat = wanted["proposal"] == "flattened"
            proposal = exact.flattened(FLATTENED) if flat else exact.uniform()
            generator = torch.Generator().manual_seed(wanted["seed"])
            began, means, effective = time.process_time(), [], []
            for draw in range(draws := wanted["samples"] // GROUP):
                made = exact.estimate(GROUP, proposal, generator)
                means.append((made.log_prob.double() - log_prob).exp().item())
                effective.append(made.effective.double().item())
                if tell:
                    tell((draw + 1) / draws)
            drawn = time.process_time() - began
        readings = [
            Reading("words", len(ids), "word"),
            Reading("log_prob", log_prob.item(), "nat"),
            Reading("cost", drawn / wanted["samples"] / summed, "1"),
        ]
        for size in SIZES:
            if size <= wanted["samples"]:
                found = pooled(np.array(means), np.array(effective), size // GROUP)
                readings += _readings(size, *found, abs(log_prob.item()))
        _, told = pooled(np.array(means), np.array(effective), draws)
        needed = wanted["samples"] * (told[0] / TENTH) ** 2
        return [*readings, Reading("needed", float(needed), "tree")]

    def verdict(self, records: Sequence[TrialRecord]) -> Verdict:
        usable = [one for one in records if one.readings and one["samples"] == max(SIZES)]
        texts = sorted({record["corpus"] for record in usable})
        rows = [
            row
            for text in texts
            for proposal in PROPOSALS
            for words in WORDS
            if (row := _row(text, proposal, words, usable))
        ]
        if not texts or len(rows) < len(texts) * len(PROPOSALS) * len(WORDS):
            return Verdict(None, "too few records: wanted every length and proposal", rows)
        if any(row["sentences"] < SENTENCES for row in rows):
            return Verdict(None, f"too few records: wanted {SENTENCES} sentences of each", rows)
        won, told = [], []
        for proposal in PROPOSALS:
            some = [row for row in rows if row["proposal"] == proposal]
            within, covered = (min(r[name] for r in some) for name in ("percent", "covered"))
            won += [proposal] if within >= WITHIN and covered >= COVERED else []
            worst, cost = (max(row[name] for row in some) for name in ("needed", "cost"))
            told.append(
                f"{proposal}, worst length: {within:.0%} within 1 %, {covered:.0%} within 2 standard errors, "
                f"{worst:,} trees or more for 0.1 nats, a tree takes {cost:.1f} times the exact sum"
            )
        return Verdict(bool(won), "; ".join(told), rows)


def pooled(means: NDArray, effective: NDArray, draws: int) -> tuple[NDArray, NDArray]:
    """Estimates from `draws` draws each, as many as there are: error and standard error, in nats.

    means: of GROUP weights over the truth, so 1 is exact; effective: (sum w)^2 / sum w^2 of each draw, which
    gives their sum of squares back.
    """
    means, effective = means.reshape(-1, draws), effective.reshape(-1, draws)
    size = draws * GROUP
    mean = means.mean(1)
    squares = ((GROUP * means) ** 2 / effective).sum(1)
    variance = np.clip(squares - size * mean**2, 0, None) / (size - 1)
    return np.log(mean), np.sqrt(variance / size) / mean


def _readings(size: int, error: NDArray, stderr: NDArray, nats: float) -> list[Reading]:
    far, count = np.abs(error), len(error)
    shares = {
        "percent": far <= PERCENT * nats,
        "tenth": far <= TENTH,
        "covered": far <= ERRORS * stderr,
    }
    return [
        Reading(f"error_{size}", float(far.mean()), "nat", count),
        Reading(f"stderr_{size}", float(stderr.mean()), "nat", count),
        *(Reading(f"{name}_{size}", float(s.mean()), "share", count) for name, s in shares.items()),
    ]


@functools.lru_cache(maxsize=2)
def _grammar(corpus: Corpus) -> tuple[Parses, list[list[int]]]:
    """The grammar of the training trees, and the held-out sentences as token ids, in their order."""
    if not corpus.treebank:
        raise ValueError(
            f"{corpus.name} is text; this claim wants a treebank (.ptb, .tree or .mrg files)"
        )
    trained, _ = count(RunConfig(state=STATE, energy=None, corpus=corpus.id), corpus)
    model, encode = trained.model, encoder(trained.tokenizer)
    assert isinstance(model, Parses)
    closing = set(model.closing.tolist())
    held = [
        [token for word in tree.leaves() for token in encode(str(word)) if token not in closing]
        for tree in corpus.trees("valid")
    ]
    return model, held


def _sentence(corpus: Corpus, wanted: Mapping[str, Any]) -> tuple[Parses, list[int]]:
    """One held-out sentence of the wanted length; they are spread evenly over those there are."""
    model, held = _grammar(corpus)
    shortest, longest = wanted["shortest"], wanted["longest"]
    some = [ids for ids in held if shortest <= len(ids) <= longest]
    if len(some) < SENTENCES:
        raise ValueError(
            f"{corpus.name} has {len(some)} held-out sentences of {shortest} to {longest} words; this claim "
            f"wants {SENTENCES}: give more trees"
        )
    return model, some[wanted["sentence"] * len(some) // SENTENCES]


def _row(
    text: str, proposal: str, words: tuple[int, int], records: Sequence[TrialRecord]
) -> dict[str, Any] | None:
    """The figures of one proposal at one length, over its sentences; None if there are none."""
    some = [
        one
        for one in records
        if (one["corpus"], one["proposal"]) == (text, proposal)
        and (one["shortest"], one["longest"]) == words
    ]
    if not some:
        return None
    row = {"corpus": text, "proposal": proposal, "words": f"{words[0]}-{words[1]}"}
    row |= {"sentences": len(some)}
    names = {"percent": "percent_1000", "tenth": "tenth_1000", "covered": "covered_100"}
    names |= {"error": "error_1000", "stderr": "stderr_1000", "cost": "cost"}
    row |= {name: float(np.mean([one.value(told) for one in some])) for name, told in names.items()}
    return {**row, "needed": math.ceil(np.median([one.value("needed") for one in some]))}
