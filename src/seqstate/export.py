"""A trained model for other programs: ARPA text, an ONNX step, one safetensors file.

    seqstate.export.to_onnx(trained, "step.onnx")     # token, state -> logits, next state

The ONNX step reads one token of every row: inputs `token` [batch] and `state_0`, `state_1`, ...; outputs
`logits` [batch, vocabulary] and `next_state_0`, ...  Where the state grows (keys and values), its axis is
dynamic. The state that begins a text is stored in the file's metadata as the bytes of a safetensors file.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from seqstate.core.model import LanguageModel
from seqstate.core.record import write_atomic
from seqstate.core.state import State, leaves, map_state
from seqstate.states.ngram import NGram
from seqstate.text.tokenizer import TextCodec
from seqstate.trained import Trained, written

SPACE = "▁"  # what stands for a space in an ARPA file, as in SentencePiece
CHECKED_STEPS = 40  # more than a chunk of any state has
TOLERANCE = 1e-4  # of a logit, between onnxruntime and torch


def to_arpa(trained: Trained, path: str | Path) -> Path:
    """Write an n-gram as KenLM and SRILM read it (`.gz`: compressed). Tokens are named by `arpa_names`.

    Raises ValueError for a model that is no n-gram.
    """
    _one_model(trained)
    if not isinstance(trained.model, NGram):
        raise ValueError(f"ARPA holds n-grams, and {trained.config.state} is none; try --onnx")
    path = Path(path)
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        trained.model.to_arpa(temporary, arpa_names(trained.tokenizer))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def arpa_names(tokenizer: TextCodec) -> list[str]:
    """A name without white space for every token: a space is `▁`, another such character `<0x0A>`."""
    texts = map(tokenizer.token_text, range(tokenizer.vocab_size))
    return [re.sub(r"[\x00-\x1f\x7f]", _code, text.replace(" ", SPACE)) for text in texts]


def _code(found: re.Match) -> str:
    return f"<0x{ord(found[0]):02X}>"


def to_safetensors(trained: Trained, path: str | Path) -> Path:
    """Write weights, configuration and tokeniser as one file: the last two as JSON in its metadata.

    Raises ValueError for a fusion, which is several models.
    """
    _one_model(trained)
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in trained.model.state_dict().items():
        if tensor.numel() and tensor.data_ptr() in seen:
            continue  # tied weights are stored once
        seen.add(tensor.data_ptr())
        tensors[name] = tensor.detach().cpu().contiguous()
    metadata = {
        "format": "pt",
        "config": json.dumps(written(trained.config)),
        "tokenizer": trained.tokenizer.model.to_str(),
    }
    return write_atomic(Path(path), save(tensors, metadata))


class _Step(nn.Module):
    """One token a row, the state as a flat list of tensors."""

    def __init__(self, model: LanguageModel, like: State) -> None:
        super().__init__()
        self.model, self.like = model, like

    def forward(self, token: Tensor, state: list[Tensor]) -> tuple[Tensor, ...]:
        parts = iter(state)
        logits, after = self.model.next_logits(
            token[:, None], map_state(lambda _: next(parts), self.like)
        )
        return (logits, *leaves(after))


def to_onnx(trained: Trained, path: str | Path) -> float:
    """Write the step function, run it beside torch, and return the largest difference of a logit.

    Raises ValueError if the state's step cannot be written as an ONNX graph, or gives other numbers than
    torch; then nothing is written.
    """
    _one_model(trained)
    _needs("onnx", "onnxscript", "onnxruntime")
    model, path = trained.model.eval(), Path(path)
    with torch.no_grad():
        words = torch.arange(8) % trained.config.vocab_size
        opening = model.init_state(2)
        _, before = model(words.view(2, 4), opening)
        program = _traced(model, words[:2], opening, before, str(trained.config.state))
        start = {f"state_{i}": leaf[:1].contiguous() for i, leaf in enumerate(leaves(opening))}
        program.model.metadata_props.update(
            config=json.dumps(written(trained.config)),
            tokenizer=trained.tokenizer.model.to_str(),
            initial_state=base64.b64encode(save(start)).decode(),
        )
        temporary = path.with_name(f".tmp-{path.name}")
        try:
            program.save(temporary, external_data=False)
            worst = _difference(model, temporary, trained.config.vocab_size)
            if not worst <= TOLERANCE:
                raise ValueError(
                    f"the ONNX form of {trained.config.state} gives other logits (off by {worst:.2g}); "
                    "nothing was written"
                )
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return worst


def initial_state(path: str | Path) -> list[Tensor]:
    """The state that begins a text, one row, of an exported step."""
    import onnx

    properties = {p.key: p.value for p in onnx.load(str(path)).metadata_props}
    start = load(base64.b64decode(properties["initial_state"]))
    return [start[f"state_{i}"] for i in range(len(start))]


def _traced(model: LanguageModel, token: Tensor, opening: State, state: State, name: str) -> Any:
    parts = list(leaves(state))
    free = torch.export.Dim.DYNAMIC
    shapes = [
        {axis: free for axis in range(now.dim()) if axis == 0 or now.shape[axis] != was.shape[axis]}
        for was, now in zip(leaves(opening), parts, strict=True)
    ]
    names = [f"state_{i}" for i in range(len(parts))]
    try:
        with _hushed():
            return torch.onnx.export(
                _Step(model, state),
                (token, parts),
                dynamic_shapes=({0: free}, shapes),
                input_names=["token", *names],
                output_names=["logits", *(f"next_{name}" for name in names)],
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = " ".join(str(error.__cause__ or error).split("\n")[0].split())
        raise ValueError(
            f"the step of {name} cannot be written as an ONNX graph: {reason}"
        ) from None


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """The exporter tells of its own internals in warnings, in logs and by printing whole graphs."""
    talkers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "onnxscript")]
    levels = [talker.level for talker in talkers]
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            for talker in talkers:
                talker.setLevel(logging.CRITICAL)
            yield
        finally:
            for talker, level in zip(talkers, levels, strict=True):
                talker.setLevel(level)


def _difference(model: LanguageModel, path: Path, vocab_size: int) -> float:
    """Largest difference of a logit over a few steps from the beginning, three rows side by side."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = {given.name for given in session.get_inputs()}
    state = model.init_state(3)
    carried = [leaf.numpy() for leaf in leaves(state)]
    worst = 0.0
    for step in range(CHECKED_STEPS):
        token = (torch.arange(3) * 7 + step * 5) % vocab_size
        logits, state = model.next_logits(token[:, None], state)
        feed = {"token": token.numpy()} | {f"state_{i}": part for i, part in enumerate(carried)}
        found, *carried = session.run(None, {name: feed[name] for name in feed if name in wanted})
        worst = max(worst, float((torch.from_numpy(found) - logits).abs().max()))
    return worst


def _one_model(trained: Trained) -> None:
    if trained.members:
        raise ValueError("a fusion is several models; export its members/0, members/1, ... instead")


def _needs(*packages: str) -> None:
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ValueError(f"{', '.join(missing)} not installed; pip install 'seqstate[onnx]'")
