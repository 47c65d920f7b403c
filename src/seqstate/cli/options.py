"""Options that several commands share, and how they become a RunConfig and a Corpus."""

from __future__ import annotations

import argparse
import importlib.util
import math
import re
from typing import Any

from seqstate.core.record import PRECISIONS, RunConfig

DEFAULTS = RunConfig(state="", energy=None, corpus="")
BORROWED = "hf:"  # what names a folder that Hugging Face's save_pretrained wrote


def opened(model: str):
    """The trained model a command names: a folder of ours, or hf:FOLDER. Raises ValueError."""
    if model.startswith(BORROWED):
        needs_transformers()
        from seqstate.hub.borrowed import load, quiet

        quiet()
        return load(model.removeprefix(BORROWED))
    from seqstate.trained import Trained

    return Trained.load(model)


def needs_transformers() -> None:
    """Raise ValueError where transformers, which an extra brings, is not installed."""
    if importlib.util.find_spec("transformers") is None:
        raise ValueError("transformers is not installed; pip install 'seqstate[hf]'")


def encoded(trained: Any, options: Any):
    """Ids of the text, as pairs for a model of pairs, and its bytes. Raises ValueError for the other kind."""
    from seqstate.text.pairs import FIELDS, pair_fields
    from seqstate.text.store import encode_text

    fields = None
    if trained.separator is not None:
        fields = pair_fields(options.text, options.pairs) or FIELDS
    elif options.pairs:
        raise ValueError(f"{options.model} was trained on text, not on pairs; leave --pairs out")
    return encode_text(trained.tokenizer, options.text, pairs=fields, **reading(options))


def duration(text: str | float) -> float:
    """Seconds from `90s`, `5m`, `1h` or a plain number of seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(text).strip())
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write 90s, 5m or 1h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def add_text_options(parser, *, split: bool = True) -> None:
    """Where text comes from and how it is cut into tokens."""
    text = parser.add_argument_group("text")
    if split:
        text.add_argument(
            "--valid", nargs="+", metavar="FILE", help="held-out text; all of TEXT trains"
        )
        text.add_argument(
            "--valid-share", type=float, default=0.1, help="share held out when there is no --valid"
        )
        text.add_argument(
            "--tokenizer",
            metavar="KIND",
            help="byte, char, word, bpe, space, or the tokenizer.json of another model "
            "(default bpe; of trees space)",
        )
        text.add_argument("--vocab-size", type=int, help="number of tokens, for word and bpe")
    text.add_argument("--field", help="field that holds the text, for .jsonl and .parquet")
    text.add_argument(
        "--pairs",
        metavar="SOURCE,TARGET",
        help="the two fields that hold pairs, for .jsonl; a .tsv of two columns needs none",
    )
    text.add_argument("--encoding", default="utf-8", help="of text files")
    text.add_argument(
        "--errors",
        default="strict",
        help="bytes that are no text: strict, replace, ignore, backslashreplace",
    )


def add_training_options(parser, *, several_rates: bool = False) -> None:
    """The knobs of a RunConfig, with its defaults."""
    group = parser.add_argument_group("training")
    group.add_argument(
        "--batch-size", type=int, default=DEFAULTS.batch_size, help="rows read in parallel"
    )
    group.add_argument(
        "--context", type=int, default=DEFAULTS.context, help="tokens a row reads per step"
    )
    if several_rates:
        told = "peak learning rate; of several, each model gets the best in runs of a quarter of the steps"
        group.add_argument("--lr", type=float, nargs="+", default=[DEFAULTS.lr], help=told)
    else:
        group.add_argument("--lr", type=float, default=DEFAULTS.lr, help="peak learning rate")
    group.add_argument(
        "--min-lr",
        type=float,
        default=DEFAULTS.min_lr,
        help="final learning rate, as a share of --lr",
    )
    group.add_argument(
        "--warmup", type=float, default=DEFAULTS.warmup, help="share of the training that warms up"
    )
    group.add_argument("--weight-decay", type=float, default=DEFAULTS.weight_decay, help="AdamW")
    group.add_argument(
        "--clip", type=float, default=DEFAULTS.clip, help="largest gradient norm; 0: off"
    )
    group.add_argument(
        "--dropout", type=float, default=DEFAULTS.dropout, help="on embeddings and hidden"
    )
    group.add_argument(
        "--accumulate", type=int, default=DEFAULTS.accumulate, help="batches added up per step"
    )
    group.add_argument(
        "--precision",
        default=DEFAULTS.precision,
        choices=PRECISIONS,
        help="of products",
    )
    group.add_argument(
        "--no-carry", action="store_true", help="random windows, no state carried on"
    )
    group.add_argument(
        "--untied", action="store_true", help="input embedding apart from the word table"
    )
    group.add_argument(
        "--head-width", type=int, help="numbers a word has; default: the state's width"
    )
    group.add_argument("--eval-every", type=int, default=0, help="steps; 0: twenty times a run")
    group.add_argument(
        "--patience",
        type=int,
        default=0,
        help="stop after so many validations without gain; what is annealed runs to its end",
    )
    group.add_argument(
        "--threads", type=int, default=DEFAULTS.threads, help="processor threads of a run"
    )


def run_config(
    options: Any, *, state: str, energy: str | None, corpus: str, seed: int
) -> RunConfig:
    """The RunConfig of parsed options; the budget is still the default's."""
    config = RunConfig(
        state=state,
        energy=energy,
        corpus=corpus,
        seed=seed,
        tie=not options.untied,
        head_width=options.head_width,
        dropout=options.dropout,
        batch_size=options.batch_size,
        context=options.context,
        carry=not options.no_carry,
        accumulate=options.accumulate,
        lr=options.lr[0] if isinstance(options.lr, list) else options.lr,
        min_lr=options.min_lr,
        warmup=options.warmup,
        weight_decay=options.weight_decay,
        clip=options.clip,
        precision=options.precision,
        eval_every=options.eval_every,
        patience=options.patience,
        threads=options.threads,
    )
    if wrong := config.wrong():
        name, why = wrong
        raise ValueError(f"--{name.replace('_', '-')} {getattr(config, name)} {why}")
    return config


def add_budget_options(parser) -> None:
    """One of four ways to say how long to train."""
    group = parser.add_argument_group("budget (one of)")
    group.add_argument("--steps", type=int, help="optimiser steps (default 1000)")
    group.add_argument("--tokens", type=int, help="tokens read")
    group.add_argument("--epochs", type=float, help="times through the training text")
    group.add_argument("--budget", type=duration, metavar="TIME", help="training time: 90s, 5m, 1h")


def with_budget(config: RunConfig, options: Any, train_tokens: int) -> RunConfig:
    """Set steps or seconds from the one budget option given. Raises ValueError for two, or for none of it."""
    names = ("steps", "tokens", "epochs", "budget")
    given = [name for name in names if getattr(options, name) is not None]
    if len(given) > 1:
        raise ValueError(f"give one budget, not {' and '.join('--' + name for name in given)}")
    if not given:
        return config
    value = getattr(options, given[0])
    if not value > 0:
        raise ValueError(f"--{given[0]} {value} is no budget; it must be above 0")
    if given == ["budget"]:
        return config.replace(steps=None, seconds=float(value))
    if given == ["steps"]:
        return config.replace(steps=value)
    tokens = value if given == ["tokens"] else value * train_tokens
    return config.replace(steps=max(1, math.ceil(tokens / config.tokens_per_step)))


def reading(options: Any) -> dict[str, Any]:
    """How files are read, as text.sources takes it."""
    return {name: getattr(options, name) for name in ("field", "encoding", "errors")}


def corpus_of(options: Any, texts: list[str], progress=None):
    """Prepare (or find in the cache) the corpus the options ask for."""
    from seqstate.text.store import prepare

    return prepare(
        texts,
        valid=options.valid or (),
        tokenizer=options.tokenizer,
        vocab_size=options.vocab_size,
        valid_share=options.valid_share,
        pairs=options.pairs,
        progress=progress,
        **reading(options),
    )


def tell_corpus(corpus: Any, note: Any) -> None:
    """One line on what is read, and a second if words nobody knows make the numbers look better."""
    note(
        f"{corpus.id}: {len(corpus.train):,} tokens to train, {len(corpus.valid):,} held out "
        f"({corpus.split}), {corpus.tokenizer.kind} tokens, vocabulary {corpus.tokenizer.vocab_size:,}"
    )
    if corpus.unknown > 0:
        note(
            f"{corpus.unknown:.1%} of held-out tokens are <unk>, which makes bits per byte flatter"
        )
