"""The model card: what it is, what it was trained on, its numbers, how to load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqstate.core.model import count_parameters
from seqstate.core.record import write_atomic

MARK = "<!-- written by seqstate; remove this line to keep your own card -->"


def write(path: Path, model: Any) -> None:
    """Write README.md, unless somebody has written one of their own."""
    if path.exists() and MARK not in path.read_text(encoding="utf-8"):
        return
    write_atomic(path, text(model).encode("utf-8"))


def text(model: Any) -> str:
    """The card in Markdown, with the metadata the Hub reads."""
    config = model.config
    name = config.state + (f" + {config.energy}" if config.energy else "")
    parameters = count_parameters(model)
    corpus = getattr(config, "corpus", "") or "not recorded"
    return f"""\
---
library_name: transformers
pipeline_tag: text-generation
tags: [seqstate, text-generation]
---
{MARK}
# {name}

A sequence generator made with seqstate: a hidden state, `{config.state}`,
{_scored(config)}

- trained on: `{corpus}` (name and hash of text, split and tokeniser)
- vocabulary: {config.vocab_size:,} tokens
- trainable parameters: {parameters:,}

## Numbers

{_table(config.numbers)}

## How to load

```python
import seqstate  # pip install "seqstate[hf]"
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER OR REPOSITORY")
tokenizer = AutoTokenizer.from_pretrained("FOLDER OR REPOSITORY")
prompt = tokenizer("Once", return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=50)[0]))
```

or, without transformers, `seqstate.load("FOLDER").generate("Once")`. Programs that cannot import seqstate
first take `trust_remote_code=True`.
"""


def _scored(config: Any) -> str:
    if config.energy:
        return f"whose vector scores the next word by the energy `{config.energy}`."
    return "that is a distribution over the next word itself."


def _table(numbers: list[list[Any]]) -> str:
    if not numbers:
        return "None are recorded."
    rows = [
        "Measured on held-out text when the model was trained with seqstate; training since is not in them.",
        "",
        "| | value | standard error | unit | n |",
        "|---|--:|--:|---|--:|",
    ]
    for name, value, stderr, unit, count in numbers:
        spread = "" if stderr is None else f"{stderr:.2g}"
        rows.append(f"| {name} | {value:.5g} | {spread} | {unit} | {count:,} |")
    return "\n".join(rows)
