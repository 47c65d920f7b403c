"""Tells transformers' Auto classes of our model type, when and if they are imported.

Three modules of transformers hold the registries; each is told right after it has been executed, or at once
if it is there already. Imports nothing but the standard library until then.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

AUTO = "transformers.models.auto."


def _register_config(module: Any) -> None:
    from seqstate.hub.config import SeqstateConfig

    module.AutoConfig.register(SeqstateConfig.model_type, SeqstateConfig, exist_ok=True)


def _register_model(module: Any) -> None:
    from seqstate.hub.config import SeqstateConfig
    from seqstate.hub.model import SeqstateForCausalLM

    module.AutoModelForCausalLM.register(SeqstateConfig, SeqstateForCausalLM, exist_ok=True)


def _register_tokenizer(module: Any) -> None:
    from seqstate.hub.config import SeqstateConfig
    from seqstate.hub.tokenizer import SeqstateTokenizer

    module.AutoTokenizer.register(
        SeqstateConfig, fast_tokenizer_class=SeqstateTokenizer, exist_ok=True
    )


REGISTRIES = {
    f"{AUTO}configuration_auto": _register_config,
    f"{AUTO}modeling_auto": _register_model,
    f"{AUTO}tokenization_auto": _register_tokenizer,
}


class Watcher(MetaPathFinder):
    """Finds nothing itself; has the registries told as soon as they exist."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        if name not in REGISTRIES:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                return _telling(spec)
        return None


def _telling(spec: ModuleSpec) -> ModuleSpec:
    loader: Any = spec.loader
    execute = loader.exec_module

    def executed(module: ModuleType) -> None:
        execute(module)
        REGISTRIES[spec.name](module)

    loader.exec_module = executed
    return spec


def install() -> None:
    """Register with what is imported already, and watch for the rest. A second call does nothing."""
    if any(isinstance(finder, Watcher) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, Watcher())
    for name, register in REGISTRIES.items():
        if (module := sys.modules.get(name)) is not None:
            register(module)
