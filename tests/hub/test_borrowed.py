"""Models of transformers as ours: the same numbers, whatever their cache is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    RwkvConfig,
)

from hub.modes import transformers_tokenizer
from hub.rungs import TEXT, TOKENIZER, V
from seqstate import audit, from_hf
from seqstate.core.instrument import HasHead
from seqstate.evaluate import evaluate

ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": V, **ENDS}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 24}
CONFIGS = {
    "gpt2": GPT2Config(
        vocab_size=V, n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3, **ENDS
    ),
    "llama": LlamaConfig(**SHAPE, **HEADS, max_position_embeddings=64, initializer_range=0.3),
    "mistral": MistralConfig(
        **SHAPE, **HEADS, sliding_window=4, max_position_embeddings=64, initializer_range=0.3
    ),
    "gemma2": Gemma2Config(
        **SHAPE, **HEADS, head_dim=8, sliding_window=4, max_position_embeddings=64
    ),
    "mamba": MambaConfig(**SHAPE, state_size=4, initializer_range=0.3),
    "rwkv": RwkvConfig(**SHAPE, attention_hidden_size=16, intermediate_size=24, context_length=64),
}
TOKENS = torch.randint(V, (3, 9), generator=torch.Generator().manual_seed(2))


def theirs(name: str):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(CONFIGS[name])
    for parameter in model.parameters():  # awake: a fresh model says the same of everything
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(params=CONFIGS)
def pair(request):
    model = theirs(request.param)
    return model, from_hf(model, transformers_tokenizer())


def close(one, other):
    return torch.allclose(one, other, atol=1e-4, rtol=1e-3)


def test_the_logits_are_theirs_in_one_piece_and_in_any_pieces(pair):
    model, ours = pair
    with torch.no_grad():
        wanted = model(TOKENS, use_cache=False).logits
        assert close(ours.model(TOKENS)[0], wanted)
        for cuts in ((1, 8), (4, 5), (3, 1, 2, 3)):
            state, found = None, []
            for piece in TOKENS.split(cuts, 1):
                logits, state = ours.model(piece, state)
                found.append(logits)
            assert close(torch.cat(found, 1), wanted)
        first = ours.model.init_state(3)
        assert close(ours.model(TOKENS, first)[0], wanted)


def test_rows_of_unequal_length_read_as_if_alone(pair):
    _, ours = pair
    lengths = torch.tensor([4, 9, 4])
    with torch.no_grad():
        logits, state = ours.model(TOKENS, None, lengths)
        last, _ = ours.model.next_logits(TOKENS, None, lengths)
        more = torch.randint(V, (3, 2))
        after, state = ours.model(more, state, torch.tensor([2, 1, 2]))
        final, _ = ours.model(more[:, :1], state)
        for row, (size, new) in enumerate(zip([4, 9, 4], [2, 1, 2], strict=True)):
            alone = torch.cat([TOKENS[row, :size], more[row, :new], more[row, :1]])[None]
            wanted = ours.model(alone)[0][0]
            assert close(logits[row, :size], wanted[:size])
            assert close(last[row], wanted[size - 1])
            assert close(after[row, :new], wanted[size : size + new])
            assert close(final[row, -1], wanted[-1])


def test_the_loss_is_the_cross_entropy_of_the_logits(pair):
    model, ours = pair
    targets = TOKENS.roll(-1, 1)
    targets[0, 3] = -100
    with torch.no_grad():
        nats, _ = ours.model.nll(TOKENS, targets)
        logits = model(TOKENS, use_cache=False).logits
    wanted = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none"
    )
    assert close(nats.flatten(), wanted)


def test_greedy_text_is_what_their_generate_writes(pair):
    model, ours = pair
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = None
    prompts = ["a cab", "fed a bee"]
    for prompt in prompts:
        ids = torch.tensor([[0, *TOKENIZER.encode(prompt).tolist()]])
        wanted = model.generate(ids, max_new_tokens=6, do_sample=False)
        wanted = wanted[0, ids.shape[1] :].tolist()
        wanted = wanted[: wanted.index(0)] if 0 in wanted else wanted
        written = ours.generate(prompt, tokens=6, temperature=0)
        assert written == ours.tokenizer.decode(wanted)
        assert written == ours.generate(prompts, tokens=6, temperature=0)[prompts.index(prompt)]


def test_bits_are_per_byte_of_the_text(pair):
    model, ours = pair
    text = "fed a cab; " * 9
    ids = torch.tensor([[0, *TOKENIZER.encode(text).tolist()]])
    result = ours.evaluate(text)
    assert len(result.nats) == ids.shape[1] - 1
    assert result.text_bytes == len(text.encode())
    first = ids[:, :32]
    with torch.no_grad():
        logits = model(first[:, :-1], use_cache=False).logits[0]
    wanted = torch.nn.functional.cross_entropy(logits, first[0, 1:], reduction="none")
    assert np.allclose(result.nats[:31], wanted.numpy(), atol=1e-3)
    total = float(result.nats.sum()) / math.log(2) / len(text.encode())
    assert result.bits_per_byte == pytest.approx(total, rel=1e-6)


def test_a_text_with_letters_of_many_bytes_counts_bytes_not_characters():
    ours = from_hf(theirs("mamba"), transformers_tokenizer())
    assert ours.evaluate("a bée a bée").text_bytes == 13


def test_models_with_attention_are_read_in_windows_no_longer_than_they_can_read():
    for name, carry in {"gpt2": False, "llama": False, "mamba": True, "rwkv": True}.items():
        ours = from_hf(theirs(name), transformers_tokenizer())
        assert ours.config.carry is carry
    ours = from_hf(theirs("gpt2"), transformers_tokenizer())
    assert ours.config.context == 64
    assert np.isfinite(ours.evaluate(TEXT).nats).all()
    with pytest.raises(ValueError, match="reads 64 tokens at most, found 100"):
        ours.model(torch.zeros(1, 100, dtype=torch.int64))


def test_the_audit_sees_their_output_layer():
    readings = audit(from_hf(theirs("llama"), transformers_tokenizer()).model, TOKENS)
    direct = audit(theirs("llama"), TOKENS)
    assert [(one.name, one.value) for one in readings] == [
        (one.name, pytest.approx(one.value)) for one in direct
    ]
    capped = from_hf(theirs("gemma2"), transformers_tokenizer()).model
    assert not isinstance(capped, HasHead)  # its logits are bent after the layer
    assert {reading.name for reading in audit(capped, TOKENS)} >= {"logit_rank"}


def test_what_is_no_causal_language_model_is_refused():
    from transformers import BertConfig, BertModel, T5Config, T5ForConditionalGeneration

    small = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    with pytest.raises(ValueError, match="has an encoder"):
        from_hf(
            T5ForConditionalGeneration(T5Config(vocab_size=V, **small)), transformers_tokenizer()
        )
    bert = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with pytest.raises(ValueError, match="does not generate text"):
        from_hf(
            BertModel(BertConfig(vocab_size=V, hidden_size=16, **bert)), transformers_tokenizer()
        )


def test_a_tokeniser_without_an_opening_token_is_refused():
    tokenizer = transformers_tokenizer()
    tokenizer.bos_token = tokenizer.eos_token = tokenizer.pad_token = None
    with pytest.raises(ValueError, match="set tokenizer.bos_token"):
        from_hf(theirs("mamba"), tokenizer)


def test_a_borrowed_model_is_not_saved_as_ours(tmp_path):
    with pytest.raises(ValueError, match="save_pretrained"):
        from_hf(theirs("mamba"), transformers_tokenizer()).save(tmp_path / "model")


def test_reading_in_stretches_equals_reading_from_the_start():
    ours = from_hf(theirs("mamba"), transformers_tokenizer())
    ids = np.concatenate([[0], TOKENIZER.encode(TEXT)])
    one = evaluate(ours.model, ids, 1, rows=1)
    two = evaluate(ours.model, ids, 1, rows=2)
    assert np.allclose(one.nats, two.nats, atol=1e-3)
