"""Questions of the essay, each with its criterion and its verdict: one file per claim."""

from seqstate.core import registry


def __getattr__(name: str) -> type:
    return registry.lazy("claims", name)
