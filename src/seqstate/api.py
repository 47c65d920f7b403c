"""The Python door: fit on a file or a string, load what was saved."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqstate.core.record import RunConfig
from seqstate.masked import Masked, is_masked, learn
from seqstate.model import energy_for
from seqstate.run import teach
from seqstate.text.store import prepare
from seqstate.train import Progress
from seqstate.trained import Trained

OBJECTIVES = ("next", "masked")


def fit(
    text: str | Path | None = None,
    *,
    state: str = "lstm",
    energy: str | None = None,
    tokenizer: str | None = None,
    vocab_size: int | None = None,
    pairs: str | None = None,
    objective: str = "next",
    watch: Callable[[Progress], None] | None = None,
    **training: Any,
) -> Trained | Masked:
    """Train a model on a file, a folder, a text itself, or (None) the default corpus.

    A string that names no existing file is taken as the text if it has a line break or is longer than a
    path can be. `training` are fields of RunConfig: steps=1000, lr=5e-3, batch_size=16, seed=0, ...
    objective: next (word), or masked: a reader of both sides, for its hidden vectors, which cannot write.
    tokenizer: bpe, or space where the text is a treebank, unless another is named.
    A .tsv file holds pairs of a source and a target, a .jsonl if `pairs` names its two fields.
    A tenth of the text is held out; the weights that predict it best are kept.

    Raises ValueError for bad specs, options or text.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"unknown objective {objective!r}; there are {', '.join(OBJECTIVES)}")
    with tempfile.TemporaryDirectory() as scratch:
        source = _source(text, Path(scratch))
        corpus = prepare(source, tokenizer=tokenizer, vocab_size=vocab_size, pairs=pairs)
        if training.get("seconds") is not None:
            training = {"steps": None, **training}
        config = RunConfig(
            state=state, energy=energy_for(state, energy), corpus=corpus.id, **training
        )
        if objective == "masked":
            return learn(config, corpus, watch=watch)[0]
        return teach(config, corpus, watch=watch)[0]


def load(folder: str | Path) -> Trained | Masked:
    """A model saved by `save` or `seqstate train`. Raises ValueError if it is not one."""
    if is_masked(folder):
        return Masked.load(folder)
    return Trained.load(folder)


def _source(text: str | Path | None, scratch: Path) -> list[str]:
    if text is None:
        return []
    if isinstance(text, str) and ("\n" in text or len(text) > 4096):
        written = scratch / "text.txt"
        written.write_text(text, encoding="utf-8")
        return [str(written)]
    return [str(text)]
