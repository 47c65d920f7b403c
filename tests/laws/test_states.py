"""The laws of states and of whole language models, over every part found in the folders."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load, save
from torch.nn import functional as F

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
from seqstate.core.state import leaves, map_state, select_rows, state_bytes

STATES = state_specs()
MODELS = model_specs()


class _AsReader:
    """A state model and a language model read alike: input of B x T, output B x T x something, state."""

    def __init__(self, kind: str, spec) -> None:
        if kind == "state":
            self.module = build_state(spec)
            self.inputs = torch.randn(BATCH, TIME, WIDTH)
        else:
            self.module = build_language_model(*spec)
            self.inputs = torch.randint(VOCAB, (BATCH, TIME))

    def read(self, inputs, state=None, lengths=None):
        return self.module(inputs, state, lengths)


def readers():
    for spec in STATES:
        yield pytest.param(("state", spec), id=f"state-{spec}")
    for pair in MODELS:
        yield pytest.param(("model", pair), id="model-" + " + ".join(filter(None, pair)))


@pytest.fixture(params=readers())
def reader(request):
    torch.manual_seed(3)
    return _AsReader(*request.param)


def close(left, right):
    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


def test_reading_in_two_pieces_is_reading_at_once(reader):
    with torch.no_grad():
        whole, after = reader.read(reader.inputs)
        for cut in range(1, TIME):
            first, state = reader.read(reader.inputs[:, :cut])
            second, end = reader.read(reader.inputs[:, cut:], state)
            close(torch.cat([first, second], 1), whole)
            same_continuation(reader, after, end)


def same_continuation(reader, one, other):
    probe = reader.inputs.flip(1)
    close(reader.read(probe, one)[0], reader.read(probe, other)[0])


def test_stepping_is_reading_at_once(reader):
    with torch.no_grad():
        whole, _ = reader.read(reader.inputs)
        state, steps = reader.module.init_state(BATCH), []
        for t in range(TIME):
            out, state = reader.read(reader.inputs[:, t : t + 1], state)
            steps.append(out)
        close(torch.cat(steps, 1), whole)


def test_the_future_does_not_leak_and_the_newest_is_read(reader):
    with torch.no_grad():
        whole, _ = reader.read(reader.inputs)
        for t in range(TIME):
            changed = reader.inputs.clone()
            # not + 1 on vectors: a layer normalisation rightly ignores a shift of all numbers
            changed[:, t] = (
                changed[:, t].flip(-1)
                if changed.is_floating_point()
                else (changed[:, t] + 1) % VOCAB
            )
            out, _ = reader.read(changed)
            assert (
                torch.equal(out[:, :t], whole[:, :t])
                or (out[:, :t] - whole[:, :t]).abs().max() < 1e-6
            )
            assert (out[:, t] - whole[:, t]).abs().max() > 1e-6


def test_rows_do_not_see_each_other(reader):
    with torch.no_grad():
        whole, _ = reader.read(reader.inputs)
        for row in range(BATCH):
            alone, _ = reader.read(reader.inputs[row : row + 1])
            close(alone, whole[row : row + 1])


def test_a_short_row_is_read_as_if_alone(reader):
    lengths = torch.tensor([TIME, 1, 4])
    with torch.no_grad():
        padded, state = reader.read(reader.inputs, lengths=lengths)
        for row, length in enumerate(lengths.tolist()):
            alone, end = reader.read(reader.inputs[row : row + 1, :length])
            close(padded[row : row + 1, :length], alone)
            kept = select_rows(state, torch.tensor([row]))
            probe = reader.inputs[row : row + 1]
            close(reader.read(probe, kept)[0], reader.read(probe, end)[0])


def test_the_state_follows_its_rows(reader):
    order = torch.tensor([2, 0, 0, 1])
    with torch.no_grad():
        _, state = reader.read(reader.inputs)
        picked, _ = reader.read(reader.inputs[order], select_rows(state, order))
        straight, _ = reader.read(reader.inputs, state)
        close(picked, straight[order])


def test_the_state_holds_everything(reader):
    with torch.no_grad():
        _, state = reader.read(reader.inputs)
        before = [leaf.clone() for leaf in leaves(state)]
        copy = map_state(torch.clone, state)
        first, _ = reader.read(reader.inputs, copy)
        reader.read(reader.inputs.flip(0))  # what is read in between must not matter
        second, _ = reader.read(reader.inputs, state)
        assert torch.equal(first, second)
        for leaf, kept in zip(leaves(state), before, strict=True):
            assert torch.equal(leaf, kept), "reading changed the state it was given"


def test_every_leaf_of_the_state_has_the_batch_on_axis_0(reader):
    state = reader.module.init_state(BATCH)
    assert all(leaf.shape[0] == BATCH for leaf in leaves(state))
    _, after = reader.read(reader.inputs)
    assert all(leaf.shape[0] == BATCH for leaf in leaves(after))
    serialised = save({str(i): leaf[:1].contiguous() for i, leaf in enumerate(leaves(after))})
    assert 0 < state_bytes(after) <= len(serialised)


def test_every_parameter_gets_a_finite_gradient(reader):
    out, _ = reader.read(reader.inputs)
    if not any(p.requires_grad for p in reader.module.parameters()):
        return  # a counted model has none
    (out * torch.randn_like(out)).sum().backward()
    for name, parameter in reader.module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_save_and_load_are_exact(reader):
    with torch.no_grad():
        whole, _ = reader.read(reader.inputs)
        stored = save({k: v.contiguous() for k, v in reader.module.state_dict().items()})
        for parameter in reader.module.parameters():
            parameter.zero_()
        reader.module.load_state_dict(load(stored))
        again, _ = reader.read(reader.inputs)
    assert torch.equal(whole, again)


@pytest.mark.parametrize("pair", MODELS, ids=lambda pair: " + ".join(filter(None, pair)))
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
