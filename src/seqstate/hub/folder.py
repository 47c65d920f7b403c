"""A trained folder as one to share: what save_pretrained writes, tokeniser and model card included."""

from __future__ import annotations

import tempfile
from pathlib import Path

from seqstate.core.record import replace_folder
from seqstate.hub.files import SHIM
from seqstate.hub.model import SeqstateForCausalLM
from seqstate.hub.tokenizer import SeqstateTokenizer


def to_folder(source: str | Path, target: str | Path) -> Path:
    """Write a folder that the Auto classes load, with trust_remote_code where seqstate is not imported.

    A folder that was written so is replaced, whole or not at all. Raises ValueError for a source that is no
    trained model and for a target that holds anything else.
    """
    target = Path(target)
    if not replaceable(target):
        raise ValueError(f"{target} holds something else than an exported model; name a new folder")
    model = SeqstateForCausalLM.from_pretrained(source)
    tokenizer = SeqstateTokenizer.from_pretrained(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        made = Path(scratch) / "made"
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        return replace_folder(made, target)


def replaceable(target: Path) -> bool:
    """Whether a folder is not there, empty, or one of these."""
    if not target.exists():
        return True
    return target.is_dir() and (not any(target.iterdir()) or (target / SHIM).exists())
