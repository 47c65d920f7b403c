"""The one adapter to Hugging Face: our models in transformers, and transformers' models here.

    import seqstate
    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained("model")         # a folder of `seqstate train`

    borrowed = seqstate.from_hf(model, tokenizer)                 # any causal language model of theirs

Nothing else in the package knows of it. transformers offers no entry point for model types (none in 4.57 to
5.23), so `import seqstate` leaves a watcher (hook.py) that registers ours when transformers' Auto classes
are imported; until then neither torch nor transformers is loaded.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "SeqstateConfig": "seqstate.hub.config",
    "SeqstateForCausalLM": "seqstate.hub.model",
    "SeqstateTokenizer": "seqstate.hub.tokenizer",
    "Carried": "seqstate.hub.carried",
    "from_hf": "seqstate.hub.borrowed",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seqstate.hub' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
