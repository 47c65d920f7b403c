"""Characters of tinyshakespeare, the usual 90/10 split: the best single rung, and the fusion of rungs.

    python benchmarks/tinyshakespeare.py input.txt --out shakespeare        (half an hour of one core)
    python benchmarks/tinyshakespeare.py input.txt --out shakespeare --steps 200      (to try it)

The last tenth is read once, at the end. What is chosen (the best checkpoint, the mixing weights) is chosen on
the last 40,000 characters of the play before the one that the split cuts in two (Measure for Measure); like
the test part they go on with a play whose beginning was read, and nothing is trained on them. Run it again
after an interruption: finished models are kept, the unfinished one goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from seqstate.cli import main

HELD_OUT = 40_000  # characters
CUT_PLAY = "SLY:\nI'll pheeze you"  # how The Taming of the Shrew begins
LSTM = "lstm(width=320, layers=2, dropout=0.35)"
LSTM_OPTIONS = ["--dropout", "0.2", "--batch-size", "32", "--context", "64", "--lr", "5e-3"]
LSTM_OPTIONS += ["--precision", "bfloat16"]  # 1.7 times the steps where the processor multiplies it
COUNTED = {
    "unbounded": "unbounded_ngram",
    "ngram": "ngram(order=5)",
    "cache": "cache(window=3000, match=8, decay=0.9995)",
}


def split(text: str, folder: Path) -> dict[str, Path]:
    """Write early.txt and late.txt (to train on), held-out.txt and test.txt."""
    cut, play = int(0.9 * len(text)), text.find(CUT_PLAY)
    if not HELD_OUT < play < cut:
        raise ValueError("this is not tinyshakespeare: The Taming of the Shrew is not where it was")
    parts = {
        "early": text[: play - HELD_OUT],
        "held-out": text[play - HELD_OUT : play],
        "late": text[play:cut],
        "test": text[cut:],
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.txt" for name in parts}
    for name, part in parts.items():
        paths[name].write_text(part, encoding="utf-8")
    return paths


def call(*words: object) -> str:
    """Run a seqstate command, shown first; what it prints."""
    words = [str(word) for word in words]
    print(
        "$ seqstate", " ".join(f'"{word}"' if " " in word else word for word in words), flush=True
    )
    sys.argv = ["seqstate", *words]
    with redirect_stdout(StringIO()) as told:
        code = main(words)
    if code:
        sys.exit(code)
    return told.getvalue()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="tinyshakespeare's input.txt")
    parser.add_argument("--out", type=Path, default=Path("shakespeare"))
    parser.add_argument("--steps", type=int, default=10_000, help="of the LSTM")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    options = arguments()
    os.environ.setdefault("SEQSTATE_CACHE", str(options.out / "cache"))
    paths = split(options.text.read_text(encoding="utf-8"), options.out)
    train = ["train", paths["early"], paths["late"], "--valid", paths["held-out"]]
    train += ["--tokenizer", "char", "--resume"]
    for name, state in COUNTED.items():
        call(*train, "--state", state, "--out", options.out / name)
    budget = ["--steps", options.steps, "--min-lr", "0.01", "--seed", options.seed]
    call(*train, "--state", LSTM, *LSTM_OPTIONS, *budget, "--out", options.out / "lstm")
    members = [options.out / name for name in ("lstm", *COUNTED)]
    on = ["--on", paths["held-out"], "--test", paths["test"], "--overwrite", "--json"]
    found = {}
    for weights, mix in (("global", "linear"), ("context", "linear"), ("context", "geometric")):
        out = options.out / f"fused-{weights}-{mix}"
        kind = ["--weights", weights, "--mix", mix, "--out", out]
        found[f"{weights} {mix}"] = json.loads(call("fuse", *members, *kind, *on))
    seconds = {}
    for name in ("lstm", *COUNTED):
        record = json.loads((options.out / name / "run.json").read_text())
        readings = {one["name"]: one["value"] for one in record["readings"]}
        seconds[name] = round(readings["cpu_seconds"], 1)
    result = {"cpu_seconds": seconds, "fused": found}
    (options.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
