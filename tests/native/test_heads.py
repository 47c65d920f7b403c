"""Cutting attention heads: the kernel against torch's few calls, in value and gradient."""

from __future__ import annotations

import pytest
import torch

from seqstate.native import heads as native_heads
from seqstate.states._attention_heads import Aim, split_heads
from seqstate.states._attention_positions import Positions


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize("width", [2, 6, 16, 38])
def test_the_kernel_cuts_as_torch_does(monkeypatch, unit, rotary, width):
    heads, shared = 3, 2
    gain = torch.randn(heads) if unit else None
    values = torch.randn(2, 5, heads + 2 * shared, width)
    read = torch.tensor([0, 9])
    turn = Positions("rotary", heads, width, 0).turn(5, read, values) if rotary else None
    # gradients come in whatever layout the scores leave them in
    grads = [torch.randn(2, n, 5, width).transpose(1, 2) for n in (heads, shared)]
    grads.append(torch.randn(2, 5, width, shared).transpose(2, 3))
    results = []
    for kernel in (True, False):
        if not kernel:
            monkeypatch.setattr(native_heads, "fits", lambda projected: False)
        projected = values.clone().requires_grad_()
        log_gain = None if gain is None else gain.clone().requires_grad_()
        parts = split_heads(projected, log_gain, Aim(heads, shared, unit, turn))
        torch.autograd.backward(parts, grads)
        results.append([*parts, projected.grad, *([] if gain is None else [log_gain.grad])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_other_types_and_many_threads_stay_with_torch():
    assert native_heads.fits(torch.zeros(1, 1, 1, 2))
    assert not native_heads.fits(torch.zeros(1, 1, 1, 2).double())
    assert not native_heads.fits(torch.zeros(1, 1, 2, 1).transpose(2, 3).expand(1, 2, 1, 2))
    assert not native_heads.fits(torch.zeros(1, 1, 1, 2048))
    threads = torch.get_num_threads()
    torch.set_num_threads(native_heads.MOST_THREADS + 1)
    assert not native_heads.fits(torch.zeros(1, 1, 1, 2))
    torch.set_num_threads(threads)
