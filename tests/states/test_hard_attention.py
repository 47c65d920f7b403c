"""Hard attention: each mode against its definition, draws that are fair and repeatable."""

from __future__ import annotations

import pytest
import torch
from laws.grid import build_state
from reference.attention import hidden_and_graph
from scipy import stats

from seqstate.core import registry
from seqstate.core.state import select_rows
from seqstate.states import Attention, HardAttention
from seqstate.states._attention_picks import build_picker, gumbel


def one_hot(scores):
    return torch.nn.functional.one_hot(scores.argmax(), len(scores)).to(scores.dtype)


def best_three(scores):
    kept = scores >= scores.sort(descending=True).values[:3][-1]
    return torch.where(kept, scores, -torch.inf).softmax(0)


def entmax_by_bisection(alpha):
    """p_i = [(alpha - 1) s_i - tau]_+ ^ (1 / (alpha - 1)) with the tau that makes it sum to 1."""

    def pick(scores):
        scaled = (alpha - 1) * scores
        low, high = scaled.max() - 1, scaled.max()
        for _ in range(80):
            tau = (low + high) / 2
            weights = (scaled - tau).clamp(min=0) ** (1 / (alpha - 1))
            low, high = (tau, high) if weights.sum() > 1 else (low, tau)
        return weights

    return pick


DEFINED = {
    "map": one_hot,
    "top_k(k=3)": best_three,
    "sparsemax": entmax_by_bisection(2.0),
    "entmax": entmax_by_bisection(1.5),
    "entmax(alpha=1.25)": entmax_by_bisection(1.25),
}


@pytest.mark.parametrize("mode", DEFINED)
@pytest.mark.parametrize(
    "rest", ["", ', positions="alibi", window=4', ', energy="multi_hamming(groups=2)"']
)
def test_every_mode_is_its_definition_in_loops(mode, rest):
    model = build_state(f'hard_attention(layers=2, heads=2, mode="{mode}"{rest})').double()
    x = torch.randn(2, 6, 16, dtype=torch.float64)
    with torch.no_grad():
        hidden, graph = hidden_and_graph(model, x, DEFINED[mode])
        torch.testing.assert_close(model.graph(x), graph, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(model(x)[0], hidden, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("mode", ["top_k(k=3)", "sparsemax", "entmax", "entmax(alpha=1.25)"])
def test_hidden_predecessors_get_nothing_and_spoil_no_gradient(mode):
    scores = (3 * torch.randn(2, 2, 4, 6, dtype=torch.float64)).requires_grad_()
    hidden = torch.ones(4, 6, dtype=torch.bool).triu(1)
    picker = build_picker(mode)

    def weights(given):
        return picker(given.masked_fill(hidden, -torch.inf), torch.zeros)

    assert weights(scores)[..., hidden].abs().max() == 0
    torch.testing.assert_close(weights(scores).sum(-1), torch.ones(2, 2, 4).double())
    assert torch.autograd.gradcheck(weights, (scores,), atol=1e-4)


@pytest.mark.parametrize(("mode", "noisy"), [("map", False), ("sample", True)])
def test_gradients_pass_straight_through_to_the_softmax(mode, noisy):
    scores = torch.randn(1, 1, 3, 5, dtype=torch.float64, requires_grad=True)
    noise = torch.randn_like(scores) if noisy else torch.zeros_like(scores)
    value = torch.randn(3, 5, dtype=torch.float64)
    hard = build_picker(mode)(scores, lambda draw: noise)
    assert set(hard.detach().flatten().tolist()) == {0.0, 1.0}
    (through,) = torch.autograd.grad((hard * value).sum(), scores)
    (soft,) = torch.autograd.grad(((scores + noise).softmax(-1) * value).sum(), scores)
    torch.testing.assert_close(through, soft)


def test_asking_for_more_predecessors_than_there_are_is_plain_attention():
    torch.manual_seed(4)
    soft = Attention(width=16, layers=2).eval()
    few = HardAttention(width=16, layers=2, mode="top_k(k=64)").eval()
    few.load_state_dict(soft.state_dict())
    x = torch.randn(2, 5, 16)
    with torch.no_grad():
        torch.testing.assert_close(few(x)[0], soft(x)[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(few(x[:, :1])[0], soft(x[:, :1])[0], atol=1e-5, rtol=1e-5)


def test_map_is_where_softmax_goes_as_it_cools():
    hard = build_state("hard_attention(layers=1)")
    soft = Attention(width=16, layers=1).eval()
    soft.load_state_dict(hard.state_dict())
    with torch.no_grad():
        soft.layers[0].log_sharpness.fill_(9.0)
    x = torch.randn(3, 7, 16)
    torch.testing.assert_close(soft.graph(x), hard.graph(x), atol=1e-3, rtol=0)


def drawn(seeds: int, draws: int = 1, time: int = 5):
    """Graphs [B, H, T, T] of one text under many seeds, and the softmax they are drawn from."""
    model = build_state(f'hard_attention(layers=1, heads=2, mode="sample(draws={draws})")')
    soft = Attention(width=16, layers=1, heads=2).eval()
    soft.load_state_dict(model.state_dict())
    x = torch.randn(1, time, 16)
    layer, (_, entering, place) = model.layers[0], next(model._walk(x.expand(seeds, -1, -1)))
    place.seed.copy_(torch.arange(seeds))
    with torch.no_grad():
        query, key, _ = layer.read(entering, place)
        return layer.weights(query, key, place), soft.graph(x)[0, 0]


def test_predecessors_are_drawn_as_often_as_the_softmax_says():
    graphs, soft = drawn(seeds=4000)
    spread = (soft * (1 - soft) / 4000).sqrt()
    assert ((graphs.mean(0) - soft).abs() <= 4.5 * spread + 1e-6).all()


def test_draws_of_different_heads_and_queries_are_independent():
    graphs, _ = drawn(seeds=4000)
    picks = (graphs[..., 0] == 1).double()[:, :, 1:].flatten(1)  # did it pick the first token?
    correlation = torch.corrcoef(picks.T) - torch.eye(picks.shape[1])
    assert correlation.nan_to_num().abs().max() < 0.08


def test_more_draws_come_nearer_to_the_mean():
    graphs, soft = drawn(seeds=200, draws=64)
    assert (graphs - soft).abs().mean() < 0.05
    assert (graphs * 64 - (graphs * 64).round()).abs().max() < 1e-4


def test_the_noise_is_gumbel():
    zero = torch.zeros(8, dtype=torch.int64)
    noise = gumbel(torch.zeros(8, 2, 40, 40), torch.arange(8), zero, layer=1, draw=0)
    assert noise.isfinite().all()
    assert stats.kstest(noise.flatten()[:20000].numpy(), "gumbel_r").pvalue > 1e-3
    for other in (
        noise.roll(1, 0),
        noise.roll(1, 1),
        noise.roll(1, 2),
        noise.roll(1, 3),
        gumbel(noise, torch.arange(8), zero, layer=2, draw=0),
        gumbel(noise, torch.arange(8), zero, layer=1, draw=1),
    ):
        pair = torch.stack([noise.flatten(), other.flatten()])
        assert torch.corrcoef(pair)[0, 1].abs() < 0.02


def test_evaluation_repeats_itself_and_a_seed_changes_it():
    model, x = build_state('hard_attention(mode="sample")'), torch.randn(2, 6, 16)
    torch.testing.assert_close(model(x)[0], model(x)[0], atol=0, rtol=0)
    state = model.init_state(2)
    state["seed"] += 1
    assert (model(x, state)[0] - model(x)[0]).abs().max() > 1e-3


def test_training_draws_anew_under_torchs_seed():
    model, x = build_state('hard_attention(mode="sample")').train(), torch.randn(2, 6, 16)
    torch.manual_seed(5)
    first, second = model(x)[0], model(x)[0]
    torch.manual_seed(5)
    assert torch.equal(first, model(x)[0])
    assert not torch.equal(first, second)


def test_a_text_in_pieces_draws_the_graphs_of_the_whole_in_training_too():
    model = build_state('hard_attention(layers=2, mode="sample(draws=2)", window=5)').train()
    x, state = torch.randn(3, 9, 16), model.init_state(3)
    with torch.no_grad():
        whole, _ = model(x, state)
        first, middle = model(x[:, :4], state)
        rows = torch.tensor([2, 0])
        second, _ = model(x[rows, 4:], select_rows(middle, rows))
    torch.testing.assert_close(first, whole[:, :4], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(second, whole[rows, 4:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("mean", "map, sample"),
        ("top_k(k=0)", "k is 0"),
        ("sample(draws=0)", "draws"),
        ("entmax(alpha=1.0)", "alpha"),
        ("map(k=3)", "option"),
        ("top_k(", "cannot read"),
    ],
)
def test_bad_modes_are_refused_in_one_line(mode, words):
    with pytest.raises(ValueError, match=words) as caught:
        registry.build("states", "hard_attention", width=16, mode=mode)
    assert "\n" not in str(caught.value)


def test_heads_of_neighbouring_seeds_draw_apart():
    zero = torch.zeros(2, dtype=torch.int64)
    first, second = gumbel(torch.zeros(2, 3, 20, 20), torch.arange(2), zero, layer=0, draw=0)
    for head in range(3):
        for other in range(3):
            assert (first[head] == second[other]).float().mean() < 0.01
