"""A trained reader of both sides as a user holds it: text in, vectors out; saved as a plain folder.

    reader = seqstate.fit("book.txt", state="attention(width=64)", objective="masked")
    hidden = reader.hidden("the old man and the sea")          # one vector a token

config.json says `"objective": "masked"`, by which what writes, evaluates or mixes models refuses the folder.
"""

from __future__ import annotations

import datetime
import json
import random
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors.torch import load_model
from torch import Tensor

from seqstate import checkpoint
from seqstate.core.instrument import evaluating
from seqstate.core.model import count_parameters, device_of
from seqstate.core.record import Reading, RunConfig, write_json
from seqstate.masking import MaskedLM, build_masked, pseudo_likelihood
from seqstate.ranks import Alone, Ranks
from seqstate.run import log_unigram
from seqstate.text.tokenizer import TextCodec, Tokenizer
from seqstate.train import Progress, fit
from seqstate.trained import ModelConfig, read_config, told, write_weights, written

if TYPE_CHECKING:
    from seqstate.text.store import Corpus

RECORD = "masked.json"


@dataclass
class Masked:
    """A masked language model with its tokeniser."""

    model: MaskedLM
    tokenizer: TextCodec
    config: ModelConfig

    def hidden(self, text: str) -> Float[Tensor, "T D"]:
        """The vector of every token of a text, from both sides: row t is of `tokenizer.encode(text)[t]`.

        A text longer than the windows of the training is read in windows that overlap by half; a token's
        vector is from the one it stands most in the middle of.
        """
        ids = np.concatenate([[self.tokenizer.boundary], self.tokenizer.encode(text)])
        context, device = min(self.config.context, len(ids)), device_of(self.model)
        last = len(ids) - context
        starts = np.unique([*range(0, last, max(1, context // 2)), last])
        middle = np.abs(np.arange(len(ids)) - starts[:, None] - (context - 1) / 2)
        best = middle.argmin(0)
        windows = torch.from_numpy(ids[starts[:, None] + np.arange(context)].astype(np.int64))
        with evaluating(self.model), torch.inference_mode():
            parts = [self.model.hidden(some.to(device)) for some in windows.split(32)]
        place = torch.from_numpy(np.arange(len(ids)) - starts[best])
        return torch.cat(parts)[torch.from_numpy(best).to(device), place.to(device)][1:].clone()

    def evaluate_ids(self, ids: NDArray, **options: Any) -> list[Reading]:
        """Pseudo-likelihood of a text as ids (see seqstate.masking)."""
        return pseudo_likelihood(self.model, ids, context=self.config.context, **options)

    def save(self, folder: str | Path) -> Path:
        """Write the files; each is whole or absent after a crash, config.json comes last."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(folder / "tokenizer.json")
        write_weights(folder, dict(self.model.state_dict()))
        described = written(self.config)
        del described["model_type"]  # transformers' classes of ours are for models that write
        write_json(folder / "config.json", {**described, "objective": "masked"})
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Masked:
        """Read a folder written by `save`. Raises ValueError in one line if it is not one."""
        folder = Path(folder)
        config = read_config(folder, objective="masked")
        assert isinstance(config, ModelConfig)
        with told(folder):
            model = build(config)
            load_model(model, folder / "model.safetensors")
        return cls(model.eval(), Tokenizer.load(folder / "tokenizer.json"), config)


def build(config: ModelConfig) -> MaskedLM:
    """A fresh, untrained model of this configuration."""
    options = {"tie": config.tie, "dropout": config.dropout, "head_width": config.head_width}
    return build_masked(config.state, config.energy, vocab_size=config.vocab_size, **options)


def check(config: RunConfig, corpus: Corpus) -> None:
    """Raise ValueError for pairs and for states that cannot read both ways, before anything is written."""
    if corpus.pairs:
        raise ValueError(
            "masked words are of texts, these are pairs; leave the masked objective out"
        )
    build(ModelConfig.of(config, corpus.tokenizer))


def is_masked(folder: str | Path) -> bool:
    """Whether a folder holds a model of masked words."""
    try:
        data = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        return data.get("objective") == "masked"
    except (OSError, ValueError, AttributeError):
        return False


def learn(
    config: RunConfig,
    corpus: Corpus,
    *,
    folder: Path | None = None,
    resume: bool = False,
    watch: Callable[[Progress], None] | None = None,
    checkpoint_seconds: float = 20.0,
    ranks: Ranks | None = None,
) -> tuple[Masked, list[Reading]]:
    """Train on random windows of a corpus; with `folder`, leave the model and masked.json there.

    Returns the model and its pseudo-likelihood on the held-out text. ranks: the processes that call this
    together; all but the first train only, and return no readings. Raises as run.execute.
    """
    ranks = ranks or Alone()
    check(config, corpus)
    torch.set_num_threads(config.threads)
    random.seed(config.seed)
    np.random.seed(config.seed)
    torch.manual_seed(config.seed)
    described = ModelConfig.of(config, corpus.tokenizer)
    model = build(described)
    model.head.start_from(torch.from_numpy(log_unigram(corpus.train, model.vocab_size)))
    if torch.cuda.is_available():
        model = model.cuda()
    training = {"resume": resume, "watch": watch, "checkpoint_seconds": checkpoint_seconds}
    training["ranks"] = ranks
    outcome = fit(model, corpus.train, corpus.valid, config, folder=folder, **training)
    trained = Masked(model, corpus.tokenizer, described)
    if not ranks.first:
        return trained, []
    readings = trained.evaluate_ids(corpus.valid)
    if folder is not None:
        trained.save(folder)
        record = {
            "objective": "masked",
            "config": config.to_json(),
            "readings": [
                *(asdict(reading) for reading in readings),
                asdict(Reading("parameters", count_parameters(model), "1")),
                asdict(Reading("cpu_seconds", outcome.cpu_seconds, "s")),
            ],
            "curve": outcome.curve,
            **ranks.described(),
            "command": shlex.join(["seqstate", *sys.argv[1:]]),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        write_json(folder / RECORD, record)
        checkpoint.remove(folder)
    return trained, readings
