"""What `audit` and `inspect` share: the model, the stretches of text they read, the table, the record."""

from __future__ import annotations

from pathlib import Path

from seqstate.cli import options as shared

ROWS, CONTEXT = 16, 256  # of text the instruments see


def add_arguments(parser, instruments: str) -> None:
    """The options of both; `instruments`: which are run unless some are named."""
    parser.add_argument("model", metavar="MODEL", help="a trained model's folder, or hf:FOLDER")
    parser.add_argument(
        "text", nargs="*", default=[], metavar="TEXT", help="files, folders, globs or -"
    )
    parser.add_argument(
        "--instruments", nargs="+", default=[], metavar="SPEC", help=f"default: {instruments}"
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="add the readings to the model's run.json, for seqstate report",
    )
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--json", action="store_true", help="print JSON")
    shared.add_text_options(parser, split=False)


def opened(options):
    """The model (of hf:FOLDER transformers' own) and a Batch of the text: 16 rows of 256 tokens or fewer."""
    refuse_record(options)
    if options.model.startswith(shared.BORROWED):
        return _transformers(options)
    from seqstate.trained import Trained

    trained = Trained.load(options.model)
    if trained.separator is not None:
        return trained.model, _pairs(trained, options)
    return trained.model, _windows(_ids(trained, options), CONTEXT)


def _ids(trained, options):
    if options.text:
        return shared.encoded(trained, options)[0]
    import numpy as np

    from seqstate.text.default import default_documents

    return np.concatenate(list(trained.tokenizer.encode_pieces(default_documents())))


def _transformers(options):
    shared.needs_transformers()
    from seqstate.hub.borrowed import longest, quiet, read_folder
    from seqstate.text.default import default_documents
    from seqstate.text.sources import documents

    if options.pairs:
        raise ValueError(f"{options.model} reads text, not pairs; leave --pairs out")
    quiet()
    model, tokenizer = read_folder(options.model.removeprefix(shared.BORROWED))
    reading = shared.reading(options)
    pieces = documents(options.text, **reading) if options.text else default_documents()
    text = "".join(piece.text for piece in pieces)
    return model, _windows(tokenizer(text, verbose=False)["input_ids"], longest(model) or CONTEXT)


def _windows(ids, limit: int):
    """Rows of the text, evenly spaced, each of CONTEXT tokens or of as many as the model can read."""
    import numpy as np
    import torch

    from seqstate.bottleneck import as_batch

    ids, most = np.asarray(ids).astype(np.int64), min(CONTEXT, limit)
    rows = max(1, min(ROWS, len(ids) // most))
    width = min(most, len(ids) // rows)
    starts = np.arange(rows) * (len(ids) - width) // max(1, rows - 1)
    return as_batch(torch.from_numpy(ids[starts[:, None] + np.arange(width)]))


def _pairs(trained, options):
    """Whole pairs of one length, the commonest: no padding is read. Only the targets are asked for."""
    import numpy as np
    import torch

    from seqstate.core.model import IGNORE
    from seqstate.core.task import Batch
    from seqstate.text.pair_batches import Pairs

    if not options.text:
        raise ValueError(
            f"{options.model} was trained on pairs, so it is measured on some; give TEXT"
        )
    ids = np.asarray(shared.encoded(trained, options)[0])
    pairs = Pairs.find(ids, trained.tokenizer.boundary, trained.separator)
    alike = np.flatnonzero(pairs.lengths == np.bincount(pairs.lengths).argmax())
    count = max(1, min(len(alike), ROWS * CONTEXT // int(pairs.lengths[alike[0]])))
    rows = pairs.rows(alike[np.arange(count) * len(alike) // count], unasked=IGNORE)
    return Batch(*map(torch.from_numpy, rows))


def refuse_record(options) -> None:
    """Raise ValueError for a --record that has no record to go into, before anything is measured."""
    if not options.record:
        return
    if options.model.startswith(shared.BORROWED):
        raise ValueError("a Hugging Face model has no run.json to record in; leave out --record")
    if Path(options.model).is_dir() and not (Path(options.model) / "run.json").exists():
        raise ValueError(f"{options.model} has no run.json to record in; leave out --record")


def record(folder: str, readings) -> None:
    """Put the readings into the model's run.json, in place of former ones of the same names.

    What a training itself records (the bytes of its state, over its own context) stays as it is.
    """
    from seqstate.core.record import Run
    from seqstate.report.summary import STANDARD

    run = Run.load(Path(folder) / "run.json")
    new = {reading.name: reading for reading in readings if reading.name not in STANDARD}
    run.readings = [one for one in run.readings if one.name not in new] + list(new.values())
    run.save(Path(folder))


def table(rows):
    """Rows of bottleneck.audit_table; the first column is the instrument, if they say it."""
    from rich.table import Table

    named = bool(rows) and "instrument" in rows[0]
    heads = ["instrument"] * named + ["reading", "value", "", "unit", "n", "note"]
    shown = Table(*heads, box=None, pad_edge=False)
    for column, head in zip(shown.columns, heads, strict=True):
        column.justify = "right" if head in ("value", "n") else "left"
        column.no_wrap = head not in ("unit", "note")
    last = ""
    for row in rows:
        spread = "" if row["stderr"] is None else f"+- {row['stderr']:.2g}"
        unit = "" if row["unit"] == "1" else row["unit"]
        cells = [row["name"], f"{row['value']:.5g}", spread, unit, f"{row['count']:,}"]
        again = row.get("instrument") == last
        last = row.get("instrument", "")
        shown.add_row(*["" if again else last] * named, *cells, str(row["note"]))
    return shown
