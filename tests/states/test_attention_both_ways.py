"""Attention that reads both ways is torch's own encoder under copied weights."""

from __future__ import annotations

import pytest
import torch
from laws.grid import build_state
from torch import nn

from seqstate.states import Attention


def encoder_of(state) -> nn.TransformerEncoder:
    """torch.nn.TransformerEncoder with copies of the weights."""
    shape = state.shape
    layer = nn.TransformerEncoderLayer(
        shape.width,
        shape.heads,
        4 * shape.width,
        dropout=0.0,
        activation=lambda x: x.relu().square(),
        batch_first=True,
        norm_first=True,
        bias=False,
    )
    norm = nn.LayerNorm(shape.width, bias=False)
    made = nn.TransformerEncoder(layer, shape.layers, norm, enable_nested_tensor=False)
    with torch.no_grad():
        for theirs, ours in zip(made.layers, state.layers, strict=True):
            theirs.self_attn.in_proj_weight.copy_(ours.project.weight)
            theirs.self_attn.out_proj.weight.copy_(ours.out.weight)
            theirs.linear1.weight.copy_(ours.mlp.up.weight)
            theirs.linear2.weight.copy_(ours.mlp.down.weight)
            theirs.norm1.weight.copy_(ours.norm.weight)
            theirs.norm2.weight.copy_(ours.mlp.norm.weight)
        norm.weight.copy_(state.norm.weight)
        made.norm.weight.copy_(state.norm.weight)
    return made.double().eval()


@pytest.mark.parametrize("lengths", [None, [9, 1, 4]])
@pytest.mark.parametrize("window", [0, 3])
def test_it_is_torchs_encoder(lengths, window):
    spec = f"attention(layers=2, heads=2, window={window}, positions='none', qk_norm=False)"
    state = build_state(spec).double()
    x = torch.randn(3, 9, 16, dtype=torch.float64)
    real = torch.tensor(lengths or [9, 9, 9])
    padding = torch.arange(9) >= real[:, None]
    place = torch.arange(9)
    far = (place[:, None] - place).abs() >= (window or 9)
    with torch.no_grad():
        # each padded place sees itself, here as there: what it holds means nothing
        mask = (far | padding[:, None]) & ~torch.eye(9, dtype=torch.bool)
        wanted = encoder_of(state)(x, mask=mask.repeat_interleave(2, 0))
        found = state.both_ways(x, None if lengths is None else real)
    torch.testing.assert_close(found[~padding], wanted[~padding])


def test_rotation_tells_before_from_behind_and_a_slope_does_not():
    x = torch.randn(1, 3, 16)
    for positions, told in (("rotary", True), ("alibi", False)):
        state = build_state(f"attention(layers=1, positions={positions!r})")
        with torch.no_grad():
            middle, mirrored = state.both_ways(x)[:, 1], state.both_ways(x.flip(1))[:, 1]
        assert ((middle - mirrored).abs().max() > 1e-4) == told


def test_reading_forwards_is_untouched_by_it():
    state, x = Attention(width=16, window=3), torch.randn(2, 5, 16)
    before, _ = state(x)
    state.both_ways(x)
    after, _ = state(x)
    assert torch.equal(before, after)
