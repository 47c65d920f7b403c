"""What only the certified screen promises: the same words as all logits give, from few."""

import pytest
import torch
from laws.grid import awake
from torch import nn

from seqstate.generate import Sampling, generate
from seqstate.model import build_head, build_model
from seqstate.screens import Certified


@pytest.mark.parametrize("energy", ["inner", "l2", "multi_hamming(groups=8)", "soft_bits(bits=40)"])
def test_few_words_are_scored_of_a_large_vocabulary(energy):
    torch.manual_seed(0)
    head = awake(build_head(energy, width=32, vocab_size=20_000))
    hidden = 2 * torch.randn(30, 32)
    screen = Certified(head=head)
    for k in (1, 20):
        found, true = screen.shortlist(hidden, k), head(hidden).topk(k)
        assert found.scored.float().mean() < 3 * k + 20
        for row in range(30):
            assert set(true.indices[row].tolist()) <= set(found.words[row].tolist())


@pytest.mark.parametrize("energy", ["inner", "multi_hamming(groups=4)"])
@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), Sampling(top_k=5, top_p=0.8)])
def test_generation_is_the_same_or_follows_the_same_distribution(energy, sampling):
    torch.manual_seed(1)
    model = awake(build_model("lstm(width=16)", energy, vocab_size=300)).eval()
    prompts = [[1, 2, 3], [4]]

    def written(screen, seed):
        how = {"tokens": 12, "sampling": sampling, "seed": seed}
        return torch.stack(list(generate(model, prompts, **how, screen=screen)), 1)

    if sampling.temperature == 0:
        assert written("certified", 0).equal(written(None, 0))
        return
    first = {None: [], "certified": []}
    for screen, firsts in first.items():
        firsts += [tuple(written(screen, seed)[:, 0].tolist()) for seed in range(150)]
    for row in range(2):
        ours, theirs = (
            torch.bincount(torch.tensor([one[row] for one in firsts]), minlength=300) / 150
            for firsts in first.values()
        )
        assert (ours > 0).sum() <= 5 and set(ours.nonzero().flatten().tolist()) == set(
            theirs.nonzero().flatten().tolist()
        )
        assert (ours - theirs).abs().max() < 0.2  # five standard errors


def test_it_reads_the_layer_as_it_was_and_leaves_it_alone():
    layer = nn.Linear(8, 50)
    before = [parameter.clone() for parameter in layer.parameters()]
    screen, hidden = Certified(head=layer), torch.randn(4, 8, requires_grad=True)
    logits, _ = screen.topk(hidden, 2)
    assert not logits.requires_grad
    assert all(now.equal(then) for now, then in zip(layer.parameters(), before, strict=True))


def test_half_precision_is_screened_as_it_is_scored():
    layer = nn.Linear(16, 400).bfloat16()
    hidden = torch.randn(20, 16).bfloat16()
    logits, _ = Certified(head=layer).topk(hidden, 3)
    # bfloat16's own rounding decides between words this near
    torch.testing.assert_close(logits, layer(hidden).topk(3).values, rtol=0.02, atol=0.02)
