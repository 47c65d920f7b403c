"""Evaluation scores every token once, given all before it, and says how sure it is."""

import math

import numpy as np
import pytest
import torch
from laws.grid import build_language_model

from seqstate.evaluate import evaluate

IDS = np.random.default_rng(0).integers(11, size=2000).astype(np.uint16)


def by_hand(model, ids):
    with torch.no_grad():
        logits, _ = model(torch.from_numpy(ids[None, :-1].astype(np.int64)))
        every = logits.log_softmax(-1)[0]
        return (
            -every.gather(-1, torch.from_numpy(ids[1:, None].astype(np.int64))).squeeze(-1).numpy()
        )


@pytest.mark.parametrize(
    "pair", [("lstm", "inner"), ("rnn", "multi_hamming"), ("ngram(order=3)", None)]
)
def test_one_row_is_the_log_likelihood_of_the_whole_text(pair):
    model = build_language_model(*pair)
    found = evaluate(model, IDS, 3000, rows=1)
    np.testing.assert_allclose(found.nats, by_hand(model, IDS), atol=2e-5)
    assert found.bits_per_byte == pytest.approx(found.nats.sum() / math.log(2) / 3000, rel=1e-6)


@pytest.mark.parametrize("size", [2, 3, 257, 513, 1999])
def test_any_length_is_scored_once_per_token(size):
    model = build_language_model("lstm", "inner")
    np.testing.assert_allclose(
        evaluate(model, IDS[:size], size, rows=1).nats, by_hand(model, IDS[:size]), atol=2e-5
    )


@pytest.mark.parametrize("rows", [2, 3, 7])
def test_parallel_stretches_agree_where_the_state_forgets(rows):
    model = build_language_model("ngram(order=3)", None)  # forgets all but two tokens
    whole, parts = (
        evaluate(model, IDS, 3000, rows=1),
        evaluate(model, IDS, 3000, rows=rows, context=8),
    )
    np.testing.assert_allclose(parts.nats, whole.nats, atol=1e-6)


def test_overlapping_windows_score_each_token_with_half_a_window_at_least():
    model = build_language_model("ngram(order=3)", None)
    whole = evaluate(model, IDS[:301], 300, rows=1)
    windows = evaluate(model, IDS[:301], 300, carry=False, context=16)
    np.testing.assert_allclose(windows.nats, whole.nats, atol=1e-6)


def test_the_standard_error_covers_the_truth():
    model = build_language_model("lstm", "inner")
    found = evaluate(model, IDS, 3000, rows=1)
    independent = found.nats.std(ddof=1) / math.sqrt(len(found.nats))
    assert 0.4 * independent < found.stderr < 2.5 * independent


def test_nothing_to_predict_is_refused():
    with pytest.raises(ValueError, match="no token to predict"):
        evaluate(build_language_model("lstm", "inner"), IDS[:1], 0)
