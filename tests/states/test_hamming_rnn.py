"""Hamming RNN: the fast paths are the definition, sharp gates are an automaton, long texts stay bounded."""

from __future__ import annotations

import pytest
import torch
from laws.grid import build_state
from reference.hamming_rnn import hamming_rnn

from seqstate.core.model import HasGates
from seqstate.core.state import leaves, state_bytes
from seqstate.states import HammingRNN
from seqstate.states._feature_scan import feature_scan
from seqstate.tasks import MQAR

VARIANTS = [
    "hamming_rnn",
    "hamming_rnn(groups=4, compare='inner', temperature=0.3, layers=2)",
    "hamming_rnn(groups=2, compare='inner', gates=1, convolution=1)",
    "hamming_rnn(groups=8, compare='distance', gates=2)",
    "hamming_rnn(groups=4, compare='read', gates=2, convolution=2)",
    "hamming_rnn(groups=16, compare='none', layers=2)",
    "hamming_rnn(groups=1, compare='none', gates=1)",
    "hamming_rnn(groups=4, compare='inner', temperature=0.0)",
    "hamming_rnn(groups=4, compare='none', temperature=0.0)",
]
SOFT = [spec for spec in VARIANTS if "temperature=0.0" not in spec]


@pytest.mark.parametrize("spec", VARIANTS)
def test_hidden_vectors_features_and_gates_are_the_definition(spec):
    model, x = build_state(spec).double(), torch.randn(2, 9, 16).double()
    hidden, features, gates = hamming_rnn(model, x)
    read, state = model(x)
    close(read, hidden)
    close(state["features"], features)
    assert isinstance(model, HasGates)
    seen = model.gates(x)
    assert seen.keys() == gates.keys()
    for name, values in gates.items():
        close(seen[name], values)


@pytest.mark.parametrize("spec", SOFT)
def test_gradients_are_those_of_the_definition(spec):
    model = build_state(spec).double()
    x = torch.randn(2, 5, 16, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(2, 5, 16, dtype=torch.float64)
    wanted = [x, *model.parameters()]
    fast = torch.autograd.grad((model(x)[0] * direction).sum(), wanted)
    slow = torch.autograd.grad((hamming_rnn(model, x)[0] * direction).sum(), wanted)
    for one, other in zip(fast, slow, strict=True):
        close(one, other)


@pytest.mark.parametrize("gates", [1, 2])
@pytest.mark.parametrize("distance", [False, True])
def test_the_step_loop_goes_back_as_finite_differences_do(gates, distance):
    shapes = [(4, 3, 5), (4, gates, 5), (3, 5), (5,), (5,), (gates, 5)]
    given = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    assert torch.autograd.gradcheck(lambda *args: feature_scan(*args, distance=distance), given)


def test_a_state_carries_its_gradient_back_through_pieces():
    model = build_state("hamming_rnn(groups=4, compare='inner')").double()
    x, direction = torch.randn(2, 6, 16).double(), torch.randn(2, 6, 16).double()
    whole = torch.autograd.grad((model(x)[0] * direction).sum(), list(model.parameters()))
    first, state = model(x[:, :2])
    second, _ = model(x[:, 2:], state)
    pieces = torch.cat([first, second], 1)
    cut = torch.autograd.grad((pieces * direction).sum(), list(model.parameters()))
    for one, other in zip(whole, cut, strict=True):
        close(one, other)


def automaton(features, candidate, update, write):
    """Keep, write or erase, feature by feature, without arithmetic on what is kept or written."""
    after = features.clone()
    for place in update.bool().nonzero().tolist():
        row, feature = place
        opened = bool(write[row, feature])
        after[row, :, feature] = candidate[row, :, feature] if opened else 0.0
    return after


def awake_layer(**options):
    torch.manual_seed(4)
    model = HammingRNN(width=16, groups=4, convolution=1, **options).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        model.layers[0].bias[20:24] -= 1.5  # so that erasing occurs as well
    return model


@pytest.mark.parametrize("compare", ["none", "inner", "distance"])
def test_temperature_0_is_the_automaton_that_keeps_writes_and_erases(compare):
    model, x = awake_layer(compare=compare, temperature=0.0), torch.randn(3, 40, 16).double()
    layer, gates = model.layers[0], model.gates(x)
    projected = layer.project(layer.norm(x)) * layer.taps[0] + layer.bias
    candidates = projected[..., :16].unflatten(-1, (4, 4))
    features = torch.zeros(3, 4, 4).double()
    chosen = set()
    for t in range(40):
        update, write = gates["update"][:, t, 0], gates["write"][:, t, 0]
        features = automaton(features, candidates[:, t], update, write)
        chosen |= {
            (int(u), int(u and w)) for u, w in zip(update.flatten(), write.flatten(), strict=True)
        }
    assert chosen == {(0, 0), (1, 1), (1, 0)}, "wanted all of keep, write and erase"
    assert torch.equal(model(x)[1]["features"][:, 0], features)


@pytest.mark.parametrize("compare", ["none", "read", "inner", "distance"])
def test_cooling_ends_at_the_automaton(compare):
    x = torch.randn(3, 30, 16).double()
    hard, soft = (awake_layer(compare=compare, temperature=t) for t in (0.0, 1e-4))
    soft.load_state_dict(hard.state_dict())
    torch.testing.assert_close(soft(x)[0], hard(x)[0], atol=1e-6, rtol=1e-6)
    warm = awake_layer(compare=compare)
    warm.load_state_dict(hard.state_dict())
    assert (warm(x)[0] - hard(x)[0]).abs().max() > 0.01


def test_bits_learn_by_the_gradient_of_the_soft_gate():
    shapes = [(1, 3, 5), (1, 2, 5), (3, 5), (5,), (5,), (2, 5)]
    candidate, given, start, scale, offset, weight = (torch.randn(s).double() for s in shapes)
    given.requires_grad_()
    states, miss = feature_scan(candidate, given, start, scale, offset, weight, hard=True)
    direction = torch.randn_like(states)
    (seen,) = torch.autograd.grad((states * direction).sum(), given)
    soft = torch.sigmoid(given + weight * miss[:, None]).detach()
    update, write = (soft > 0.5).double()[0]
    into_update = ((write * candidate[0] - start) * direction[0]).sum(0)
    into_write = (update * candidate[0] * direction[0]).sum(0)
    close(seen[0], torch.stack([into_update, into_write]) * (soft * (1 - soft))[0])


@pytest.mark.parametrize("compare", ["none", "inner", "distance"])
@pytest.mark.parametrize("temperature", [1.0, 0.2, 0.0])
def test_two_thousand_steps_stay_finite_and_bounded(compare, temperature):
    model = build_state(f"hamming_rnn(groups=4, compare={compare!r}, temperature={temperature})")
    x = torch.randn(2, 2_000, 16, requires_grad=True)
    hidden, state = model(x)
    assert hidden.isfinite().all()
    hidden[:, -1].sum().backward()
    layer = model.layers[0]
    with torch.no_grad():  # a feature is a mean of candidates and zeros
        held = layer.read(x, *start_of(model, 2)).states
        seen = torch.cat([torch.zeros(2, 3, 28), layer.project(layer.norm(x))], 1)
        mixed = sum(seen[:, j : j + 2_000] * tap for j, tap in enumerate(layer.taps)) + layer.bias
        assert held.abs().max() <= mixed[..., :16].abs().max() + 1e-5
    assert all(leaf.isfinite().all() for leaf in leaves(state))
    gradients = [x.grad, *(parameter.grad for parameter in model.parameters())]
    assert all(gradient.isfinite().all() for gradient in gradients)
    early, late = x.grad[:, :1000].norm(), x.grad[:, 1000:].norm()
    assert early <= 10 * late, "the gradient grows into the past"


def start_of(model, rows):
    """What the first layer has seen and holds before it reads."""
    state = model.init_state(rows)
    return state["recent"][:, 0], state["features"][:, 0]


def test_features_keep_as_long_as_the_horizon_says():
    model = HammingRNN(width=32, groups=8, compare="none", horizon=100)
    with torch.no_grad():
        model.layers[0].project.weight.zero_()
    kept = 1 - model.gates(torch.zeros(1, 1, 32))["update"].flatten()
    wanted = torch.logspace(torch.log10(torch.tensor(2.0)), 2, 8)
    torch.testing.assert_close(1 / (1 - kept), wanted)


def test_a_fresh_model_finds_what_followed_a_word():
    """Before any training, features updated after a key and read at its return hold its value."""
    torch.manual_seed(0)
    model = HammingRNN(width=128, groups=64, compare="none", horizon=64, convolution=2).eval()
    words = torch.randn(64, 128)
    batch = MQAR(vocab=64, length=16, pairs=4, filler=False).sample(200, 1)
    asked = batch.targets >= 0
    layer = model.layers[0]
    with torch.no_grad():
        step = layer.read(words[batch.tokens], *start_of(model, 200))
        said = layer.project(layer.norm(words))[:, :128]  # what a word writes
        found = step.hidden[asked] @ said.T
    presented = batch.tokens[:, 1:8:2].repeat_interleave(4, 0)  # the four values of each sequence
    picked = presented.gather(1, found.gather(1, presented).argmax(1, keepdim=True)).squeeze(1)
    right = (picked == batch.targets[asked]).double().mean()
    assert right > 0.35, f"{right:.2f} of the values found, where guessing finds 0.25"


def test_the_state_has_a_fixed_size():
    model = HammingRNN(width=16, groups=4, layers=2, convolution=3)
    sizes = {state_bytes(model(torch.randn(2, time, 16))[1]) for time in (1, 2, 50)}
    assert sizes == {4 * 2 * (16 + 2 * (16 + 3 * 4))}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"groups": 3}, "not a multiple of groups 3; try groups=1"),
        ({"gates": 4}, "wanted 1 to 3"),
        ({"compare": "cosine"}, "there are none, read, inner, distance"),
        ({"compare": "read", "gates": 1}, "gates=1 has not"),
        ({"temperature": -1.0}, "wanted 0"),
        ({"horizon": 1}, "at least 2"),
        ({"convolution": 0}, "at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        HammingRNN(width=16, **{"groups": 4, **options})


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-6)
