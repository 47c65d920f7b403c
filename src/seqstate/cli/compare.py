"""Trains the ladder at equal budgets: matched parameters, the same data, the same tokens for every model.

  seqstate compare                                      default models, your Python's documentation, 5 minutes
  seqstate compare book.txt --budget 10m --seeds 3      with the spread over three seeds
  seqstate compare book.txt --lr 1e-3 3e-3 1e-2         each model at the best of three learning rates
  seqstate compare book.txt --ladder full --budget 30m  every state there is, each with the same training time
  seqstate compare book.txt --models "ngram(order=6)" "lstm + inner" "lstm + multi_hamming(groups=16)"
  seqstate compare book.txt --backend ray --cluster auto  on the machines of a Ray (or Dask) cluster

Widths are solved so that all models have about --parameters numbers (a width you give is kept). Records are
kept by configuration: run it again to go on after an interruption, or with more --models or --seeds to add
to what is there; nothing is trained twice.
"""

from __future__ import annotations

from pathlib import Path

from seqstate.cli import engine
from seqstate.cli import options as shared

USAGE = "[TEXT ...]"


def add_arguments(parser) -> None:
    parser.add_argument(
        "text", nargs="*", default=[], metavar="TEXT", help="files, folders, globs or -"
    )
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--models", nargs="+", metavar="MODEL", help='"STATE + ENERGY" ...')
    asked.add_argument(
        "--ladder", choices=("default", "full"), default="default", help="a set of models"
    )
    parser.add_argument(
        "--equal",
        choices=("tokens", "time"),
        help="what every model has the same of; default tokens, for the full ladder time",
    )
    parser.add_argument(
        "--parameters", type=int, default=500_000, help="numbers every model shall have"
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each model, for the spread")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument(
        "--out", metavar="DIR", help="folder of the comparison; default compare-NAME"
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    engine.add_engine_options(parser, jobs=0)
    shared.add_budget_options(parser)
    shared.add_text_options(parser)
    shared.add_training_options(parser, several_rates=True)


def run(options) -> int:
    check(options)
    with engine.pool_of(options, threads=options.threads) as pool:
        return compared(options, pool)


def compared(options, pool) -> int:
    """Settle the plan, train what is missing on the pool, and print."""
    import json
    import shlex
    import sys

    from seqstate import compare
    from seqstate.cli import display
    from seqstate.report import finding, render, table, table_json

    base = shared.run_config(options, state="", energy=None, corpus="", seed=options.seed)
    shared.with_budget(base, options, 1)
    with display.preparing() as preparing:
        corpus = shared.corpus_of(options, options.text, preparing)
    base = base.replace(corpus=corpus.id)
    folder = Path(options.out or f"compare-{corpus.name}")
    shared.tell_corpus(corpus, display.note)
    seeds = range(options.seed, options.seed + options.seeds)
    former = former_plan(folder, options, corpus.id)
    parameters = former["parameters_matched"] if former else options.parameters
    plan = compare.settle(
        options.models or compare.ladder(options.ladder),
        corpus,
        base,
        parameters=parameters,
        seeds=seeds,
        settled=former is not None,
    )
    show_match(plan, display.note)
    jobs = pool.slots if pool else 1
    plan.base = budgeted(plan, corpus, options, former, jobs, display.note)
    compare.save_plan(plan, folder, asked(options))
    command = shlex.join(["seqstate", *sys.argv[1:]])
    training = {"command": command, "pool": pool, "note": display.note}
    if len(options.lr) > 1:
        display.note(f"choosing each model's learning rate among {', '.join(map(str, options.lr))}")
        with display.comparing() as watch:
            compare.tune(plan, options.lr, corpus, folder, watch=watch, **training)
        compare.save_plan(plan, folder, asked(options))
    with display.comparing() as watch:
        training |= {"rates": plan.rates, "watch": watch}
        runs = compare.run_all(plan.configs(), corpus, folder / "runs", **training)
    page = render(runs, folder / "report.html")
    if options.json:
        print(json.dumps(table_json(runs), indent=1))
    else:
        display.console().print(table(runs))
        print(f"\n{finding(runs)}\n")
        show_samples(runs)
        print(f"report: {page}")
    return 0


def show_samples(runs) -> None:
    """The beginning of what each model writes, one line a model."""
    import shutil

    width, shown = shutil.get_terminal_size().columns, set()
    for run in runs:
        if run.label not in shown:
            shown.add(run.label)
            line = f"{run.label}: {' '.join(run.sample.split())}"
            print(line if len(line) <= width else line[: width - 3] + "...")


def check(options) -> None:
    for name in ("parameters", "seeds"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} {getattr(options, name)} is below 1")


DEFAULT_SECONDS = 240.0


def equal(options) -> str:
    """What is shared out equally: tokens; or time, where some rungs are a hundred times slower."""
    slow = options.ladder == "full" and not options.models
    return options.equal or ("time" if slow else "tokens")


def asked(options) -> dict:
    """What a folder settles once: with the same wishes, a later call keeps its widths and steps."""
    budget = options.budget or DEFAULT_SECONDS
    step = [options.batch_size, options.context, options.accumulate]
    return {
        "budget": budget,
        "equal": equal(options),
        "step": step,
        "lr": options.lr,
        "parameters": options.parameters,
    }


def former_plan(folder: Path, options, corpus: str) -> dict | None:
    """The plan of an earlier comparison in this folder, if it was asked for the same."""
    from seqstate import compare

    former, wanted = compare.load_plan(folder), {**asked(options), "corpus": corpus}
    if former is None or {name: former.get(name) for name in wanted} != wanted:
        return None
    return former


def show_match(plan, note) -> None:
    """How equal the models are, before time is spent on them."""
    sizes = [entry.parameters for entry in plan.entries if entry.parameters]
    for entry in plan.entries:
        if entry.parameters:
            off = entry.parameters / (sum(sizes) / len(sizes)) - 1
            note(f"  {entry.label}: {entry.parameters:,} parameters ({off:+.1%} of the mean)")
        else:
            note(f"  {entry.label}: counted, not matched")


def budgeted(plan, corpus, options, former: dict | None, jobs: int, note):
    """The base configuration with its steps: as asked, or so many that all fit into the time."""
    from seqstate import compare

    if any(getattr(options, name) is not None for name in ("steps", "tokens", "epochs")):
        return shared.with_budget(plan.base, options, len(corpus.train))
    if former and former["steps"]:
        note(f"{former['steps']:,} steps a model, as settled before in this folder")
        plan.rates = dict(former["tokens_per_second"])
        return plan.base.replace(steps=former["steps"])
    if former and former["seconds"]:
        note(f"{former['seconds']:.0f} s of training a model, as settled before in this folder")
        return plan.base.replace(steps=None, seconds=former["seconds"])
    if equal(options) == "time":
        seconds = compare.seconds_for(plan, asked(options)["budget"], jobs, len(options.lr))
        note(f"{seconds:.0f} s of training a model")
        return plan.base.replace(steps=None, seconds=round(seconds, 1))
    note("measuring the speed of each model to share out the time")
    steps = compare.steps_for(plan, corpus, asked(options)["budget"], jobs, len(options.lr))
    note(f"{steps:,} steps of {plan.base.tokens_per_step:,} tokens a model")
    return plan.base.replace(steps=steps)
