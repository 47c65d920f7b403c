"""A Hugging Face model is mixed with counts like any other; what is not ours is not saved as ours."""

import numpy as np
import pytest
import torch

from hub.modes import transformers_tokenizer
from hub.rungs import TOKENIZER, V
from hub.test_borrowed import theirs
from seqstate import Trained, from_hf, fuse
from seqstate.core.record import RunConfig
from seqstate.model import build_model
from seqstate.trained import ModelConfig

WALK = np.cumsum(np.random.default_rng(0).choice([1, 2], 4000, p=[0.9, 0.1])) % V


def counted():
    model = build_model("ngram(order=2)", vocab_size=V)
    model.count(WALK[:3000], boundary=0)
    run = RunConfig(state="ngram(order=2)", energy=None, corpus="walk")
    return Trained(model, TOKENIZER, ModelConfig.of(run, TOKENIZER))


@pytest.mark.parametrize("name", ["gpt2", "mamba"])
def test_a_borrowed_model_and_counts_are_one_distribution(name, tmp_path):
    members = [from_hf(theirs(name), transformers_tokenizer()), counted()]
    text = TOKENIZER.decode(WALK[3000:3600]) + "\n"
    fused = fuse(members, text)
    assert fused.config.carry == members[0].config.carry
    alone = [one.evaluate(text).nats_per_token for one in members]
    assert fused.evaluate(text).nats_per_token < min(alone)
    with torch.no_grad():
        whole, _ = fused.model(torch.from_numpy(WALK[None, :9]))
        first, state = fused.model(torch.from_numpy(WALK[None, :4]))
        rest, _ = fused.model(torch.from_numpy(WALK[None, 4:9]), state)
    torch.testing.assert_close(torch.cat([first, rest], 1), whole, atol=1e-4, rtol=1e-3)
    assert isinstance(fused.generate("", tokens=3), str)
    with pytest.raises(ValueError, match="not saved as one of ours"):
        fused.save(tmp_path / "fused")
