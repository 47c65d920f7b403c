"""How the past is remembered: one file per state."""

from seqstate.core import registry


def __getattr__(name: str) -> type:
    return registry.lazy("states", name)
