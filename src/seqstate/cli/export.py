"""What other programs read: ARPA for KenLM, an ONNX step for onnxruntime, one safetensors file, a folder
for Hugging Face.

  seqstate export ngram --arpa model.arpa.gz        query it with KenLM or SRILM
  seqstate export model --onnx step.onnx            token and state in, logits and next state out
  seqstate export model --safetensors model.safetensors
  seqstate export model --hf folder                 to share: AutoModelForCausalLM.from_pretrained("folder")

An ONNX step is run beside torch before it is kept; a state that cannot be written so is refused.
"""

from __future__ import annotations

from pathlib import Path

from seqstate.cli import options as shared

USAGE = "MODEL [--arpa FILE] [--onnx FILE] [--safetensors FILE] [--hf DIR]"
FORMS = ("arpa", "onnx", "safetensors", "hf")


def add_arguments(parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a trained model's folder")
    parser.add_argument("--arpa", metavar="FILE", help="an n-gram as text; .gz is compressed")
    parser.add_argument("--onnx", metavar="FILE", help="the step of a neural model")
    parser.add_argument(
        "--safetensors", metavar="FILE", help="weights, configuration and tokeniser in one file"
    )
    parser.add_argument(
        "--hf", metavar="DIR", help="a folder for transformers, with model card, ready to upload"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what exists")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(options) -> int:
    import json

    wanted = {name: Path(getattr(options, name)) for name in FORMS if getattr(options, name)}
    check(wanted, overwrite=options.overwrite)
    from seqstate import export
    from seqstate.trained import Trained

    trained = Trained.load(options.model)
    written = {}
    if "arpa" in wanted:
        written["arpa"] = {"path": export.to_arpa(trained, wanted["arpa"])}
    if "onnx" in wanted:
        worst = export.to_onnx(trained, wanted["onnx"])
        written["onnx"] = {"path": wanted["onnx"], "largest_difference": worst}
    if "safetensors" in wanted:
        written["safetensors"] = {"path": export.to_safetensors(trained, wanted["safetensors"])}
    if "hf" in wanted:
        from seqstate.hub.folder import to_folder

        written["hf"] = {"path": to_folder(options.model, wanted["hf"])}
    if options.json:
        print(json.dumps(written, indent=1, default=str))
        return 0
    for name, told in written.items():
        note = "; ready to upload, and for AutoModelForCausalLM" if name == "hf" else ""
        if name == "onnx":
            note = f": logits within {told['largest_difference']:.1e} of torch's in onnxruntime"
        print(f"{told['path']}{note}")
    return 0


def check(wanted: dict[str, Path], *, overwrite: bool) -> None:
    """Raise ValueError for what cannot be written, before anything is loaded."""
    if not wanted:
        asked = ", ".join(f"--{name} {'DIR' if name == 'hf' else 'FILE'}" for name in FORMS)
        raise ValueError(f"nothing to export; give one or more of {asked}")
    for name, path in wanted.items():
        if path.exists() and not overwrite and not (name == "hf" and _empty(path)):
            kind = "folder" if name == "hf" else "file"
            raise ValueError(f"{path} exists; name another {kind}, or add --overwrite")
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent} to write {path.name} into")
    if "hf" in wanted:
        shared.needs_transformers()


def _empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
