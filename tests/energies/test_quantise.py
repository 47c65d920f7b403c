"""Product quantisation under the head's own error."""

from __future__ import annotations

import torch
from reference import energies as slow

from seqstate.energies import _quantise as quantise


def generator():
    return torch.Generator().manual_seed(0)


def error(points, weights, rotation, books, labels):
    gap = points @ rotation.T - quantise.decode(books, labels)
    return (weights * gap.square().sum(-1)).sum().item()


def fit(points, weights, **options):
    given = {"groups": 2, "codes": 4, "rotations": 0, "rounds": 10, **options}
    found = quantise.product_quantise(points, weights, generator=generator(), **given)
    return error(points, weights, *found)


def test_lloyd_rounds_are_those_of_the_slow_twin():
    points, weights = torch.randn(30, 3).double(), torch.rand(30).double()
    centres = points[:4].clone()
    wanted = slow.lloyd(points.tolist(), weights.tolist(), centres.tolist(), 5)
    found, labels = quantise.kmeans(points, weights, centres, 5)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))
    assert torch.equal(labels, torch.cdist(points, found).argmin(-1))


def test_a_centre_without_points_moves_to_the_worst_served():
    points = torch.tensor([[0.0], [0.1], [5.0]]).double()
    start = torch.tensor([[0.0], [99.0]]).double()
    centres, labels = quantise.kmeans(points, torch.ones(3).double(), start, 3)
    torch.testing.assert_close(centres, torch.tensor([[0.05], [5.0]]).double())
    assert labels.tolist() == [0, 0, 1]


def test_as_many_codes_as_words_lose_nothing():
    points, weights = torch.randn(9, 4).double(), torch.ones(9).double()
    assert fit(points, weights, codes=9, rounds=2) < 1e-20


def test_rotation_helps_where_groups_are_uneven():
    stretch = torch.tensor([5.0, 5.0, 0.1, 0.1]).double()
    points, weights = torch.randn(400, 4).double() * stretch, torch.ones(400).double()
    assert fit(points, weights, rotations=8) < 0.7 * fit(points, weights)


def test_the_rotation_is_one():
    points, weights = torch.randn(50, 6).double(), torch.rand(50).double()
    rotation, _, _ = quantise.product_quantise(
        points, weights, groups=3, codes=4, rotations=3, rounds=3, generator=generator()
    )
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(6).double())


def test_heavy_words_are_served_first():
    points = torch.randn(300, 2).double()
    weights = torch.ones(300).double()
    weights[:8] = 1e6
    rotation, books, labels = quantise.product_quantise(
        points, weights, groups=1, codes=8, rotations=0, rounds=20, generator=generator()
    )
    gap = (points @ rotation.T - quantise.decode(books, labels)).square().sum(-1)
    assert gap[:8].mean() < 0.05 * gap[8:].mean()


def test_whitened_states_have_unit_covariance():
    hidden = torch.randn(500, 4).double() @ torch.randn(4, 4).double() + 3
    mean = hidden.mean(0)
    root, inverse = quantise.whitening(hidden, mean)
    white = (hidden - mean) @ inverse
    torch.testing.assert_close(white.T @ white / 500, torch.eye(4).double(), atol=2e-2, rtol=0)
    torch.testing.assert_close(root @ inverse, torch.eye(4).double())
