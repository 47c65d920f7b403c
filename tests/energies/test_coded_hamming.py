"""Coded multi-vector Hamming."""

from __future__ import annotations

import copy

import pytest
import torch
from reference import energies as slow
from torch import nn

from energies.common import head, hidden, log_probability_rank
from seqstate.energies import CodedHamming, Inner, MultiHamming

V = 60


def dense_head(width=8, bias=True):
    layer = nn.Linear(width, V, bias=bias).double()
    nn.init.normal_(layer.weight)
    return layer


def states(rows=400, width=8):
    """States as they occur: off the origin and uneven."""
    return torch.randn(rows, width).double() * torch.linspace(0.2, 2, width).double() + 0.5


def kl(left, right):
    left, right = left.log_softmax(-1), right.log_softmax(-1)
    return (left.exp() * (left - right)).sum(-1).mean().item()


@pytest.mark.parametrize("form", ["sigmoid", "inner"])
def test_it_is_the_sum_of_look_ups(form):
    scorer = head(f"coded_hamming(learn='fixed', groups=4, codes=5, form={form!r})")
    rows = hidden()
    given = [scorer.books.tolist(), scorer.bias.tolist()]
    if form == "sigmoid":
        given += [scorer.log_tau.exp().tolist(), scorer.log_a.exp().tolist(), scorer.b.tolist()]
    for h, logits in zip(rows.tolist(), scorer(rows), strict=True):
        wanted = slow.coded(h, scorer.codes.tolist(), *given)
        torch.testing.assert_close(logits, torch.tensor(wanted, dtype=torch.float64))


def test_it_is_multi_hamming_over_the_decoded_vectors():
    coded, rows = head("coded_hamming(learn='fixed', groups=4)"), hidden()
    dense = MultiHamming(width=8, groups=4).double()
    dense.load_state_dict({k: getattr(coded, k) for k in ("log_tau", "log_a", "b")})
    words = torch.cat([coded.books[g][coded.codes[:, g].long()] for g in range(4)], -1)
    logits = dense.log_tau.exp().sum() + coded.bias - dense(rows, words)
    torch.testing.assert_close(coded(rows), logits)


@pytest.mark.parametrize("form", ["sigmoid", "inner"])
def test_learnt_codes_score_as_they_do_frozen(form):
    learning, rows = head(f"coded_hamming(groups=4, codes=5, form={form!r})"), hidden()
    frozen = learning.freeze()
    torch.testing.assert_close(frozen(rows), learning(rows))
    assert frozen.table() is None
    stored = sum(b.numel() * b.element_size() for b in frozen.buffers())
    assert stored == frozen.vocab_size * 4  # one byte a group


def test_cold_soft_codes_are_their_frozen_ones():
    soft, rows = head("coded_hamming(learn='soft', groups=4, codes=5)"), hidden()
    gaps = []
    for temperature in (1.0, 0.1, 1e-4):
        soft.temperature.fill_(temperature)
        gaps.append((soft(rows) - soft.freeze()(rows)).abs().max())
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-6


@pytest.mark.parametrize("learn", ["straight_through", "soft"])
def test_learnt_codes_move_to_lower_the_loss(learn):
    torch.manual_seed(0)
    teacher, rows = dense_head(), states(200)
    targets = teacher(rows).argmax(-1)
    coded = CodedHamming(width=8, vocab_size=V, groups=4, codes=8, learn=learn)
    before, start = coded.word_codes(), coded.loss(rows.float(), targets).item()
    optimiser = torch.optim.Adam(coded.parameters(), lr=0.03)
    for _ in range(40):
        optimiser.zero_grad()
        coded.loss(rows.float(), targets).backward()
        optimiser.step()
    frozen = coded.freeze()
    assert frozen.loss(rows.float(), targets).item() < start - 1.0
    assert (before != coded.word_codes()).any()


def test_its_rank_is_at_most_g_times_c_minus_one_plus_one():
    for learn in ("fixed", "straight_through"):
        scorer = head(f"coded_hamming(learn={learn!r}, groups=4, codes=3)", V)
        assert log_probability_rank(scorer, scale=2.0) == scorer.rank_bound() == 9
    for learn in ("fixed", "soft"):
        product = head(f"coded_hamming(learn={learn!r}, groups=4, codes=9, form='inner')", V)
        assert log_probability_rank(product) == product.rank_bound() == 9


def test_a_mixture_of_codes_has_no_such_bound_under_the_sigmoid():
    soft = head("coded_hamming(learn='soft', groups=4, codes=3)", V)
    assert soft.rank_bound() is None
    assert log_probability_rank(soft, scale=2.0) > 9


def test_from_dense_with_a_code_for_every_word_is_the_dense_head():
    dense, rows = dense_head(), states()
    coded = CodedHamming.from_dense(dense, rows, torch.ones(V), groups=4, codes=V)
    torch.testing.assert_close(
        coded(rows).log_softmax(-1), dense(rows).log_softmax(-1), atol=1e-8, rtol=0
    )


def test_from_dense_nears_the_dense_head_as_codes_grow():
    dense, rows = dense_head(), states()
    lost = [
        kl(
            dense(rows),
            CodedHamming.from_dense(dense, rows, torch.ones(V), groups=4, codes=c)(rows),
        )
        for c in (2, 6, 20)
    ]
    assert lost[0] > 2 * lost[1] > 4 * lost[2] > 0


def test_whitening_and_rotation_beat_plain_product_quantisation():
    dense, rows = dense_head(), states()
    given = {"groups": 4, "codes": 6}
    fitted = CodedHamming.from_dense(dense, rows, torch.ones(V), **given)
    blind = torch.randn_like(rows)  # states without a shape: nothing to whiten
    plain = CodedHamming.from_dense(dense, blind, torch.ones(V), **given, rotations=0)
    assert kl(dense(rows), fitted(rows)) < 0.7 * kl(dense(rows), plain(rows))


def test_the_sigmoid_form_starts_as_the_inner_form_within_its_stated_error():
    dense, rows = dense_head(), states()
    inner = CodedHamming.from_dense(dense, rows, torch.ones(V), groups=4, codes=16)
    error = {}
    for sharpness in (0.5, 0.1):
        bent = CodedHamming.from_dense(
            dense, rows, torch.ones(V), groups=4, codes=16, form="sigmoid", sharpness=sharpness
        )
        gap = bent(rows) - inner(rows)
        spread = inner(rows).std(-1, keepdim=True)
        error[sharpness] = ((gap - gap.mean(-1, keepdim=True)) / spread).std().item()
    assert error[0.5] < 0.5**2
    assert error[0.1] < 0.1**2


def test_fine_tuning_with_the_codes_fixed_wins_back_some_of_the_loss():
    torch.manual_seed(0)
    dense, rows = dense_head(), states()
    coded = CodedHamming.from_dense(dense, rows, torch.ones(V), groups=4, codes=4)
    kept, wanted = coded.codes.clone(), dense(rows).detach()
    lost = kl(wanted, coded(rows))
    optimiser = torch.optim.Adam(coded.parameters(), lr=0.01)
    for _ in range(40):
        optimiser.zero_grad()
        loss = -(wanted.softmax(-1) * coded(rows).log_softmax(-1)).sum(-1).mean()
        loss.backward()
        optimiser.step()
    assert kl(wanted, coded(rows)) < 0.9 * lost
    assert torch.equal(coded.codes, kept)


def test_from_dense_takes_our_own_inner_head():
    own = Inner(width=8).over(V).double()
    rows = states()
    coded = CodedHamming.from_dense(own, rows, torch.ones(V), groups=4, codes=V)
    torch.testing.assert_close(
        coded(rows).log_softmax(-1), own(rows).log_softmax(-1), atol=1e-8, rtol=0
    )


def test_from_multi_hamming_with_a_code_for_every_word_is_that_head():
    own, rows = head("multi_hamming(groups=4)", V), states()
    coded = CodedHamming.from_multi_hamming(own, rows, torch.ones(V), codes=V)
    torch.testing.assert_close(
        coded(rows).log_softmax(-1), own(rows).log_softmax(-1), atol=1e-6, rtol=0
    )
    few = CodedHamming.from_multi_hamming(own, rows, torch.ones(V), codes=8)
    fewer = CodedHamming.from_multi_hamming(own, rows, torch.ones(V), codes=3)
    assert kl(own(rows), few(rows)) < 0.5 * kl(own(rows), fewer(rows))


def test_the_bias_makes_good_what_few_codes_of_a_feature_miss_on_the_average():
    own, rows = head("multi_hamming(groups=4)", V), states()
    coded = CodedHamming.from_multi_hamming(own, rows, torch.ones(V), codes=3)
    gap = (own(rows) - coded(rows)).mean(0)
    assert (gap - gap.mean()).abs().max() < 1e-6
    right = kl(own(rows), coded(rows))
    with torch.no_grad():
        coded.bias.copy_(own.bias)
    assert right < 0.97 * kl(own(rows), coded(rows))


def test_heads_that_score_otherwise_are_refused():
    rows, counts = states(), torch.ones(V)
    with pytest.raises(ValueError, match="use from_multi_hamming"):
        CodedHamming.from_dense(head("rbf", V), rows, counts, groups=4, codes=4)
    for other in ("inner", "product_of_experts", "multi_hamming(activation='clamped')"):
        with pytest.raises(ValueError, match="with the sigmoid"):
            CodedHamming.from_multi_hamming(head(other, V), rows, counts, codes=4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("codes=257", "one byte"),
        ("groups=3", "try groups"),
        ("learn='gumbel'", "codes are learnt by"),
    ],
)
def test_what_it_can_not_do_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        head(f"coded_hamming({options})")


def test_codes_set_anew_are_scored_anew():
    coded = CodedHamming(width=16, vocab_size=80, groups=4, codes=16, learn="fixed")
    rows = torch.randn(3, 16)
    for _ in range(2):
        with torch.no_grad():
            found = coded(rows)
        torch.testing.assert_close(found, coded(rows), atol=1e-5, rtol=0)
        coded.codes.copy_(torch.randint(16, coded.codes.shape))


@pytest.mark.parametrize("form", ["sigmoid", "inner"])
def test_the_look_up_loss_is_the_loss_over_the_decoded_words(form):
    coded = CodedHamming(width=16, vocab_size=300, groups=4, codes=16, form=form, learn="fixed")
    rows, targets = torch.randn(40, 16, requires_grad=True), torch.randint(300, (40,))
    double = copy.deepcopy(coded).double()
    deep = rows.detach().double().requires_grad_()
    coded.nll(rows, targets).sum().backward()
    loss = double._dense(deep, double._words()) + double.bias
    torch.nn.functional.cross_entropy(loss, targets, reduction="sum").backward()
    torch.testing.assert_close(rows.grad.double(), deep.grad, atol=1e-5, rtol=1e-4)
    for (name, one), other in zip(coded.named_parameters(), double.parameters(), strict=True):
        torch.testing.assert_close(one.grad.double(), other.grad, atol=1e-5, rtol=1e-4, msg=name)
