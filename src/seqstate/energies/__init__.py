"""How candidates are scored: one file per energy."""

from seqstate.core import registry


def __getattr__(name: str) -> type:
    return registry.lazy("energies", name)
