"""Each claim says what would show it before anything is run; the verdict is read off small records.

  seqstate claim                                            all claims
  seqstate claim large_vocabularies --out spam              run it (or go on), then the verdict
  seqstate claim high_rank_targets book.txt --out ranks     on your text; several texts: one argument each
  seqstate claim high_rank_targets --out ranks --report-only    the verdict on the records there are
  seqstate claim NAME --backend ray --cluster auto          on the machines of a Ray (or Dask) cluster
  seqstate claim --markdown docs/records/claims             a table of all verdicts, from DIR/NAME/*.json

Stop it at any time: the same command goes on, and nothing is run twice. `--effort small` tries the machinery
in a minute or so; its records rarely decide.
"""

from __future__ import annotations

from pathlib import Path

from seqstate.cli import engine
from seqstate.cli import options as shared

USAGE = "[NAME] [TEXT ...]"


def add_arguments(parser) -> None:
    parser.add_argument(
        "name", nargs="?", default="", metavar="NAME", help="a claim; none: list all"
    )
    parser.add_argument(
        "text", nargs="*", default=[], metavar="TEXT", help="a corpus each: a file, folder or glob"
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the records; default claim-NAME")
    parser.add_argument(
        "--effort", default="full", choices=["small", "full"], help="how much to run"
    )
    parser.add_argument(
        "--markdown", metavar="DIR", help="table of the verdicts in DIR/NAME folders"
    )
    parser.add_argument("--report-only", action="store_true", help="run nothing")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    engine.add_engine_options(parser, jobs=None)
    group = parser.add_argument_group("text")
    group.add_argument(
        "--tokenizer", help="byte, char, word or bpe; default: what the claim asks for"
    )
    group.add_argument("--vocab-size", type=int, help="number of tokens, for word and bpe")
    group.add_argument("--field", help="field that holds the text, for .jsonl and .parquet")
    group.add_argument("--encoding", default="utf-8", help="of text files")
    group.add_argument("--errors", default="strict", help="bytes that are no text")


def run(options) -> int:
    import json

    from seqstate.cli import display

    if options.markdown:
        print(markdown(Path(options.markdown)))
        return 0
    if not options.name:
        _list(options.json)
        return 0
    claim = _claim(options.name)
    folder = Path(options.out or f"claim-{options.name}")
    display.note(f"claim: {claim.statement}\ncriterion: {claim.criterion}")
    if options.report_only:
        records = _recorded(folder)
    else:
        with engine.pool_of(options) as pool:
            records = _carried_out(claim, folder, options, pool)
    verdict = claim.verdict(records)
    if options.json:
        data = {"claim": options.name, "statement": claim.statement, "criterion": claim.criterion}
        data |= {"holds": verdict.holds, "reason": verdict.reason, "table": verdict.table}
        print(json.dumps({**data, "records": len(records)}, indent=1))
        return 0
    if verdict.table:
        display.console().print(table(verdict.table))
    print(f"{options.name} {verdict.word}: {verdict.reason}")
    return 0


def _claim(name: str):
    from seqstate.core import registry

    return registry.build("claims", name)


def _list(as_json: bool) -> None:
    import json

    from seqstate.core import registry

    claims = {name: registry.find("claims", name) for name in registry.names("claims")}
    if as_json:
        told = {
            name: {"statement": part.statement, "criterion": part.criterion, "texts": part.texts}
            for name, part in claims.items()
        }
        print(json.dumps(told, indent=1))
        return
    for name, part in claims.items():
        wants = f"   ({part.texts} text{'s' * (part.texts > 1)} or more)" if part.texts else ""
        print(f"{name}{wants}\n  claim: {part.statement}\n  criterion: {part.criterion}\n")


def _recorded(folder: Path):
    from seqstate.campaign import load_records

    if not folder.is_dir():
        raise ValueError(
            f"{folder} is no folder of records; run the claim first, or name it by --out"
        )
    return list(load_records(folder).values())


def _carried_out(claim, folder: Path, options, pool):
    import shlex
    import sys

    from seqstate import campaign
    from seqstate.cli import display

    corpora = _corpora(claim, options)
    wanted = campaign.missing(claim, list(corpora), options.effort, campaign.load_records(folder))
    jobs = pool.slots if pool else 1
    about = display.seconds(sum(trial.seconds for trial in wanted) / jobs)
    display.note(
        f"{len(wanted)} trials to run in this stage, about {about}; records go to {folder}"
    )
    with display.campaigning() as watch:
        return campaign.carry_out(
            claim,
            corpora,
            folder,
            effort=options.effort,
            command=shlex.join(["seqstate", *sys.argv[1:]]),
            pool=pool,
            watch=watch,
            note=display.note,
        )


def _corpora(claim, options) -> dict:
    from seqstate.cli import display
    from seqstate.text.store import prepare

    if len(options.text) < claim.texts:
        raise ValueError(
            f"this claim wants {claim.texts} text(s) or more, found {len(options.text)}; "
            "name one file, folder or glob for each"
        )
    if claim.texts == 0 and options.text:
        raise ValueError(f"this claim makes its own data, but {options.text[0]!r} was given")
    corpora = {}
    for text in options.text:
        with display.preparing() as preparing:
            corpus = prepare(
                [text],
                tokenizer=options.tokenizer or claim.tokenizer,
                vocab_size=options.vocab_size,
                progress=preparing,
                **shared.reading(options),
            )
        shared.tell_corpus(corpus, display.note)
        corpora[corpus.id] = corpus
    return corpora


def markdown(folder: Path) -> str:
    """A row a claim: what is claimed, what would show it, the verdict on the records in `folder/NAME`."""
    from seqstate.core import registry

    lines = ["| claim | criterion, written before the runs | verdict | figures | command |"]
    lines.append("|---|---|---|---|---|")
    for name in registry.names("claims"):
        if (folder / name).is_dir():
            claim, records = _claim(name), _recorded(folder / name)
            verdict = claim.verdict(records)
            command = max(records, key=lambda record: record.finished).command if records else ""
            cells = [f"**{name}**: {claim.statement}", claim.criterion, f"**{verdict.word}**"]
            cells += [f"{verdict.reason} ({len(records)} records)", f"`{command}`"]
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    if len(lines) == 2:
        raise ValueError(
            f"{folder} has no folder named like a claim; give the parent of NAME/*.json"
        )
    return "\n".join(lines)


def table(rows):
    """Rows of plain values as a table for the terminal."""
    from rich import box
    from rich.table import Table

    names = list(dict.fromkeys(name for row in rows for name in row))
    shown = Table(box=box.SIMPLE)
    for name in names:
        numeric = any(isinstance(row.get(name), int | float) for row in rows)
        shown.add_column(name.replace("_", " "), justify="right" if numeric else "left")
    for row in rows:
        shown.add_row(*(cell(row.get(name), name) for name in names))
    return shown


def cell(value, name: str = "") -> str:
    """One figure: shares of a comparison as signed per cent, p-values with two digits, nothing for None."""
    if value is None:
        return ""
    if "against" in name:
        return f"{value:+.1%}"
    if isinstance(value, float):
        return f"{value:.2g}" if name.startswith("p") and value < 1 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
