"""Every instrument that applies to the model, on a text: how binary its gates are, where its graph points,
how large its state is, what its output layer can say. Those that do not apply are listed with the reason.

  seqstate inspect model book.txt
  seqstate inspect model book.txt --instruments gates "logit_rank(rows=512)" --json
  seqstate inspect model book.txt --record    keep the readings for seqstate report
  seqstate inspect hf:./gpt2 book.txt         a Hugging Face causal language model in a folder

Without TEXT, on the default corpus. What each reading means: seqstate ls gates (or any of: seqstate ls
instruments). JSON has the curves and the figures of each head too, as tags.
"""

from __future__ import annotations

from seqstate.cli import measured
from seqstate.cli import options as shared

USAGE = "MODEL [TEXT ...]"


def add_arguments(parser) -> None:
    measured.add_arguments(parser, "all that apply")


def run(options) -> int:
    import json

    import torch

    from seqstate.bottleneck import audit_table
    from seqstate.cli import display
    from seqstate.inspecting import inspect

    torch.set_num_threads(options.threads)
    with display.preparing() as preparing:
        preparing("reading the text")
        model, batch = measured.opened(options)
        if options.model.startswith(shared.BORROWED):
            from seqstate.hub.borrowed import language_model

            model = language_model(model)
        found = inspect(
            model,
            batch,
            instruments=options.instruments,
            progress=lambda name: preparing(f"reading {name}"),
        )
    if options.record:
        measured.record(options.model, [one for some in found.readings.values() for one in some])
    rows = [
        {"instrument": spec, **row}
        for spec, some in found.readings.items()
        for row in audit_table(some)
    ]
    if options.json:
        tags = [reading.tags for some in found.readings.values() for reading in some]
        told = [{**row, "tags": tag} for row, tag in zip(rows, tags, strict=True)]
        shape = dict(zip(("rows", "tokens"), batch.tokens.shape, strict=True))
        answer = {"readings": told, "not_measured": found.refused, "read": shape}
        print(json.dumps(answer, indent=1, ensure_ascii=False))
        return 0
    console = display.console()
    console.print(measured.table(rows))
    count, length = batch.tokens.shape
    print(f"\non {count} stretches of {length} tokens")
    if found.refused:
        print("not measured:")
        console.print(display.pairs(by_reason(found.refused)))
    return 0


def by_reason(refused: dict[str, str]) -> dict[str, str]:
    """The reasons, each once, by the names it holds for."""
    names: dict[str, list[str]] = {}
    for name, reason in refused.items():
        names.setdefault(reason, []).append(name)
    return {", ".join(some): reason for reason, some in names.items()}
