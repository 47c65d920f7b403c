"""The hidden Markov model against the sum over all its hidden paths."""

import itertools

import pytest
import torch
from laws.grid import awake
from reference.paths import string_probability

from seqstate.core.model import IGNORE
from seqstate.states.hmm import HMM


def model(vocab_size=5, states=3):
    return awake(HMM(vocab_size=vocab_size, states=states)).double()


def string_log_probability(hmm, words):
    """log P(words) from the model's own next-word distributions."""
    start = hmm.init_state(1) @ hmm.tables()[2].exp()
    logits = hmm(torch.tensor([words]))[0].log_softmax(-1)
    later = sum(logits[0, t, word] for t, word in enumerate(words[1:]))
    return start[0, words[0]].log() + later


def test_a_string_is_as_likely_as_the_sum_over_all_hidden_paths():
    hmm = model()
    first, transition, emission = hmm.tables()
    tables = [first, transition, emission.exp()]
    for words in ([2], [4, 4], [0, 1, 2, 3], [3, 3, 0, 4, 1]):
        wanted = string_probability(words, *[table.tolist() for table in tables])
        assert string_log_probability(hmm, words).exp().item() == pytest.approx(wanted, rel=1e-10)


def test_all_strings_of_a_length_sum_to_one():
    hmm = model(vocab_size=3)
    total = sum(
        string_log_probability(hmm, words).exp().item()
        for words in map(list, itertools.product(range(3), repeat=4))
    )
    assert total == pytest.approx(1, abs=1e-12)


def test_the_loss_is_the_cross_entropy_of_the_logits_with_gradients():
    hmm = model(vocab_size=11)
    tokens, targets = torch.randint(11, (3, 7)), torch.randint(11, (3, 7))
    targets[1, 2] = IGNORE
    loss, after = hmm.nll(tokens, targets)
    logits, same = hmm(tokens)
    plain = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORE
    )
    torch.testing.assert_close(loss.flatten(), plain)
    torch.testing.assert_close(after, same)
    for one, other in zip(
        torch.autograd.grad(loss.sum(), list(hmm.parameters())),
        torch.autograd.grad(plain.sum(), list(hmm.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_thousand_words_do_not_underflow_in_single_precision():
    hmm = awake(HMM(vocab_size=5000, states=8))
    tokens = torch.randint(5000, (2, 1000))
    loss, after = hmm.nll(tokens[:, :-1], tokens[:, 1:])
    exact, same = hmm.double().nll(tokens[:, :-1], tokens[:, 1:])
    torch.testing.assert_close(loss.double(), exact, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(after.double(), same, rtol=1e-3, atol=1e-5)


def test_classes_that_are_all_but_impossible_leave_no_nan():
    hmm = awake(HMM(vocab_size=50, states=8), scale=5.0)
    loss, _ = hmm.nll(torch.randint(50, (2, 40)), torch.randint(50, (2, 40)))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in hmm.parameters())


def test_mixed_precision_does_not_touch_the_belief():
    hmm = awake(HMM(vocab_size=11, states=8))
    tokens = torch.randint(11, (2, 9))
    with torch.autocast("cpu", torch.bfloat16):
        found = hmm(tokens)[0], hmm.nll(tokens, tokens)[0]
    assert torch.equal(found[0], hmm(tokens)[0])
    assert torch.equal(found[1], hmm.nll(tokens, tokens)[0])


def test_gradient_training_finds_two_alternating_classes():
    hmm = HMM(vocab_size=4, states=4, width=16)
    generator = torch.Generator().manual_seed(0)
    # words 0, 1 and words 2, 3 take turns; within a class the word is a coin flip: ln 2 nats a word
    classes = (torch.arange(33) + torch.arange(16)[:, None]) % 2
    tokens = 2 * classes + torch.randint(2, classes.shape, generator=generator)
    optimiser = torch.optim.Adam(hmm.parameters(), lr=0.01)
    for _ in range(100):
        loss = hmm.nll(tokens[:, :-1], tokens[:, 1:])[0].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() == pytest.approx(0.693, abs=0.03)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="states=1, but"):
        HMM(vocab_size=5, states=1)
