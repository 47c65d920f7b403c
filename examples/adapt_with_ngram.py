"""Adapt a Hugging Face model to your text without training it: mix it with an n-gram counted on the text.

  python examples/adapt_with_ngram.py gpt2-folder book.txt
  python examples/adapt_with_ngram.py small book.txt --make other.txt     makes a GPT-2 of other.txt first

The first eight tenths of the text are counted, the mixing weights are learnt on the ninth, and the bits per
byte are of the last. MODEL is a folder that `save_pretrained` wrote; nothing in it changes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from seqstate.hub.borrowed import load
from seqstate.model import build_model
from seqstate.text.tokenizer import Tokenizer
from seqstate.trained import ModelConfig, Trained


def counted(state: str, text: str, like: Trained) -> Trained:
    """A counted rung over the tokens of another model."""
    config = ModelConfig(
        state=state,
        energy=None,
        vocab_size=like.config.vocab_size,
        context=like.config.context,
        carry=True,
        boundary=like.config.boundary,
    )
    model = build_model(state, vocab_size=config.vocab_size, boundary=config.boundary)
    ids = np.concatenate([[config.boundary], like.tokenizer.encode(text)])
    model.count(ids, config.boundary)
    return Trained(model.eval(), like.tokenizer, config)


def adapt(borrowed: Trained, text: str, held: str, states: list[str], mix: str) -> list[Trained]:
    """The counted rungs and, last, their mix with the borrowed model, its weights learnt on `held`."""
    from seqstate.fusing import learn

    rungs = [counted(state, text, borrowed) for state in states]
    ids = np.concatenate([[borrowed.config.boundary], borrowed.tokenizer.encode(held)])
    return [*rungs, learn([borrowed, *rungs], ids, weights="context", mix=mix)]


def make(folder: Path, text: str, steps: int, seed: int = 0) -> None:
    """A small GPT-2 trained on a text, for those who have no other model at hand."""
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    words = Tokenizer.train("bpe", [text], 1024)
    ids = torch.from_numpy(words.encode(text))
    shape = {"n_layer": 2, "n_head": 4, "n_embd": 128, "n_positions": 128}
    ends = {"bos_token_id": words.boundary, "eos_token_id": words.boundary}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=words.vocab_size, **shape, **ends))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for _ in range(steps):
        starts = torch.randint(len(ids) - 128, (16,))
        rows = ids[starts[:, None] + torch.arange(128)]
        optimiser.zero_grad()
        model(rows, labels=rows).loss.backward()
        optimiser.step()
        schedule.step()
    model.save_pretrained(folder)
    names = {"bos_token": "<doc>", "eos_token": "<doc>"}
    PreTrainedTokenizerFast(tokenizer_object=words.model, **names).save_pretrained(folder)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Print and return bits per byte by model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--states", nargs="+", default=["ngram(order=5)", "cache"])
    parser.add_argument("--mix", default="geometric", choices=["geometric", "linear"])
    parser.add_argument("--make", type=Path, metavar="TEXT", help="make MODEL of this text first")
    parser.add_argument("--steps", type=int, default=300, help="of --make")
    options = parser.parse_args(arguments)
    if options.make is not None:
        make(options.model, options.make.read_text(encoding="utf-8"), options.steps)
    text = options.text.read_text(encoding="utf-8")
    counts, held, last = text[: len(text) * 8 // 10], len(text) * 8 // 10, len(text) * 9 // 10
    borrowed = load(options.model)
    made = adapt(borrowed, counts, text[held:last], options.states, options.mix)
    names = [str(options.model), *options.states, "all mixed"]
    found = {}
    for name, one in zip(names, [borrowed, *made], strict=True):
        result = one.evaluate(text[last:])
        found[name] = result.bits_per_byte
        spread = result.stderr / result.nats_per_token * result.bits_per_byte
        print(f"{name:<20} {result.bits_per_byte:.4f} +- {spread:.4f} bit/byte")
    return found


if __name__ == "__main__":
    main()
