import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.unbounded_kneser_ney import SlowUnbounded

from seqstate.core.model import IGNORE
from seqstate.core.state import state_bytes
from seqstate.states._context_tree import grow
from seqstate.states._tree_smoothing import default_discounts
from seqstate.states.ngram import NGram
from seqstate.states.unbounded_ngram import UnboundedNGram

VOCAB, BOUNDARY = 5, 2

words = st.integers(0, VOCAB - 1).filter(lambda word: word != BOUNDARY)
corpora = st.lists(st.lists(words, max_size=14), min_size=1, max_size=5).filter(any)


def stream(documents):
    return np.concatenate([[BOUNDARY, *document] for document in documents]).astype(np.uint16)


def counted(documents, **options):
    model = UnboundedNGram(vocab_size=VOCAB, **{"heldout": 0, **options})
    model.count(stream(documents), BOUNDARY)
    return model


def assert_is_the_formula(documents, texts, longest):
    model = counted(documents, longest=longest)
    defaults = default_discounts()
    slow = SlowUnbounded(
        documents, BOUNDARY, VOCAB, longest, defaults.amounts.tolist(), defaults.spread.tolist()
    )
    for text in texts:
        logits, _ = model(torch.tensor([text]))
        for t in range(len(text)):
            expected = [slow.probability(word, text[: t + 1]) for word in range(VOCAB)]
            torch.testing.assert_close(
                logits[0, t].exp(), torch.tensor(expected), atol=1e-6, rtol=1e-5
            )


@given(corpora, st.sampled_from([1, 2, 4, 50]))
def test_every_probability_is_the_formula(documents, longest):
    other = [1, 0, BOUNDARY, 3, 0, 0, 1, 1]
    assert_is_the_formula(documents, [[BOUNDARY, *documents[-1]], other], longest)


def test_long_repeats_are_the_formula_too():
    passage = np.random.default_rng(0).integers(3, 5, 40).tolist()
    documents = [passage, [0, 1, *passage, 0], passage[:30], [0, *passage[5:]], [0] * 25]
    texts = [[BOUNDARY, *passage, 0], [1, *passage[3:], 1, 1], [0] * 30]
    assert_is_the_formula(documents, texts, longest=60)


@given(corpora, st.data())
def test_nll_is_the_target_of_the_full_distribution(documents, data):
    model = counted(documents)
    rows = st.lists(st.integers(0, VOCAB - 1), min_size=9, max_size=9)
    text = torch.tensor(data.draw(st.lists(rows, min_size=3, max_size=3)))
    tokens, targets = text[:, :-1], text[:, 1:].clone()
    targets[0, 3] = IGNORE
    logits, whole = model(tokens)
    first, state = model.nll(tokens[:, :5], targets[:, :5])
    second, state = model.nll(tokens[:, 5:], targets[:, 5:], state)
    expected = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), targets, reduction="none", ignore_index=IGNORE
    )
    torch.testing.assert_close(torch.cat([first, second], 1), expected, atol=2e-6, rtol=0)
    assert torch.equal(state, whole)


def test_next_logits_are_those_of_the_last_real_token():
    model = counted([[0, 1, 3, 4, 1, 0], [3, 3, 1]])
    tokens, lengths = torch.randint(VOCAB, (3, 7)), torch.tensor([7, 1, 4])
    logits, after = model(tokens, lengths=lengths)
    last, state = model.next_logits(tokens, lengths=lengths)
    assert torch.equal(last, logits[torch.arange(3), lengths - 1])
    assert torch.equal(state, after)


def zipf_text(size, vocab_size):
    ranks = np.random.default_rng(0).zipf(1.3, size)
    return ranks[ranks < vocab_size]


def test_probabilities_sum_to_one_with_many_words_never_seen():
    model = UnboundedNGram(vocab_size=5000)
    text = zipf_text(4000, 2000)
    model.count(text, boundary=0)
    logits, _ = model(torch.from_numpy(text[:60])[None])
    assert (logits.double().exp().sum(-1) - 1).abs().max() < 1e-6
    unseen = logits[..., 2000:]
    torch.testing.assert_close(unseen, unseen[..., :1].expand_as(unseen))


def test_the_state_points_at_the_longest_match():
    model = counted([[0, 1, 3, 4, 1, 0], [3, 3, 1, 4]])
    _, state = model(torch.tensor([[4, 4, 0, 1, 3, 4], [1, 0, 0, 3, 3, 1]]))
    assert state[:, 1].tolist() == [4, 3]
    for (place, length), expected in zip(state.tolist(), [[0, 1, 3, 4], [3, 3, 1]], strict=True):
        assert model.text[place - length + 1 : place + 1].tolist() == expected
    assert state_bytes(state) == 8


def test_a_passage_seen_once_is_recalled_from_its_middle():
    noise = np.random.default_rng(1).integers(1, 20, 3000)
    passage = np.random.default_rng(2).integers(1, 20, 60)
    model = UnboundedNGram(vocab_size=20)
    model.count(np.concatenate([noise[:1500], passage, noise[1500:], passage]), boundary=0)
    told = torch.from_numpy(passage)[None]
    loss, _ = model.nll(told[:, 20:-1], told[:, 21:])
    plain = NGram(vocab_size=20, order=3)
    plain.count(np.concatenate([noise[:1500], passage, noise[1500:], passage]), boundary=0)
    assert loss[0, 10:].mean() < 0.1 < plain.nll(told[:, 20:-1], told[:, 21:])[0][0, 10:].mean()


def markov_text(size, seed):
    draw = np.random.default_rng(seed)
    table = np.random.default_rng(5).dirichlet(np.full(12, 0.15), size=(12, 12))
    text = [0, 0]
    for _ in range(size):
        text.append(int(draw.choice(12, p=table[text[-2], text[-1]])))
    return np.array(text) + 1


def test_tuning_on_heldout_words_predicts_new_text_better():
    text, new = markov_text(4000, 0), torch.from_numpy(markov_text(1500, 1))[None]
    losses = {}
    for heldout in (0, 400):
        model = UnboundedNGram(vocab_size=13, heldout=heldout)
        model.count(text, boundary=0)
        losses[heldout] = model.nll(new[:, :-1], new[:, 1:])[0].mean().item()
    assert losses[400] < losses[0] - 0.02


def test_a_fresh_model_loads_a_counted_one():
    model = counted([[0, 1, 3, 4, 1, 0], [3, 3, 1]])
    fresh = UnboundedNGram(vocab_size=VOCAB)
    fresh.load_state_dict(model.state_dict())
    tokens = torch.randint(VOCAB, (2, 9))
    assert torch.equal(fresh(tokens)[0], model(tokens)[0])
    with pytest.raises(RuntimeError, match="unigram"):
        UnboundedNGram(vocab_size=VOCAB + 1).load_state_dict(model.state_dict())
    with pytest.raises(RuntimeError, match="log_left"):
        UnboundedNGram(vocab_size=VOCAB, longest=8).load_state_dict(model.state_dict())


def test_before_counting_every_word_is_as_likely():
    logits, _ = UnboundedNGram(vocab_size=7)(torch.tensor([[1, 2]]))
    torch.testing.assert_close(logits.exp(), torch.full((1, 2, 7), 1 / 7))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: UnboundedNGram(vocab_size=5, longest=0), "longest=0"),
        (lambda: UnboundedNGram(vocab_size=0), "vocab_size=0"),
        (lambda: UnboundedNGram(vocab_size=5, heldout=-1), "heldout=-1"),
        (lambda: UnboundedNGram(vocab_size=5).count(np.array([0, 7]), 0), "ids run from 0 to 7"),
        (lambda: UnboundedNGram(vocab_size=5)(torch.tensor([[5]])), "ids run from 5 to 5"),
        (lambda: grow(np.array([0, 1, 0]), 0, 1 << 31, longest=3), "64-bit keys"),
    ],
)
def test_wrong_input_is_named_in_one_line(wrong, message):
    with pytest.raises(ValueError, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)
