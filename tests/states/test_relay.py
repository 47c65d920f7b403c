"""Relay: chunks read exactly, and one node for all before them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws.grid import build_state
from torch.nn import functional as F

from seqstate.core import registry
from seqstate.core.state import state_bytes
from seqstate.states import Relay


def test_without_the_relay_one_chunk_is_exact_attention():
    model, x = build_state("relay(layers=1, chunk=50)").double(), torch.randn(2, 50, 16).double()
    with torch.no_grad():
        model.layers[0].mixer.weight.fill_(-1e9)
        found = model.aggregates(x)
    exact = F.scaled_dot_product_attention(*found[:3], is_causal=True, scale=1.0)
    torch.testing.assert_close(found.given, exact, atol=1e-10, rtol=1e-10)


def test_an_unsharpened_relay_is_the_mean_of_all_before_the_chunk():
    model, x = build_state("relay(layers=1, chunk=4)").double(), torch.randn(2, 23, 16).double()
    mixer = model.layers[0].mixer
    with torch.no_grad():
        mixer.log_sharpness.fill_(-100)
        (_, tokens, _), state = next(model.walk(x)), model(x)[1]["mixed"][0]
    nodes = torch.cat([tokens.key, tokens.value], -1)[:, :20]
    wanted = (nodes.sum(1) + mixer.first.sum(0)) / 22
    torch.testing.assert_close(state["relay"], wanted, atol=1e-10, rtol=1e-10)


@settings(max_examples=12)
@given(
    first=st.lists(st.integers(1, 13), min_size=3, max_size=3),
    second=st.lists(st.integers(1, 13), min_size=3, max_size=3),
)
def test_rows_of_any_lengths_are_read_as_if_alone_again_and_again(first, second):
    torch.manual_seed(2)
    model = build_state("relay(layers=2, chunk=4)").double()
    x, y = torch.randn(2, 3, 13, 16, dtype=torch.float64)
    probe = torch.randn(3, 6, 16, dtype=torch.float64)
    with torch.no_grad():
        _, state = model(x, lengths=torch.tensor(first))
        _, state = model(y, state, torch.tensor(second))
        together, _ = model(probe, state)
        for row, (m, n) in enumerate(zip(first, second, strict=True)):
            alone = torch.cat([x[row, :m], y[row, :n], probe[row]])[None]
            torch.testing.assert_close(
                together[row], model(alone)[0][0, -6:], atol=1e-10, rtol=1e-10
            )


def test_gradients_of_rows_that_refresh_at_different_times_are_those_of_each_alone():
    model = build_state("relay(layers=1, chunk=4)").double()
    x, y = torch.randn(2, 3, 11, 16, dtype=torch.float64)
    first, second = [11, 2, 8], [3, 9, 0]

    def gradients(rows, together):
        model.zero_grad()
        lengths = (torch.tensor([part[row] for row in rows]) for part in (first, second))
        one, two = lengths if together else (None, None)
        most = slice(None) if together else slice(0, first[rows[0]])
        given, state = model(x[rows][:, most], lengths=one)
        loss = sum(given[i, : first[row]].square().sum() for i, row in enumerate(rows))
        most = slice(None) if together else slice(0, second[rows[0]])
        if together or second[rows[0]]:
            given, state = model(y[rows][:, most], state, two)
            loss = loss + sum(given[i, : second[row]].sum() for i, row in enumerate(rows))
        (loss + state["mixed"][0]["relay"].square().sum()).backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    apart = [gradients([row], together=False) for row in range(3)]
    for one, *others in zip(gradients([0, 1, 2], together=True), *apart, strict=True):
        torch.testing.assert_close(one, sum(others), atol=1e-10, rtol=1e-10)


def test_the_state_has_a_fixed_size():
    model = Relay(width=16, layers=3, chunk=5)
    sizes = {state_bytes(model(torch.randn(2, time, 16))[1]) for time in (1, 2, 50)}
    assert sizes == {3 * (4 * (5 * 2 * 16 + 2 * 16 + 3 * 16) + 8)}


@pytest.mark.parametrize(
    ("options", "words"),
    [({"heads": 3}, "heads=1"), ({"chunk": 0}, "at least 1"), ({"convolution": 0}, "at least 1")],
)
def test_bad_options_are_refused_in_one_line(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        registry.build("states", "relay", width=16, **options)
    assert "\n" not in str(caught.value)
