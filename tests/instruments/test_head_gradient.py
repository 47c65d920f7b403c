import pytest
import torch
from laws.grid import awake, energy_specs
from torch.nn import functional as F

from instruments.common import linear, read
from seqstate.instruments import HeadGradient
from seqstate.instruments.head_gradient import jacobians
from seqstate.model import build_head

V = 12


def test_one_direction_keeps_what_points_along_it():
    # p is uniform, so g = 1/V - e_0; the head can only trade word 0 against word 1
    weight = torch.zeros(V, 1)
    weight[0], weight[1] = 1, -1
    found = read(
        HeadGradient(), linear(weight), torch.zeros(3, 1), torch.zeros(3, dtype=torch.long)
    )
    assert found["gradient_lost"].value == pytest.approx(1 - 0.5 / (1 - 1 / V))
    assert found["gradient_norm_kept"].value == pytest.approx((0.5 / (1 - 1 / V)) ** 0.5)
    assert found["gradient_lost"].stderr == pytest.approx(0, abs=1e-12)


def test_a_head_as_wide_as_the_vocabulary_loses_nothing():
    wide = linear(torch.randn(V, V - 1))
    assert read(HeadGradient(), wide, torch.randn(9, V - 1))["gradient_lost"].value < 1e-12
    narrow = linear(torch.randn(V, V - 2))
    assert read(HeadGradient(), narrow, torch.randn(9, V - 2))["gradient_lost"].value > 1e-3


def test_a_random_head_keeps_its_share_of_the_dimensions():
    found = read(HeadGradient(), linear(torch.randn(201, 20)), 0.01 * torch.randn(256, 20))
    assert found["gradient_lost"].value == pytest.approx(1 - 20 / 200, abs=0.02)


def test_what_the_hidden_vector_hears_is_the_projection():
    weight, hidden, targets = (
        torch.randn(V, 4).double(),
        torch.randn(1, 4).double(),
        torch.tensor([5]),
    )
    logits = (hidden @ weight.T).requires_grad_()
    gradient = torch.autograd.grad(F.cross_entropy(logits, targets), logits)[0][0]
    columns = weight - weight.mean(0)
    heard = torch.linalg.lstsq(columns, gradient.unsqueeze(1)).solution
    kept = (columns @ heard).square().sum() / gradient.square().sum()
    found = read(HeadGradient(), linear(weight), hidden, targets)
    assert found["gradient_lost"].value == pytest.approx(1 - kept.item())


@pytest.mark.parametrize("spec", energy_specs())
def test_the_jacobian_of_any_head_is_that_of_reverse_differentiation(spec):
    head = awake(build_head(spec, width=16, vocab_size=V)).double().requires_grad_(False)
    rows = torch.randn(2, 16, dtype=torch.float64)
    for row, found in zip(rows, jacobians(head, rows), strict=True):
        slow = torch.autograd.functional.jacobian(
            lambda h: head(h.unsqueeze(0)).log_softmax(-1)[0], row, vectorize=False
        )
        torch.testing.assert_close(found, slow - slow.mean(0))


def test_words_are_drawn_from_the_model_when_none_are_given():
    head, hidden = linear(torch.randn(50, 4)), torch.randn(30, 4)
    one, same = (read(HeadGradient(seed=1), head, hidden) for _ in range(2))
    assert one["gradient_lost"].value == same["gradient_lost"].value
    assert (
        one["gradient_lost"].value
        != read(HeadGradient(seed=2), head, hidden)["gradient_lost"].value
    )
