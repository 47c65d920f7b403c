"""An inspection reads every instrument that applies, and says of each other one what the model lacks."""

from __future__ import annotations

import pytest
import torch
from laws.grid import VOCAB, build_language_model
from laws.test_instruments import everything

from seqstate import inspect
from seqstate.core import registry
from seqstate.core.task import Batch
from seqstate.energies import Inner

TOKENS = torch.randint(VOCAB, (3, 9), generator=torch.Generator().manual_seed(2))
NAMES = set(registry.names("instruments"))
HEAD = {"head_gradient", "reachable_bits", "top_m_capacity", "unargmaxable"}


@pytest.mark.parametrize(
    ("state", "energy", "lacking"),
    [
        ("lstm", "inner", {"bits", "convergence", "graph", "qk_lengths", "relay_error"}),
        ("attention", "multi_hamming", {"convergence", "gates", "relay_error"}),
        ("ngram", None, NAMES - {"logit_rank", "state_bytes"}),
    ],
)
def test_every_instrument_is_read_or_refused_with_a_reason(state, energy, lacking):
    found = inspect(build_language_model(state, energy), TOKENS)
    assert set(found.refused) == lacking
    assert set(found.readings) == NAMES - lacking
    assert all(found.readings.values())
    assert "written through gates" in found.refused.get("gates", "written through gates")


def test_nothing_is_refused_by_a_model_that_offers_everything():
    told = []
    found = inspect(everything(), TOKENS, progress=told.append)
    assert not found.refused
    assert set(told) == set(found.readings) == NAMES


def test_the_readings_are_those_of_the_instrument_with_its_options():
    model = build_language_model("lstm", "inner")
    spec = "gates(open=0.6, shut=0.4)"
    found = inspect(model, TOKENS, instruments=[spec, "logit_rank(rows=4)"])
    batch = Batch(TOKENS[:, :-1], TOKENS[:, 1:])
    assert found.readings[spec] == registry.build("instruments", spec).measure(model, batch)
    assert found.readings["logit_rank(rows=4)"][-1].count == 4


def test_a_distribution_without_a_head_has_the_rank_of_its_logits_with_the_options_asked_for():
    model = build_language_model("hmm", None)
    (rank, *_) = inspect(model, TOKENS, instruments=["logit_rank(rows=5)"]).readings.popitem()[1]
    with torch.no_grad():
        logits = model(TOKENS[:, :-1])[0].flatten(0, 1)[::5]
    assert (rank.name, rank.count) == ("logit_rank", 5)
    centred = (logits - logits.mean(-1, keepdim=True)).double()
    assert rank.value == torch.linalg.matrix_rank(centred, rtol=1e-6)


def test_an_instrument_that_finds_nothing_says_so():
    found = inspect(build_language_model("lstm", "inner", 4), TOKENS % 4)
    assert found.refused["top_m_capacity"] == "found nothing to read"


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        (["gates"], "gates does not apply to this model: it needs this: the state is written"),
        (["gtes"], "did you mean 'gates'"),
        (["logit_rank(row=3)"], "did you mean 'rows'"),
    ],
)
def test_what_was_named_and_cannot_be_read_is_refused_in_one_line(specs, words):
    with pytest.raises(ValueError, match=words) as caught:
        inspect(build_language_model("ngram", None), TOKENS, instruments=specs)
    assert "\n" not in str(caught.value)


def test_a_bare_layer_and_too_little_text_are_refused():
    with pytest.raises(ValueError, match="cannot inspect a EnergyHead"):
        inspect(Inner(width=8).over(VOCAB), TOKENS)
    with pytest.raises(ValueError, match="2 positions or more, found 1"):
        inspect(build_language_model("ngram", None), TOKENS[:1, :2])
