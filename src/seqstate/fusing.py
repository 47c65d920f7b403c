"""fuse: trained models and held-out text in, one mixed generator out.

    fused = seqstate.fuse(["ngram", "lstm", "cache"], "heldout.txt", weights="context")
    fused.save("fused")                    # one folder, loaded and used like any model

Weights must be learnt on text that no member has read: on training text the member that remembers it best
(an n-gram, always) would look best. Models keep a sketch of what they read, and such text is refused.

Global weights of a linear mix: expectation maximisation (Dempster, Laird & Rubin 1977), which finds the
best. Everything else: gradient from the best constant weights; the last fifth of the text tells when to stop.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from seqstate.core.model import device_of
from seqstate.core.record import replace_folder
from seqstate.evaluate import Evaluation
from seqstate.fusion import Fusion, FusionConfig, features, geometric
from seqstate.text.overlap import overlap
from seqstate.text.store import encode_text, find_corpus
from seqstate.trained import Trained, read_config

READ = 0.1  # share of a text above which it counts as training text
CHUNK = 256  # tokens read at once
WARMUP, LONG = (
    512,
    16_384,
)  # tokens: not learnt from at the start of a row, and read by a row at least
MOST = 1 << 28  # log-probabilities kept to learn a geometric mix from (1 GB)
EPOCHS, PATIENCE, BATCH, RATE = 100, 8, 1024, 1e-2


def fuse(
    models: Sequence[Trained | str | Path],
    text: str | Path | None = None,
    *,
    weights: str = "context",
    mix: str = "linear",
    seed: int = 0,
) -> Trained:
    """Mix trained models with weights learnt on a text none of them has read.

    text: a file, or the text itself if it has a line break or is longer than a path can be; None: the
    held-out part of the corpus all of them were trained on. weights: global, confidence or context; mix:
    linear or geometric (see seqstate.fusion), which over large vocabularies learns from the beginning of
    the text only (`teachable`).

    Raises ValueError for models of different tokenisers, text a model has read in training, or too little.
    """
    members = opened(models)
    ids = held_out(members) if text is None else _encoded(members[0], text)
    refuse_read(members, [_name(one) for one in models], ids)
    return learn(members, ids, weights=weights, mix=mix, seed=seed)


def opened(models: Sequence[Trained | str | Path]) -> list[Trained]:
    """Trained models, loaded where a folder is given. Raises ValueError unless they share a tokeniser."""
    members = [one if isinstance(one, Trained) else Trained.load(one) for one in models]
    if len(members) < 2:
        raise ValueError(f"found {len(members)} models to fuse, wanted 2 or more")
    words = members[0].tokenizer.model.get_vocab()
    for name, member in zip(models[1:], members[1:], strict=True):
        if member.tokenizer.model.get_vocab() != words:
            raise ValueError(
                f"{_name(name)} has another tokenizer than {_name(models[0])}; models are fused over one "
                f"vocabulary: train both with the same (--tokenizer {_name(models[0])})"
            )
    return members


def held_out(members: Sequence[Trained]) -> NDArray:
    """The held-out part of the corpus all members were trained on, from the cache."""
    names = sorted({member.config.corpus for member in members})
    if len(names) > 1 or not names[0]:
        raise ValueError(
            f"the models were trained on {' and '.join(name or 'an unknown text' for name in names)}; "
            "give held-out text that none of them has read (--on FILE)"
        )
    corpus = find_corpus(names[0])
    if corpus is None:
        raise ValueError(
            f"the corpus {names[0]} is no longer in the cache; give held-out text (--on FILE)"
        )
    return np.asarray(corpus.valid)


def refuse_read(members: Sequence[Trained], names: Sequence[str], ids: NDArray) -> list[str]:
    """Raise ValueError if a member has read this text in training; the names of those that cannot tell."""
    unknown = []
    for name, member in zip(names, members, strict=True):
        sketches = [one.sketch for one in _all(member) if not one.members]
        if not all(sketches):
            unknown.append(name)
        read = max(overlap(one, ids) for one in sketches)
        if read > READ:
            raise ValueError(
                f"about {read:.0%} of this text was read by {name} in training; mixing weights "
                "are learnt on text that no member has read: give other text"
            )
    return unknown


def learn(
    members: Sequence[Trained],
    ids: NDArray,
    *,
    weights: str = "context",
    mix: str = "linear",
    seed: int = 0,
) -> Trained:
    """A fusion of `members` whose weights are learnt on token ids."""
    torch.manual_seed(seed)
    ids = ids[: teachable(members, mix)]
    config = FusionConfig.of([member.config for member in members], weights=weights, mix=mix)
    model = config.build([member.model for member in members])
    model.to(device_of(members[0].model))
    heard = listen(model, ids, context=config.context, carry=config.carry)
    with torch.no_grad():
        if weights != "global":
            model.gate.standardise(heard.features)
        best = best_constant(heard.own)
        model.gate.score.copy_(best.exp() if mix == "geometric" else best)
    if (weights, mix) != ("global", "linear"):
        descend(model, heard, seed)
    with torch.no_grad():
        scores = model.gate(heard.features, heard.words)
        model.gate.mean.copy_((scores if mix == "geometric" else scores.softmax(-1)).mean(0))
    return Trained(model.eval(), members[0].tokenizer, config, members=tuple(members))


def teachable(members: Sequence[Trained], mix: str) -> int | None:
    """How many tokens weights are learnt from at most; None: any number.

    A geometric mix is normalised over the vocabulary at every step, so all log-probabilities are kept.
    """
    if mix == "linear":
        return None
    return MOST // (members[0].config.vocab_size * len(members))


@dataclass
class Heard:
    """What the members said after each word: features, the target's log-probability, and all if kept."""

    features: Float[Tensor, "N M F"]
    own: Float[Tensor, "N M"]
    words: Int[Tensor, " N"]
    targets: Int[Tensor, " N"]
    said: Float[Tensor, "N M V"] | None

    def nats(self, model: Fusion, at: Int[Tensor, " Q"] | slice) -> Float[Tensor, " Q"]:
        """Negative log-likelihood of the mix at some positions."""
        scores = model.gate(self.features[at], self.words[at])
        if self.said is None:
            return -(scores.log_softmax(-1) + self.own[at]).logsumexp(-1)
        logits = geometric(scores, self.said[at])
        return torch.nn.functional.cross_entropy(logits, self.targets[at], reduction="none")


@torch.no_grad()
def listen(model: Fusion, ids: NDArray, *, context: int, carry: bool) -> Heard:
    """Let all members read a text as they will be read later. Raises ValueError for less than 100 tokens."""
    if len(ids) <= 100:
        raise ValueError(f"{len(ids)} tokens are too few to learn weights from; give more text")
    keep = model.mix == "geometric"
    parts: list[tuple[Tensor, ...]] = []
    for tokens, targets, scored, state in _reads(model, ids, context, carry):
        said, state[0] = model.members_say(tokens, state[0])
        own = said.gather(-1, targets[..., None, None].expand(*said.shape[:-1], 1)).squeeze(-1)
        seen = (features(said), own, tokens, targets, *([said] if keep else []))
        parts.append(tuple(value[scored] for value in seen))
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    return Heard(*columns[:4], columns[4] if keep else None)


def _reads(model: Fusion, ids: NDArray, context: int, carry: bool) -> Iterator[tuple]:
    """(tokens, targets, which count, [state]) in order; the reader leaves the new state in the list."""
    device = device_of(model)
    text = torch.from_numpy(np.asarray(ids).astype(np.int64)).to(device)
    if not carry:
        half = max(1, context // 2)
        windows = text.unfold(0, min(context + 1, len(text)), half)
        for group in windows.split(16):
            scored = torch.ones_like(group[:, 1:], dtype=torch.bool)
            scored[:, :half] = False
            yield group[:, :-1], group[:, 1:], scored, [None]
        return
    rows = int(np.clip(len(text) // LONG, 1, 16))
    length = (len(text) - 1) // rows
    stretches = text[: rows * length + 1].unfold(0, length + 1, length)
    scored = torch.ones(rows, length, dtype=torch.bool, device=device)
    scored[1:, :WARMUP] = False
    state: list = [None]
    for at in range(0, length, CHUNK):
        piece = stretches[:, at : at + CHUNK + 1]
        yield piece[:, :-1], piece[:, 1:], scored[:, at : at + CHUNK], state


def best_constant(own: Float[Tensor, "N M"]) -> Float[Tensor, " M"]:
    """Log-weights of the constant linear mix that makes the text likeliest, by expectation maximisation."""
    own = own.double()
    log_weights = torch.full_like(own[0], -np.log(own.shape[1]))
    before = -torch.inf
    for _ in range(1000):
        joint = own + log_weights
        total = joint.logsumexp(-1, keepdim=True)
        log_weights = (joint - total).logsumexp(0) - np.log(len(own))
        if total.mean() - before < 1e-9:
            break
        before = total.mean()
    return log_weights.float()


def descend(model: Fusion, heard: Heard, seed: int) -> None:
    """Adam on the gate; the weights that suit the last fifth of the text best are kept."""
    generator = torch.Generator().manual_seed(seed)
    count = len(heard.own) * 4 // 5
    later = slice(count, None)
    optimiser = torch.optim.Adam(model.gate.parameters(), lr=RATE)
    best, waited = _judged(model, heard, later), 0
    kept = {name: value.clone() for name, value in model.gate.state_dict().items()}
    for _ in range(EPOCHS):
        for at in torch.randperm(count, generator=generator).split(BATCH):
            optimiser.zero_grad()
            heard.nats(model, at.to(heard.own.device)).mean().backward()
            optimiser.step()
        nats, waited = _judged(model, heard, later), waited + 1
        if nats < best:
            best, waited = nats, 0
            kept = {name: value.clone() for name, value in model.gate.state_dict().items()}
        elif waited % 3 == 0:
            for group in optimiser.param_groups:
                group["lr"] /= 2
        if waited >= PATIENCE:
            break
    model.gate.load_state_dict(kept)


@torch.no_grad()
def _judged(model: Fusion, heard: Heard, at: slice) -> float:
    return heard.nats(model, at).mean(dtype=torch.float64).item()


def advantage(one: Evaluation, other: Evaluation) -> tuple[float, float]:
    """How many nats per token `one` is better on the same text, and the standard error of that."""
    difference = replace(other, nats=other.nats - one.nats)
    return difference.nats_per_token, difference.stderr


def is_fusion(folder: Path) -> bool:
    """Whether a folder holds a fusion and may be replaced by another."""
    try:
        return isinstance(read_config(folder), FusionConfig)
    except ValueError:
        return False


def save_whole(fused: Trained, out: Path) -> Path:
    """Save as `out`, in the place of a fusion that may be there; interrupted, `out` is as it was."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        return replace_folder(fused.save(Path(scratch) / "new"), out)


def _all(trained: Trained) -> Iterator[Trained]:
    yield trained
    for member in trained.members:
        yield from _all(member)


def _name(model: Trained | str | Path) -> str:
    return "one of the models" if isinstance(model, Trained) else str(model)


def _encoded(member: Trained, text: str | Path) -> NDArray:
    if isinstance(text, str) and ("\n" in text or len(text) > 4096):
        return np.concatenate([[member.tokenizer.boundary], member.tokenizer.encode(text)])
    return encode_text(member.tokenizer, [text])[0]
