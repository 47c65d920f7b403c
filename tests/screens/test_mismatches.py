"""Counting mismatches: the essay's rule, word by word, and when it can be certain."""

import pytest
import torch
from laws.grid import awake

from seqstate.core.screen import NOBODY
from seqstate.model import build_head
from seqstate.screens import Mismatches

ENERGIES = ["soft_bits(bits=20, form='both')", "soft_bits(bits=9)", "hamming(distance='squashed')"]


def coded(energy, vocab_size=60):
    torch.manual_seed(2)
    return awake(build_head(energy, width=16, vocab_size=vocab_size)).eval()


@pytest.mark.parametrize("energy", ENERGIES)
@pytest.mark.parametrize(("most", "counted", "common"), [(3, 8, 0), (1, 0, 7), (2, 5, 60)])
def test_a_word_stays_with_fewer_mismatches_or_if_it_is_common(energy, most, counted, common):
    head, hidden = coded(energy), torch.randn(12, 16)
    screen = Mismatches(head=head, most=most, counted=counted, common=common)
    found = screen.shortlist(hidden, 1)
    bits, costs, _ = head.energy.query_code(hidden)
    words = head.energy.key_code(head.weight)
    often = set(head.bias.argsort(descending=True)[:common].tolist())
    for row in range(12):
        dearest = costs[row].topk(counted or len(bits[row])).indices
        missed = (words[:, dearest] != bits[row, dearest]).sum(-1).tolist()
        allowed = most
        while not (stay := often | {v for v in range(60) if missed[v] < allowed}):
            allowed += 1
        assert set(found.words[row].tolist()) - {NOBODY} == stay


@pytest.mark.parametrize("energy", ENERGIES)
def test_every_mismatch_costs_at_least_what_the_code_says(energy):
    head, hidden = coded(energy), 3 * torch.randn(40, 16)
    bits, costs, least = head.energy.query_code(hidden)
    apart = bits[:, None] != head.energy.key_code(head.weight)
    bound = least[:, None] + (apart * costs[:, None]).sum(-1)
    assert (head.energy(hidden, head.weight) >= bound - 1e-5 * bound.abs() - 1e-5).all()


def test_it_is_certain_where_even_cheap_mismatches_are_dear():
    head = build_head("soft_bits(bits=8, form='both')", width=8, vocab_size=200)
    with torch.no_grad():
        head.energy.ask.weight.copy_(20 * torch.eye(8))
        head.energy.log_tau.fill_(3.0)
        head.energy.read.weight.copy_(50 * torch.eye(8))
        head.energy.read.bias.zero_()
        head.weight.copy_(torch.randint(2, (200, 8)) * 2.0 - 1)
    asked = head.weight[:20]
    found = Mismatches(head=head, most=3, counted=0, common=0).shortlist(asked, 1)
    assert found.certain.all() and found.scored.float().mean() < 60
    with torch.no_grad():
        head.energy.read.weight.div_(1000)  # the same bits, and all of them nearly 0
    assert not Mismatches(head=head, most=3, counted=0, common=0).shortlist(asked, 1).certain.any()


@pytest.mark.parametrize(
    ("energy", "told"),
    [
        ("soft_bits(form='residual')", "use 'word' or 'both'"),
        ("hamming(distance='clipped')", "use 'squashed'"),
    ],
)
def test_energies_without_codes_on_both_sides_are_refused(energy, told):
    with pytest.raises(ValueError, match=told):
        Mismatches(head=coded(energy))


@pytest.mark.parametrize("options", [{"most": 0}, {"counted": -1}, {"common": -1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="wanted at least 1, 0 and 0"):
        Mismatches(head=coded(ENERGIES[0]), **options)
