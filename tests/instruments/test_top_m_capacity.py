import itertools
import math

import pytest
import torch
from laws.grid import awake
from reference.reach import can_win

from instruments.common import linear, read
from seqstate.instruments import TopMCapacity
from seqstate.instruments._reach import Words, decide
from seqstate.instruments.top_m_capacity import is_face
from seqstate.model import build_head


def polygon(corners):
    angles = 2 * math.pi * torch.arange(corners, dtype=torch.float64) / corners
    return torch.stack([angles.cos(), angles.sin()], 1)


def subsets(words, m):
    return torch.tensor(list(itertools.combinations(range(words), m)))


def separable(weight, sets):
    verdicts = decide(Words.of(weight, torch.zeros(len(weight)).double()), sets)
    assert all(verdict.impossible or verdict.witness is not None for verdict in verdicts)
    return [verdict.witness is not None for verdict in verdicts]


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_on_a_polygon_exactly_the_arcs_come_out_on_top(m):
    sets = subsets(9, m)
    found = {
        tuple(s.tolist()) for s, yes in zip(sets, separable(polygon(9), sets), strict=True) if yes
    }
    assert found == {tuple(sorted((i + k) % 9 for k in range(m))) for i in range(9)}


def test_on_a_polygon_only_neighbours_share_all_they_want():
    faces = {tuple(s.tolist()) for s in subsets(7, 2) if is_face(polygon(7), s)}
    assert faces == {tuple(sorted((i, (i + 1) % 7))) for i in range(7)}


def test_a_moment_curve_gives_every_distribution_over_half_its_width():
    times = torch.linspace(-1, 1, 9, dtype=torch.float64)
    curve = torch.stack([times**power for power in range(1, 5)], 1)  # D = 4
    assert all(is_face(curve, chosen) for chosen in subsets(9, 2))
    triples = [is_face(curve, chosen) for chosen in subsets(9, 3)]
    assert 0 < sum(triples) < len(triples)  # no arrangement of 9 words does all triples


def test_a_word_between_two_others_spoils_their_pair():
    line = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    assert not is_face(line, torch.tensor([0, 2]))
    assert not is_face(line, torch.tensor([0, 1]))  # word 2 is level with them
    assert is_face(line, torch.tensor([0, 3]))


def test_sets_are_decided_as_one_programme_over_all_words_does():
    weight, bias = torch.randn(14, 3).double(), torch.randn(14).double()
    sets = subsets(14, 3)[::4]
    verdicts = decide(Words.of(weight, bias), sets)
    slow = [can_win(weight.numpy(), bias.numpy(), chosen.tolist()) for chosen in sets]
    assert [verdict.witness is not None for verdict in verdicts] == slow
    assert 0 < sum(slow) < len(slow)


def test_readings_are_shares_of_the_sets_asked():
    found = read(TopMCapacity(m=2, sets=60), linear(polygon(20)), torch.randn(30, 2))
    assert 0 < found["top_m_distributions"].value < found["top_m_sets"].value + 1e-9 < 1
    assert found["top_m_witnessed"].value <= found["top_m_sets"].value
    assert found["top_m_sets"].count == 60


def test_ascent_finds_nearly_all_that_there_is():
    head, hidden = linear(torch.randn(200, 16), torch.randn(200)), torch.randn(50, 16)
    found = read(TopMCapacity(m=3, sets=60), head, hidden)
    assert found["top_m_witnessed"].value >= found["top_m_sets"].value - 0.1


def test_any_head_is_witnessed():
    head = awake(build_head("multi_hamming(groups=4)", width=16, vocab_size=60)).double()
    found = read(TopMCapacity(m=2, sets=30), head, torch.randn(40, 16))
    assert set(found) == {"top_m_witnessed"}
    assert found["top_m_witnessed"].value > 0.5


def test_asking_for_every_word_asks_nothing():
    assert read(TopMCapacity(m=4), linear(torch.randn(4, 2)), torch.randn(3, 2)) == {}
    with pytest.raises(ValueError, match="m >= 1"):
        TopMCapacity(m=0)
