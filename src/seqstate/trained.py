"""A trained generator as a user holds it: model, tokeniser and how it reads; saved as a plain folder.

config.json         the two specs and how the model reads
model.safetensors   the weights (no pickle)
tokenizer.json      in the `tokenizers` library's own format
sketch.txt          which text the weights were learnt from (text.overlap)
members/0, ...      of a fusion: such folders again; model.safetensors then holds the mixing weights
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save
from torch import Tensor, nn

from seqstate import __version__
from seqstate.core.instrument import HasHead, evaluating
from seqstate.core.model import LanguageModel, device_of
from seqstate.core.record import RunConfig, write_atomic, write_json
from seqstate.evaluate import Evaluation, evaluate
from seqstate.fusion import Fusion, FusionConfig
from seqstate.generate import Sampling, generate
from seqstate.model import asks_for_ends, build_model
from seqstate.text.pair_batches import Pairs
from seqstate.text.pairs import TAB
from seqstate.text.tokenizer import TextCodec, Tokenizer
from seqstate.translate import TOGETHER, evaluate_pairs, write

FORMAT = 1
MODEL_TYPE = "seqstate"


@dataclass(frozen=True)
class ModelConfig:
    """What rebuilds the model, and how it was taught to read (windows of `context`, state carried)."""

    state: str
    energy: str | None
    vocab_size: int
    tie: bool = True
    head_width: int | None = None
    dropout: float = 0.0
    context: int = 128
    carry: bool = True
    corpus: str = ""
    boundary: int = 0  # the token that opens a document
    separator: int | None = None  # of pairs, the token between source and target
    ends: Sequence[int] = ()  # tokens that close a sentence, where the state asks for them

    def __post_init__(self) -> None:
        object.__setattr__(self, "ends", tuple(self.ends))  # JSON has lists

    @classmethod
    def of(
        cls,
        run: RunConfig,
        tokenizer: TextCodec,
        separator: int | None = None,
        *,
        treebank: bool = False,
    ) -> ModelConfig:
        """treebank: every document is a sentence, so that no token closes another inside."""
        own = {"vocab_size": tokenizer.vocab_size, "boundary": tokenizer.boundary}
        own["separator"] = separator
        inside = asks_for_ends(run.state) and not treebank
        own["ends"] = tokenizer.sentence_ends() if inside else ()
        shared = {name: getattr(run, name) for name in cls.__dataclass_fields__ if name not in own}
        return cls(**own, **shared)

    def build(self) -> LanguageModel:
        """A fresh, untrained model of this configuration."""
        neural = {"tie": self.tie, "dropout": self.dropout, "head_width": self.head_width}
        tokens = {"boundary": self.boundary, "separator": self.separator, "ends": self.ends}
        return build_model(self.state, self.energy, vocab_size=self.vocab_size, **tokens, **neural)


@dataclass
class Trained:
    """A language model with its tokeniser: text in, text out.

    members: of a fusion. sketch: of the training text, "" if unknown (see text.overlap).
    """

    model: LanguageModel
    tokenizer: TextCodec
    config: ModelConfig | FusionConfig
    members: tuple[Trained, ...] = ()
    sketch: str = ""

    def stream(
        self,
        prompt: str = "",
        *,
        tokens: int = 200,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        screen: str | None = None,
    ) -> Iterator[str]:
        """Yield pieces of generated text as soon as they are complete characters.

        screen: score only words that may be among the likeliest, e.g. "certified" (see seqstate.generate).
        Ends after `tokens` tokens, where the model ends the document, or before any of the `stop` strings.
        """
        sampling = Sampling(temperature, top_k, top_p, min_p)
        decoder, held = self.tokenizer.stream(), ""
        longest = max((len(text) for text in stop), default=0)
        how = {"tokens": tokens, "sampling": sampling, "seed": seed, "screen": screen}
        for drawn in generate(self.model, [self._prompt(prompt)], **how):
            token = int(drawn[0])
            if token == self.tokenizer.boundary:
                break
            held += decoder.push(token)
            if (before := _before(held, stop)) != held:
                yield before
                return
            ready = len(held) - max(0, longest - 1)  # the rest may be the start of a stop string
            if ready > 0:
                yield held[:ready]
                held = held[ready:]
        held += decoder.finish()
        yield _before(held, stop)

    def generate(
        self, prompt: str | Sequence[str] = "", *, stop: Sequence[str] = (), **drawing: Any
    ) -> str | list[str]:
        """The continuation of one prompt, or of several (any lengths) in one batch; options as `stream`."""
        if isinstance(prompt, str):
            return "".join(self.stream(prompt, stop=stop, **drawing))
        how = {"tokens": drawing.pop("tokens", 200), "seed": drawing.pop("seed", 0)}
        how |= {"screen": drawing.pop("screen", None), "sampling": Sampling(**drawing)}
        prompts = [self._prompt(text) for text in prompt]
        rows: list[list[int]] = [[] for _ in prompts]
        ended = [False] * len(rows)
        for drawn in generate(self.model, prompts, **how):
            for row, token in enumerate(drawn.tolist()):
                ended[row] = ended[row] or token == self.tokenizer.boundary
                if not ended[row]:
                    rows[row].append(token)
            if all(ended):
                break
        return [_before(self.tokenizer.decode(row), stop) for row in rows]

    @property
    def separator(self) -> int | None:
        """The token between source and target, if pairs are what was learnt."""
        return self.config.separator if isinstance(self.config, ModelConfig) else None

    def translate(
        self,
        sources: Sequence[str],
        *,
        tokens: int = 200,
        temperature: float = 0.0,
        seed: int = 0,
        **filters: Any,
    ) -> list[str]:
        """The target of each source, the likeliest token each time unless a temperature is given.

        At most `tokens` tokens each; filters as `stream`. Raises ValueError for a model that was not
        trained on pairs and for a source with a tab in it.
        """
        if self.separator is None:
            raise ValueError(
                "this model was trained on text, not on pairs; give it a prompt instead"
            )
        if TAB in (found := next((one for one in sources if TAB in one), "")):
            raise ValueError(f"the source {found!r} has a tab, which would end it; replace it")
        prompts = [[*self._prompt(one.strip()), self.separator] for one in sources]
        sampling, out = Sampling(temperature, **filters), []
        for start in range(0, len(prompts), TOGETHER):
            some = prompts[start : start + TOGETHER]
            boundary = self.tokenizer.boundary
            rows = write(self.model, some, tokens, boundary, sampling=sampling, seed=seed)
            out += [self.tokenizer.decode(row) for row in rows]
        return out

    def hidden(self, text: str) -> Tensor:
        """The vector after each token of a text, [T, D]: row t has read `tokenizer.encode(text)[: t + 1]`.

        Raises ValueError for a model without hidden vectors (counts, grammars).
        """
        if not isinstance(self.model, HasHead):
            raise ValueError(
                "this model has no hidden vectors: it is a distribution over words itself"
            )
        tokens = torch.tensor([self._prompt(text)], device=device_of(self.model))
        with evaluating(self.model), torch.inference_mode():
            return self.model.hidden(tokens)[0][0, 1:].clone()

    def evaluate(self, text: str) -> Evaluation:
        """How well the model predicts a text (one document, its end not asked for)."""
        import numpy as np

        ids = np.concatenate([[self.tokenizer.boundary], self.tokenizer.encode(text)])
        return self.evaluate_ids(ids, len(text.encode("utf-8")))

    def evaluate_ids(self, ids: Any, text_bytes: int, **options: Any) -> Evaluation:
        """The same on token ids, opened by the boundary token; options as in seqstate.evaluate.

        A model of pairs is scored on their targets (see seqstate.translate.evaluate_pairs).
        """
        if self.separator is not None:
            pairs = Pairs.find(ids, self.tokenizer.boundary, self.separator)
            target_bytes = len(self.tokenizer.decode(pairs.targets()).encode("utf-8"))
            return evaluate_pairs(self.model, pairs, target_bytes, **options)
        reading = {"context": self.config.context, "carry": self.config.carry}
        return evaluate(self.model, ids, text_bytes, **{**reading, **options})

    def _prompt(self, text: str) -> list[int]:
        return [self.tokenizer.boundary, *self.tokenizer.encode(text).tolist()]

    def save(self, folder: str | Path) -> Path:
        """Write the files; each is whole or absent after a crash, config.json comes last."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for number, member in enumerate(self.members):
            member.save(folder / "members" / str(number))
        self.tokenizer.save(folder / "tokenizer.json")
        (folder / "sketch.txt").unlink(missing_ok=True)  # that of a model which stood here
        if self.sketch:
            write_atomic(folder / "sketch.txt", self.sketch.encode())
        write_weights(folder, dict(_own(self.model).state_dict()))
        write_json(folder / "config.json", written(self.config))
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Trained:
        """Read a folder written by `save`. Raises ValueError in one line if it is not one."""
        folder = Path(folder)
        config = read_config(folder)
        members = tuple(cls.load(place) for place in member_folders(folder, config))
        model = _filled(folder, config, [member.model for member in members])
        kept = folder / "sketch.txt"
        sketch = kept.read_text(encoding="utf-8") if kept.exists() else ""
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
        return cls(model, tokenizer, config, members=members, sketch=sketch)


def written(config: ModelConfig | FusionConfig) -> dict[str, Any]:
    """What config.json holds; `model_type` is how Hugging Face's Auto classes find the adapter."""
    return {"format": FORMAT, "seqstate": __version__, "model_type": MODEL_TYPE, **asdict(config)}


def write_weights(folder: Path, named: dict[str, Tensor]) -> None:
    """Write model.safetensors; tied weights are stored once, and tied again on loading."""
    shared: dict[int, str] = {}
    for name, tensor in list(named.items()):
        kept = shared.setdefault(tensor.data_ptr() if tensor.numel() else id(tensor), name)
        if kept != name and named[kept].shape == tensor.shape:
            del named[name]
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
    write_atomic(folder / "model.safetensors", save(tensors, metadata={"format": "pt"}))


def read_model(folder: Path) -> tuple[LanguageModel, ModelConfig | FusionConfig]:
    """The model of a folder, in evaluation mode, and its configuration; no tokenizer is needed.

    Fields of config.json that other programs added are left alone. Raises ValueError in one line.
    """
    config = read_config(folder)
    members = [read_model(place)[0] for place in member_folders(folder, config)]
    return _filled(folder, config, members), config


def read_config(folder: Path, *, objective: str = "next") -> ModelConfig | FusionConfig:
    """The configuration of a folder. Raises ValueError in one line if it is not a model's."""
    if not folder.exists():
        raise ValueError(f"there is no folder {folder}; give that of a trained model")
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} is not a trained model: it has no config.json")
    with told(folder):
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError(f"its config.json holds a {type(data).__name__}, not an object")
        if (learnt := data.get("objective", "next")) != objective:
            raise ValueError(_other_objective(learnt))
        if (found := data.get("format")) != FORMAT:
            raise ValueError(f"its format is {found}, this version reads {FORMAT}")
        for name in ("state", "energy"):
            if not isinstance(data.get(name, ""), str | None):
                raise ValueError(
                    f"its {name} is {data[name]!r}, not a spec such as 'lstm(width=64)'"
                )
        kind = FusionConfig if "members" in data else ModelConfig
        return kind(**{name: data[name] for name in kind.__dataclass_fields__ if name in data})


def member_folders(folder: Path, config: ModelConfig | FusionConfig) -> list[Path]:
    """Where the members of a fusion lie; nowhere for other models."""
    count = config.members if isinstance(config, FusionConfig) else 0
    return [folder / "members" / str(number) for number in range(count)]


def _filled(
    folder: Path, config: ModelConfig | FusionConfig, members: list[LanguageModel]
) -> LanguageModel:
    with told(folder):
        model = config.build(members) if isinstance(config, FusionConfig) else config.build()
        load_model(_own(model), folder / "model.safetensors")
    return model.eval()


def _other_objective(learnt: str) -> str:
    if learnt == "masked":
        return (
            "it guesses masked words from both sides, so it has no next word to write or to score; "
            "read vectors with seqstate.load(...).hidden(text), or see seqstate evaluate"
        )
    return "it was not trained on masked words"


def _own(model: LanguageModel) -> nn.Module:
    """What a folder's weights are of: of a fusion all but its members."""
    return model.gate if isinstance(model, Fusion) else model


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Whatever is wrong with a folder becomes one line."""
    try:
        yield
    except (ValueError, TypeError, OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"cannot load the model in {folder}: {reason}") from None


def _before(text: str, stop: Sequence[str]) -> str:
    """`text` up to the first of the stop strings."""
    return text[: min((text.find(end) for end in stop if end in text), default=len(text))]
