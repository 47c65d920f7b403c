"""A small rung drafts for a transformer: the same text in fewer calls of the transformer."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from hub.rungs import TOKENIZER, V, described
from seqstate.hub import SeqstateConfig, SeqstateForCausalLM
from seqstate.hub.files import Described
from seqstate.model import build_model

LINE = "fed a bead. a cab, a face; "
NEW = 60


@pytest.fixture(scope="module")
def target() -> GPT2LMHeadModel:
    """A transformer that has learnt one line by heart."""
    torch.manual_seed(0)
    shape = {"n_positions": 128, "n_embd": 32, "n_layer": 1, "n_head": 2}
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=V, bos_token_id=0, eos_token_id=0, **shape, **off)
    )
    text = torch.from_numpy(TOKENIZER.encode(LINE * 4))[None]
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(50):
        optimiser.zero_grad()
        model(text, labels=text).loss.backward()
        optimiser.step()
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = None
    return model.eval()


def draft(state: str) -> SeqstateForCausalLM:
    """A rung that has read the same line."""
    config = configured(state)
    ids = TOKENIZER.encode(LINE * 8)
    if config.energy is None:
        lm = build_model(state, vocab_size=V)
        lm.count(ids, boundary=0)
    else:
        torch.manual_seed(1)
        lm = build_model(config.state, config.energy, vocab_size=V, tie=False)
        optimiser = torch.optim.Adam(lm.parameters(), lr=2e-2)
        text = torch.from_numpy(ids)[None, :120]
        for _ in range(60):
            optimiser.zero_grad()
            lm.nll(text[:, :-1], text[:, 1:])[0].mean().backward()
            optimiser.step()
    model = SeqstateForCausalLM(SeqstateConfig.describing(config), lm, Described(config)).eval()
    settings = model.generation_config
    settings.eos_token_id = settings.pad_token_id = None
    settings.num_assistant_tokens, settings.assistant_confidence_threshold = 10, 0.0
    settings.num_assistant_tokens_schedule = "constant"
    return model


def configured(state: str):
    return described(state, None if state.startswith("ngram") else "inner")


@pytest.mark.parametrize("state", ["ngram(order=5)", "lstm", "attention(layers=1, heads=2)"])
def test_the_text_is_the_targets_in_a_fraction_of_its_calls(target, state):
    prompt = torch.from_numpy(TOKENIZER.encode(LINE))[None]
    calls = []
    hook = target.register_forward_pre_hook(lambda *_: calls.append(1))
    asked = {"max_new_tokens": NEW, "do_sample": False}
    plain = target.generate(prompt, **asked)
    alone = len(calls)
    helper = draft(state)
    fewer = target.generate(prompt, assistant_model=helper, **asked)
    hook.remove()
    assert torch.equal(fewer, plain)
    assert alone == NEW
    assert TOKENIZER.decode(plain[0].tolist()) == (LINE * 4)[: plain.shape[1]]
    assert len(calls) - alone <= NEW // 6


def test_sampling_with_a_draft_keeps_the_targets_distribution(target):
    """The first drawn token, whose distribution is known, over many draws with a poor draft."""
    prompt = torch.from_numpy(TOKENIZER.encode("fed a"))[None]
    helper = draft("ngram(order=2)")
    helper.generation_config.num_assistant_tokens = 1
    with torch.no_grad():
        wanted = (target(prompt).logits[0, -1] / 3).softmax(-1)
    torch.manual_seed(2)
    asked = {"max_new_tokens": 2, "do_sample": True, "temperature": 3.0, "top_k": 0}
    draws = [
        target.generate(prompt, assistant_model=helper, **asked)[0, prompt.shape[1]].item()
        for _ in range(100)
    ]
    found = torch.bincount(torch.tensor(draws), minlength=V) / len(draws)
    # total variation of 100 draws over twelve outcomes: 0.13 on average, 0.25 almost never
    assert (found - wanted).abs().sum() / 2 < 0.25
