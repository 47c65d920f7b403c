"""What other programs read: ARPA for KenLM, an ONNX step for onnxruntime, one safetensors file.

  seqstate export ngram --arpa model.arpa.gz        query it with KenLM or SRILM
  seqstate export model --onnx step.onnx            token and state in, logits and next state out
  seqstate export model --safetensors model.safetensors

An ONNX step is run beside torch before it is kept; a state that cannot be written so is refused.
"""

from __future__ import annotations

from pathlib import Path

USAGE = "MODEL [--arpa FILE] [--onnx FILE] [--safetensors FILE]"


def add_arguments(parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a trained model's folder")
    parser.add_argument("--arpa", metavar="FILE", help="an n-gram as text; .gz is compressed")
    parser.add_argument("--onnx", metavar="FILE", help="the step of a neural model")
    parser.add_argument(
        "--safetensors", metavar="FILE", help="weights, configuration and tokeniser in one file"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def run(options) -> int:
    wanted = {
        name: Path(getattr(options, name))
        for name in ("arpa", "onnx", "safetensors")
        if getattr(options, name)
    }
    if not wanted:
        raise ValueError("nothing to export; give --arpa FILE, --onnx FILE or --safetensors FILE")
    for path in wanted.values():
        if path.exists() and not options.overwrite:
            raise ValueError(f"{path} exists; name another file, or add --overwrite")
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent} to write {path.name} into")
    from seqstate import export
    from seqstate.trained import Trained

    trained = Trained.load(options.model)
    if "arpa" in wanted:
        print(f"{export.to_arpa(trained, wanted['arpa'])}: {trained.config.state}")
    if "onnx" in wanted:
        worst = export.to_onnx(trained, wanted["onnx"])
        print(f"{wanted['onnx']}: logits within {worst:.1e} of torch's in onnxruntime")
    if "safetensors" in wanted:
        print(export.to_safetensors(trained, wanted["safetensors"]))
    return 0
