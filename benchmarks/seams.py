"""Rung x option x law, measured, and the same laws over the models of other libraries.

    python benchmarks/seams.py [--only WORD] [--write docs/seams.md]

The numbers are those the tests assert on (tests/laws/measures.py), over the grid they run over
(tests/laws/grid.py). Other libraries are called as `seam_peers.py` says; needs beside the dev extra
`pip install --no-deps -c constraints.txt minGRU-pytorch xlstm`.
"""

from __future__ import annotations

import argparse
import functools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import marked
from laws.grid import BATCH, TIME, VOCAB, awake, build_language_model, model_specs
from laws.measures import LAWS, Reader, SeqstateReader
from seam_peers import PEERS, NotOffered, versions

from seqstate.core.spec import parse


def our_reader(state: str, energy: str | None) -> Reader:
    torch.manual_seed(3)
    model = build_language_model(state, energy)
    return SeqstateReader(model, torch.randint(VOCAB, (BATCH, TIME)))


def peer_reader(build: Callable[[], Reader]) -> Reader:
    torch.manual_seed(3)
    reader = build()
    awake(reader.module)
    return reader


def peer_in_float64(build: Callable[[], Reader]) -> Reader:
    reader = peer_reader(build)
    reader.module.double()
    return reader


def cell(build: Callable[[], Reader], law: str, failures: dict[str, int]) -> str:
    """What was measured, in bold if the law is broken."""
    function, bound = LAWS[law]
    reader = build()
    try:
        found = function(reader)
    except NotOffered:
        return "-"
    except Exception as error:  # whatever another library raises is what is reported
        message = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"
        return f"**error** [{failures.setdefault(message, len(failures) + 1)}]"
    found = len(found) if isinstance(found, list) else found
    text = f"{found:,d}" if isinstance(found, int) else "0" if found == 0 else f"{found:.0e}"
    return text if found <= bound else f"**{text}**"  # NaN is not <=


def our_rows(only: str, failures: dict[str, int]) -> tuple[list[list[str]], list[list[str]]]:
    """States each followed by their options; then what else can give the words, over an lstm."""
    states, outputs = [], []
    for state, energy in sorted(model_specs(), key=lambda pair: parse(pair[0]).name):
        if only not in f"{state} {energy}":
            continue
        build = functools.partial(our_reader, state, energy)
        label = f"`{state}`" if energy in (None, "inner") else f"`{energy}`"
        row = [label, *[cell(build, law, failures) for law in LAWS]]
        (states if energy in (None, "inner") else outputs).append(row)
        print(*row, flush=True)
    return states, outputs


def our_tables(only: str) -> tuple[str, str, str]:
    """One sentence, the table of states, the table of outputs."""
    failures: dict[str, int] = {}
    states, outputs = our_rows(only, failures)
    cells = [text for row in states + outputs for text in row[1:]]
    broken = sum(text.startswith("**") for text in cells)
    built = f"{len(states)} states and {len(outputs)} outputs"
    summary = f"{built}, {len(cells):,d} measurements, {broken} broken."
    return summary, _table("rung", states, failures), _table("output", outputs, failures)


def peer_cell(build: Callable[[], Reader], law: str, failures: dict[str, int]) -> str:
    """As `cell`; what float64 mends is rounding, and not in bold."""
    text = cell(lambda: peer_reader(build), law, failures)
    if not text.startswith("**") or "error" in text:
        return text
    precise = cell(lambda: peer_in_float64(build), law, failures)
    if not precise.startswith("**"):
        return f"{text.strip('*')} (float64: {precise})"
    return text if text == precise else f"{text[:-2]} (float64: {precise.strip('*')})**"


def peer_table(only: str) -> str:
    failures, rows = {}, []
    for library, label, build in PEERS:
        if only not in f"{library} {label}":
            continue
        cells = [peer_cell(build, law, failures) for law in LAWS]
        rows.append([f"{library}: {label}", *cells])
        print(*rows[-1], flush=True)
    return _table("model", rows, failures)


def _table(first: str, rows: list[list[str]], failures: dict[str, int]) -> str:
    text = marked.table([first, *LAWS], rows, "l" + "r" * len(LAWS))
    notes = [f"[{number}] `{message}`" for message, number in failures.items()]
    return "\n\n".join([text, "<br>\n".join(notes)] if notes else [text])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--write", type=Path, help="the document whose tables to replace")
    given = parser.parse_args()
    if given.only and given.write:
        parser.error("--write wants all rows; leave out --only")
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    summary, states, outputs = our_tables(given.only)
    peers = peer_table(given.only)
    print(f"\n{summary}\n{versions()}")
    if given.write:
        marked.replace(given.write, "states", f"{summary}\n\n{states}")
        marked.replace(given.write, "outputs", outputs)
        marked.replace(given.write, "peers", f"{versions()}.\n\n{peers}")


if __name__ == "__main__":
    main()
