"""What the output layer can and cannot say: the rank of its log-probabilities, declared and measured,
words that can never be the likeliest, patterns it can reach, gradient it loses.

  seqstate audit model                       on the default corpus
  seqstate audit model book.txt --record     ... and keep the readings for the report
  seqstate audit hf:./gpt2 book.txt          a Hugging Face causal language model in a folder

The details of each instrument: seqstate ls logit_rank (or any of: seqstate ls instruments). The state too:
seqstate inspect.
"""

from __future__ import annotations

from seqstate.cli import measured

USAGE = "MODEL [TEXT ...]"


def add_arguments(parser) -> None:
    measured.add_arguments(parser, "all of the output layer")


def run(options) -> int:
    import json

    import torch

    from seqstate.bottleneck import audit, audit_table
    from seqstate.cli import display

    torch.set_num_threads(options.threads)
    with display.preparing() as preparing:
        preparing("reading the text")
        model, batch = measured.opened(options)
        preparing("auditing the output layer")
        readings = audit(model, batch, instruments=options.instruments)
    if options.record:
        measured.record(options.model, readings)
    rows = audit_table(readings)
    if options.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    display.console().print(measured.table(rows))
    return 0
