"""An energy in place of a trained nn.Linear: same logits at first, learns, comes back exactly."""

from __future__ import annotations

import copy
import runpy
from pathlib import Path

import pytest
import torch
from laws.grid import energy_specs
from safetensors.torch import load_model, save_model
from tokenizers import ByteLevelBPETokenizer
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from seqstate.core import registry
from seqstate.core.energy import Energy
from seqstate.core.spec import parse
from seqstate.energies import Inner, MultiHamming, SoftBits

V, D = 61, 16
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "replace_lm_head.py"
IMITATORS = (
    "inner",
    "multi_hamming",
    "product_of_experts",
    "rbf_inner",
    "scaled_inner",
    "soft_minimum",
)


def replaced(spec, layer, **options):
    part = parse(spec)
    kind = registry.find("energies", part.name)
    return kind.replacing(layer, **part.options, **options)


@pytest.mark.parametrize("spec", energy_specs(pairwise_only=True))
def test_every_energy_starts_as_the_layer_or_says_that_it_can_not(spec):
    torch.manual_seed(1)
    layer = nn.Linear(D, V).double()
    if parse(spec).name not in IMITATORS and "residual" not in spec:
        with pytest.raises(ValueError, match=r"cannot imitate an inner product|form='residual'"):
            replaced(spec, layer)
        return
    rows = torch.randn(3, 5, D).double()
    head = replaced(spec, layer, hidden=rows, error=1e-3)
    assert head.start_error <= 1e-3
    torch.testing.assert_close(head(rows), layer(rows), atol=1e-3, rtol=0)


@pytest.mark.parametrize("bias", [True, False])
def test_the_sharpest_start_within_the_error_is_taken(bias):
    layer, rows = nn.Linear(D, V, bias=bias), torch.randn(10, D)
    close, far = (
        MultiHamming.replacing(layer, groups=4, hidden=rows, error=e) for e in (1e-3, 0.1)
    )
    assert close.start_error <= 1e-3 < far.start_error <= 0.1
    assert (close(rows) - layer(rows)).abs().max().item() == pytest.approx(close.start_error)
    assert far.energy.log_a[0] > close.energy.log_a[0]


def test_what_cannot_be_kept_is_refused_with_what_can():
    layer = nn.Linear(D, V).bfloat16()
    with pytest.raises(ValueError, match=r"at best \(torch.bfloat16\); allow error="):
        MultiHamming.replacing(layer, groups=4, error=1e-4)
    with pytest.raises(ValueError, match="scale=1"):
        Inner.replacing(layer, scale=0.5)


def gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=D, n_layer=1, n_head=2, n_positions=32))


def llama():
    sizes = {"hidden_size": D, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=V, max_position_embeddings=32, **sizes, **heads))


def seen(model, tokens):
    return model.base_model(tokens).last_hidden_state


@pytest.mark.parametrize("build", [gpt2, llama])
@pytest.mark.parametrize(
    ("kind", "options"), [(MultiHamming, {"groups": 4}), (SoftBits, {"form": "residual"})]
)
def test_a_language_model_of_transformers_goes_on_learning(build, kind, options, tmp_path):
    torch.manual_seed(0)
    model = build().eval()
    tokens = torch.randint(V, (4, 12))
    before = model(tokens).logits.detach()
    head = kind.replacing(model.lm_head, hidden=seen(model, tokens), error=1e-3, **options)
    model.lm_head = head
    torch.testing.assert_close(model(tokens).logits, before, atol=1e-3, rtol=0)
    own = head.loss(seen(model, tokens)[:, :-1], tokens[:, 1:])
    torch.testing.assert_close(own, model(tokens, labels=tokens).loss, atol=1e-4, rtol=1e-4)

    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(15):
        loss = head.loss(seen(model, tokens)[:, :-1], tokens[:, 1:])
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert loss < own - 0.5

    save_model(model, str(tmp_path / "model.safetensors"))
    again = build().eval()
    again.lm_head = kind.replacing(again.lm_head, **options)
    load_model(again, str(tmp_path / "model.safetensors"))
    assert torch.equal(again(tokens).logits, model(tokens).logits)
    wanted = model.generate(tokens[:, :4], max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert torch.equal(
        again.generate(tokens[:, :4], max_new_tokens=4, do_sample=False, pad_token_id=0), wanted
    )


def test_a_tied_embedding_stays_tied_unless_the_layer_is_copied():
    model = gpt2()
    model.lm_head = MultiHamming.replacing(model.lm_head, groups=4)
    assert model.lm_head.weight is model.transformer.wte.weight
    apart = MultiHamming.replacing(copy.deepcopy(gpt2().lm_head), groups=4)
    assert apart.weight is not model.transformer.wte.weight


def test_an_energy_without_an_inner_product_names_those_that_have_one():
    class Own(Energy):
        def __init__(self, *, width=8):
            super().__init__()
            self.width = width

        def forward(self, query, keys):
            return -(query @ keys.transpose(-1, -2)).abs()

    with pytest.raises(ValueError, match="Own cannot imitate an inner product"):
        Own.replacing(nn.Linear(8, 5))


@pytest.mark.parametrize("build", [gpt2, llama])
def test_the_example_tunes_saves_and_goes_on_from_what_it_saved(build, tmp_path, capsys):
    torch.manual_seed(0)
    text = tmp_path / "book.txt"
    text.write_text("the sea was calm and the ship was small. " * 40)
    model = build()
    model.resize_token_embeddings(270)
    model.save_pretrained(tmp_path / "model")
    spelt = ByteLevelBPETokenizer()
    spelt.train([str(text)], vocab_size=270)
    PreTrainedTokenizerFast(tokenizer_object=spelt._tokenizer).save_pretrained(tmp_path / "model")

    main = runpy.run_path(str(EXAMPLE))["main"]
    given = ["--energy", "multi_hamming(groups=4)", "--context", "8", "--lr", "1e-2"]
    tuned = str(tmp_path / "tuned")
    main([str(tmp_path / "model"), str(text), "--steps", "30", "--out", tuned, *given])
    first = held_out(capsys.readouterr().out)
    main([tuned, str(text), "--steps", "0", *given])
    again = held_out(capsys.readouterr().out)
    assert first["after"] < first["before"] - 1
    assert again["before"] == first["after"]


def held_out(printed):
    """Nats before and after, as the example prints them."""
    lines = [line.split() for line in printed.splitlines() if line.startswith("held out")]
    return {words[2].rstrip(":"): float(words[3]) for words in lines}
