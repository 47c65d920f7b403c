"""Mixing weights are learnt on text that no model has read in training; such text is refused.

  seqstate fuse ngram lstm cache --out fused          on the held-out part of the corpus all were trained on
  seqstate fuse ngram lstm --on more.txt --out fused  on other text
  seqstate generate fused --prompt "Once"

Without --test, the first two thirds of the held-out text teach the weights and the last third, which nothing
has seen, measures the result. Held-out text that also chose a member's best checkpoint flatters that member
a little: for figures to be published, keep a --test of its own.
"""

from __future__ import annotations

from pathlib import Path

from seqstate.cli import options as shared

USAGE = "MODEL MODEL [MODEL ...]"


def add_arguments(parser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help="folders of trained models")
    parser.add_argument(
        "--on", nargs="+", default=[], metavar="TEXT", help="held-out text that teaches the weights"
    )
    parser.add_argument(
        "--test", nargs="+", default=[], metavar="TEXT", help="text the result is measured on"
    )
    parser.add_argument(
        "--weights",
        default="context",
        choices=["global", "confidence", "context"],
        help="the same everywhere, by how sure each model is, or by a network over what all say",
    )
    parser.add_argument(
        "--mix",
        default="linear",
        choices=["linear", "geometric"],
        help="average of probabilities, or product of their powers (for small vocabularies)",
    )
    parser.add_argument("--out", default="fused", metavar="DIR", help="folder to leave the mix in")
    parser.add_argument("--overwrite", action="store_true", help="replace the fusion in --out")
    parser.add_argument("--seed", type=int, default=0, help="of the network's start and order")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--json", action="store_true", help="print JSON")
    shared.add_text_options(parser, split=False)


def run(options) -> int:
    import torch

    from seqstate.cli import display
    from seqstate.fusing import learn, opened, refuse_read, save_whole, teachable

    torch.set_num_threads(options.threads)
    out = Path(options.out)
    guard(out, overwrite=options.overwrite)
    with display.preparing() as preparing:
        preparing("loading the models")
        members = opened(options.models)
        teaching, testing, test_bytes = texts(options, members)
        preparing("looking for text the models have read")
        teaching = teaching[: teachable(members, options.mix)]
        for ids in (teaching, testing):
            untold = refuse_read(members, options.models, ids)
        preparing("learning the weights")
        fused = learn(
            members, teaching, weights=options.weights, mix=options.mix, seed=options.seed
        )
        preparing("measuring")
        results = [one.evaluate_ids(testing, test_bytes) for one in (*members, fused)]
    for name in untold:
        display.note(
            f"{name} does not say what it has read; make sure that this text was not part of it"
        )
    save_whole(fused, out)
    show(options, fused, results, len(teaching))
    return 0


def texts(options, members):
    """Ids that teach, ids that measure, and the bytes of the latter."""
    import numpy as np

    from seqstate.fusing import held_out
    from seqstate.text.store import encode_text

    tokenizer, reading = members[0].tokenizer, shared.reading(options)
    ids = encode_text(tokenizer, options.on, **reading)[0] if options.on else held_out(members)
    if options.test:
        return ids, *encode_text(tokenizer, options.test, **reading)
    cut = len(ids) * 2 // 3
    testing = np.asarray(ids[cut:])
    text = tokenizer.decode(testing[testing != tokenizer.boundary])
    return ids[:cut], testing, len(text.encode("utf-8"))


def guard(out: Path, *, overwrite: bool) -> None:
    """Raise ValueError rather than write over anything but a fusion that was asked to be replaced."""
    from seqstate.fusing import is_fusion

    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; name a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    if not is_fusion(out):
        raise ValueError(f"--out {out} holds something else than a fusion; name a new folder")
    if not overwrite:
        raise ValueError(f"{out} holds a fusion; name another --out, or add --overwrite")


def show(options, fused, results, taught: int) -> None:
    import json

    from rich.table import Table

    from seqstate.cli import display
    from seqstate.fusing import advantage

    best = min(range(len(results) - 1), key=lambda at: results[at].nats_per_token)
    gain, spread = advantage(results[-1], results[best])
    means = fused.model.gate.mean.tolist()
    rows = [
        {
            "model": name,
            "nats_per_token": result.nats_per_token,
            "stderr": result.stderr,
            "bits_per_byte": result.bits_per_byte,
            "weight": weight,
        }
        for name, result, weight in zip(
            [*options.models, options.out], results, [*means, None], strict=True
        )
    ]
    if options.json:
        tokens = {"taught_tokens": taught, "tested_tokens": len(results[-1].nats)}
        found = {"models": rows, "gain": gain, "gain_stderr": spread, **tokens}
        print(json.dumps(found, indent=1))
        return
    table = Table("model", "nats/token", "", "bits/byte", "mean weight", box=None, pad_edge=False)
    table.columns[0].overflow = "fold"
    for row in rows:
        weight = "" if row["weight"] is None else f"{row['weight']:.3f}"
        table.add_row(
            row["model"],
            f"{row['nats_per_token']:.4f}",
            f"+- {row['stderr']:.4f}",
            f"{row['bits_per_byte']:.4f}",
            weight,
        )
    display.console().print(table)
    better = "better" if gain > 0 else "worse"
    print(
        f"{abs(gain):.4f} +- {spread:.4f} nats per token {better} than {options.models[best]}, the best "
        f"alone, on {len(results[-1].nats):,} tokens; {options.weights} weights of a {options.mix} mix "
        f"learnt on {taught:,} others"
    )
    print(f'saved in {options.out}; try: seqstate generate {options.out} --prompt "..."')
