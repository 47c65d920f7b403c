"""Any length of text; the state is carried, and what each token was predicted from is said.

seqstate evaluate model test.txt
seqstate evaluate model test.txt --json
seqstate evaluate translator test.tsv    of a model trained on pairs: nats per target token, exact matches
seqstate evaluate grammar trees.ptb      of a grammar, on Penn brackets: unlabelled F1 of its best trees, too
seqstate evaluate hf:./gpt2 test.txt     a Hugging Face causal language model in a folder
"""

from __future__ import annotations

from seqstate.cli import options as shared

USAGE = "MODEL TEXT [TEXT ...]"


def add_arguments(parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a trained model's folder, or hf:FOLDER")
    parser.add_argument("text", nargs="+", metavar="TEXT", help="files, folders, globs or -")
    parser.add_argument(
        "--rows", type=int, help="stretches read in parallel; 1: one state throughout"
    )
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--json", action="store_true", help="print JSON")
    shared.add_text_options(parser, split=False)


def run(options) -> int:
    import json

    import torch

    from seqstate import treebank
    from seqstate.cli import display
    from seqstate.masked import is_masked

    if options.rows is not None and options.rows < 1:
        raise ValueError(f"--rows {options.rows} is below 1")
    torch.set_num_threads(options.threads)
    if is_masked(options.model):
        return _masked(options)
    trained = shared.opened(options.model)
    how = {"rows": options.rows} if trained.separator is None else {}
    ids, text_bytes = shared.encoded(trained, options)
    with display.preparing() as preparing:
        result = trained.evaluate_ids(
            ids, text_bytes, progress=lambda share: preparing("evaluating", share), **how
        )
    with display.preparing() as preparing:
        parses = treebank.evaluated(trained, options.text, shared.reading(options), preparing)
    by_name = {reading.name: reading for reading in [*result.readings(), *parses]}
    if options.json:
        found = {name: reading.value for name, reading in by_name.items()}
        extra = {
            "tokens": len(result.nats),
            "bytes": result.text_bytes,
            "stderr": result.stderr,
            "context": result.how,
            "corpus": trained.config.corpus,
        }
        print(json.dumps({**found, **extra}, indent=1))
        return 0
    for name in ("nats_per_token", "bits_per_byte", "perplexity", "exact_match", "not_converged"):
        if name not in by_name:
            continue
        reading = by_name[name]
        unit = "" if reading.unit == "1" else f" {reading.unit}"
        error = "" if reading.stderr is None else f" +- {reading.stderr:.4f}"
        print(f"{name:<15} {reading.value:.4f}{error}{unit}")
    print(f"{'tokens':<15} {len(result.nats):,} ({result.text_bytes:,} bytes)")
    print(f"{'context':<15} {result.how}")
    print(f"{'trained on':<15} {trained.config.corpus or 'not recorded'}")
    display.parses(parses)
    return 0


def _masked(options) -> int:
    import json

    from seqstate.cli import display
    from seqstate.masked import Masked
    from seqstate.text.store import encode_text

    if options.pairs:
        raise ValueError(f"{options.model} was trained on text, not on pairs; leave --pairs out")
    if options.rows:
        raise ValueError(f"{options.model} reads windows, not stretches; leave --rows out")
    trained = Masked.load(options.model)
    ids, _ = encode_text(trained.tokenizer, options.text, **shared.reading(options))
    with display.preparing() as preparing:
        readings = trained.evaluate_ids(ids, progress=lambda share: preparing("evaluating", share))
    if options.json:
        found = {reading.name: reading.value for reading in readings}
        extra = {"tokens": readings[0].count, "stderr": readings[0].stderr}
        print(json.dumps({**found, **extra, "corpus": trained.config.corpus}, indent=1))
        return 0
    for reading in readings:
        unit = "" if reading.unit == "1" else f" {reading.unit}"
        print(f"{reading.name:<22} {reading.value:.4f} +- {reading.stderr:.4f}{unit}")
    print(
        f"{'tokens':<22} {readings[0].count:,} of {len(ids) - 1:,}, evenly spread, each masked alone"
    )
    print(
        f"{'meaning':<22} each token from both sides: no likelihood of the text, not to be compared with"
    )
    print(f"{'':<22} nats or bits of models that read from left to right")
    print(f"{'trained on':<22} {trained.config.corpus or 'not recorded'}")
    return 0
