"""Attention against loops, against Hugging Face's GPT-NeoX, and at the edges of its cache."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws.grid import awake, build_state
from reference.attention import hidden_and_graph
from transformers import GPTNeoXConfig, GPTNeoXModel

from seqstate.core import registry
from seqstate.core.model import HasGraph, HasLengths
from seqstate.core.state import detach, leaves, state_bytes
from seqstate.states import Attention, GroupedAttention
from seqstate.states._attention_heads import Aim, split_heads
from seqstate.states._attention_positions import Positions

TWINS = [
    "attention(layers=2, heads=2)",
    "attention(layers=2, heads=2, qk_norm=False)",
    "attention(layers=2, heads=2, window=3)",
    'attention(layers=2, heads=2, positions="none")',
    'attention(layers=2, heads=4, positions="alibi", window=4)',
    'attention(layers=2, heads=2, positions="alibi", window=0, qk_norm=False)',
    'attention(layers=2, heads=2, positions="learned", window=5)',
    'attention(layers=2, heads=2, energy="inner(scale=0.5)")',
    'attention(layers=2, heads=2, energy="multi_hamming(groups=2)")',
    'attention(layers=2, heads=2, energy="multi_hamming(groups=4)", qk_norm=False, window=3)',
    "grouped_attention(layers=2, heads=4, kv_heads=2)",
    'grouped_attention(layers=2, heads=4, kv_heads=1, qk_norm=False, positions="alibi", window=3)',
]


@pytest.mark.parametrize("spec", TWINS)
def test_hidden_vectors_and_graph_are_those_of_the_loops(spec):
    model, x = build_state(spec).double(), torch.randn(2, 6, 16, dtype=torch.float64)
    hidden, graph = hidden_and_graph(model, x)
    torch.testing.assert_close(model(x)[0], hidden, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(model.graph(x), graph, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("spec", TWINS)
def test_gradients_are_those_of_the_loops(spec):
    model = build_state(spec).double()
    x = torch.randn(2, 5, 16, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(2, 5, 16, dtype=torch.float64)
    wanted = [x, *model.parameters()]
    fast = torch.autograd.grad((model(x)[0] * direction).sum(), wanted)
    slow = torch.autograd.grad((hidden_and_graph(model, x)[0] * direction).sum(), wanted)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


def neox_twin(time: int = 48):
    """A GPT-NeoX of random weights and our stack with the same numbers."""
    width, heads, layers = 32, 4, 3
    theirs = GPTNeoXModel(
        GPTNeoXConfig(
            vocab_size=5,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            hidden_act="relu2",
            rotary_pct=1.0,
            max_position_embeddings=time,
            use_parallel_residual=False,
            attention_bias=False,
            attn_implementation="eager",
        )
    ).eval()
    awake(theirs, scale=0.2)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith("bias"):  # ours has none
                parameter.zero_()
    ours = Attention(width=width, heads=heads, layers=layers, window=0, qk_norm=False).eval()
    for mine, his in zip(ours.layers, theirs.layers, strict=True):
        copy_layer(mine, his, heads)
    ours.norm.load_state_dict({"weight": theirs.final_layer_norm.weight})
    return ours, theirs


def copy_layer(mine, his, heads: int) -> None:
    with torch.no_grad():
        # theirs: for each head its query, key, value; pairs (i, i + K/2) are turned, ours (2i, 2i + 1)
        qkv = his.attention.query_key_value.weight.unflatten(0, (heads, 3, -1))
        aimed = qkv[:, :2].unflatten(2, (2, -1)).transpose(2, 3).flatten(2, 3).transpose(0, 1)
        mine.project.weight.copy_(torch.cat([aimed.flatten(0, 2), qkv[:, 2].flatten(0, 1)]))
        mine.out.weight.copy_(his.attention.dense.weight)
        mine.norm.weight.copy_(his.input_layernorm.weight)
        mine.mlp.norm.weight.copy_(his.post_attention_layernorm.weight)
        mine.mlp.up.weight.copy_(his.mlp.dense_h_to_4h.weight)
        mine.mlp.down.weight.copy_(his.mlp.dense_4h_to_h.weight)


def test_it_is_hugging_faces_gpt_neox_under_copied_weights():
    ours, theirs = neox_twin()
    x = torch.randn(2, 48, 32)
    with torch.no_grad():
        wanted = theirs(inputs_embeds=x).last_hidden_state
        torch.testing.assert_close(ours(x)[0], wanted, atol=1e-5, rtol=1e-5)


def test_it_has_gpt_neoxs_gradients():
    ours, theirs = neox_twin()
    x, direction = torch.randn(2, 17, 32), torch.randn(2, 17, 32)
    (ours(x)[0] * direction).sum().backward()
    (theirs(inputs_embeds=x).last_hidden_state * direction).sum().backward()
    for mine, his in zip(ours.layers, theirs.layers, strict=True):
        for one, other in (
            (mine.out, his.attention.dense),
            (mine.mlp.up, his.mlp.dense_h_to_4h),
            (mine.norm, his.input_layernorm),
        ):
            torch.testing.assert_close(one.weight.grad, other.weight.grad, atol=1e-4, rtol=1e-4)


def test_values_mixed_by_the_graph_are_what_a_layer_computes():
    model, x = build_state("attention(layers=1)"), torch.randn(2, 9, 16)
    layer = model.layers[0]
    with torch.no_grad():
        value = layer.project_heads(x)[:, :, 8:].transpose(1, 2)
        mixed = (model.graph(x)[0] @ value).transpose(1, 2).flatten(2)
        after = x + layer.out(mixed)
        after = model.norm(after + layer.mlp(after))
        torch.testing.assert_close(after, model(x)[0], atol=1e-5, rtol=1e-5)


def test_rows_of_the_graph_are_distributions_over_the_past():
    model = build_state("attention(layers=2, window=3)")
    assert isinstance(model, HasGraph)
    graph = model.graph(torch.randn(2, 8, 16))
    assert graph.shape == (2, 2, 4, 8, 8)
    torch.testing.assert_close(graph.sum(-1), torch.ones(2, 2, 4, 8))
    ahead = torch.ones(8, 8, dtype=torch.bool).triu(1)
    too_far = torch.ones(8, 8, dtype=torch.bool).tril(-3)
    assert graph[..., ahead | too_far].abs().max() == 0


def test_lengths_are_measured_before_normalisation():
    model = build_state("grouped_attention(layers=2, kv_heads=2)")
    assert isinstance(model, HasLengths)
    x = torch.randn(3, 5, 16)
    short = model.lengths_of(x)
    assert short["query"].shape == (2, 3, 4, 5)
    assert short["key"].shape == (2, 3, 2, 5)
    layer = model.layers[0]
    first = (model.layers[0].norm(x) @ layer.project.weight[:4].T).norm(dim=-1)
    torch.testing.assert_close(short["query"][0, :, 0], first)
    with torch.no_grad():
        layer.project.weight.mul_(3)
    long = model.lengths_of(x)
    torch.testing.assert_close(long["key"][0], 3 * short["key"][0])


def test_normalised_picks_do_not_care_about_lengths_and_free_ones_do():
    x = torch.randn(1, 6, 16)
    for qk_norm, same in ((True, True), (False, False)):
        model = build_state(f"attention(layers=1, qk_norm={qk_norm})")
        before = model.graph(x)
        with torch.no_grad():
            model.layers[0].project.weight[:32].mul_(5)
        assert torch.allclose(model.graph(x), before, atol=1e-4) is same


@pytest.mark.parametrize("window", [1, 2, 5, 64])
def test_the_state_is_bounded_by_the_window(window):
    model = build_state(f"attention(layers=2, window={window})")
    state, sizes = None, []
    with torch.no_grad():
        for _ in range(4):
            _, state = model(torch.randn(2, 40, 16), state)
            sizes.append(state_bytes(state))
            assert all(leaf.shape[1] <= window - 1 for leaf in state["keys"] + state["values"])
            memory = {
                leaf.untyped_storage().data_ptr(): leaf.untyped_storage() for leaf in leaves(state)
            }
            assert sum(held.nbytes() for held in memory.values()) <= 5 * 2 * max(sizes[-1], 300)
    assert sizes[-1] == sizes[-2]


def test_a_long_text_is_read_in_pieces_and_gives_the_same():
    model, short = build_state("attention(layers=2, window=7)"), torch.tensor([600, 3, 257])
    x = torch.randn(3, 600, 16)
    with torch.no_grad():
        whole, end = model(x, lengths=short)
        for row, length in enumerate(short.tolist()):
            state, steps = None, []
            for part in x[row : row + 1, :length].split(101, 1):
                out, state = model(part, state)
                steps.append(out)
            torch.testing.assert_close(
                whole[row : row + 1, :length], torch.cat(steps, 1), atol=1e-5, rtol=1e-5
            )
            assert state["read"].item() == end["read"][row].item() == length


@given(
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    window=st.sampled_from([0, 1, 2, 4, 9]),
)
def test_any_cuts_give_the_whole(cuts, window):
    torch.manual_seed(1)
    model = build_state(f"attention(layers=2, heads=2, window={window})").double()
    x = torch.randn(2, sum(cuts), 16, dtype=torch.float64)
    with torch.no_grad():
        whole, _ = model(x)
        state, parts = model.init_state(2), []
        for part in x.split(cuts, 1):
            out, state = model(part, state)
            parts.append(out)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-10, rtol=1e-10)


@given(
    first=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    second=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    window=st.sampled_from([0, 1, 3, 5]),
    positions=st.sampled_from(["rotary", "alibi"]),
)
def test_rows_of_any_lengths_are_read_as_if_alone_again_and_again(first, second, window, positions):
    torch.manual_seed(2)
    model = build_state(
        f'attention(layers=2, heads=2, window={window}, positions="{positions}")'
    ).double()
    x, y = torch.randn(2, 3, 6, 16, dtype=torch.float64)
    probe = torch.randn(3, 2, 16, dtype=torch.float64)
    with torch.no_grad():
        _, state = model(x, lengths=torch.tensor(first))
        _, state = model(y, state, torch.tensor(second))
        together, _ = model(probe, state)
        for row, (m, n) in enumerate(zip(first, second, strict=True)):
            alone = torch.cat([x[row, :m], y[row, :n], probe[row]])[None]
            torch.testing.assert_close(
                together[row], model(alone)[0][0, -2:], atol=1e-10, rtol=1e-10
            )


def test_gradients_reach_back_through_the_cache_unless_detached():
    model, x = build_state("attention(layers=2)"), torch.randn(2, 8, 16, requires_grad=True)
    _, state = model(x[:, :4])
    model(x[:, 4:], state)[0].sum().backward()
    through = x.grad.clone()
    x.grad = None
    model(x)[0][:, 4:].sum().backward()
    torch.testing.assert_close(through, x.grad, atol=1e-4, rtol=1e-4)
    x.grad = None
    model(x[:, 4:], detach(model(x[:, :4])[1]))[0].sum().backward()
    assert x.grad[:, :4].abs().max() == 0


def test_rotations_stay_exact_after_a_million_tokens():
    positions = Positions("rotary", 1, 8, 0)
    vectors = torch.randn(2, 1, 3, 8)

    def product(*at):
        turn = positions.turn(1, torch.tensor(at), vectors)
        query, key, _ = split_heads(vectors, None, Aim(1, 1, False, turn))
        return (query[0] * key[1]).sum()

    far, near = product(1_000_000, 1_000_003), product(0, 3)
    torch.testing.assert_close(far, near, atol=1e-5, rtol=0)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("rotary", [True, False])
def test_cutting_a_projection_has_the_right_gradient(unit, rotary):
    projected = torch.randn(2, 3, 7, 4, dtype=torch.float64, requires_grad=True)
    gain = torch.randn(3, dtype=torch.float64, requires_grad=unit)
    turn = Positions("rotary", 3, 4, 0).turn(3, torch.tensor([0, 9]), projected) if rotary else None
    aim = Aim(3, 2, unit, turn)
    given = (projected, gain if unit else None)
    assert torch.autograd.gradcheck(lambda p, g: split_heads(p, g, aim), given)
    with torch.no_grad():
        parts = split_heads(*given, aim)
        lengths = [part.square().mean(-1).sqrt() for part in parts]
    if unit:
        torch.testing.assert_close(
            lengths[0], gain.detach().exp().expand(2, 3, 3), atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(lengths[1], torch.ones(2, 3, 2).double(), atol=1e-4, rtol=1e-4)
    assert torch.equal(parts[2], projected[:, :, 5:].detach())


def test_generating_and_training_cut_alike():
    projected, gain = torch.randn(2, 3, 7, 4, requires_grad=True), torch.randn(3)
    aim = Aim(3, 2, True, Positions("rotary", 3, 4, 0).turn(3, None, projected))
    trained = split_heads(projected, gain, aim)
    with torch.no_grad():
        for one, other in zip(split_heads(projected, gain, aim), trained, strict=True):
            assert torch.equal(one, other)


def test_a_zero_vector_is_normalised_without_infinities():
    projected = torch.zeros(1, 1, 3, 4, requires_grad=True)
    query, key, _ = split_heads(projected, torch.zeros(1), Aim(1, 1, True, None))
    (query.sum() + key.sum()).backward()
    assert projected.grad.isfinite().all()


def test_dropout_acts_in_training_only():
    model, x = Attention(width=16, layers=1, dropout=0.5), torch.randn(1, 4, 16)
    assert not torch.equal(model(x)[0], model(x)[0])
    model.eval()
    assert torch.equal(model(x)[0], model(x)[0])


def test_bfloat16_autocast_is_near_float32():
    model, x = Attention(width=32, layers=2), torch.randn(2, 20, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first, state = model(x[:, :11])
        second, _ = model(x[:, 11:], state)
        (second.float().square().sum()).backward()
    both = torch.cat([first, second], 1).float()
    assert (both - model(x)[0]).abs().mean() < 0.02
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_shared_heads_make_the_state_smaller():
    wide, shared = Attention(width=16, heads=4), GroupedAttention(width=16, heads=4, kv_heads=1)
    x = torch.randn(1, 20, 16)
    full, small = (state_bytes(model(x)[1]) - 8 for model in (wide, shared))
    assert full == 4 * small


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 3}, "heads=1"),
        ({"positions": "sinusoidal"}, "rotary"),
        ({"heads": 16}, "pairs"),
        ({"positions": "learned", "window": 0}, "window"),
        ({"window": -1}, "window"),
        ({"energy": "mos"}, "pairs"),
        ({"energy": "iner"}, "inner"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        registry.build("states", "attention", width=16, **options)
    assert "\n" not in str(caught.value)
