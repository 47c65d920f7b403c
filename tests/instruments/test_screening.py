import pytest
import torch

from instruments.common import linear, read
from seqstate.core.screen import Screen, Shortlist, scored
from seqstate.instruments import Screening
from seqstate.model import build_head


class Even(Screen):
    """Keeps the words with an even number, and knows nothing of the others."""

    exact = False

    def shortlist(self, hidden, k=1):
        kept = [torch.arange(0, self.head.vocab_size, 2)] * len(hidden)
        words, logits = scored(self.head, hidden, kept)
        counts = torch.full((len(hidden),), len(kept[0]))
        return Shortlist(words, logits, torch.zeros(len(hidden), dtype=torch.bool), counts)


EVEN = "instruments.test_screening.Even"


def test_what_is_left_and_what_is_lost_is_counted():
    head = linear(torch.eye(5))
    hidden = torch.tensor([[9.0, 8, 7, 1, 0], [0, 9, 8, 7, 1], [0, 9, 1, 8, 2], [1, 2, 9, 3, 8]])
    found = read(Screening(screen=EVEN, k=3), head, hidden)
    assert found["screening_scored"].value == pytest.approx(3 / 5)
    assert found["screening_top1"].value == pytest.approx(2 / 4)  # words 0, 1, 1 and 2
    assert found["screening_recall"].value == pytest.approx((2 + 1 + 1 + 2) / 12)
    assert found["screening_certain"].value == 0
    assert found["screening_recall"].count == 4
    assert found["screening_recall"].tags["note"] == f"{EVEN}, k = 3"


def test_of_words_that_tie_with_the_last_place_any_counts():
    head = linear(torch.tensor([[1.0], [1.0], [0.0]]))
    found = read(Screening(screen=EVEN, k=1), head, torch.ones(2, 1))
    assert found["screening_top1"].value == found["screening_recall"].value == 1


def test_a_certified_screen_loses_nothing_and_scores_little():
    head = build_head("inner", width=32, vocab_size=3000)
    found = read(Screening(k=10), head, 3 * torch.randn(40, 32))
    assert found["screening_recall"].value == found["screening_certain"].value == 1
    assert 10 / 3000 <= found["screening_scored"].value < 0.02


def test_heads_that_a_screen_does_not_take_are_left_out():
    mixture = build_head("mos", width=8, vocab_size=11)
    assert not Screening().reads(mixture)
    assert Screening().reads(linear(torch.eye(3)))


def test_more_words_than_there_are_may_be_asked_for():
    found = read(Screening(k=100), linear(torch.eye(4)), torch.randn(3, 4))
    assert found["screening_scored"].value == 1


@pytest.mark.parametrize("options", [{"k": 0}, {"rows": 0}])
def test_nonsense_is_refused(options):
    with pytest.raises(ValueError, match="wanted k >= 1 and rows >= 1"):
        Screening(**options)
