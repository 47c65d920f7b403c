"""Seq2seq: a hand-written encoder and decoder under the same weights, in a stream of many pairs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws.grid import build_language_model, build_state
from reference.seq2seq import encode_decode

from seqstate.core.model import Marks
from seqstate.model import build_model
from seqstate.states import Seq2Seq

SPECS = ["seq2seq(attention='none')", "seq2seq(layers=2)", "seq2seq(layers=2, window=2)"]


def stream(shapes, generator=None):
    """Vectors of pairs one after another, [1, T, D], their marks, and each pair's (source, target)."""
    total = sum(source + target for source, target in shapes)
    x = torch.randn(1, total, 16, dtype=torch.float64, generator=generator)
    opens, turns = torch.zeros(2, 1, total, dtype=torch.bool)
    pairs, at = [], 0
    for source, target in shapes:
        opens[0, at], turns[0, at + source] = True, True
        pairs.append((x[0, at : at + source], x[0, at + source : at + source + target]))
        at += source + target
    return x, Marks(opens, turns), pairs


@pytest.mark.parametrize("spec", SPECS)
def test_targets_are_those_of_a_hand_written_encoder_and_decoder(spec):
    model = build_state(spec).double()
    shapes = [(3, 4), (1, 1), (5, 2)]
    x, marks, pairs = stream(shapes)
    hidden, _ = model(x, marks=marks)
    at = 0
    for (source, target), (read, written) in zip(shapes, pairs, strict=True):
        wanted = encode_decode(model, read, written)
        torch.testing.assert_close(hidden[0, at + source : at + source + target], wanted)
        at += source + target


@pytest.mark.parametrize("spec", SPECS)
def test_while_the_source_is_read_it_shows_what_the_decoder_would_begin_with(spec):
    model = build_state(spec).double()
    x = torch.randn(1, 5, 16, dtype=torch.float64)
    hidden, _ = model(x)
    for end in range(1, 6):
        wanted = encode_decode(model, x[0, :end], model.go[None])
        torch.testing.assert_close(hidden[0, end - 1 : end], wanted)


@given(
    rows=st.lists(
        st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=4),
        min_size=1,
        max_size=3,
    ),
    cut=st.integers(1, 20),
    spec=st.sampled_from(SPECS),
)
def test_rows_with_other_pairs_at_other_places_and_cut_anywhere_are_read_as_alone(rows, cut, spec):
    model, generator = build_state(spec).double(), torch.Generator().manual_seed(1)
    streams = [stream(shapes, generator) for shapes in rows]
    lengths = torch.tensor([x.shape[1] for x, _, _ in streams])
    time = int(lengths.max())
    x = torch.zeros(len(rows), time, 16, dtype=torch.float64)
    opens, turns = torch.zeros(2, len(rows), time, dtype=torch.bool)
    for row, (one, marks, _) in enumerate(streams):
        x[row, : one.shape[1]] = one[0]
        opens[row, : one.shape[1]], turns[row, : one.shape[1]] = marks.opens[0], marks.turns[0]
    with torch.no_grad():
        whole, _ = model(x, None, lengths, Marks(opens, turns))
        for row, (one, marks, _) in enumerate(streams):
            alone, _ = model(one, marks=marks)
            torch.testing.assert_close(whole[row, : one.shape[1]], alone[0])
            cut_at = min(cut, one.shape[1] - 1) or one.shape[1]
            first, state = model(
                one[:, :cut_at], marks=Marks(marks.opens[:, :cut_at], marks.turns[:, :cut_at])
            )
            rest = Marks(marks.opens[:, cut_at:], marks.turns[:, cut_at:])
            if cut_at < one.shape[1]:
                second, _ = model(one[:, cut_at:], state, marks=rest)
                first = torch.cat([first, second], 1)
            torch.testing.assert_close(first, alone)


def test_tokens_mark_where_documents_open_and_sources_end():
    model = build_language_model("seq2seq", "inner")
    first, other = torch.tensor([[0, 5, 6, 1, 7]]), torch.tensor([[0, 8, 1, 7]])
    with torch.no_grad():
        behind, _ = model(torch.cat([first, other], 1))
        alone, _ = model(other)
    torch.testing.assert_close(behind[:, 5:], alone)  # nothing comes across a boundary
    unmarked = build_model("seq2seq(width=16)", "inner", vocab_size=11, tie=False).eval()
    unmarked.load_state_dict(model.state_dict())
    with torch.no_grad():
        text, _ = unmarked(first)
    torch.testing.assert_close(text[:, :3], behind[:, :3])
    assert (text[:, 3:] - behind[:, 3:5]).abs().max() > 1e-3


def test_without_attention_the_state_is_one_vector_a_layer_whatever_the_length():
    model = build_state("seq2seq(attention='none')")
    _, short = model(torch.randn(1, 2, 16))
    _, long = model(torch.randn(1, 90, 16))
    assert {k: v.shape for k, v in short.items()} == {k: v.shape for k, v in long.items()}


def test_bad_options_say_what_is_wanted():
    with pytest.raises(ValueError, match="needs one that scores pairs"):
        Seq2Seq(attention="mos")
    with pytest.raises(ValueError, match="wanted at least 1"):
        Seq2Seq(window=0)
