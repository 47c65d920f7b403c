"""The laws of instruments, over every file of `instruments/`."""

from __future__ import annotations

import json
import math

import pytest
import torch
from instruments.common import Known

from laws.grid import VOCAB, awake, build_language_model
from seqstate.core import registry
from seqstate.core.task import Batch
from seqstate.energies import MultiHamming
from seqstate.model import NeuralLM

NAMES = registry.names("instruments")


def everything():
    """A model that offers every capability."""
    head = MultiHamming(width=8, groups=4).over(VOCAB)
    return awake(NeuralLM(Known(width=8), head, tie=False, dropout=0.5))


MODELS = {
    "everything": everything,
    "lstm + inner": lambda: build_language_model("lstm", "inner"),
    "attention + soft_bits": lambda: build_language_model("attention", "soft_bits"),
    "rnn + mos": lambda: build_language_model("rnn", "mos"),
    "latent + inner": lambda: build_language_model("latent", "inner"),
    "ngram": lambda: build_language_model("ngram", None),
}


def batch():
    tokens = torch.randint(VOCAB, (3, 14), generator=torch.Generator().manual_seed(2))
    return Batch(tokens[:, :-1], tokens[:, 1:])


def pairs():
    for name in NAMES:
        for label, build in MODELS.items():
            if registry.build("instruments", name).applies_to(build()):
                yield pytest.param(name, build, id=f"{name}-{label}")


PAIRS = list(pairs())


@pytest.mark.parametrize("name", NAMES)
def test_it_applies_to_a_model_that_offers_everything_and_reads_something(name):
    instrument = registry.build("instruments", name)
    assert instrument.applies_to(everything())
    assert instrument.measure(everything(), batch())


@pytest.mark.parametrize(("name", "build"), PAIRS)
def test_readings_are_finite_plain_and_have_units(name, build):
    readings = registry.build("instruments", name).measure(build(), batch())
    assert len({reading.name for reading in readings}) == len(readings)
    for reading in readings:
        assert math.isfinite(reading.value)
        assert reading.unit and reading.count >= 1
        assert reading.stderr is None or math.isfinite(reading.stderr)
        json.dumps(reading.tags, allow_nan=False)


@pytest.mark.parametrize(("name", "build"), PAIRS)
def test_measuring_again_gives_the_same_and_leaves_no_trace(name, build):
    model = build().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    seed = torch.random.get_rng_state()
    one = registry.build("instruments", name).measure(model, batch())
    two = registry.build("instruments", name).measure(model, batch())
    assert one == two
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(seed, torch.random.get_rng_state())
