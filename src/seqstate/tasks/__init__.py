"""What is asked of a model besides text: one file per task."""

from seqstate.core import registry


def __getattr__(name: str) -> type:
    return registry.lazy("tasks", name)
