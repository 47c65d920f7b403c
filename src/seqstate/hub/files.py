"""What lies in a folder or repository: finding it, checking what was asked, writing it again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from torch import Tensor

from seqstate.core.record import Run, write_atomic, write_json
from seqstate.hub import card
from seqstate.hub.config import SeqstateConfig
from seqstate.trained import member_folders, read_config, write_weights, written

SAFE = ["*.json", "*.safetensors", "*.md", "*.txt"]  # what is downloaded: nothing that can be code
SHIM = "seqstate_hub.py"
SHIM_TEXT = '''\
"""Lets transformers load this model with trust_remote_code=True where seqstate is installed but not
imported (pip install "seqstate[hf]"). Without it: import seqstate, then AutoModelForCausalLM."""

from seqstate.hub import SeqstateConfig, SeqstateForCausalLM  # noqa: F401
'''
AUTO_MAP = {
    "AutoConfig": "seqstate_hub.SeqstateConfig",
    "AutoModelForCausalLM": "seqstate_hub.SeqstateForCausalLM",
}
# what the Auto classes and pipelines add for themselves, and what has no meaning for us
UNUSED = {
    "trust_remote_code", "code_revision", "low_cpu_mem_usage", "weights_only", "proxies", "use_safetensors",
    "attn_implementation", "adapter_kwargs", "adapter_name", "tqdm_class", "disable_mmap", "max_memory",
    "offload_folder", "offload_buffers", "offload_state_dict",
}  # fmt: skip


@dataclass(frozen=True)
class Described:
    """A model's configuration, and those of its members if it is a fusion."""

    config: Any
    members: tuple[Described, ...] = ()

    @classmethod
    def of(cls, folder: Path) -> Described:
        config = read_config(folder)
        return cls(config, tuple(cls.of(place) for place in member_folders(folder, config)))


@dataclass
class Loading:
    """What from_pretrained was asked for. hub: passed on to the Hub's client. settings: of the config."""

    hub: dict[str, Any]
    subfolder: str = ""
    dtype: torch.dtype | None = None
    device: torch.device | None = None
    with_info: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, options: dict[str, Any]) -> Loading:
        """Sort the options of from_pretrained. Raises ValueError for what cannot be honoured."""
        given = {name: value for name, value in options.items() if value is not None}
        asked = {name: value for name, value in given.items() if not name.startswith("_")}
        if asked.get("use_safetensors") is False:
            raise ValueError("use_safetensors=False asks for pickles, which are never loaded")
        if (config := asked.pop("quantization_config", None)) is not None:
            raise ValueError(f"{type(config).__name__}: quantised loading is not supported")
        hub = {
            name: asked.pop(name)
            for name in ("cache_dir", "force_download", "local_files_only", "token", "revision")
            if name in asked
        }
        kind = asked.pop("torch_dtype", None)
        kind = asked.pop("dtype", kind)
        return cls(
            hub=hub,
            subfolder=asked.pop("subfolder", None) or "",
            dtype=_dtype(kind),
            device=_device(asked.pop("device_map", None)),
            with_info=bool(asked.pop("output_loading_info", False)),
            settings={name: value for name, value in asked.items() if name not in UNUSED},
        )


def _dtype(asked: Any) -> torch.dtype | None:
    if asked in (None, "auto"):
        return None
    found = getattr(torch, asked, None) if isinstance(asked, str) else asked
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype {asked!r} is no floating type; wanted torch.bfloat16 or the like")
    return found


def _device(asked: Any) -> torch.device | None:
    if isinstance(asked, dict) and set(asked) == {""}:
        asked = asked[""]
    if asked is None or isinstance(asked, torch.device):
        return asked
    if asked in ("auto", "balanced", "sequential"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(asked, str | int):
        return torch.device(asked)
    raise ValueError(f"device_map {asked!r}: a model lies on one device; name one, or 'auto'")


def find(name: Any, wanted: Loading) -> Path:
    """The local folder of a path or of a repository of the Hub, which is downloaded unless cached."""
    folder = Path(name)
    if not folder.is_dir():
        folder = Path(snapshot_download(str(name), allow_patterns=SAFE, **wanted.hub))
    return folder / wanted.subfolder


def numbers(folder: Path) -> list[list[Any]]:
    """What was measured when the model was trained, as rows of a card; none if it is not recorded."""
    if not (folder / "run.json").exists():
        return SeqstateConfig.from_pretrained(folder).numbers
    readings = Run.load(folder / "run.json").readings
    return [[r.name, r.value, r.stderr, r.unit, r.count] for r in readings]


def agreed(stored: SeqstateConfig, given: Any, settings: dict[str, Any]) -> SeqstateConfig:
    """The stored configuration with what was asked otherwise; what is built of weights cannot be changed."""
    asked = dict(settings)
    if given is not None:
        names = ("use_cache", "return_dict", "output_hidden_states")
        asked |= {name: getattr(given, name) for name in names}
        asked |= {
            name: getattr(given, name) for name in stored.stored_names() if hasattr(given, name)
        }
    for name, value in asked.items():
        found = getattr(stored, name, None)
        if name in stored.stored_names() and value != found:
            raise ValueError(
                f"{name} of this model is {found!r} and cannot become {value!r} by loading"
            )
        if not hasattr(stored, name):
            raise ValueError(f"from_pretrained has no option {name!r} for this model")
        setattr(stored, name, value)
    return stored


def write(folder: Path, model: Any, named: dict[str, Tensor]) -> None:
    """Weights, configuration, generation settings, card and shim; config.json comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    stripped = {name.removeprefix("lm."): tensor for name, tensor in named.items()}
    described = _sized(model.described, model.lm.vocab_size)
    own = _write_model(folder, described, stripped)
    model.generation_config.save_pretrained(folder)
    card.write(folder / "README.md", model)
    write_atomic(folder / SHIM, SHIM_TEXT.encode())
    share_tokenizer(folder)
    extra = {
        "architectures": [type(model).__name__],
        "auto_map": AUTO_MAP,
        "numbers": model.config.numbers,
        "use_cache": model.config.use_cache,
    }
    write_json(folder / "config.json", {**own, **extra})


def share_tokenizer(folder: Path) -> None:
    """Give the members of a fusion the tokeniser of the whole: each is a model of ours by itself."""
    if (source := folder / "tokenizer.json").exists():
        for member in folder.glob("members/*"):
            write_atomic(member / "tokenizer.json", source.read_bytes())
            share_tokenizer(member)


def _write_model(folder: Path, described: Described, named: dict[str, Tensor]) -> dict[str, Any]:
    """The weights, and the members of a fusion as folders of their own; returns what config.json holds."""
    for number, member in enumerate(described.members):
        place, start = folder / "members" / str(number), f"members.{number}."
        place.mkdir(parents=True, exist_ok=True)
        inner = {name.removeprefix(start): t for name, t in named.items() if name.startswith(start)}
        write_json(place / "config.json", _write_model(place, member, inner))
    if described.members:
        named = {
            name.removeprefix("gate."): t for name, t in named.items() if name.startswith("gate.")
        }
    write_weights(folder, named)
    return written(described.config)


def _sized(described: Described, vocab_size: int) -> Described:
    config = described.config
    if config.vocab_size == vocab_size:
        return described
    return Described(dataclasses.replace(config, vocab_size=vocab_size), described.members)
