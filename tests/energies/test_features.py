"""Sums and maxima over features: what is recomputed equals what is kept."""

from __future__ import annotations

import pytest
import torch

from energies.common import WIDTH, pairwise
from seqstate.energies import _features

SPECS = [
    "multi_hamming(groups=4)",
    "rbf(groups=2)",
    "product_of_experts",
    "hamming(distance='tanh')",
]


def gradients(scorer, weights):
    torch.manual_seed(1)
    query = torch.randn(2, 5, WIDTH, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(7, WIDTH, dtype=torch.float64, requires_grad=True)
    energies = scorer(query, keys)
    inputs = [query, keys, *scorer.parameters()]
    return energies, torch.autograd.grad((energies * weights).sum(), inputs)


@pytest.mark.parametrize("spec", SPECS)
def test_recomputed_features_give_the_kept_gradients(spec, monkeypatch):
    scorer, weights = pairwise(spec), torch.rand(2, 5, 7, dtype=torch.float64)
    kept = gradients(scorer, weights)
    monkeypatch.setattr(_features, "KEPT", 0)
    torch.testing.assert_close(gradients(scorer, weights), kept)


@pytest.mark.parametrize("spec", [*SPECS, "minimum(groups=4)", "soft_minimum(groups=4)"])
def test_the_graph_holds_no_scores_per_feature(spec, monkeypatch):
    """Nothing saved for the backward pass is larger than one T x C of scores."""
    monkeypatch.setattr(_features, "KEPT", 0)
    scorer, saved = pairwise(spec), []

    def note(tensor):
        if tensor.shape[-1:] == (70,):
            saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        scorer(torch.randn(50, WIDTH).double(), torch.randn(70, WIDTH).double().requires_grad_())
    assert sum(saved) <= 50 * 70


@pytest.mark.parametrize("spec", [*SPECS, "minimum(groups=4)", "soft_minimum(groups=4)"])
def test_mixed_precision_is_the_same_going_back(spec, monkeypatch):
    monkeypatch.setattr(_features, "KEPT", 0)
    scorer = pairwise(spec).float()
    query, keys = torch.randn(5, WIDTH, requires_grad=True), torch.randn(7, WIDTH)
    exact = torch.autograd.grad(scorer(query, keys).sum(), query)[0]
    with torch.autocast("cpu", torch.bfloat16):
        energies = scorer(query, keys)
    rounded = torch.autograd.grad(energies.sum(), query)[0]
    torch.testing.assert_close(rounded, exact, atol=0.3, rtol=0.1)
