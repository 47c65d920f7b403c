"""Latents solved at run time: the equilibrium, its gradients, and what is said where there is none."""

from __future__ import annotations

import warnings
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws.grid import build_state
from reference.mixers import hidden_by_loops, latent, read_in_parts

from seqstate.cli import main
from seqstate.core import registry
from seqstate.core.state import state_bytes
from seqstate.instruments import Convergence
from seqstate.instruments.convergence import convergence_of
from seqstate.model import build_model
from seqstate.states import Latent
from seqstate.states._fixed_point import GRADIENTS, iterate
from seqstate.states._slot_memory import cut

SPECS = [
    "latent(slots=5, iterations=500, tolerance=1e-13)",
    'latent(heads=2, slots=3, iterations=500, tolerance=1e-13, gradient="unrolled")',
]


@pytest.fixture
def short_pieces(monkeypatch):
    """Several pieces in a text of few tokens."""
    monkeypatch.setattr("seqstate.states._slot_memory.PIECE", 4)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("time", [1, 9])
def test_hidden_vectors_are_the_definition(spec, time, short_pieces):
    model, x = build_state(spec).double(), torch.randn(2, time, 16, dtype=torch.float64)
    wanted = hidden_by_loops(model, x, latent)
    torch.testing.assert_close(model(x)[0], wanted, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("spec", SPECS)
def test_gradients_are_those_of_the_definition(spec, short_pieces):
    model = build_state(spec).double()
    x = torch.randn(1, 6, 16, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(1, 6, 16, dtype=torch.float64)
    wanted = [x, *model.parameters()]
    fast = torch.autograd.grad((model(x)[0] * direction).sum(), wanted)
    slow = torch.autograd.grad((hidden_by_loops(model, x, latent) * direction).sum(), wanted)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


def test_the_recurrence_is_the_parallel_form():
    model, x = build_state("latent").double(), torch.randn(2, 40, 16, dtype=torch.float64)
    with torch.no_grad():
        whole = model(x)[0]
        torch.testing.assert_close(read_in_parts(model, x, 1), whole, atol=1e-10, rtol=1e-10)


@settings(max_examples=12)
@given(cuts=st.lists(st.integers(1, 20), min_size=1, max_size=3))
def test_any_cuts_give_the_whole(cuts):
    torch.manual_seed(1)
    model = build_state("latent(layers=1, slots=3)").double()
    x = torch.randn(2, sum(cuts), 16, dtype=torch.float64)
    with torch.no_grad():
        parts, whole = read_in_parts(model, x, cuts), model(x)[0]
    torch.testing.assert_close(parts, whole, atol=1e-10, rtol=1e-10)


def test_nothing_later_leaks_at_any_number_of_iterations():
    x = torch.randn(2, 70, 16)
    later = x.clone()
    later[:, 40:] = 100 * torch.randn(2, 30, 16)
    for iterations in (1, 2, 3, 32):
        model = build_state(f"latent(iterations={iterations}, tolerance=1e-6)")
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few iterations do not converge, and say so
            assert torch.equal(model(x)[0][:, :40], model(later)[0][:, :40])


def test_latents_solve_their_equation_and_plain_steps_never_raise_the_energy():
    model, x = build_state("latent(layers=1, slots=5)").double(), torch.randn(2, 20, 16).double()
    mixer, state = model.layers[0].mixer, model.init_state(2)
    _, tokens = model.layers[0].read(x, state["recent"][:, 0], None)
    pull, query = mixer.log_pull.exp()[:, None, None], cut(tokens.query)
    with torch.no_grad():
        memory, solved = mixer.solve(tokens, state["mixed"][0])

        def step(z):
            return query + pull * memory.keys(memory.scores(z).softmax(-1))

        def energy(z):
            drawn = pull[..., 0] * memory.scores(z).logsumexp(-1)
            return 0.5 * (z - query).square().sum(-1) - drawn

        path = [query]
        for _ in range(200):
            path.append(step(path[-1]))
        energies = [energy(z) for z in path]
    assert all((b <= a + 1e-12).all() for a, b in pairwise(energies))
    assert (energies[0] - energies[-1]).max() > 0.01
    z = solved.latent
    assert ((step(z) - z).norm(dim=-1) / z.norm(dim=-1)).max() < mixer.tolerance
    torch.testing.assert_close(z, path[-1], atol=1e-3, rtol=1e-3)


def test_both_gradients_agree_at_the_solution():
    x = torch.randn(2, 40, 16, dtype=torch.float64)
    direction, grads = torch.randn_like(x), []
    for gradient in ("implicit", "unrolled"):
        torch.manual_seed(4)
        model = build_state(f'latent(iterations=500, tolerance=1e-13, gradient="{gradient}")')
        model.double()
        (model(x)[0] * direction).sum().backward()
        grads.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("gradient", sorted(GRADIENTS))
def test_a_contraction_is_solved_and_has_the_right_gradient(gradient):
    weight = torch.randn(3, 3, dtype=torch.float64) / 6
    given = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    weight.requires_grad_()

    def solution(weight, given):
        step = lambda z: torch.tanh(z @ weight.T) + given  # noqa: E731
        return GRADIENTS[gradient](step, given, 200, 1e-15, lambda *_: None).latent

    z = solution(weight, given)
    torch.testing.assert_close(z, torch.tanh(z @ weight.T) + given, atol=1e-13, rtol=0)
    assert torch.autograd.gradcheck(solution, (weight, given), check_undefined_grad=False)


def test_each_latent_stops_on_its_own():
    rates = torch.tensor([[0.0], [0.1], [0.9], [-2.0]], dtype=torch.float64)
    solved = iterate(lambda z: rates * z + 1, torch.ones(4, 1).double(), 20, 1e-3)
    assert solved.iterations.tolist()[:3] == [1, 3, 3]
    assert solved.iterations.tolist()[3] == 20
    assert (solved.residual > 1e-3).tolist() == [False, False, False, True]
    alone = iterate(lambda z: 0.1 * z + 1, torch.ones(1, 1).double(), 20, 1e-3)
    assert torch.equal(alone.latent[0], solved.latent[1])


def test_what_does_not_converge_is_told_of_once_with_the_figures():
    model, x = build_state("latent(layers=1, iterations=2, tolerance=1e-6)"), torch.randn(2, 9, 16)
    with pytest.warns(UserWarning, match="of 72 latents did not converge in 2 iterations") as told:
        model(x)
        model(x)
    assert len(told) == 1
    assert "wanted 1.0e-06" in str(told[0].message)
    readings = {reading.name: reading for reading in Convergence().read(model, x)}
    assert readings["not_converged"].value > 0.1
    assert readings["iterations"].value <= 2
    assert readings["residual"].tags["worst"] > 1e-6


def test_a_user_is_told_in_a_line_and_a_reading(tmp_path, capsys):
    text, out = tmp_path / "text.txt", str(tmp_path / "model")
    text.write_text("to be or not to be, that is the question.\n" * 26)
    state = ["--state", "latent(width=16, layers=1, iterations=1)", "--tokenizer", "char"]
    size = ["--steps", "1", "--batch-size", "2", "--context", "16", "--out", out]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["train", str(text), *state, *size]) == 0
        told = capsys.readouterr()
        assert main(["evaluate", out, str(text)]) == 0
    lines = [line for line in told.err.splitlines() if "warning" in line]
    assert len(lines) == 1
    assert lines[0].startswith("seqstate: warning: ")
    assert "did not converge in 1 iterations" in lines[0]
    assert "100.0% of the latents do not converge" in told.out
    assert "not_converged   1.0000" in capsys.readouterr().out


def test_what_is_solved_and_what_has_no_latents_is_told_apart():
    ids = torch.arange(9).repeat(9).numpy()
    solved, none = (
        build_model(f"{name}(width=16, layers=1)", vocab_size=9) for name in ("latent", "rnn")
    )
    (reading,) = convergence_of(solved, ids)
    assert (reading.value, reading.count) == (0.0, 1)
    assert convergence_of(none, ids) == []


def test_more_iterations_converge_and_say_nothing():
    model, x = build_state("latent(iterations=500)"), torch.randn(2, 9, 16)
    readings = {reading.name: reading for reading in Convergence().read(model, x)}
    assert readings["not_converged"].value == 0
    assert readings["residual"].tags["worst"] <= 1e-5
    assert len(readings["iterations"].tags["by_head"]) == 2


def test_the_state_has_a_fixed_size():
    model = Latent(width=16, layers=3, slots=5)
    sizes = {state_bytes(model(torch.randn(2, time, 16))[1]) for time in (1, 2, 50)}
    assert sizes == {4 * 3 * (5 * 2 * 16 + 3 * 16)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 3}, "heads=1"),
        ({"slots": 0}, "at least 1"),
        ({"iterations": 0}, "at least 1"),
        ({"gradient": "implict"}, "unrolled"),
        ({"tolerance": 0.0}, "between 0 and 1"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        registry.build("states", "latent", width=16, **options)
    assert "\n" not in str(caught.value)
