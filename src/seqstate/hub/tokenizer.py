"""Our tokenizer.json as a transformers tokeniser: same ids, `<doc>` before a text, never found inside one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils import cached_file

from seqstate.core.record import write_atomic
from seqstate.hub.files import share_tokenizer
from seqstate.text.tokenizer import BOUNDARIES, UNKNOWN

UNLIMITED = 1 << 30
HUB = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")


class SeqstateTokenizer(PreTrainedTokenizerFast):
    """The boundary token opens a document, ends it and pads; batches are padded on the left.

    It has no constructor of its own: transformers rebuilds the tokenizers of classes that have one.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Read a tokenizer.json and, if there is one, the tokenizer_config.json that transformers wrote."""
        hub = {name: kwargs[name] for name in HUB if kwargs.get(name) is not None}
        saved = cached_file(
            pretrained_model_name_or_path,
            "tokenizer_config.json",
            _raise_exceptions_for_missing_entries=False,
            **hub,
        )
        path = cached_file(pretrained_model_name_or_path, "tokenizer.json", **hub)
        defaults = {} if saved else _settings(tokenizers.Tokenizer.from_file(str(path)))
        return super().from_pretrained(
            pretrained_model_name_or_path, *args, **{**defaults, **kwargs}
        )

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """As transformers saves it, under the name of its own class: it loads where seqstate is not."""
        written = super().save_pretrained(save_directory, *args, **kwargs)
        path = Path(save_directory) / "tokenizer_config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        write_atomic(path, (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode())
        share_tokenizer(Path(save_directory))
        return written


def _settings(model: tokenizers.Tokenizer) -> dict[str, Any]:
    boundary = next(name for name in BOUNDARIES if model.token_to_id(name) is not None)
    unknown = {"unk_token": UNKNOWN} if model.token_to_id(UNKNOWN) is not None else {}
    return {
        "bos_token": boundary,
        "eos_token": boundary,
        "pad_token": boundary,
        **unknown,
        "padding_side": "left",
        "split_special_tokens": True,  # "<doc>" written out in a text stays text
        "add_bos_token": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": UNLIMITED,
        "model_input_names": ["input_ids", "attention_mask"],
    }
