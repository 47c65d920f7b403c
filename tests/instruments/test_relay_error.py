"""Error of factored aggregates and convergence of latents, on states whose readings are known in advance."""

import pytest
import torch
from laws.grid import awake
from torch.nn import functional as F

from instruments.common import Known, named
from seqstate.core.task import Batch
from seqstate.energies import Inner
from seqstate.instruments import Convergence, RelayError
from seqstate.instruments.relay_error import full_aggregate
from seqstate.model import NeuralLM, build_model
from seqstate.states import Inducing

VOCAB = 11


def known():
    return NeuralLM(Known(), Inner(width=8).over(VOCAB), tie=False)


def batch(time=8):
    tokens = torch.randint(VOCAB, (3, time))
    return Batch(tokens, tokens)


def test_half_the_full_aggregate_is_an_error_of_a_half_at_every_length():
    found = named(RelayError().measure(known(), batch(time=11)))
    assert found["relay_error"].value == pytest.approx(0.5)
    assert found["relay_error"].tags["curve"] == [[n, pytest.approx(0.5)] for n in (1, 2, 4, 8, 11)]
    assert torch.tensor(found["relay_error"].tags["by_head"]).shape == (2, 3)
    assert found["mean_error"].value == pytest.approx(0)  # equal keys: the mean is exact


def test_the_full_aggregate_is_torchs_attention():
    asked = awake(Inducing(width=16)).double().aggregates(torch.randn(2, 9, 16).double())
    wanted = F.scaled_dot_product_attention(*asked[:3], is_causal=True, scale=1.0)
    torch.testing.assert_close(full_aggregate(asked, torch.arange(9)), wanted)


def test_one_token_is_no_approximation_for_slots_that_are_means():
    model = build_model("inducing(width=16)", "inner", vocab_size=VOCAB)
    error = named(RelayError().measure(awake(model), batch()))["relay_error"]
    assert error.tags["curve"][0] == [1, pytest.approx(0, abs=1e-6)]
    assert error.value > 0.01


def test_short_queries_are_answered_by_any_pooling_of_equal_weights():
    states = awake(Inducing(width=16)).double()
    with torch.no_grad():
        for layer in states.layers:
            layer.mixer.log_sharpness.fill_(-20)
    x, errors = torch.randn(2, 30, 16).double(), []
    for sharpness in (-3.0, -6.0, -9.0):
        with torch.no_grad():
            for layer in states.layers:
                layer.log_sharpness.fill_(sharpness)
            readings = RelayError().read(states, x)
        errors.append(named(readings)["relay_error"].value)
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


def test_residuals_and_iterations_are_read_and_the_unsolved_are_counted():
    found = named(Convergence().measure(known(), batch()))
    assert found["residual"].value == pytest.approx(0.25)
    assert found["residual"].tags["worst"] == 0.5
    assert found["iterations"].value == 3
    assert found["iterations"].tags["histogram"] == [0, 0, 72, 0, 72]
    assert found["not_converged"].value == 0.5
