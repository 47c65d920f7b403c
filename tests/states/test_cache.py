import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqstate.core.model import IGNORE
from seqstate.core.state import state_bytes
from seqstate.model import build_model
from seqstate.states.cache import Cache

VOCAB = 6
texts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=14)


def counted(**options):
    model = Cache(vocab_size=VOCAB, **options)
    model.count(np.array([0, 1, 1, 2, 3, 0, 1, 2]), boundary=0)
    return model


def slow_probability(model, word, read):
    """The formula of the file, word by word."""
    mass, total = model.strength * model.unigram[word].exp().item(), model.strength
    for j in range(max(0, len(read) - model.window), len(read)):
        agree = 0
        while (
            agree < model.match and j - 1 - agree >= 0 and read[j - 1 - agree] == read[-1 - agree]
        ):
            agree += 1
        weight = model.decay ** (len(read) - 1 - j) * model.sharpness**agree
        total += weight
        mass += weight * (read[j] == word)
    return mass / total


@given(texts, st.integers(1, 9), st.integers(0, 4))
def test_every_probability_is_the_formula(read, window, match):
    model = counted(window=window, match=match, decay=0.8, sharpness=3.0, strength=2.0)
    logits, _ = model(torch.tensor([read]))
    for t in range(len(read)):
        expected = [slow_probability(model, word, read[: t + 1]) for word in range(VOCAB)]
        torch.testing.assert_close(logits[0, t].exp(), torch.tensor(expected), atol=1e-6, rtol=1e-5)


@given(texts, st.integers(1, 9), st.integers(0, 4))
def test_with_reset_a_document_is_read_as_if_it_were_the_first(read, window, match):
    options = {"window": window, "match": match, "decay": 0.8, "strength": 2.0}
    model, plain = counted(**options, reset=True), counted(**options)
    logits, _ = model(torch.tensor([read]))
    for t in range(len(read)):
        opened = max((i for i in range(t + 1) if read[i] == 0), default=0)
        alone, _ = plain(torch.tensor([read[opened : t + 1]]))
        torch.testing.assert_close(logits[0, t], alone[0, -1], atol=1e-6, rtol=1e-6)


def test_the_model_of_a_corpus_is_told_which_token_opens_a_document():
    model = build_model("cache(window=5, reset=True)", vocab_size=VOCAB, boundary=3)
    assert model.boundary == 3
    with pytest.raises(ValueError, match="boundary 6 is no word of 6"):
        Cache(vocab_size=VOCAB, boundary=6)


def test_nll_is_the_target_of_the_full_distribution_in_tiles_too(monkeypatch):
    model = counted(window=5, strength=3.0)
    text = torch.randint(VOCAB, (3, 12))
    tokens, targets = text[:, :-1], text[:, 1:].clone()
    targets[1, 2] = IGNORE
    logits, whole = model(tokens)
    expected = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), targets, reduction="none", ignore_index=IGNORE
    )
    monkeypatch.setattr("seqstate.states.cache.TILE", 60)
    tiled, _ = model(tokens)
    assert torch.equal(tiled, logits)
    first, state = model.nll(tokens[:, :4], targets[:, :4])
    second, state = model.nll(tokens[:, 4:], targets[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(state, whole)


def test_next_logits_are_those_of_the_last_real_token():
    model = counted(window=4)
    tokens, lengths = torch.randint(VOCAB, (3, 7)), torch.tensor([7, 1, 4])
    logits, after = model(tokens, lengths=lengths)
    last, state = model.next_logits(tokens, lengths=lengths)
    assert torch.equal(last, logits[torch.arange(3), lengths - 1])
    assert torch.equal(state, after)


def test_a_word_said_after_the_same_words_counts_most():
    model = counted(window=50, strength=1.0)
    said = torch.tensor([[1, 2, 3, 5, 5, 5, 5, 1, 2]])
    assert model(said)[0][0, -1].argmax() == 3
    plain = counted(window=50, strength=1.0, match=0)
    assert plain(said)[0][0, -1].argmax() == 5


def test_what_left_the_window_does_not_count():
    model = counted(window=3, match=2)
    one, other = torch.tensor([[4, 4, 1, 2, 3, 1, 2]]), torch.tensor([[5, 0, 1, 2, 3, 1, 2]])
    assert torch.equal(model(one)[0][0, -1], model(other)[0][0, -1])
    assert state_bytes(model.init_state(1)) == 4 * (3 + 2)


def test_before_anything_is_read_or_counted_every_word_is_as_likely():
    model = Cache(vocab_size=5, strength=1e9)
    logits, _ = model(torch.tensor([[3]]))
    torch.testing.assert_close(logits.exp(), torch.full((1, 1, 5), 0.2))


@pytest.mark.parametrize(
    "options", [{"window": 0}, {"match": -1}, {"decay": 0.0}, {"decay": 1.5}, {"strength": 0.0}]
)
def test_wrong_options_are_named_in_one_line(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name}={value}") as caught:
        Cache(vocab_size=VOCAB, **options)
    assert "\n" not in str(caught.value)
