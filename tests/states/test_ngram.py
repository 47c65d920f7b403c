import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.kneser_ney import SlowKneserNey

from seqstate.core.model import IGNORE
from seqstate.core.state import state_bytes
from seqstate.states.ngram import NGram

VOCAB, BOUNDARY = 6, 2

words = st.integers(0, VOCAB - 1).filter(lambda word: word != BOUNDARY)
corpora = st.lists(st.lists(words, max_size=12), min_size=1, max_size=6).filter(any)


def stream(documents, boundary=BOUNDARY):
    return np.concatenate([[boundary, *document] for document in documents]).astype(np.uint16)


def counted(documents, **options):
    model = NGram(vocab_size=VOCAB, **options)
    model.count(stream(documents), BOUNDARY)
    return model


def zipf_text(size, vocab_size, seed=0):
    ranks = np.random.default_rng(seed).zipf(1.3, size)
    return ranks[ranks < vocab_size]


@given(corpora, st.integers(1, 6), st.sampled_from([(), (0, 1), (0, 0, 1, 2)]))
def test_every_probability_is_the_formula(documents, order, prune):
    model = counted(documents, order=order, prune=prune)
    slow = SlowKneserNey(documents, BOUNDARY, VOCAB, order, prune=prune)
    for document in [*documents, [0, 1, 3, 4, 5, 5, 0]]:
        read = [BOUNDARY, *document]
        logits, _ = model(torch.tensor([read]))
        for t in range(len(read)):
            expected = torch.tensor(slow.log_distribution(read[: t + 1]))
            torch.testing.assert_close(logits[0, t], expected, atol=2e-6, rtol=0)


def test_discounts_are_estimated_on_a_text_with_enough_counts():
    text = zipf_text(600, VOCAB - 1) + BOUNDARY  # ids 3, 4, 5 and none that collides
    text = text[text < VOCAB]
    slow = SlowKneserNey([text.tolist()], BOUNDARY, VOCAB, 6)
    assert slow.discounts[5] != (0.0, 0.5, 1.0, 1.5)
    model = counted([text], order=6)
    read = [BOUNDARY, *text[:80].tolist()]
    logits, _ = model(torch.tensor([read]))
    expected = torch.tensor([slow.log_distribution(read[: t + 1]) for t in range(len(read))])
    torch.testing.assert_close(logits[0], expected, atol=2e-6, rtol=0)


@given(corpora, st.integers(1, 6), st.data())
def test_nll_is_the_target_of_the_full_distribution(documents, order, data):
    model = counted(documents, order=order)
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


@pytest.mark.parametrize("order", [1, 2, 3, 7, 10])
def test_probabilities_sum_to_one_with_many_words_never_seen(order):
    model = NGram(vocab_size=5000, order=order)
    text = zipf_text(4000, 2000)
    model.count(text, boundary=0)
    logits, _ = model(torch.from_numpy(text[:60])[None])
    assert (logits.double().exp().sum(-1) - 1).abs().max() < 1e-6
    unseen = logits[..., 2000:]
    assert torch.equal(unseen, unseen[..., :1].expand_as(unseen)), "they share alike"


def test_no_context_crosses_a_boundary():
    model = counted([[0, 1], [3, 4], [0, 1], [3, 4]], order=4)
    across, _ = model(torch.tensor([[0, 1, BOUNDARY], [5, 5, BOUNDARY]]))
    assert torch.equal(across[0, -1], across[1, -1])


def test_next_logits_are_those_of_the_last_real_token():
    model = counted([[0, 1, 3, 4, 1, 0], [3, 3, 1]], order=4)
    tokens, lengths = torch.randint(VOCAB, (3, 7)), torch.tensor([7, 1, 4])
    logits, after = model(tokens, lengths=lengths)
    last, state = model.next_logits(tokens, lengths=lengths)
    assert torch.equal(last, logits[torch.arange(3), lengths - 1])
    assert torch.equal(state, after)


def test_before_counting_every_word_is_as_likely():
    logits, _ = NGram(vocab_size=7, order=3)(torch.tensor([[1, 2]]))
    torch.testing.assert_close(logits.exp(), torch.full((1, 2, 7), 1 / 7))


def test_a_fresh_model_loads_a_counted_one():
    model = counted([[0, 1, 3, 4, 1, 0], [3, 3, 1]], order=4)
    fresh = NGram(vocab_size=VOCAB, order=4)
    fresh.load_state_dict(model.state_dict())
    tokens = torch.randint(VOCAB, (2, 9))
    assert torch.equal(fresh(tokens)[0], model(tokens)[0])
    with pytest.raises(RuntimeError, match="unigram"):
        NGram(vocab_size=VOCAB + 1, order=4).load_state_dict(model.state_dict())
    with pytest.raises(RuntimeError, match="keys_5"):
        NGram(vocab_size=VOCAB, order=5).load_state_dict(model.state_dict())


def test_counting_reads_a_memory_map_of_any_integer_type(tmp_path):
    text = stream([[0, 1, 3, 4, 1, 0], [3, 3, 1]])
    mapped = np.memmap(tmp_path / "ids", dtype=np.uint32, mode="w+", shape=text.shape)
    mapped[:] = text
    model = NGram(vocab_size=VOCAB, order=3)
    model.count(mapped, BOUNDARY)
    same = counted([[0, 1, 3, 4, 1, 0], [3, 3, 1]], order=3)
    assert torch.equal(model.logp_3, same.logp_3)


def test_the_state_is_the_window():
    model = NGram(vocab_size=VOCAB, order=5)
    _, state = model(torch.tensor([[1, 2, 3], [4, 5, 0]]))
    assert state.tolist() == [[-1, 1, 2, 3], [-1, 4, 5, 0]]
    assert state_bytes(state) == 4 * 4


def test_a_longer_order_than_any_document_changes_nothing():
    documents = [[0, 1, 3], [3, 4], [1, 1, 0]]
    tokens = torch.tensor([[BOUNDARY, 0, 1, 3, 4]])
    nine, ten = (counted(documents, order=order)(tokens)[0] for order in (9, 10))
    assert torch.equal(nine, ten)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: NGram(vocab_size=5, order=0), "order is 0"),
        (lambda: NGram(vocab_size=0), "vocab_size is 0"),
        (lambda: NGram(vocab_size=5, memory_gb=0.0), "memory_gb is 0.0"),
        (lambda: NGram(vocab_size=5, prune=(1,)), "start at 0"),
        (lambda: NGram(vocab_size=5, prune=(0, 2, 1)), "never fall"),
        (lambda: NGram(vocab_size=5, fallback=(0.5, 1.0)), "discounts of counts"),
        (lambda: NGram(vocab_size=5, fallback=(0.0, 1.0, 1.5)), "discounts of counts"),
        (lambda: NGram(vocab_size=5).count(np.array([0, 7]), 0), "ids run from 0 to 7"),
        (lambda: NGram(vocab_size=5).count(np.array([0, 1]), 9), "boundary 9"),
        (lambda: NGram(vocab_size=5).count(np.array([0, 0]), 0), "no token"),
        (lambda: NGram(vocab_size=5).count(np.array([], dtype=int), 0), "no token"),
        (lambda: NGram(vocab_size=5).count(np.array([0.5]), 0), "integer token ids"),
        (lambda: NGram(vocab_size=5)(torch.tensor([[5]])), "ids run from 5 to 5"),
    ],
)
def test_wrong_input_is_named_in_one_line(wrong, message):
    with pytest.raises(ValueError, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)
