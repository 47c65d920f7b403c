"""The laws of screens, over every file of `screens/` and every head that each takes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from laws.grid import VOCAB, WIDTH, awake, energy_specs
from seqstate.core import registry
from seqstate.core.screen import NOBODY
from seqstate.model import build_head

OPTIONS = ["mismatches(most=1, counted=5, common=3)", "mismatches(most=3, counted=0, common=0)"]
SCREENS = [*registry.names("screens"), *OPTIONS]
ROWS, K = 9, 4


def head(energy, vocab_size=37):
    return awake(build_head(energy, width=WIDTH, vocab_size=vocab_size)).eval()


def takes(screen, energy):
    try:
        return registry.build("screens", screen, head=head(energy, VOCAB))
    except ValueError as refused:
        assert "\n" not in str(refused)
        return None


PAIRS = [
    (screen, energy) for screen in SCREENS for energy in energy_specs() if takes(screen, energy)
]
pairs = pytest.mark.parametrize(("screen", "energy"), PAIRS)


def screened(screen, energy):
    layer = head(energy)
    return registry.build("screens", screen, head=layer), layer, 2 * torch.randn(ROWS, WIDTH)


def test_every_screen_takes_some_head():
    assert {screen for screen, _ in PAIRS} == set(SCREENS)


@pairs
def test_logits_are_the_heads_and_words_come_once(screen, energy):
    screen, layer, hidden = screened(screen, energy)
    found = screen.shortlist(hidden, K)
    logits = layer(hidden)
    for row in range(ROWS):
        words = found.words[row][found.words[row] != NOBODY]
        assert len(words) == found.scored[row] == len(set(words.tolist())) >= K
        torch.testing.assert_close(
            found.logits[row, : len(words)], logits[row, words], rtol=1e-4, atol=1e-4
        )
        assert found.logits[row, len(words) :].eq(-torch.inf).all()


@pairs
def test_a_certain_row_has_the_likeliest_words(screen, energy):
    screen, layer, hidden = screened(screen, energy)
    certain = screen.shortlist(hidden, K).certain
    assert certain.all() or not screen.exact
    ours, _ = screen.topk(hidden, K)
    every = layer(hidden).topk(K).values
    torch.testing.assert_close(ours[certain], every[certain], rtol=1e-4, atol=1e-4)


@pairs
def test_rows_do_not_see_each_other(screen, energy):
    screen, _, hidden = screened(screen, energy)
    together = screen.shortlist(hidden, K)
    for row in range(ROWS):
        alone = screen.shortlist(hidden[row : row + 1], K)
        assert alone.words[0].tolist() == together.words[row, : alone.scored[0]].tolist()
        assert alone.certain[0] == together.certain[row]


@pairs
def test_leading_axes_and_all_words(screen, energy):
    screen, layer, hidden = screened(screen, energy)
    logits, words = screen.topk(hidden.view(3, 1, 3, WIDTH), 1000)
    assert words.shape == logits.shape == (3, 1, 3, 37)
    assert words.sort(-1).values.eq(torch.arange(37)).all()
    every = layer(hidden).sort(-1, descending=True).values.view_as(logits)
    torch.testing.assert_close(logits, every, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("screen", registry.names("screens"))
def test_a_head_it_cannot_screen_is_refused_in_one_line(screen):
    with pytest.raises(ValueError, match="certified") as refused:
        registry.build("screens", screen, head=head("mos"))
    assert "\n" not in str(refused.value)


def test_a_bare_layer_is_screened_too():
    layer = nn.Linear(WIDTH, 37)
    screen = registry.build("screens", "certified", head=layer)
    hidden = torch.randn(5, WIDTH)
    torch.testing.assert_close(screen.topk(hidden, 3)[0], layer(hidden).topk(3).values)
