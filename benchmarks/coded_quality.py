"""What codes cost: held-out perplexity of a dense head, of codes fitted to it, and of codes learnt jointly.

    python benchmarks/coded_quality.py TEXT... --out coded                 (the whole table, one seed)
    python benchmarks/coded_quality.py TEXT... --out coded --parity --seeds 0 1 2
    python benchmarks/coded_quality.py TEXT... --out coded --steps 20 --tune 5     (to try it)

One word LSTM is trained for --steps under a dense head: `inner`, and for the sigmoid form `multi_hamming`
with as many groups as the codes have. From it go: `dense, more` (--tune further steps), `whitened, more`
(the same distribution first written in the coordinates that codes are fitted in, which train faster),
`fitted` (codes in place of the head, nothing trained), `fitted, tuned` (--tune further steps, codes fixed).
`straight-through` and `annealed` learn codes from the start, for --steps + --tune. So all but `dense` and
`fitted` have taken as many steps and are compared with `dense, more`; `fitted` with `dense`; `fitted, tuned`
under an inner product with `whitened, more`.

All of the held-out tenth is read, the state carried, and nothing is chosen by it. --parity: only G32 C256,
fitted. Run it again after an interruption: finished cells are kept in --out, the unfinished one goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model

from seqstate.core.record import RunConfig, write_json
from seqstate.energies import CodedHamming
from seqstate.energies import _quantise as quantise
from seqstate.errors import Interrupted
from seqstate.model import NeuralLM, build_model
from seqstate.text.store import Corpus, prepare
from seqstate.train import fit
from seqstate.trained import write_weights

SIZES = ((16, 16), (32, 16), (16, 256), (32, 256))  # G and C
FORMS = ("inner", "sigmoid")
JOINT = {"straight-through": "straight_through", "annealed": "soft"}
ANNEAL = 100.0
STATES = 8192  # hidden vectors the codes are fitted to
ROWS = 8  # stretches the held-out text is read in


class Cells:
    """The measured cells of one text, on disk: a cell asked for again is not computed again."""

    def __init__(self, corpus: Corpus, options: argparse.Namespace) -> None:
        self.corpus, self.options, self.path = corpus, options, options.out / "result.json"
        settings = {
            "corpus": corpus.id,
            "words": corpus.tokenizer.vocab_size,
            "width": options.width,
            "steps": options.steps,
            "tune": options.tune,
        }
        self.found = {"settings": settings, "cells": {}}
        if self.path.exists():
            self.found = json.loads(self.path.read_text(encoding="utf-8"))
            if self.found["settings"] != settings:
                sys.exit(
                    f"{self.path} has other settings: {self.found['settings']}; take another --out"
                )

    def measured(self, name: str, make) -> dict[str, float]:
        """The cell `name`; make: a function that returns the model, if it is not there yet."""
        cells = self.found["cells"]
        if name not in cells:
            cells[name] = {"perplexity": perplexity(make(), self.corpus.valid)}
            write_json(self.path, self.found)
            print(f"{name}: perplexity {cells[name]['perplexity']:.2f}", flush=True)
        return cells[name]

    def trained(self, name: str, model: NeuralLM, steps: int, lr: float, seed: int) -> NeuralLM:
        """`model` after these steps; the training goes on where it was interrupted."""
        config = RunConfig(
            state="lstm",
            energy=name,
            corpus=self.corpus.id,
            seed=seed,
            steps=steps,
            batch_size=32,
            context=32,
            lr=lr,
            weight_decay=0.0,
            eval_every=steps,
        )

        def watch(progress) -> None:
            if progress.step % 100 == 0:
                print(
                    f"  {name}: step {progress.step} of {steps}, {progress.train_nats:.3f}",
                    flush=True,
                )

        folder = self.folder(name)
        kept = folder / "model.safetensors"
        if kept.exists():
            load_model(model, kept)
            return model.eval()
        fit(
            model, self.corpus.train, self.corpus.valid[: 64 * ROWS], config,
            folder=folder, resume=True, watch=watch,
        )  # fmt: skip
        write_weights(folder, model.state_dict())
        return model

    def fresh(self, energy: str, seed: int) -> NeuralLM:
        torch.manual_seed(seed)
        return build_model(
            f"lstm(width={self.options.width})",
            energy,
            vocab_size=self.corpus.tokenizer.vocab_size,
            tie=False,
            dropout=self.options.dropout,
        )

    def dense(self, form: str, groups: int, seed: int) -> tuple[str, NeuralLM]:
        energy = "inner" if form == "inner" else f"multi_hamming(groups={groups})"
        name = f"{seed}/{form}" + ("" if form == "inner" else f" G{groups}")
        model = self.fresh(energy, seed)
        self.trained(f"{name}/dense", model, self.options.steps, self.options.lr, seed)
        self.measured(f"{name}/dense", lambda: model)
        return name, model

    def fitted(self, name: str, dense: NeuralLM, form: str, groups: int, codes: int) -> NeuralLM:
        """Its body, with codes in place of its head."""
        kept = self.folder(name) / "model.safetensors"
        if not kept.exists():
            read = torch.from_numpy(np.asarray(self.corpus.train).astype(np.int64))
            counts = torch.bincount(read, minlength=dense.vocab_size)
            given = dense.head, states(dense, self.corpus.train), counts
            if form == "inner":
                head = CodedHamming.from_dense(*given, groups=groups, codes=codes)
            else:
                head = CodedHamming.from_multi_hamming(*given, codes=codes)
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_weights(kept.parent, head.state_dict())
        shape = {"width": dense.head.width, "vocab_size": dense.vocab_size, "groups": groups}
        options = {"codes": codes, "form": form, "learn": "fixed", "project": form == "inner"}
        with torch.random.fork_rng():  # the training that follows draws as if none was made
            dense.head = CodedHamming(**shape, **options)
        load_model(dense.head, kept)
        return dense

    def folder(self, name: str) -> Path:
        return (
            self.options.out
            / "models"
            / name.replace("/", "-").replace(", ", "-").replace(" ", "-")
        )


def whitened(dense: NeuralLM, hidden: torch.Tensor) -> NeuralLM:
    """The same distribution in the coordinates codes are fitted in, with the same map to learn."""
    hidden = hidden.double()
    root, inverse = quantise.whitening(hidden, hidden.mean(0))
    words, head = dense.head.weight.detach().double(), dense.head
    dense.project = torch.nn.Linear(dense.head.width, dense.head.width)
    with torch.no_grad():
        dense.project.weight.copy_(inverse)
        dense.project.bias.copy_(-inverse @ hidden.mean(0))
        head.bias.add_((words @ hidden.mean(0)).float())
        head.weight.copy_(words @ root)
    return dense


def states(model: NeuralLM, ids) -> torch.Tensor:
    """Hidden vectors of the beginning of 64 stretches of a text, evenly spread."""
    starts = np.arange(64)[:, None] * (len(ids) // 64) + np.arange(STATES // 64)
    with torch.inference_mode():
        read = torch.from_numpy(np.asarray(ids)[starts].astype(np.int64))
        return model.eval().hidden(read)[0].flatten(0, 1)


def perplexity(model: NeuralLM, ids) -> float:
    length = (len(ids) - 1) // ROWS
    rows = np.asarray(ids)[np.arange(ROWS)[:, None] * length + np.arange(length + 1)]
    read, state, total = torch.from_numpy(rows.astype(np.int64)), None, 0.0
    model.eval()
    with torch.inference_mode():
        for at in range(0, length, 128):
            piece = read[:, at : at + 129]
            nats, state = model.nll(piece[:, :-1], piece[:, 1:], state)
            total += nats.double().sum().item()
    return math.exp(total / (ROWS * length))


def after_training(cells: Cells, form: str, groups: int, codes: int, seed: int) -> None:
    options = cells.options
    name, dense = cells.dense(form, groups, seed)
    more = f"{name}/dense, more"
    cells.measured(
        more,
        lambda: cells.trained(
            more, cells.dense(form, groups, seed)[1], options.tune, options.tune_lr, seed
        ),
    )
    if form == "inner":
        same = f"{name}/whitened, more"

        def moved() -> NeuralLM:
            dense = cells.dense(form, groups, seed)[1]
            model = whitened(dense, states(dense, cells.corpus.train))
            return cells.trained(same, model, options.tune, options.tune_lr, seed)

        cells.measured(same, moved)
    size = f"{seed}/{form} G{groups} C{codes}"
    cells.measured(
        f"{size}/fitted", lambda: cells.fitted(f"{size}/fitted", dense, form, groups, codes)
    )

    def tuned() -> NeuralLM:
        dense = cells.dense(form, groups, seed)[1]
        model = cells.fitted(f"{size}/fitted", dense, form, groups, codes)
        return cells.trained(f"{size}/fitted, tuned", model, options.tune, options.tune_lr, seed)

    cells.measured(f"{size}/fitted, tuned", tuned)


def jointly(cells: Cells, form: str, groups: int, codes: int, way: str, seed: int) -> None:
    learn = f"'{JOINT[way]}'" + (f", anneal={ANNEAL}" if way == "annealed" else "")
    energy = f"coded_hamming(groups={groups}, codes={codes}, form='{form}', learn={learn})"
    name, options = f"{seed}/{form} G{groups} C{codes}/{way}", cells.options

    def learnt() -> NeuralLM:
        model = cells.trained(
            name, cells.fresh(energy, seed), options.steps + options.tune, options.lr, seed
        )
        model.head = model.head.freeze()
        return model

    cells.measured(name, learnt)


COLUMNS = ("dense", "dense, more", "whitened, more", "fitted", "fitted, tuned", *JOINT)


def table(found: dict, seed: int, sizes) -> str:
    """The cells of one seed: perplexity, and how far it is from the dense model of as many steps."""
    cells = {name: cell["perplexity"] for name, cell in found["cells"].items()}
    lines = ["| form | codes | bytes a word | " + " | ".join(COLUMNS) + " |"]
    lines.append("|---|---|" + "--:|" * (1 + len(COLUMNS)))
    for form in FORMS:
        for groups, codes in sizes:
            if not any(name.startswith(f"{seed}/{form} G{groups} C{codes}/") for name in cells):
                continue
            body = f"{seed}/{form}" + ("" if form == "inner" else f" G{groups}")
            dense, more = cells.get(f"{body}/dense"), cells.get(f"{body}/dense, more")
            shown = [f"{one:.1f}" if one else "-" for one in (dense, more)]
            for way in COLUMNS[2:]:
                of = body if way == "whitened, more" else f"{seed}/{form} G{groups} C{codes}"
                value, against = cells.get(f"{of}/{way}"), dense if way == "fitted" else more
                if way == "fitted, tuned":
                    against = cells.get(f"{body}/whitened, more", more)
                gap = f" ({100 * (value / against - 1):+.1f} %)" if value and against else ""
                shown.append(f"{value:.1f}{gap}" if value else "-")
            stored = groups * (4 if codes <= 16 else 8) // 8
            lines.append(f"| {form} | G{groups} C{codes} | {stored} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def size(written: str) -> tuple[int, int]:
    groups, codes = written.split("x")
    return int(groups), int(codes)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "text", nargs="+", type=Path, help="files or folders; their last tenth is held out"
    )
    made.add_argument("--out", type=Path, default=Path("coded"))
    made.add_argument("--seeds", type=int, nargs="+", default=[0])
    made.add_argument("--parity", action="store_true", help="only G32 C256, fitted")
    made.add_argument("--only", nargs="+", default=["fitted", *JOINT], choices=["fitted", *JOINT])
    made.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS)
    made.add_argument("--sizes", type=size, nargs="+", default=SIZES, help="such as 16x256, G x C")
    made.add_argument("--words", type=int, default=6000, help="size of the vocabulary")
    made.add_argument("--width", type=int, default=128)
    made.add_argument("--steps", type=int, default=500, help="of 1,024 tokens")
    made.add_argument("--tune", type=int, default=200, help="further steps")
    made.add_argument("--lr", type=float, default=5e-3)
    made.add_argument("--tune-lr", type=float, default=1e-3)
    made.add_argument("--dropout", type=float, default=0.3)
    return made


def main() -> None:
    options = parser().parse_args()
    torch.set_num_threads(1)
    try:
        corpus = prepare(options.text, tokenizer="word", vocab_size=options.words)
    except ValueError as error:
        parser().error(str(error))
    cells = Cells(corpus, options)
    for seed in options.seeds:
        try:
            fill(cells, seed)
        except Interrupted as stopped:
            sys.exit(f"{stopped}; run the same command again to go on")
        finally:
            print(table(cells.found, seed, SIZES if options.parity else options.sizes))


def fill(cells: Cells, seed: int) -> None:
    options = cells.options
    sizes = [(32, 256)] if options.parity else options.sizes
    for way in ["fitted"] if options.parity else options.only:
        for form in options.forms:
            for groups, codes in sizes:
                if way == "fitted":
                    after_training(cells, form, groups, codes, seed)
                else:
                    jointly(cells, form, groups, codes, way, seed)


if __name__ == "__main__":
    main()
