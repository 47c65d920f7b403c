import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws.grid import awake
from reference.reach import can_win
from scipy.spatial import ConvexHull

from instruments.common import linear, read
from seqstate.instruments import Unargmaxable
from seqstate.instruments._reach import Words, decide, programme_agrees
from seqstate.model import build_head

TRIANGLE = [[0.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]


def lost(head, hidden=None, **options):
    hidden = torch.zeros(2, head.width) if hidden is None else hidden
    reading = read(Unargmaxable(**options), head, hidden)["unargmaxable"]
    assert reading.tags["note"] == ""  # nothing was left undecided
    return reading.tags["words"]


def test_a_word_between_others_never_wins():
    assert lost(linear([*TRIANGLE, [0.0, 0.0], [0.1, 0.2]])) == [3, 4]
    assert lost(linear(TRIANGLE)) == []


def test_a_bias_lifts_a_word_out_of_the_hull():
    line = [[-1.0], [0.0], [1.0]]
    for height, losers in ((1e-3, []), (-1e-3, [1]), (0.0, [1])):  # a tie at h = 0 is no win
        assert lost(linear(line, [0.0, height, 0.0])) == losers


def test_a_word_on_an_edge_ties_and_never_wins():
    assert lost(linear([*TRIANGLE, [0.0, -1.0]])) == [3]


def test_copies_of_a_word_keep_each_other_from_winning():
    words = torch.randn(30, 12)
    words[7] = words[21]
    assert lost(linear(words)) == [7, 21]


def test_the_longest_hidden_vector_limits_which_biases_can_be_overcome():
    head = linear([[-1.0], [1.0]], [1.0, -1.0])  # the second word wins at h > 1
    for longest, share in ((0.9, 0.5), (1.1, 0.0)):
        hidden = torch.tensor([[0.0], [-longest]])
        found = read(Unargmaxable(ball=True), head, hidden)
        assert found["unargmaxable"].value == 0
        assert found["unargmaxable_in_ball"].value == share


@given(st.integers(0, 10_000), st.integers(1, 3), st.booleans())
def test_every_verdict_is_that_of_one_programme_over_all_words(seed, width, biased):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((9, width))
    bias = rng.standard_normal(9) * 0.7 * biased
    slow = [v for v in range(9) if not can_win(weight, bias, [v])]
    assert lost(linear(weight, bias)) == slow


def test_without_biases_the_winners_are_the_corners_of_the_hull():
    weight = torch.randn(300, 4, dtype=torch.float64)
    corners = set(ConvexHull(weight.numpy()).vertices.tolist())
    losers = read(Unargmaxable(), linear(weight), torch.zeros(2, 4))["unargmaxable"]
    assert losers.tags["found"] == 300 - len(corners)
    assert corners.isdisjoint(losers.tags["words"])


def test_witnesses_win_and_proofs_need_only_the_rivals_they_name():
    weight, bias = torch.randn(150, 5).double(), torch.randn(150).double()
    words = Words.of(weight, bias)
    verdicts = decide(words, torch.arange(150).unsqueeze(1))
    assert {verdict.impossible for verdict in verdicts} == {True, False}
    for word, verdict in enumerate(verdicts):
        if verdict.witness is not None:
            assert (weight @ verdict.witness + bias).argmax() == word
        else:
            assert verdict.impossible
            assert len(verdict.rivals) <= 7  # Carathéodory: D + 1 words, and one for the bias
            assert programme_agrees(words, word, verdict.rivals)
            assert not can_win(
                weight[[word, *verdict.rivals]].numpy(), bias[[word, *verdict.rivals]].numpy(), [0]
            )


@given(st.integers(0, 10_000))
def test_a_ball_is_decided_as_a_fine_grid_does(seed):
    rng = np.random.default_rng(seed)
    weight, bias = rng.standard_normal((8, 2)), rng.standard_normal(8)
    radius = 1.5
    verdicts = decide(
        Words.of(torch.from_numpy(weight), torch.from_numpy(bias), radius),
        torch.arange(8).unsqueeze(1),
    )
    angles, lengths = np.linspace(0, 2 * np.pi, 400), np.linspace(0, radius, 60)
    spokes = np.stack([np.cos(angles), np.sin(angles)], 1)
    grid = (lengths[:, None, None] * spokes).reshape(-1, 2)
    seen = set((grid @ weight.T + bias).argmax(1).tolist())
    won = {word for word, verdict in enumerate(verdicts) if verdict.witness is not None}
    assert seen <= won  # whatever the grid sees is found, and what is found is checked below
    for word in won:
        witness = verdicts[word].witness.numpy()
        assert np.linalg.norm(witness) <= radius
        assert (weight @ witness + bias).argmax() == word
    assert all(verdicts[word].impossible for word in range(8) if word not in won)


def test_a_sample_of_the_words_says_how_sure_it_is():
    weight = torch.randn(500, 3)
    lost_share = 1 - len(ConvexHull(weight.numpy()).vertices) / 500
    reading = read(Unargmaxable(words=100), linear(weight), torch.zeros(2, 3))["unargmaxable"]
    assert reading.count == 100
    assert reading.stderr == pytest.approx((reading.value * (1 - reading.value) / 100) ** 0.5)
    assert abs(reading.value - lost_share) < 4 * (lost_share * (1 - lost_share) / 100) ** 0.5


def test_a_head_that_is_no_linear_map_gets_witnesses_only():
    head = awake(build_head("multi_hamming(groups=4)", width=16, vocab_size=60)).double()
    with torch.no_grad():
        head.weight[3] = head.weight[50]
        head.bias[3] = head.bias[50]
    found = read(Unargmaxable(), head, torch.randn(40, 16))
    assert "unargmaxable" not in found
    assert {3, 50} <= set(found["argmax_unwitnessed"].tags["words"])
    assert found["argmax_unwitnessed"].value < 0.2
    with pytest.raises(ValueError, match="words >= 1"):
        Unargmaxable(words=0)
