"""TEXT is files, folders, globs or - (standard input); without TEXT, your Python's own documentation.

  seqstate train book.txt --state "lstm(width=256)" --energy "multi_hamming(groups=16)" --out model
  seqstate train corpus/ --state "attention(width=128, layers=4)" --budget 10m --out model
  seqstate train notes.jsonl --field body --state "ngram(order=5)" --out model
  seqstate train pairs.tsv --state "seq2seq(width=256)" --tokenizer char --out translator
  seqstate train trees.ptb --state table_pcfg --out grammar                    counts the trees
  seqstate train book.txt --state attention --objective masked --out reader    to probe

  torchrun --standalone --nproc_per_node 2 -m seqstate train book.txt --out model    two processes, one model

Stopped (Ctrl-C, a crash, a power cut)? The same command with --resume goes on and ends with the same weights.
"""

from __future__ import annotations

from pathlib import Path

from seqstate.cli import options as shared

USAGE = "[TEXT ...]"


def add_arguments(parser) -> None:
    parser.add_argument(
        "text", nargs="*", default=[], metavar="TEXT", help="files, folders, globs or -"
    )
    parser.add_argument(
        "--state", default="lstm", help='how the past is remembered, e.g. "lstm(width=256)"'
    )
    parser.add_argument("--energy", help='how words are scored, e.g. "multi_hamming(groups=16)"')
    parser.add_argument(
        "--objective",
        default="next",
        choices=["next", "masked"],
        help="predict the next word, or masked words from both sides",
    )
    parser.add_argument(
        "--out", default="model", metavar="DIR", help="folder to leave the model in"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the unfinished run in --out"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and dropout")
    parser.add_argument("--json", action="store_true", help="print the record's numbers as JSON")
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=20.0, help="training time between checkpoints"
    )
    parser.add_argument(
        "--parallel",
        default="ddp",
        choices=["ddp", "fsdp"],
        help="under torchrun: each process holds the whole model, or stores a share of it",
    )
    parser.add_argument(
        "--tensorboard", metavar="DIR", help="write curves for TensorBoard into this folder too"
    )
    shared.add_budget_options(parser)
    shared.add_text_options(parser)
    shared.add_training_options(parser)


def run(options) -> int:
    from seqstate.ranks import joined

    with joined(options.parallel, Path(options.out)) as ranks:
        return _train(options, ranks)


def _train(options, ranks) -> int:
    from seqstate.cli import display, tensorboard
    from seqstate.core.record import Run
    from seqstate.match import parameters_of
    from seqstate.model import energy_for
    from seqstate.run import execute

    folder = Path(options.out)
    with ranks.together():
        energy = energy_for(options.state, options.energy)
        config = shared.run_config(
            options, state=options.state, energy=energy, corpus="", seed=options.seed
        )
        shared.with_budget(config, options, 1)  # refuses bad budgets before any work
        ranks.check(config, options.text)
        if options.tensorboard:
            tensorboard.check()
        guard(folder, resume=options.resume, overwrite=options.overwrite)
        with display.preparing() as preparing, ranks.in_turn():
            corpus = shared.corpus_of(options, options.text, preparing)
        config = shared.with_budget(config.replace(corpus=corpus.id), options, len(corpus.train))
        # refuses unknown parts and options before the folder is touched
        shape = corpus.tokenizer.vocab_size, config.tie, config.head_width
        parameters_of(config.state, energy, *shape)
    ranks.alike(config.key)
    if options.objective == "masked":
        return _masked(config, corpus, folder, options, ranks)
    finished = folder / "run.json"
    if options.resume and finished.exists():
        result = Run.load(finished)
        if result.config != config:
            raise ValueError(
                f"{folder} holds a finished run with other settings; give another --out"
            )
        display.note(f"{folder} is already finished")
    else:
        if options.overwrite and ranks.first:
            clear(folder)
        shared.tell_corpus(corpus, display.note)
        tell_ranks(config, options, ranks)
        curves = options.tensorboard if ranks.first else None
        with (
            display.training(options.state) as shown,
            tensorboard.logging_to(curves, shown) as watch,
        ):
            result = execute(
                config,
                corpus,
                folder,
                resume=options.resume,
                watch=watch,
                checkpoint_seconds=options.checkpoint_seconds,
                ranks=ranks,
            )
    if ranks.first:
        show(result, folder, as_json=options.json)
    return 0


def _masked(config, corpus, folder: Path, options, ranks) -> int:
    import json

    from seqstate.cli import display
    from seqstate.masked import RECORD, check, learn

    if options.resume and (folder / RECORD).exists():
        raise ValueError(f"{folder} is already finished; name another --out, or add --overwrite")
    check(config, corpus)
    if options.overwrite and ranks.first:
        clear(folder)
    shared.tell_corpus(corpus, display.note)
    tell_ranks(config, options, ranks)
    with display.training(f"{options.state}, masked") as watch:
        _, readings = learn(
            config,
            corpus,
            folder=folder,
            resume=options.resume,
            watch=watch,
            checkpoint_seconds=options.checkpoint_seconds,
            ranks=ranks,
        )
    if not ranks.first:
        return 0
    if options.json:
        found = {reading.name: reading.value for reading in readings}
        print(json.dumps({**found, "corpus": corpus.id}, indent=1))
        return 0
    nats, _ = readings
    print(f"{config.state} + {config.energy}, masked words of {corpus.id}, seed {config.seed}")
    print(
        f"  {nats.value:.4f} +- {nats.stderr:.4f} pseudo-nats per token on {nats.count:,} held-out tokens"
    )
    print("  each from both sides: no likelihood, not to be set beside bits per byte")
    print(f'saved in {folder}; in Python: seqstate.load("{folder}").hidden("...")')
    return 0


def tell_ranks(config, options, ranks) -> None:
    from seqstate.cli import display

    if ranks.world > 1:
        rows = config.batch_size // ranks.world
        display.note(
            f"{ranks.world} ranks ({options.parallel}): each reads {rows} of {config.batch_size} rows"
        )


OURS = {
    "masked.json",
    "run.json",
    "checkpoint.safetensors",
    "checkpoint.shards",
    "metrics.jsonl",
    "config.json",
    "model.safetensors",
    "sketch.txt",
    "tokenizer.json",
}


def guard(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise ValueError rather than write over something that was not asked to be replaced."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file; name a folder")
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if overwrite or resume or not found:
        return
    if found & {"run.json", "masked.json"}:
        raise ValueError(f"{folder} holds a finished run; name another --out, or add --overwrite")
    if found & OURS:
        raise ValueError(f"{folder} holds an unfinished run; add --resume to go on, or --overwrite")
    raise ValueError(f"--out {folder} is not empty; name a new folder")


def clear(folder: Path) -> None:
    """Remove a former run's files, and nothing else."""
    from seqstate import checkpoint

    checkpoint.remove(folder)
    for name in OURS - {checkpoint.SHARDS}:
        (folder / name).unlink(missing_ok=True)


def show(run, folder: Path, *, as_json: bool) -> None:
    import json

    from seqstate.cli import display

    if as_json:
        print(
            json.dumps(
                {r.name: r.value for r in run.readings} | {"corpus": run.corpus["id"]}, indent=1
            )
        )
        return
    bits, perplexity = run.reading("bits_per_byte"), run.reading("perplexity")
    pairs = [reading for reading in run.readings if reading.name == "exact_match"]
    print(f"{run.label} on {run.corpus['id']}, seed {run.config.seed}")
    print(
        f"  {bits.value:.4f} +- {bits.stderr:.4f} bits per byte on {bits.count:,} held-out tokens"
        + (" of targets" if pairs else "")
    )
    for found in pairs:
        print(
            f"  {found.value:.1%} +- {found.stderr:.1%} of {found.count:,} targets written exactly"
        )
    print(f"  perplexity {perplexity.value:.2f} per token ({run.corpus['tokenizer']})")
    display.parses(run.readings)
    for open_ in (one for one in run.readings if one.name == "not_converged" and one.value):
        print(f"  {open_.value:.1%} of the latents do not converge")
    numbers, carried = run.reading("parameters").value, run.reading("state_bytes").value
    print(f"  {numbers:,.0f} parameters, {carried:,.0f} bytes of state")
    asked = "--source" if pairs else "--prompt"
    print(f'saved in {folder}; try: seqstate generate {folder} {asked} "..."')
