"""The Python door: fit on a file or a string, load what was saved."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqstate.core.record import RunConfig
from seqstate.model import energy_for
from seqstate.run import start
from seqstate.text.overlap import sketch
from seqstate.text.store import prepare
from seqstate.train import Progress
from seqstate.train import fit as train
from seqstate.trained import Trained


def fit(
    text: str | Path | None = None,
    *,
    state: str = "lstm",
    energy: str | None = None,
    tokenizer: str = "bpe",
    vocab_size: int | None = None,
    pairs: str | None = None,
    watch: Callable[[Progress], None] | None = None,
    **training: Any,
) -> Trained:
    """Train a model on a file, a folder, a text itself, or (None) the default corpus.

    A string that names no existing file is taken as the text if it has a line break or is longer than a
    path can be. `training` are fields of RunConfig: steps=1000, lr=5e-3, batch_size=16, seed=0, ...
    A .tsv file holds pairs of a source and a target, a .jsonl if `pairs` names its two fields.
    A tenth of the text is held out; the weights that predict it best are kept.

    Raises ValueError for bad specs, options or text.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source = _source(text, Path(scratch))
        corpus = prepare(source, tokenizer=tokenizer, vocab_size=vocab_size, pairs=pairs)
        if training.get("seconds") is not None:
            training = {"steps": None, **training}
        config = RunConfig(
            state=state, energy=energy_for(state, energy), corpus=corpus.id, **training
        )
        trained = start(config, corpus)
        tokens = {"boundary": corpus.tokenizer.boundary, "separator": corpus.separator}
        train(trained.model, corpus.train, corpus.valid, config, **tokens, watch=watch)
    trained.sketch = sketch(corpus.train)
    return trained


def load(folder: str | Path) -> Trained:
    """A model saved by `Trained.save` or `seqstate train`. Raises ValueError if it is not one."""
    return Trained.load(folder)


def _source(text: str | Path | None, scratch: Path) -> list[str]:
    if text is None:
        return []
    if isinstance(text, str) and ("\n" in text or len(text) > 4096):
        written = scratch / "text.txt"
        written.write_text(text, encoding="utf-8")
        return [str(written)]
    return [str(text)]
