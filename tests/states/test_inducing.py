"""Inducing points: a pool of the prefix, of a fixed size."""

from __future__ import annotations

import pytest
import torch
from laws.grid import awake

from seqstate.core import registry
from seqstate.core.state import state_bytes
from seqstate.states import Inducing


def test_one_slot_of_equal_weights_is_the_mean_of_the_values():
    model, x = awake(Inducing(width=16, layers=1, slots=1)), torch.randn(2, 50, 16)
    mixer = model.layers[0].mixer
    with torch.no_grad():
        mixer.log_sharpness.fill_(-100)  # every weight is exp(0)
        found = model.aggregates(x)
    means = found.value.cumsum(-2) / torch.arange(1, 51)[:, None]
    torch.testing.assert_close(found.given, means, atol=1e-5, rtol=1e-5)


def test_the_sharpest_queries_stay_finite_in_float32():
    model = Inducing(width=16, layers=1)
    with torch.no_grad():
        model.layers[0].mixer.log_sharpness.fill_(50.0)
    x = (10 * torch.randn(2, 300, 16)).requires_grad_()
    hidden, state = model(x)
    hidden.square().sum().backward()
    assert hidden.isfinite().all() and x.grad.isfinite().all()
    exact, _ = model.double()(x.detach().double())
    assert (hidden.double() - exact).abs().max() < 1e-3
    assert state["mixed"][0]["mass"].isfinite().all()


def test_the_state_has_a_fixed_size():
    model = Inducing(width=16, layers=3, slots=5)
    sizes = {state_bytes(model(torch.randn(2, time, 16))[1]) for time in (1, 2, 50)}
    assert sizes == {4 * 3 * (5 * 2 * 16 + 5 * 4 + 3 * 16)}


@pytest.mark.parametrize(
    ("options", "words"),
    [({"heads": 3}, "heads=1"), ({"slots": 0}, "at least 1"), ({"convolution": 0}, "at least 1")],
)
def test_bad_options_are_refused_in_one_line(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        registry.build("states", "inducing", width=16, **options)
    assert "\n" not in str(caught.value)
