"""The small theorems of the softmax bottleneck, measured in float64 on generic numbers."""

import pytest
import torch
from laws.grid import awake

from instruments.common import linear, named, read
from seqstate.core import registry
from seqstate.energies import MultiHamming
from seqstate.instruments import LogitRank
from seqstate.model import build_head

D, V, R = 6, 60, 90
NUMBERS = {"dtype": torch.float64}


def rank(logits) -> float:
    return named(LogitRank().of_logits(logits))["logit_rank"].value


def generic(*shape):
    return torch.randn(*shape, **NUMBERS)


def test_an_inner_product_has_rank_d_and_one_more_with_a_bias():
    weight, bias, hidden = generic(V, D), generic(V), generic(R, D)
    assert rank(hidden @ weight.T) == D
    assert rank(hidden @ weight.T + bias) == D + 1
    assert read(LogitRank(), linear(weight), hidden)["rank_bound"].value == D
    assert read(LogitRank(), linear(weight, bias), hidden)["rank_bound"].value == D + 1


def test_the_normaliser_adds_one_to_the_rank_only_before_centring():
    logits = generic(R, D) @ generic(D, V)
    assert torch.linalg.matrix_rank(logits.log_softmax(-1)) == D + 1
    assert rank(logits.log_softmax(-1)) == D


def test_squared_distance_is_an_inner_product_once_rows_are_centred():
    weight, hidden = generic(V, D), generic(R, D)
    distance = -torch.cdist(hidden, weight).square()
    assert torch.linalg.matrix_rank(distance) == D + 2
    assert rank(distance) == D + 1
    assert rank(distance + generic(V)) == D + 1


def test_hamming_distance_to_pure_bits_is_linear_in_the_bits():
    bits, soft = torch.randint(2, (V, D)).double(), generic(R, D).sigmoid()
    distance = -(soft.unsqueeze(1) - bits).abs().sum(-1)
    assert rank(distance) <= D + 1
    assert rank(distance + generic(V)) == D + 1


@pytest.mark.parametrize(("groups", "codes"), [(3, 4), (5, 2), (2, 8)])
def test_codes_have_rank_at_most_groups_times_codes_less_one(groups, codes):
    words = torch.randint(codes, (V, groups))
    tables = generic(R, groups, codes)  # any function of the hidden vector at all
    logits = sum(tables[:, g, words[:, g]] for g in range(groups)) + generic(V)
    assert rank(logits) == groups * (codes - 1) + 1


def hamming(groups, **options):
    """A multi-vector Hamming head, in float64, and its logits on generic hidden vectors."""
    torch.manual_seed(5)  # the same words and contexts whatever the options
    head = MultiHamming(width=D, groups=groups, **options).over(V).double()
    with torch.no_grad():
        head.weight.copy_(generic(V, D))
        return head(generic(R, D))


def test_two_numbers_a_feature_already_give_full_rank():
    assert rank(hamming(groups=3, a=2.0)) == V - 1


def test_a_flat_sigmoid_is_an_inner_product_again():
    assert rank(hamming(groups=3, a=1e-7)) == D
    beyond = []
    for a in (0.1, 0.05, 0.025):
        spectrum = named(LogitRank().of_logits(hamming(groups=3, a=a)))["logit_rank"].tags[
            "spectrum"
        ]
        beyond.append(spectrum[D] / spectrum[0])
    # the first odd term after the linear one is cubic: halving a quarters what is left over
    assert beyond[0] / beyond[1] == pytest.approx(4, rel=0.2)
    assert beyond[1] / beyond[2] == pytest.approx(4, rel=0.2)


@pytest.mark.parametrize("name", registry.names("energies"))
def test_no_energy_exceeds_the_rank_it_declares(name):
    head = awake(build_head(name, width=16, vocab_size=45)).double()
    found = read(LogitRank(), head, 2 * generic(80, 16))
    bound = found["rank_bound"].value if "rank_bound" in found else 44
    assert found["logit_rank"].value <= min(44, bound)
