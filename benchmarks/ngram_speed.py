"""CPU seconds to estimate a word n-gram model, against KenLM's lmplz on the same text, paired.

    python benchmarks/ngram_speed.py TEXT... [--lmplz PATH] [--order 5] [--words 1000000] [--repeats 5]

Words are split at white space, one line is one document. `estimate` starts from token ids (as training
does), `with text` adds splitting and numbering the words, `with ARPA` adds writing the file, which is all of
what lmplz does. CPU time is user + system of all threads; each repeat runs every job once, and medians are
printed. Then what reading costs: nll of the text's first 100,000 tokens, and generation's step.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from seqstate.states.ngram import NGram


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text", nargs="+", type=Path)
    parser.add_argument("--lmplz", type=Path)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument(
        "--words", type=int, default=1_000_000, help="cut the text after so many words"
    )
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    plain = folder / "text"
    plain.write_text(joined(options.text, options.words), encoding="utf-8")
    seconds: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        start = time.process_time()
        words, ids = numbered(plain)
        split = time.process_time()
        model = NGram(vocab_size=len(words), order=options.order)
        model.count(ids, 0)
        counted = time.process_time()
        model.to_arpa(folder / "ours.arpa", words)
        written = time.process_time()
        took = {
            "estimate": counted - split,
            "with text": counted - start,
            "with ARPA": written - start,
        }
        if options.lmplz:
            took["lmplz"] = lmplz_seconds(
                options.lmplz, options.order, plain, folder / "theirs.arpa"
            )
        for name, value in took.items():
            seconds.setdefault(name, []).append(value)
    ngrams = sum(len(keys) for keys in model.tables().keys.values()) + len(words)
    size = sum(buffer.nbytes for buffer in model.buffers())
    print(f"{len(ids):,} tokens, {len(words):,} words, order {options.order}: {ngrams:,} n-grams")
    print(f"tables {size / 2**20:.0f} MB, peak memory {peak_megabytes():.0f} MB")
    for name, values in seconds.items():
        print(f"{name:10s} {statistics.median(values):6.2f} CPU s   {spread(values)}")
    read(model, torch.from_numpy(ids[:100_001])[None])


def read(model: NGram, text: torch.Tensor) -> None:
    start = time.process_time()
    loss, _ = model.nll(text[:, :-1], text[:, 1:])
    print(f"nll of {loss.numel():,} tokens {time.process_time() - start:.2f} CPU s")
    state = None
    start = time.process_time()
    for t in range(500):
        _, state = model.next_logits(text[:, t : t + 1], state)
    step = (time.process_time() - start) / 500
    print(f"one step with the full distribution {step * 1e6:.0f} us")


def joined(paths: list[Path], limit: int) -> str:
    """Lines of all files until `limit` words."""
    lines, left = [], limit
    for path in paths:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            words = [word for word in line.split() if word not in ("<s>", "</s>", "<unk>")][:left]
            if words:
                lines.append(" ".join(words))
                left -= len(words)
    return "\n".join(lines) + "\n"


def numbered(path: Path) -> tuple[list[str], np.ndarray]:
    """The words of a text and its ids; id 0 opens each line."""
    ids: dict[str, int] = {"<s>": 0}
    stream: list[int] = []
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        stream.append(0)
        stream.extend([ids.setdefault(word, len(ids)) for word in line.split(" ")])
    return list(ids), np.array(stream)


def lmplz_seconds(lmplz: Path, order: int, text: Path, arpa: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [lmplz, "-o", str(order), "-S", "1G", "--discount_fallback", "--text", text]
    subprocess.run([*command, "--arpa", arpa], check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def spread(values: list[float]) -> str:
    return f"({min(values):.2f} to {max(values):.2f}, {len(values)} runs)"


def peak_megabytes() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    main()
