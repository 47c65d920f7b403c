"""The audit of our models, of transformers' models and of bare layers."""

import json

import pytest
import torch
from laws.grid import build_language_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from instruments.common import named
from seqstate.bottleneck import audit, audit_table
from seqstate.core import registry
from seqstate.core.task import Batch
from seqstate.model import build_model

D, V = 16, 60
TOKENS = torch.randint(V, (4, 30), generator=torch.Generator().manual_seed(3))


def gpt2(**options):
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    shape = {"n_positions": 32, "n_embd": D, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=V, **shape, **ends, **options))


def llama():
    shape = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    return LlamaForCausalLM(LlamaConfig(vocab_size=V, hidden_size=D, **shape))


@pytest.mark.parametrize("build", [gpt2, llama])
def test_a_transformers_model_has_rank_d_and_no_bias(build):
    found = named(audit(build(), TOKENS))
    assert found["rank_bound"].value == found["logit_rank"].value == D
    assert found["unargmaxable"].value < 0.5
    assert 0.5 < found["gradient_lost"].value < 1
    assert "logits_changed_after_head" not in found


def test_the_layer_of_a_transformers_model_is_seen_with_what_it_saw():
    torch.manual_seed(1)
    model = gpt2().eval()
    seen = model(TOKENS, output_hidden_states=True).hidden_states[-1][:, :-1].detach()
    bare = nn.Linear(D, V, bias=False)
    bare.weight = model.lm_head.weight
    for one, other in zip(audit(model, TOKENS), audit(bare, seen, TOKENS[:, 1:]), strict=True):
        assert one.name == other.name
        assert one.value == pytest.approx(other.value, abs=1e-6)


def test_a_model_that_bends_its_logits_is_told_so():
    class Capped(GPT2LMHeadModel):
        def forward(self, *given, **options):
            out = super().forward(*given, **options)
            out.logits = 0.1 * torch.tanh(out.logits / 0.1)
            return out

    plain = gpt2()
    capped = Capped(plain.config)
    capped.load_state_dict(plain.state_dict())
    with torch.no_grad():
        capped.transformer.wte.weight.mul_(20)
    found = named(audit(capped, TOKENS, instruments=["logit_rank"]))
    assert found["logits_changed_after_head"].value > 0.1
    assert found["logit_rank"].value == D


@pytest.mark.parametrize("energy", ["inner", "multi_hamming", "mos"])
def test_our_models_are_audited_whatever_their_energy(energy):
    found = named(audit(build_language_model("lstm", energy, V), TOKENS))
    if energy == "inner":
        assert found["logit_rank"].value == found["rank_bound"].value == D + 1
        assert "unargmaxable" in found
    else:
        assert found["logit_rank"].value > D + 1
        assert "argmax_unwitnessed" in found
    assert ("match_bit_saturation" in found) == (energy == "multi_hamming")
    everywhere = {"top_m_witnessed", "patterns_seen", "gradient_lost", "entropic_rank"}
    assert everywhere <= set(found)  # every instrument of the output layer was run


def test_a_distribution_without_hidden_vectors_gets_its_rank():
    name = next(name for name in registry.names("states") if name == "hmm")
    found = named(audit(build_model(name, vocab_size=V), TOKENS))
    assert set(found) == {"logit_rank", "eps_rank_mass", "eps_rank_kl", "entropic_rank"}
    assert found["logit_rank"].value >= 1


def test_positions_that_are_not_asked_are_not_measured():
    model = build_language_model("lstm", "inner", V)
    targets = torch.full_like(TOKENS, -100)
    targets[:, 5:9] = 1
    found = named(audit(model, Batch(TOKENS, targets), instruments=["logit_rank"]))
    assert found["logit_rank"].count == 16


def test_the_table_is_plain_data():
    chosen = ["logit_rank", "head_gradient", "unargmaxable(words=10)"]
    readings = audit(nn.Linear(4, 20), torch.randn(30, 4), instruments=chosen)
    rows = audit_table(readings)
    assert [row["name"] for row in rows] == [reading.name for reading in readings]
    assert {"name", "value", "stderr", "unit", "count", "note"} == set(rows[0])
    assert json.loads(json.dumps(rows)) == rows
    spectrum = named(readings)["logit_rank"].tags["spectrum"]
    assert isinstance(spectrum, list) and len(spectrum) == 20


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        (nn.Linear(4, 20), torch.randn(30, 5), "hidden vectors"),
        (nn.Linear(4, 20), torch.randint(4, (3, 4)), "hidden vectors"),
        (nn.Linear(4, 20), torch.randn(1, 4), "2 positions or more, found 1"),
        (build_model("lstm(width=8)", vocab_size=9), torch.randn(3, 8), "token ids"),
        (nn.Conv1d(1, 1, 1), torch.randint(4, (3, 4)), "cannot audit a Conv1d"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(model, data, words):
    with pytest.raises(ValueError, match=words) as caught:
        audit(model, data)
    assert "\n" not in str(caught.value)


def test_only_instruments_of_the_output_layer_may_be_asked_for():
    with pytest.raises(ValueError, match="does not measure output layers"):
        audit(nn.Linear(4, 20), torch.randn(30, 4), instruments=["gates"])
    with pytest.raises(ValueError, match="did you mean 'logit_rank'"):
        audit(nn.Linear(4, 20), torch.randn(30, 4), instruments=["logit_rang"])
