"""State bytes, gates, relation graph and lengths, on states whose readings are known in advance."""

import math

import pytest
import torch
from safetensors.torch import save

from instruments.common import Known, named
from seqstate.core.model import IGNORE, LanguageModel
from seqstate.core.state import leaves
from seqstate.core.task import Batch
from seqstate.energies import Inner
from seqstate.instruments import Gates, Graph, QKLengths, StateBytes
from seqstate.instruments.graph import measures
from seqstate.model import NeuralLM, build_model

TIME, VOCAB = 8, 11


def batch(rows=3, time=TIME):
    tokens = torch.randint(VOCAB, (rows, time))
    return Batch(tokens, tokens)


def known():
    return NeuralLM(Known(), Inner(width=8).over(VOCAB), tie=False)


class Hoarder(LanguageModel):
    """Keeps every token it has read, in eight bytes each."""

    vocab_size = VOCAB

    def init_state(self, batch_size):
        return torch.zeros(batch_size, 0, dtype=torch.long)

    def forward(self, tokens, state=None, lengths=None):
        before = self.init_state(len(tokens)) if state is None else state
        return torch.zeros(*tokens.shape, VOCAB), torch.cat([before, tokens], 1)


def test_an_lstm_carries_two_vectors_a_layer_and_no_more_for_more_text():
    model = build_model("lstm(width=16, layers=2)", vocab_size=VOCAB)
    found = named(StateBytes().measure(model, batch()))
    assert found["state_bytes"].value == 2 * 2 * 16 * 4
    assert found["state_bytes_per_token"].value == 0
    _, state = model(batch(1).tokens)
    stored = save({str(i): leaf.contiguous() for i, leaf in enumerate(leaves(state))})
    assert found["state_bytes"].value <= len(stored) <= found["state_bytes"].value + 512


def test_what_keeps_every_token_pays_for_every_token():
    found = named(StateBytes().measure(Hoarder(), batch()))
    assert found["state_bytes"].value == 8 * TIME
    assert found["state_bytes_per_token"].value == 8
    assert found["state_bytes"].tags["curve"] == [[2, 16], [4, 32], [8, 64]]


def test_gate_values_are_sorted_into_shut_and_open():
    found = named(Gates().measure(known(), batch()))
    assert found["write_gate_shut"].value == 0.5  # 0 and 0.07 of 0, 0.07, 0.5, 0.97
    assert found["write_gate_open"].value == 0.25
    assert found["gate_saturation"].value == 0.75
    assert found["gate_saturation"].stderr == 0
    histogram = found["write_gate_shut"].tags["histogram"]
    assert sum(histogram) == pytest.approx(1)
    assert [histogram[place] for place in (0, 1, 10, 19)] == pytest.approx([0.25] * 4)
    with pytest.raises(ValueError, match="shut < open"):
        Gates(shut=0.9, open=0.1)


def test_a_uniform_graph_is_as_spread_as_can_be():
    found = named(Graph().measure(known(), batch()))
    later = range(1, TIME)
    assert found["graph_entropy"].value == pytest.approx(
        sum(math.log(t + 1) for t in later) / len(later), rel=1e-5
    )
    assert found["graph_spread"].value == pytest.approx(1, rel=1e-5)
    assert found["graph_distance"].value == pytest.approx(sum(t / 2 for t in later) / len(later))
    assert found["graph_sharpness"].value == pytest.approx(
        sum(1 / (t + 1) for t in later) / len(later), rel=1e-5
    )
    assert found["graph_hard"].value == 0
    assert torch.tensor(found["graph_entropy"].tags["by_head"]).shape == (2, 3)


def test_a_graph_of_single_edges_has_no_entropy():
    edges = torch.zeros(1, 2, 1, TIME, TIME, dtype=torch.float64)
    for t in range(TIME):
        edges[:, :, :, t, max(0, t - 1)] = 1
    found = named(measures(edges))
    assert [found[f"graph_{name}"].value for name in ("entropy", "spread")] == [0, 0]
    assert [found[f"graph_{name}"].value for name in ("distance", "sharpness", "hard")] == [1, 1, 1]


def test_a_graph_needs_a_second_token():
    with pytest.raises(ValueError, match="at least 2 tokens"):
        Graph().measure(known(), batch(time=1))


def test_lengths_and_their_spread_are_read_per_kind():
    found = named(QKLengths().measure(known(), batch()))
    assert found["query_length"].value == 2
    assert found["query_length_spread"].value == 0
    assert found["key_length"].value == 2  # 1, 3, 1, 3 ...
    assert found["key_length_spread"].value == pytest.approx(0.5)
    assert found["key_length"].tags["by_head"] == [[2.0] * 3] * 2


def test_instruments_apply_only_where_the_capability_is():
    plain = NeuralLM(build_model("rnn(width=8)", vocab_size=5).states, Inner(width=8).over(VOCAB))
    for instrument in (Gates(), Graph(), QKLengths()):
        assert instrument.applies_to(known())
        assert not instrument.applies_to(plain)
        assert not instrument.applies_to(Hoarder())
    assert StateBytes().applies_to(Hoarder())
    assert IGNORE < 0
