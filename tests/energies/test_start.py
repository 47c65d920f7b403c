"""Every head starts sane: near the unigrams for states as they come, with a gradient that is alive."""

from __future__ import annotations

import pytest
import torch
from laws.grid import energy_specs

from seqstate.model import build_head

WIDTH, V, ROWS = 32, 300, 64


@pytest.mark.parametrize("spec", energy_specs())
def test_the_loss_starts_near_the_entropy_of_the_unigrams(spec):
    unigram = torch.arange(1.0, V + 1).reciprocal().log().log_softmax(-1)
    targets = torch.multinomial(unigram.exp(), ROWS, replacement=True)
    hidden = 0.3 * torch.randn(ROWS, WIDTH)  # as an untrained recurrent net gives them
    losses, pulls = [], []
    for name in ("inner", spec):
        scorer = build_head(name, width=WIDTH, vocab_size=V)
        scorer.start_from(unigram)
        states = hidden.clone().requires_grad_()
        loss = scorer.loss(states, targets)
        loss.backward()
        losses.append(loss.item())
        pulls.append(states.grad.norm().item())
    assert losses[1] < -unigram[targets].mean().item() + 0.5
    assert 0.1 < pulls[1] / pulls[0] < 20  # a tenth to twenty times the inner product's
