"""The best tree of each sentence, or exact draws from all of them; no gold trees are needed.

seqstate parse model "the cells were cultured ."
seqstate parse model "the cells were cultured ." --samples 3 --seed 1
seqstate parse model "the cells were cultured ." --estimate 1000    log P from sampled trees, beside the sum
seqstate parse model - --brackets < sentences.txt                   one tree a line, in Penn brackets

How good the parses are on gold trees: seqstate evaluate model trees.ptb.
"""

from __future__ import annotations

USAGE = "MODEL SENTENCE [SENTENCE ...]"


def add_arguments(parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a trained grammar's folder")
    parser.add_argument(
        "sentence",
        nargs="+",
        metavar="SENTENCE",
        help="words; - reads standard input, one sentence a line",
    )
    parser.add_argument(
        "--samples", type=int, default=0, help="draw so many trees; 0: the best one"
    )
    parser.add_argument(
        "--estimate",
        type=int,
        default=0,
        metavar="N",
        help="log P(sentence) from N sampled trees too",
    )
    parser.add_argument("--brackets", action="store_true", help="print one bracketed tree a line")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same trees")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options) -> int:
    import json
    import sys

    import torch

    from seqstate.cli import options as shared
    from seqstate.treebank import parsed, sentences_in

    for name in ("samples", "estimate"):
        if (value := getattr(options, name)) < 0:
            raise ValueError(f"--{name} {value} is below 0")
    if options.estimate == 1:
        raise ValueError("--estimate 1 has no standard error; draw 2 trees or more")
    torch.set_num_threads(options.threads)
    trained = shared.opened(options.model)
    texts = []
    for text in options.sentence:
        texts += filter(str.strip, sys.stdin.read().splitlines()) if text == "-" else [text]
    read = [(text, sentences_in(trained, text)) for text in texts]
    drawing = {name: getattr(options, name) for name in ("samples", "estimate", "seed")}
    records = []
    for text, sentences in read:
        for ids, shown in sentences:
            found = parsed(trained.model, ids, shown, **drawing)
            if options.json:
                records.append(_record(text, found))
            else:
                _show(found, options)
    if options.json:
        print(json.dumps(records, ensure_ascii=False, indent=1))
    return 0


def _record(text: str, found) -> dict:
    trees = [{"tree": str(tree), "log_prob": log} for tree, log in found.trees]
    record = {"text": text, "trees": trees, "log_prob": found.log_prob}
    if found.estimate:
        names = ("log_prob", "stderr", "effective_samples")
        record["estimate"] = dict(zip(names, found.estimate, strict=True))
    return record


def _show(found, options) -> None:
    import math

    from seqstate.text.trees import draw

    for tree, log in found.trees:
        if options.brackets:
            print(tree)
            continue
        print(draw(tree))
        kind = "drawn" if options.samples else "best"
        print(f"{kind} tree, P(tree | words) = {math.exp(log):.3g}\n")
    if options.brackets and not found.estimate:
        return
    print(f"log P(words), all trees summed    {found.log_prob:10.3f}")
    if found.estimate:
        log, error, effective = found.estimate
        print(
            f"from {options.estimate:,} sampled trees          {log:10.3f} +- {error:.3f}"
            f"   (worth {effective:,.0f} independent ones)"
        )
    print()
