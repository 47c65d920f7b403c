"""The laws of states that read both ways, in place of causality: every state that offers it."""

from __future__ import annotations

import pytest
import torch

from laws.grid import BATCH, TIME, VOCAB, WIDTH, awake, build_state, state_specs
from seqstate.core.model import IGNORE, ReadsBothWays
from seqstate.masking import build_masked

SPECS = [spec for spec in state_specs() if isinstance(build_state(spec), ReadsBothWays)]


@pytest.fixture(params=SPECS)
def spec(request):
    torch.manual_seed(3)
    return request.param


def close(left, right):
    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


def test_every_place_sees_both_sides(spec):
    state, x = build_state(spec), torch.randn(BATCH, TIME, WIDTH)
    with torch.no_grad():
        whole = state.both_ways(x)
        for place in range(TIME):
            for side in (slice(0, place), slice(place + 1, TIME)):
                changed = x.clone()
                changed[:, side] = changed[:, side].flip(-1)
                moved = (state.both_ways(changed)[:, place] - whole[:, place]).abs().max()
                empty = side.start >= side.stop
                assert (moved < 1e-6) if empty else (moved > 1e-6), (place, side)


def test_rows_do_not_see_each_other_and_short_ones_are_read_as_if_alone(spec):
    state, x = build_state(spec), torch.randn(BATCH, TIME, WIDTH)
    lengths = torch.tensor([TIME, 1, 4])
    with torch.no_grad():
        padded = state.both_ways(x, lengths)
        for row, length in enumerate(lengths.tolist()):
            close(padded[row, :length], state.both_ways(x[row : row + 1, :length])[0])


def test_a_masked_word_does_not_see_itself_and_its_loss_is_its_probability(spec):
    model = awake(build_masked(f"{spec}", "inner", vocab_size=VOCAB, tie=False))
    tokens = torch.randint(VOCAB, (BATCH, TIME))
    place = torch.tensor([0, 3, 6])
    rows = torch.arange(BATCH)
    hidden = tokens.index_put((rows, place), torch.tensor(model.mask_id))
    with torch.no_grad():
        log = model(hidden)[rows, place].log_softmax(-1)
        close(log.exp().sum(-1), torch.ones(BATCH))
        for word in range(VOCAB):
            targets = torch.full_like(tokens, IGNORE)
            targets[rows, place] = word
            nats, _ = model.nll(hidden, targets)
            close(nats[rows, place], -log[:, word])
            assert int((nats != 0).sum()) <= BATCH


def test_every_parameter_gets_a_finite_gradient(spec):
    model = awake(build_masked(spec, "inner", vocab_size=VOCAB, tie=False))
    tokens = torch.randint(VOCAB, (BATCH, TIME))
    tokens[:, 2] = model.mask_id
    out = model(tokens, torch.tensor([TIME, 3, 5]))[:, :3]
    (out * torch.randn_like(out)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
