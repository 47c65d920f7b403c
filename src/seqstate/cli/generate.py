"""The state is carried from token to token: constant cost for recurrent states, a cache for attention.

seqstate generate model --prompt "To be" --tokens 300 --temperature 0.8 --seed 1
seqstate generate model -n 4 --min-p 0.05
seqstate generate model --temperature 0 --screen certified    the same text, few words scored
seqstate generate translator --source "cat"      a model trained on pairs writes the likeliest target
seqstate generate translator --sources list.txt  ... of every line; - reads standard input
seqstate generate hf:./gpt2 --prompt "To be"     a Hugging Face causal language model in a folder
"""

from __future__ import annotations

USAGE = "MODEL"


def add_arguments(parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a trained model's folder, or hf:FOLDER")
    parser.add_argument("--prompt", default="", help="text to go on from; - reads standard input")
    parser.add_argument("--source", help="what to write the target of, for a model of pairs")
    parser.add_argument(
        "--sources", metavar="FILE", help="the same, one a line; - reads standard input"
    )
    parser.add_argument("--tokens", type=int, default=200, help="how many at most")
    parser.add_argument(
        "--temperature",
        type=float,
        help="below 1 bolder, 0 the likeliest (default 1; of targets 0)",
    )
    parser.add_argument(
        "--top-k", type=int, default=0, help="draw from the k likeliest; 0: from all"
    )
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="draw from the fewest with this probability"
    )
    parser.add_argument(
        "--min-p",
        type=float,
        default=0.0,
        help="drop tokens below this share of the likeliest",
    )
    parser.add_argument(
        "--screen",
        metavar="SPEC",
        help="score only words that may win, e.g. certified (with --temperature 0 or --top-k)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed writes the same text")
    parser.add_argument(
        "--stop", nargs="+", default=[], metavar="TEXT", help="end before any of these"
    )
    parser.add_argument("-n", "--samples", type=int, default=1, help="how many texts, in one batch")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--json", action="store_true", help="print JSON: prompt and texts")


def run(options) -> int:
    import json
    import sys

    if options.tokens < 0:
        raise ValueError(f"--tokens {options.tokens} is below 0")
    if options.samples < 1:
        raise ValueError(f"--samples {options.samples} is below 1")
    import torch

    from seqstate.cli import options as shared

    torch.set_num_threads(options.threads)
    trained = shared.opened(options.model)
    drawing = {
        "tokens": options.tokens,
        "top_k": options.top_k,
        "top_p": options.top_p,
        "min_p": options.min_p,
        "seed": options.seed,
    }
    if options.screen is not None:
        drawing["screen"] = options.screen
    if options.temperature is not None:
        drawing["temperature"] = options.temperature
    if options.source is not None or options.sources is not None:
        return _translate(trained, options, drawing)
    prompt = sys.stdin.read() if options.prompt == "-" else options.prompt
    drawing["stop"] = options.stop
    if options.samples == 1 and not options.json:
        pieces = trained.stream(prompt, **drawing)
        sys.stdout.write(prompt + next(pieces))  # what is wrong is told before anything is written
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        return 0
    texts = trained.generate([prompt] * options.samples, **drawing)
    if options.json:
        print(json.dumps({"prompt": prompt, "texts": texts}, ensure_ascii=False, indent=1))
    else:
        print("\n\n".join(f"[{number}]\n{prompt}{text}" for number, text in enumerate(texts, 1)))
    return 0


def _translate(trained, options, drawing) -> int:
    import json

    of_texts = {"prompt": options.prompt, "stop": options.stop, "screen": options.screen}
    for name, given in of_texts.items():
        if given:
            raise ValueError(f"--{name} is for texts, a source is given; leave one out")
    if options.samples > 1:
        raise ValueError("-n is for texts; repeat the line in --sources for several targets of one")
    sources = _sources(options)
    targets = trained.translate(sources, **drawing)
    if options.json:
        pairs = [{"source": one, "target": two} for one, two in zip(sources, targets, strict=True)]
        print(json.dumps(pairs, ensure_ascii=False, indent=1))
    else:
        print("\n".join(targets))
    return 0


def _sources(options) -> list[str]:
    import sys
    from pathlib import Path

    if options.sources is None:
        return [options.source]
    if options.source is not None:
        raise ValueError("--source and --sources are both given; leave one out")
    if options.sources == "-":
        text = sys.stdin.read()
    else:
        try:
            text = Path(options.sources).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"--sources {options.sources} is not UTF-8 text") from None
    if not (lines := text.removesuffix("\n").split("\n")) or lines == [""]:
        raise ValueError(f"--sources {options.sources} holds no line")
    return lines
