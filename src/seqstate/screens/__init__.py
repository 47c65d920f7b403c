"""What is thrown away unscored: one file per screen."""

from seqstate.core import registry


def __getattr__(name: str) -> type:
    return registry.lazy("screens", name)
