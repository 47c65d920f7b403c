"""The laws of states and of whole language models, over every part found in the folders."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from laws import measures
from laws.grid import (
    BATCH,
    TIME,
    VOCAB,
    WIDTH,
    build_language_model,
    build_state,
    model_specs,
    state_specs,
)
from laws.measures import NOTHING, ROUNDING, SeqstateReader

STATES = state_specs()
MODELS = model_specs()
MODEL_NAMES = [" + ".join(filter(None, pair)) for pair in MODELS]


def state_reader(spec):
    return SeqstateReader(build_state(spec), torch.randn(BATCH, TIME, WIDTH))


def model_reader(pair):
    return SeqstateReader(build_language_model(*pair), torch.randint(VOCAB, (BATCH, TIME)))


def readers():
    for spec in STATES:
        yield pytest.param((state_reader, spec), id=f"state-{spec}")
    for pair, name in zip(MODELS, MODEL_NAMES, strict=True):
        yield pytest.param((model_reader, pair), id=f"model-{name}")


@pytest.fixture(params=readers())
def reader(request):
    torch.manual_seed(3)
    build, what = request.param
    return build(what)


def test_reading_in_two_pieces_is_reading_at_once(reader):
    assert measures.pieces(reader) <= ROUNDING


def test_stepping_is_reading_at_once(reader):
    assert measures.steps(reader) <= ROUNDING


def test_a_prefix_of_one_token_is_read_as_part_of_the_whole(reader):
    assert measures.first(reader) <= ROUNDING


def test_the_future_does_not_leak_and_the_newest_is_read(reader):
    influence = measures.influence(reader)
    assert influence.tril(-1).max() < NOTHING
    assert influence.diagonal().min() > NOTHING


def test_rows_do_not_see_each_other(reader):
    assert measures.rows(reader) <= ROUNDING


def test_a_short_row_is_read_as_if_alone(reader):
    assert measures.unequal(reader) <= ROUNDING


def test_the_state_follows_its_rows(reader):
    assert measures.reordering(reader) <= ROUNDING


def test_the_state_holds_everything(reader):
    assert measures.complete(reader) == 0


def test_reading_leaves_the_state_it_was_given_as_it_was(reader):
    assert measures.changed_in_place(reader) == 0


def test_every_leaf_of_the_state_has_the_batch_on_axis_0_and_its_bytes_are_those_stored(reader):
    assert measures.bytes_carried(reader) > 0


def test_every_parameter_gets_a_finite_gradient(reader):
    assert measures.without_gradient(reader) == []


def test_save_and_load_are_exact(reader):
    assert measures.saving(reader) == 0


@pytest.mark.parametrize("pair", MODELS, ids=MODEL_NAMES)
def test_the_losses_of_all_words_are_probabilities_that_sum_to_one(pair):
    torch.manual_seed(3)
    assert measures.probabilities(model_reader(pair)) <= ROUNDING


@pytest.mark.parametrize("pair", MODELS, ids=MODEL_NAMES)
def test_the_loss_and_its_gradient_are_those_of_the_logits(pair):
    torch.manual_seed(3)
    fast, tokens = build_language_model(*pair), torch.randint(VOCAB, (BATCH, TIME + 1))
    slow, targets = copy.deepcopy(fast), tokens[:, 1:]
    nats, _ = fast.nll(tokens[:, :-1], targets)
    logits, _ = slow(tokens[:, :-1])
    wanted = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    torch.testing.assert_close(nats.flatten(), wanted, atol=2e-5, rtol=1e-5)
    if not nats.requires_grad:
        return  # a counted model has no gradient
    weights = torch.rand_like(nats)
    (nats * weights).sum().backward()
    (wanted * weights.flatten()).sum().backward()
    for (name, one), other in zip(fast.named_parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-3, msg=name)
