"""What is measured: one file per instrument."""

from seqstate.core import registry


def __getattr__(name: str) -> type:
    return registry.lazy("instruments", name)
