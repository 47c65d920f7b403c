"""The laws of energies and heads, over every file of `energies/`."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from laws.grid import ENERGY_OPTIONS, VOCAB, WIDTH, awake, energy_specs
from seqstate.core import registry
from seqstate.core.model import IGNORE
from seqstate.model import build_head

PAIRWISE = energy_specs(pairwise_only=True)
HEADS = energy_specs()
assert set(ENERGY_OPTIONS) <= set(HEADS)


def energy(spec):
    return awake(registry.build("energies", spec, width=WIDTH)).double()


def head(spec, vocab_size=VOCAB):
    return awake(build_head(spec, width=WIDTH, vocab_size=vocab_size))


@pytest.mark.parametrize("spec", PAIRWISE)
def test_leading_axes_broadcast_like_cdist(spec):
    scorer = energy(spec)
    query = torch.randn(2, 3, 5, WIDTH, dtype=torch.float64)
    keys = torch.randn(3, 7, WIDTH, dtype=torch.float64)
    out = scorer(query, keys)
    assert out.shape == (2, 3, 5, 7)
    for i in range(2):
        for j in range(3):
            for t in range(5):
                one = scorer(query[i, j, t : t + 1], keys[j])
                torch.testing.assert_close(out[i, j, t : t + 1], one)


@pytest.mark.parametrize("spec", PAIRWISE)
def test_candidates_are_scored_one_by_one(spec):
    scorer = energy(spec)
    query, keys = torch.randn(5, WIDTH).double(), torch.randn(7, WIDTH).double()
    chosen = torch.tensor([6, 0, 3])
    torch.testing.assert_close(scorer(query, keys[chosen]), scorer(query, keys)[:, chosen])


@pytest.mark.parametrize("spec", PAIRWISE)
def test_gradients_are_right(spec):
    scorer = energy(spec)
    query = torch.randn(3, WIDTH, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(4, WIDTH, dtype=torch.float64, requires_grad=True)
    parameters = list(scorer.parameters())
    assert torch.autograd.gradcheck(lambda q, k, *p: scorer(q, k), (query, keys, *parameters))


@pytest.mark.parametrize("spec", HEADS)
def test_probabilities_sum_to_one_and_the_loss_is_their_log(spec):
    scorer = head(spec)
    hidden, targets = torch.randn(9, WIDTH), torch.randint(VOCAB, (9,))
    targets[4] = IGNORE
    logits = scorer(hidden)
    assert logits.shape == (9, VOCAB)
    log_probabilities = logits.log_softmax(-1)
    torch.testing.assert_close(log_probabilities.exp().sum(-1), torch.ones(9))
    wanted = F.nll_loss(log_probabilities, targets, reduction="none", ignore_index=IGNORE)
    torch.testing.assert_close(scorer.nll(hidden, targets), wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scorer.loss(hidden, targets), wanted.sum() / 8, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spec", HEADS)
def test_the_fused_loss_has_the_slow_gradient(spec):
    fast = head(spec, 301)
    slow = copy.deepcopy(fast).double()
    hidden, targets = torch.randn(37, WIDTH), torch.randint(301, (37,))
    targets[5] = IGNORE
    weights = torch.rand(37)
    left = hidden.clone().requires_grad_()
    right = hidden.double().clone().requires_grad_()
    (fast.nll(left, targets) * weights).sum().backward()
    logits = slow(right)
    loss = F.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORE)
    (loss * weights.double()).sum().backward()
    torch.testing.assert_close(left.grad.double(), right.grad, atol=2e-5, rtol=1e-4)
    for (name, one), other in zip(fast.named_parameters(), slow.parameters(), strict=True):
        assert one.grad is not None, name
        torch.testing.assert_close(one.grad.double(), other.grad, atol=5e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("spec", HEADS)
def test_some_words_scored_are_all_words_scored_and_gathered(spec):
    scorer = head(spec)
    hidden, words = torch.randn(2, 5, WIDTH), torch.randint(VOCAB, (2, 5, 4))
    torch.testing.assert_close(
        scorer.score(hidden, words), scorer(hidden).gather(-1, words), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("spec", HEADS)
def test_the_measured_rank_keeps_the_declared_bound(spec):
    scorer = head(spec, 61).double()
    bound = scorer.rank_bound()
    log_probabilities = scorer(4 * torch.randn(120, WIDTH, dtype=torch.float64)).log_softmax(-1)
    rank = torch.linalg.matrix_rank(log_probabilities).item()
    assert rank <= (61 if bound is None else bound + 1)  # + 1: the normaliser's constant column


@pytest.mark.parametrize("spec", HEADS)
def test_an_uninformative_hidden_vector_starts_at_the_unigrams(spec):
    scorer = build_head(spec, width=WIDTH, vocab_size=VOCAB)
    unigram = torch.rand(VOCAB).add(0.1).log().log_softmax(-1)
    scorer.start_from(unigram)
    given = scorer(torch.zeros(1, WIDTH)).log_softmax(-1)
    torch.testing.assert_close(given[0], unigram, atol=0.35, rtol=0.0)


@pytest.mark.parametrize("spec", HEADS)
def test_extreme_hidden_vectors_give_finite_losses(spec):
    scorer = head(spec)
    for size in (1e4, -1e4, 1e-12):
        hidden = torch.full((4, WIDTH), size, requires_grad=True)
        loss = scorer.loss(hidden, torch.tensor([0, 1, 2, 10]))
        loss.backward()
        assert loss.isfinite()
        assert hidden.grad.isfinite().all()


@pytest.mark.parametrize("spec", HEADS)
def test_a_copy_scores_alike(spec):
    scorer = head(spec)
    hidden = torch.randn(3, WIDTH)
    assert torch.equal(copy.deepcopy(scorer)(hidden), scorer(hidden))
