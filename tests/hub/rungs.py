"""Every rung as a transformers model: tiny, awake, with a character tokeniser of eleven tokens."""

from __future__ import annotations

import functools

import torch
from laws.grid import WIDTH, build_language_model, distribution_specs
from transformers import GPT2Config, GPT2LMHeadModel

from seqstate.core import registry
from seqstate.core.model import StateModel
from seqstate.core.spec import parse
from seqstate.fusion import FusionConfig
from seqstate.hub import SeqstateConfig, SeqstateForCausalLM
from seqstate.hub.files import Described
from seqstate.text.tokenizer import Tokenizer
from seqstate.trained import ModelConfig

TEXT = "bad cafe, add a face. a cab, a bead. fed a cab; a deaf bee. " * 4
TOKENIZER = Tokenizer.train("char", [TEXT])
V = TOKENIZER.vocab_size
FUSION = ("fusion", None)


def rungs() -> list[tuple[str, str | None]]:
    """Every state under `inner`, every distribution, one more energy, and a fusion."""
    states = [
        name
        for name in registry.names("states")
        if issubclass(registry.find("states", name), StateModel)
    ]
    own = [name for name in distribution_specs() if "(" not in name]
    energies = [("lstm", "multi_hamming"), ("lstm", "mos")]
    return [
        *[(name, "inner") for name in states],
        *energies,
        *[(name, None) for name in own],
        FUSION,
    ]


def label(rung: tuple[str, str | None]) -> str:
    return rung[0] + (f" + {rung[1]}" if rung[1] else "")


def described(state: str, energy: str | None) -> ModelConfig:
    spec = parse(state) if energy is None else parse(state).replace(width=WIDTH)
    return ModelConfig(
        state=str(spec), energy=energy, vocab_size=V, tie=False, corpus="tiny-0123", boundary=0
    )


def language_model(state: str, energy: str | None):
    if (state, energy) == FUSION:
        members = [language_model("ngram", None), language_model("lstm", "inner")]
        config = FusionConfig.of(
            [described("ngram", None), described("lstm", "inner")], weights="context", mix="linear"
        )
        return config.build(members).eval()
    return build_language_model(state, energy, V)


@functools.cache
def _made(state: str, energy: str | None) -> SeqstateForCausalLM:
    torch.manual_seed(0)
    lm = language_model(state, energy)
    if (state, energy) == FUSION:
        parts = (described("ngram", None), described("lstm", "inner"))
        config = FusionConfig.of(parts, weights="context", mix="linear")
        tree = Described(config, tuple(Described(part) for part in parts))
    else:
        config = described(state, energy)
        tree = Described(config)
    return SeqstateForCausalLM(SeqstateConfig.describing(config), lm, tree).eval()


def hub_model(rung: tuple[str, str | None], *, ends: bool = False) -> SeqstateForCausalLM:
    """One model per rung; it writes on past the end of a document unless `ends`."""
    model = _made(*rung).eval()
    # with a pad token that ends nothing, generate would take the boundary in a prompt for padding
    end = 0 if ends else None
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = end
    return model


def ids(*texts: str) -> list[torch.Tensor]:
    """Prompts as token ids [1, T], opened by the boundary."""
    return [torch.tensor([[0, *TOKENIZER.encode(text).tolist()]]) for text in texts]


def padded(prompts: list[torch.Tensor], side: str = "left") -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask of prompts of unequal length in one batch."""
    widest = max(prompt.shape[1] for prompt in prompts)
    tokens = torch.zeros(len(prompts), widest, dtype=torch.int64)
    mask = torch.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        size = prompt.shape[1]
        where = slice(widest - size, None) if side == "left" else slice(0, size)
        tokens[row, where], mask[row, where] = prompt[0], 1
    return tokens, mask


def target(seed: int = 0) -> GPT2LMHeadModel:
    """A tiny random transformer over the same vocabulary."""
    torch.manual_seed(seed)
    shape = {"n_positions": 128, "n_embd": 16, "n_layer": 1, "n_head": 2, "initializer_range": 0.5}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=V, **shape, **ends)).eval()
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = None
    return model
