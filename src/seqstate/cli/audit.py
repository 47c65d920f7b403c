"""What the output layer can and cannot say: the rank of its log-probabilities, declared and measured,
words that can never be the likeliest, patterns it can reach, gradient it loses.

  seqstate audit model                       on the default corpus
  seqstate audit model book.txt --record     ... and keep the readings for the report
  seqstate audit hf:./gpt2 book.txt          a Hugging Face causal language model in a folder

The details of each instrument: seqstate ls logit_rank (or any of: seqstate ls instruments).
"""

from __future__ import annotations

from pathlib import Path

from seqstate.cli import options as shared

USAGE = "MODEL [TEXT ...]"
ROWS, CONTEXT = 16, 256  # of text the instruments see


def add_arguments(parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a trained model's folder, or hf:FOLDER")
    parser.add_argument(
        "text", nargs="*", default=[], metavar="TEXT", help="files, folders, globs or -"
    )
    parser.add_argument(
        "--instruments",
        nargs="+",
        default=[],
        metavar="SPEC",
        help="default: all of the output layer",
    )
    parser.add_argument(
        "--record", action="store_true", help="add the readings to the model's run.json"
    )
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--json", action="store_true", help="print JSON")
    shared.add_text_options(parser, split=False)


def run(options) -> int:
    import json

    import torch

    from seqstate.bottleneck import audit, audit_table
    from seqstate.cli import display

    torch.set_num_threads(options.threads)
    with display.preparing() as preparing:
        preparing("reading the text")
        model, tokens = opened(options)
        preparing("auditing the output layer")
        readings = audit(model, tokens, instruments=options.instruments)
    if options.record:
        record(Path(options.model), readings)
    rows = audit_table(readings)
    if options.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    display.console().print(table(rows))
    return 0


def opened(options):
    """The model and token ids [16, 256] (fewer if the text is short) to audit it on."""
    import numpy as np
    import torch

    if options.model.startswith(shared.BORROWED):
        model, ids = _transformers(options)
    else:
        from seqstate.trained import Trained

        trained = Trained.load(options.model)
        model, ids = trained.model, _ids(trained.tokenizer, options)
    ids = np.asarray(ids).astype(np.int64)
    rows = max(1, min(ROWS, len(ids) // CONTEXT))
    width = min(CONTEXT, len(ids) // rows)
    starts = np.arange(rows) * (len(ids) - width) // max(1, rows - 1)
    return model, torch.from_numpy(ids[starts[:, None] + np.arange(width)])


def _ids(tokenizer, options):
    from seqstate.text.store import encode_text

    if options.text:
        return encode_text(tokenizer, options.text, **shared.reading(options))[0]
    import numpy as np

    from seqstate.text.default import default_documents

    return np.concatenate(list(tokenizer.encode_pieces(default_documents())))


def _transformers(options):
    from seqstate.hub.borrowed import read_folder

    if not options.text:
        raise ValueError("a Hugging Face model is audited on a text; give one or more files")
    from seqstate.text.sources import documents

    model, tokenizer = read_folder(options.model.removeprefix(shared.BORROWED))
    text = "".join(piece.text for piece in documents(options.text, **shared.reading(options)))
    return model, tokenizer(text)["input_ids"]


def record(folder: Path, readings) -> None:
    """Put the readings into the model's run.json, in place of former ones of the same names."""
    from seqstate.core.record import Run

    if not (folder / "run.json").exists():
        raise ValueError(f"{folder} has no run.json to record in; leave out --record")
    run = Run.load(folder / "run.json")
    names = {reading.name for reading in readings}
    run.readings = [one for one in run.readings if one.name not in names] + list(readings)
    run.save(folder)


def table(rows):
    from rich.table import Table

    shown = Table("reading", "value", "", "unit", "n", "note", box=None, pad_edge=False)
    for column in (1, 4):
        shown.columns[column].justify = "right"
    for row in rows:
        spread = "" if row["stderr"] is None else f"+- {row['stderr']:.2g}"
        unit = "" if row["unit"] == "1" else row["unit"]
        shown.add_row(
            row["name"], f"{row['value']:.5g}", spread, unit, f"{row['count']:,}", str(row["note"])
        )
    return shown
