"""Faults of transformers that we work around; when one of these fails, the way round it can go."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM, MambaConfig, RwkvConfig

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 11, "initializer_range": 0.3}
TOKENS = torch.tensor([[1, 5, 2, 7, 3, 9, 4, 8]])


def test_mamba_forgets_its_state_when_it_goes_on_by_several_tokens():
    """hub.borrowed reads such models one token at a time after the first call."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(MambaConfig(**SHAPE, state_size=4)).eval()
    with torch.no_grad():
        whole = model(TOKENS).logits[:, -1]
        state = model(TOKENS[:, :5], use_cache=True).cache_params
        on = model(TOKENS[:, 5:], cache_params=state, use_cache=True).logits[:, -1]
        again = model(TOKENS[:, :5], use_cache=True).cache_params
        for token in TOKENS[:, 5:].split(1, 1):
            stepped = model(token, cache_params=again, use_cache=True).logits[:, -1]
    assert torch.allclose(stepped, whole, atol=1e-4)
    assert not torch.allclose(on, whole, atol=1e-4)


def test_rwkv_mixes_up_rows_that_go_on_by_one_token():
    """hub.borrowed_state asks it row by row."""
    shape = {"attention_hidden_size": 16, "intermediate_size": 24, "context_length": 64}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(RwkvConfig(**SHAPE, **shape)).eval()
    with torch.no_grad():
        state = model(TOKENS.repeat(3, 1), use_cache=True).state
        logits = model(torch.ones(3, 1, dtype=torch.int64), state=state, use_cache=True).logits
    assert logits.shape[1] != 1
