"""A grammar counted from a treebank: parses against gold trees, perplexity, and sampled likelihoods.

    python benchmarks/pcfg_treebank.py ARTICLE.tree ... [--held-out -1] [--longest 200] [--min-count 5]

Counts all files but one and tests on that one (Penn-style brackets; CRAFT articles, for example). Words
seen once in training are <unk>. Unlabelled F1 in evalb's manner: no single words, no whole sentence, each
span once, gold punctuation taken out of the positions; parses are made by the grammar alone, without gold
tags. The perplexity is per word and per end of sentence; a modified Kneser-Ney trigram reads the same tokens
beside it.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch

from seqstate.model import build_model
from seqstate.states._grammar.dense import Dense
from seqstate.states._grammar.distribution import TreeDistribution
from seqstate.states.table_pcfg import (
    TablePCFG,
    Tree,
    read_trees,
    score_brackets,
    unbinary,
    word_ids,
)


def right_branching(tree: Tree) -> Tree:
    """The baseline that needs no grammar."""
    *before, last = (Tree("X", (word,)) for word in tree.leaves())
    for word in reversed(before):
        last = Tree("X", (word, last))
    return last


def perplexity(model: torch.nn.Module, sentences: list[list[int]]) -> tuple[float, int]:
    """Per token, ends of sentences included; and how many tokens that is."""
    nats = count = 0
    with torch.no_grad():
        for words in sentences:
            stream = torch.tensor([[0, *words, 0]])
            nats += model.nll(stream[:, :-1], stream[:, 1:])[0].double().sum().item()
            count += len(words) + 1
    return math.exp(nats / count), count


def report_parses(model: TablePCFG, encoded: list[Tree], gold: list[Tree]) -> None:
    began = time.process_time()
    parses = [unbinary(model.parse(tree.leaves())) for tree in encoded]
    seconds = time.process_time() - began
    baseline = [right_branching(tree) for tree in gold]
    short = [i for i, tree in enumerate(gold) if len(tree.leaves()) <= 40]
    for name, trees, chosen in (
        ("best tree", parses, range(len(gold))),
        ("best tree, 40 words or fewer", parses, short),
        ("right-branching", baseline, range(len(gold))),
    ):
        score = score_brackets([trees[i] for i in chosen], [gold[i] for i in chosen])
        print(
            f"  {name:30} F1 {score.f1:5.1f}  precision {score.precision:5.1f}  recall {score.recall:5.1f}"
            f"  mean over sentences {score.sentence_f1:5.1f}  ({score.sentences} sentences,"
            f" {score.brackets} gold brackets)"
        )
    print(f"  parsing: {seconds:.0f} CPU seconds")


def report_estimates(model: TablePCFG, encoded: list[Tree], samples: int) -> None:
    """log P of a short and a longer sentence from sampled bracketings, beside the exact sum."""
    print(
        f"log P(sentence) from {samples} sampled bracketings: estimate +- error (effective samples)"
    )
    generator = torch.Generator().manual_seed(0)
    for length in (6, 12, 24):
        words = next(tree.leaves() for tree in encoded if len(tree.leaves()) == length)
        with torch.no_grad():
            exact = model.distribution(torch.tensor([words]))
            flat = TreeDistribution(0.7 * exact.terms, Dense(exact.rules.table**0.7), exact.roots)
            line = f"  {length:2} words, exact {exact.partition.item():9.3f}"
            for name, proposal in (("uniform", None), ("flattened", flat), ("posterior", exact)):
                found = exact.estimate(samples, proposal, generator)
                error = (found.log_stderr - found.log_prob).exp().item()
                estimate = f"{found.log_prob.item():9.3f} +- {error:.3f}"
                line += f"   {name} {estimate} ({found.effective.item():.0f})"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument(
        "--held-out", type=int, default=-1, help="which of the sorted files to test on"
    )
    parser.add_argument(
        "--longest", type=int, default=200, help="words; longer test sentences are left out"
    )
    parser.add_argument("--min-count", type=int, default=5, help="of chain labels such as S+VP")
    parser.add_argument("--samples", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    files = sorted(options.files)
    held_out = files.pop(options.held_out)
    train = [tree for file in files for tree in read_trees(file)]
    gold = [tree for tree in read_trees(held_out) if len(tree.leaves()) <= options.longest]
    ids = word_ids(train)
    encode = [
        [tree.map_words(lambda word: ids.get(word, 1)) for tree in trees] for trees in (train, gold)
    ]
    began = time.process_time()
    model = TablePCFG.from_trees(
        encode[0], vocab_size=len(ids), min_count=options.min_count, max_length=options.longest
    )
    print(
        f"{len(train)} trees of {len(files)} files counted in {time.process_time() - began:.1f} CPU seconds:"
    )
    print(f"  {model.memory} nonterminals, {model.preterminals} preterminals, {len(ids)} words")
    sentences = [tree.leaves() for tree in encode[1]]
    unknown = sum(words.count(1) for words in sentences) / sum(map(len, sentences))
    print(f"{held_out.name}: {len(gold)} sentences, {100 * unknown:.1f} % of the words <unk>")
    value, count = perplexity(model, sentences)
    print(f"  perplexity {value:.1f} per token ({count} tokens, ends of sentences included)")
    trigram = build_model("ngram(order=3)", vocab_size=len(ids))
    stream = [0, *(token for tree in encode[0] for token in (*tree.leaves(), 0))]
    trigram.count(np.array(stream), boundary=0)
    print(f"  perplexity {perplexity(trigram, sentences)[0]:.1f} of a Kneser-Ney trigram")
    report_parses(model, encode[1], gold)
    report_estimates(model, encode[1], options.samples)


if __name__ == "__main__":
    main()
