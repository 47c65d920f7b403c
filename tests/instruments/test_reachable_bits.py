import math

import pytest
import torch
from laws.grid import awake
from reference.reach import signs_seen

from instruments.common import linear, read
from seqstate.instruments import ReachableBits
from seqstate.instruments.reachable_bits import count_cells, log2_cells
from seqstate.model import build_head


def most(planes, width):
    return sum(math.comb(planes, k) for k in range(width + 1))


@pytest.mark.parametrize(("planes", "width"), [(5, 1), (6, 2), (6, 3), (4, 4), (3, 7)])
def test_generic_answers_reach_cover_s_count_and_no_more(planes, width):
    weight, bias = torch.randn(planes, width).double(), torch.randn(planes).double()
    assert count_cells(weight, bias) == most(planes, width)
    assert 2 ** log2_cells(planes, width) == pytest.approx(most(planes, width))


def test_without_biases_all_cells_touch_zero_and_come_in_pairs():
    weight = torch.randn(6, 3).double()
    through_zero = 2 * sum(math.comb(5, k) for k in range(3))
    assert count_cells(weight, torch.zeros(6).double()) == through_zero


def test_parallel_questions_have_one_answer_more_than_their_number():
    weight = torch.ones(5, 1).double()
    assert count_cells(weight, torch.arange(5.0).double()) == 6
    assert count_cells(weight, torch.zeros(5).double()) == 2  # all alike


@pytest.mark.parametrize("seed", range(4))
def test_no_random_vector_shows_a_pattern_that_was_not_counted(seed):
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, 2, generator=draw, dtype=torch.float64)
    bias = torch.randn(5, generator=draw, dtype=torch.float64)
    weight[4] = -2 * weight[1]  # not in general position: fewer cells than the bound
    counted, seen = (
        count_cells(weight, bias),
        signs_seen(weight.numpy(), bias.numpy(), 50_000, seed),
    )
    assert counted - 1 <= seen <= counted < most(5, 2)  # a sliver may hide from chance


def test_the_bound_for_a_large_vocabulary_does_not_overflow():
    bits = log2_cells(10_000, 64)
    assert bits == pytest.approx(math.log2(most(10_000, 64)))
    assert bits < 600  # of 10,000


def test_a_head_of_rank_two_shows_few_of_its_patterns():
    found = read(
        ReachableBits(words=6), linear(torch.randn(40, 2), torch.randn(40)), torch.randn(300, 2)
    )
    assert found["patterns"].value == pytest.approx(math.log2(most(6, 2)))
    assert found["patterns_seen"].value <= found["patterns"].value
    assert found["pattern_bound"].value == pytest.approx(math.log2(most(40, 2)))


def test_other_heads_are_counted_where_they_were_seen():
    head = awake(build_head("multi_hamming(groups=4)", width=16, vocab_size=60)).double()
    found = read(ReachableBits(words=4), head, 3 * torch.randn(400, 16))
    assert set(found) == {"patterns_seen"}
    assert found["patterns_seen"].value == 4  # all sixteen
    with pytest.raises(ValueError, match="1 to 16"):
        ReachableBits(words=17)
