"""A word n-gram model of a text whose counting does not fit in memory: counted in memory, and on disk.

    python benchmarks/ngram_on_disk.py TEXT... [--order 5] [--memory-gb 1] [--limit-gb 3]

Each count is a process of its own that the system refuses more than --limit-gb of its own memory (Linux).
On disk DuckDB is given --memory-gb of it; the rest holds the program and the finished model, which --prune
makes small. A count that memory does not suffice for is reported as such. Where both finish, their tables
are compared.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from seqstate.states.ngram import COUNTING_BYTES, NGram
from seqstate.text.store import open_corpus, prepare

IN_MEMORY = 1e6  # GB: never too large


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text", nargs="+", type=Path)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--prune", type=int, nargs="+", default=[0, 0, 1])
    parser.add_argument("--vocab-size", type=int, default=65_536)
    parser.add_argument("--memory-gb", type=float, default=1.0)
    parser.add_argument("--limit-gb", type=float, default=3.0)
    parser.add_argument("--count", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count:
        count(options)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    corpus = prepare(
        options.text,
        tokenizer="word",
        vocab_size=options.vocab_size,
        valid_share=0.01,
        errors="replace",
    )
    tokens = len(corpus.train)
    print(
        f"{corpus.id}: {corpus.train_bytes / 1e6:,.0f} MB, {tokens:,} tokens, order {options.order}"
    )
    print(f"counted in memory: at most {tokens * options.order * COUNTING_BYTES / 1e9:.1f} GB")
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for name, memory in (("on disk", options.memory_gb), ("in memory", IN_MEMORY)):
            out = Path(folder) / name
            given = [sys.executable, __file__, corpus.folder, "--count", str(memory), "--out", out]
            given += ["--order", str(options.order), "--limit-gb", str(options.limit_gb)]
            told = subprocess.run(
                [*given, "--prune", *map(str, options.prune)], capture_output=True, text=True
            )
            if told.returncode:
                reason = (told.stderr.strip().splitlines() or [f"killed ({told.returncode})"])[-1]
                print(f"{name:9}  {options.limit_gb} GB do not suffice: {reason}")
                continue
            print(
                f"{name:9}  " + "  ".join(f"{k} {v:,}" for k, v in json.loads(told.stdout).items())
            )
            made.append(load_file(out))
    if len(made) == 2:
        for key, value in made[0].items():
            torch.testing.assert_close(made[1][key], value, rtol=1e-6, atol=1e-7)
        print("the tables are equal (1e-6)")


def count(options: argparse.Namespace) -> None:
    """One count, within the limit; what it took, as JSON."""
    torch.set_num_threads(1)
    corpus = open_corpus(options.text[0], "text")
    model = NGram(
        vocab_size=corpus.tokenizer.vocab_size,
        order=options.order,
        prune=options.prune,
        memory_gb=options.count,
    )
    limit = int(options.limit_gb * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    cpu, wall = time.process_time(), time.monotonic()
    model.count(corpus.train, corpus.tokenizer.boundary)
    took = {
        "CPU s": round(time.process_time() - cpu, 1),
        "wall s": round(time.monotonic() - wall, 1),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "model MB": sum(buffer.nbytes for buffer in model.buffers()) // 2**20,
        "n-grams": sum(len(keys) for keys in model.tables().keys.values()),
    }
    save_file(dict(model.named_buffers()), options.out)
    print(json.dumps(took))


if __name__ == "__main__":
    main()
