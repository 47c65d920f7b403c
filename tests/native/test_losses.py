"""The fused losses against a twin written out in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from native.common import DISTANCES, KINDS, SHAPES, check, isas, problem, threads
from seqstate import native
from seqstate.core.model import IGNORE
from seqstate.native import cross_entropy_inner, cross_entropy_multi_hamming, losses
from seqstate.native.tiles import ACTIVATIONS


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_the_twins(kind, shape, isa, monkeypatch):
    monkeypatch.setenv("SEQSTATE_ISA", isa)
    for extras in ({}, {"smoothing": 0.1, "z_loss": 0.01}):
        check(problem(kind, *shape, seed=sum(shape), **extras))


@given(
    rows=st.integers(1, 60),
    vocab=st.integers(1, 150),
    groups=st.integers(1, 6),
    width=st.integers(1, 64),
    kind=st.sampled_from(KINDS),
    count=st.integers(1, 3),
    isa=st.sampled_from(isas()),
)
def test_any_shape_is_right(rows, vocab, groups, width, kind, count, isa):
    with threads(count), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQSTATE_ISA", isa)
        check(problem(kind, rows, vocab, groups, width, seed=rows + vocab, smoothing=0.05))


@pytest.mark.parametrize("kind", KINDS)
def test_many_blocks_of_rows_add_up(kind):
    """Wide vectors leave room for few rows at a time: the word gradient is a sum over blocks."""
    given = problem(kind, 1100, 3, 2, 256, size=0.05)
    check(given, 1e-5 if kind in (*ACTIVATIONS, "inner", "rbf") else 4e-5)  # a sum of 512 costs


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("kind", KINDS)
def test_extreme_scores_stay_finite_and_right(kind, isa, monkeypatch):
    monkeypatch.setenv("SEQSTATE_ISA", isa)
    given = problem(kind, 20, 90, 2, 8, size=30.0)
    with torch.no_grad():
        given.inputs[2].mul_(300)  # biases of about +-10,000
    found, gradients = given.run()
    assert found.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    # float32 holds a logit of 1e4 to 1e-3 only: the losses are as right as their logits
    check(given, tolerance=2e-3)


@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
def test_saturated_bits_keep_exact_gradients(kind):
    """Sigmoids at 1 - 1e-6 still have a slope to the last digits: it is never formed as 1 - s."""
    given = problem(kind, 20, 50, 3, 2, size=0.1)
    with torch.no_grad():
        given.inputs[5].copy_(torch.tensor([14.0, -13.0, 12.0]))
    check(given)
    if kind == "sigmoid":
        _, gradients = given.run()
        assert gradients["words"].abs().max() < 1e-4


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("kind", DISTANCES)
def test_sides_too_far_for_powers_are_compared_pair_by_pair(kind, isa, monkeypatch):
    """A row and a word beyond 2^42, near each other: no power of theirs is a number, the distance is."""
    monkeypatch.setenv("SEQSTATE_ISA", isa)
    given = problem(kind, 70, 600, 2, 3, ignored=False)
    with torch.no_grad():
        given.inputs[0][60] = given.inputs[1][3] + 90
        given.inputs[1][400:] += 90
        given.inputs[4].clamp_(min=1)
    check(given)
    _, gradients = given.run()
    assert gradients["words"][400:].abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fused", [True, False])
def test_ignored_rows_cost_nothing_and_may_be_anything(kind, fused, monkeypatch):
    if not fused:
        monkeypatch.setattr(native, "usable", lambda *tensors: False)
    given = problem(kind, 37, 80, 2, 8, z_loss=0.01)
    with torch.no_grad():
        given.inputs[0][given.targets == IGNORE] = float("nan")
    found, gradients = given.run()
    assert (found[given.targets == IGNORE] == 0).all()
    assert (gradients["hidden"][given.targets == IGNORE] == 0).all()
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    given.targets.fill_(IGNORE)
    found, gradients = given.run()
    assert not found.any()
    assert not any(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_that_counts_is_not_hidden(kind):
    given = problem(kind, 9, 40, 2, 4, ignored=False)
    with torch.no_grad():
        given.inputs[0][4, 3] = float("nan")
    found, _ = given.run()
    assert found[4].isnan()
    assert found.isnan().sum() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_forbidden_words_have_bias_minus_infinity(kind):
    given = problem(kind, 9, 200, 2, 4, ignored=False)
    given.targets.clamp_(max=149)
    with torch.no_grad():
        given.inputs[2][150:] = -torch.inf
    found, gradients = given.run()
    kept = problem(kind, 9, 200, 2, 4, ignored=False)
    kept.targets = given.targets
    kept.inputs[1], kept.inputs[2] = given.inputs[1][:150], given.inputs[2][:150]
    expected, wanted = kept.run()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradients["hidden"], wanted["hidden"], atol=1e-6, rtol=1e-5)
    assert not gradients["words"][150:].any()


def test_the_regularisers_are_torchs():
    given = problem("inner", 23, 61, 1, 12, smoothing=0.2, z_loss=0.0, scale=1.0)
    hidden, words, bias, *_ = given.inputs
    wanted = F.cross_entropy(
        F.linear(hidden, words, bias), given.targets, reduction="none", label_smoothing=0.2
    )
    torch.testing.assert_close(given.losses(), wanted, atol=1e-5, rtol=1e-5)


def test_gradients_not_wanted_are_not_computed_and_the_others_stay():
    given = problem("sigmoid", 30, 70, 2, 8)
    _, wanted = given.run()
    for kept in range(6):
        for i, tensor in enumerate(given.inputs):
            tensor.requires_grad_(i == kept)
        (found,) = torch.autograd.grad(given.losses(), [given.inputs[kept]], given.upstream)
        torch.testing.assert_close(found, list(wanted.values())[kept], atol=1e-7, rtol=1e-6)


def test_no_bias_is_a_bias_of_zero():
    given = problem("sigmoid", 30, 70, 2, 8)
    with torch.no_grad():
        given.inputs[2].zero_()
    wanted, gradients = given.run()
    hidden, words, _, *scalars = given.inputs
    found = cross_entropy_multi_hamming(hidden, words, *scalars, None, given.targets)
    assert torch.equal(found, wanted)
    (of_words,) = torch.autograd.grad(found, [words], given.upstream)
    assert torch.equal(of_words, gradients["words"])


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_threads_give_the_same_bits_and_other_counts_nearly(kind):
    given = problem(kind, 150, 900, 4, 8)
    with threads(1):
        one, of_one = given.run()
    for count in (2, 3):
        with threads(count):
            first, of_first = given.run()
            second, of_second = given.run()
        assert torch.equal(first, second)
        torch.testing.assert_close(first, one, atol=1e-5, rtol=1e-6)
        for name, gradient in of_first.items():
            assert torch.equal(gradient, of_second[name]), name
            torch.testing.assert_close(gradient, of_one[name], atol=2e-4, rtol=1e-5, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_are_no_losses_and_no_gradients(kind):
    given = problem(kind, 0, 40, 2, 4)
    found, gradients = given.run()
    assert found.shape == (0,)
    assert not any(gradient.any() for gradient in gradients.values())


def test_views_are_read_as_they_are():
    given = problem("inner", 30, 70, 1, 16)
    hidden, words, bias, *_ = (tensor.detach() for tensor in given.inputs)
    wanted = cross_entropy_inner(hidden, words, bias, given.targets)
    spread = torch.stack([bias, bias], 1)[:, 0]
    found = cross_entropy_inner(
        hidden.T.contiguous().T, words.T.contiguous().T, spread, given.targets
    )
    assert torch.equal(found, wanted)


def test_a_second_derivative_goes_through_torch():
    given = problem("sigmoid", 6, 9, 2, 3, ignored=False)
    first = torch.autograd.grad(given.losses().sum(), given.inputs, create_graph=True)
    second = torch.autograd.grad(first[0].square().sum(), given.inputs[1])[0]
    hidden, words, bias, *scalars = (t.detach().double().requires_grad_() for t in given.inputs)
    twin = losses._torch_nll(
        hidden, words, bias, *scalars, given.targets, losses.Options("sigmoid", 0.0, 0.0)
    )
    (slope,) = torch.autograd.grad(twin.sum(), hidden, create_graph=True)
    (wanted,) = torch.autograd.grad(slope.square().sum(), words)
    torch.testing.assert_close(second.double(), wanted, atol=1e-5, rtol=1e-4)


def test_a_target_outside_the_vocabulary_is_refused():
    given = problem("inner", 5, 7, 1, 4, ignored=False)
    given.targets[3] = 7
    with pytest.raises(IndexError, match=r"target 7 of row 3 is outside the vocabulary 0\.\.6"):
        given.losses()


@pytest.mark.parametrize(
    ("place", "shape", "said"),
    [
        (0, (5, 5), r"hidden \[5, 5\], words \[7, 4\] and bias \[7\] do not fit"),
        (0, (1, 5, 4), r"hidden \[1, 5, 4\], .* do not fit"),
        (1, (0, 4), r"words \[0, 4\] .* do not fit"),
        (2, (1,), r"bias \[1\] do not fit"),
        (3, (3,), r"scalars \[3\], \[2\], \[2\] are not groups that divide a width of 4"),
        (5, (1,), r"scalars \[2\], \[2\], \[1\] are not groups that divide a width of 4"),
        (6, (4,), r"targets are torch.int64 \[4\] on cpu, but must be whole numbers \[5\] on cpu"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(place, shape, said):
    """The kernel sees addresses only: it would read what lies behind."""
    given = problem("sigmoid", 5, 7, 2, 2, ignored=False)
    inputs = [*given.inputs, given.targets]
    inputs[place] = torch.zeros(shape, dtype=inputs[place].dtype)
    with pytest.raises(ValueError, match=said):
        losses._nll(*inputs, losses.Options("sigmoid", 0.0, 0.0))


def test_targets_of_another_kind_or_device_are_refused():
    given = problem("tanh", 5, 7, 2, 2, ignored=False)
    options, inputs = losses.Options("tanh", 0.0, 0.0), [*given.inputs[:5], None]
    for targets in (given.targets.float(), given.targets.to("meta")):
        with pytest.raises(ValueError, match=r"must be whole numbers \[5\] on cpu"):
            losses._nll(*inputs, targets, options)
    inputs[3:5] = torch.ones(2), torch.ones(2)
    with pytest.raises(ValueError, match="2 scalars for a width of 4; a distance has one a number"):
        losses._nll(*inputs, given.targets, options)


@pytest.mark.parametrize("kind", KINDS)
def test_torchs_defaults_of_type_and_device_change_nothing(kind):
    given = problem(kind, 9, 40, 2, 4)
    wanted, gradients = given.run()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found, others = given.run()
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found, wanted)
    assert all(torch.equal(others[name], gradients[name]) for name in gradients)


def test_a_loss_may_be_changed_in_place():
    given = problem("inner", 9, 40, 2, 4)
    twice = given.losses().mul_(2)
    found = torch.autograd.grad(twice, given.inputs[0], given.upstream)[0]
    assert torch.equal(found, 2 * given.run()[1]["hidden"])


@pytest.mark.parametrize("kind", DISTANCES)
def test_a_number_without_weight_has_a_gradient(kind):
    given = problem(kind, 20, 50, 2, 3)
    with torch.no_grad():
        given.inputs[3][1] = 0
    check(given)


def test_options_outside_their_range_are_refused():
    given = problem("sigmoid", 5, 7, 2, 2)
    given.smoothing = 1.5
    with pytest.raises(ValueError, match="label_smoothing"):
        given.losses()
    given.smoothing, given.kind = 0.0, "step"
    with pytest.raises(ValueError, match="activation='step'"):
        given.losses()
