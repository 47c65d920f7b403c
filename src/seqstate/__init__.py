"""Sequence generators as a hidden state plus an energy: train, generate, evaluate, compare.

    import seqstate

    trained = seqstate.fit("book.txt", state="lstm(width=256)", energy="multi_hamming(groups=16)")
    print(trained.generate("Once", tokens=200))
    trained.save("model")

The parts live in `seqstate.states`, `seqstate.energies`, ... and work alone. Importing this package is
quick: torch comes with the first use.
"""

from __future__ import annotations

import importlib
from typing import Any

from seqstate.hub import hook

__version__ = "0.1.0"

hook.install()  # transformers' Auto classes learn of our models when they are imported

_HOMES = {  # public name -> module that defines it
    "fit": "seqstate.api",
    "load": "seqstate.api",
    "fuse": "seqstate.fusing",
    "Trained": "seqstate.trained",
    "build_model": "seqstate.model",
    "audit": "seqstate.bottleneck",
    "inspect": "seqstate.inspecting",
    "from_hf": "seqstate.hub.borrowed",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seqstate' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
