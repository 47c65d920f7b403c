"""Our config.json as transformers reads it: the same fields, under one `model_type`."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from seqstate.fusion import FusionConfig
from seqstate.trained import MODEL_TYPE, ModelConfig, written


class SeqstateConfig(PreTrainedConfig):
    """state, energy: specs, such as "lstm(width=256)" and "inner"; energy None where the state needs none.

    The other fields are those of seqstate.trained.ModelConfig, or of a fusion's. use_cache: carry the state.
    numbers: rows (name, value, stderr, unit, count) measured when the model was trained, for its card.
    """

    model_type = MODEL_TYPE
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012 (the base class reads a list)

    def __init__(
        self,
        state: str | None = None,
        energy: str | None = None,
        vocab_size: int = 257,
        boundary: int = 0,
        use_cache: bool = True,
        numbers: list[list[Any]] | None = None,
        **others: Any,
    ) -> None:
        if state is None:
            state = "fusion" if "members" in others else "lstm"
        self.state, self.energy, self.vocab_size, self.boundary = (
            state,
            energy,
            vocab_size,
            boundary,
        )
        self.use_cache, self.numbers = use_cache, numbers or []
        # as JSON has them, so that what was read equals what was written
        lists = {name: list(value) for name, value in others.items() if isinstance(value, tuple)}
        super().__init__(**others | lists)

    @classmethod
    def describing(cls, described: ModelConfig | FusionConfig, **others: Any) -> SeqstateConfig:
        """The configuration of a model that was read."""
        return cls(**{**written(described), **others})

    def described(self) -> ModelConfig:
        """What builds a fresh model. Raises ValueError for a fusion, whose members are not in it."""
        if self.state == "fusion":
            raise ValueError("a fusion is made of trained models: load it, or see seqstate.fuse")
        from seqstate.model import energy_for

        known = {name: getattr(self, name) for name in self.stored_names()}
        return ModelConfig(**{**known, "energy": energy_for(self.state, self.energy)})

    def stored_names(self) -> list[str]:
        """The fields that say what the weights are of."""
        kind = FusionConfig if self.state == "fusion" else ModelConfig
        return [name for name in kind.__dataclass_fields__ if hasattr(self, name)]

    def to_diff_dict(self) -> dict[str, Any]:
        """What is written: our fields even where they are the defaults, so that our own reader finds them."""
        every = self.to_dict()
        names = [*self.stored_names(), "format", "seqstate", "use_cache", "numbers"]
        ours = {name: every[name] for name in names if name in every}
        return {**super().to_diff_dict(), **ours, "model_type": self.model_type}
