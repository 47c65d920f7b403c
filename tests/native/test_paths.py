"""Which path a loss takes, how much memory it works in, and what the environment can force."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from native.common import check, isas, problem
from seqstate import native
from seqstate.energies.hamming import Hamming
from seqstate.energies.inner import Inner
from seqstate.energies.multi_hamming import MultiHamming
from seqstate.energies.rbf import RBF
from seqstate.native import losses


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    inherited = {name: value for name, value in os.environ.items() if name != "SEQSTATE_NATIVE"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


TRAIN = """
import torch
from seqstate import native
from seqstate.energies.hamming import Hamming
from seqstate.energies.inner import Inner
from seqstate.energies.multi_hamming import MultiHamming
from seqstate.energies.rbf import RBF
torch.set_num_threads(1)
torch.manual_seed(0)
print(native.path_taken())
energies = Inner(width=24, scale=0.5), MultiHamming(width=24), RBF(width=24)
energies += (MultiHamming(width=24, activation="rational"),)
for distance in ("tanh", "exponential", "clipped", "squashed"):
    energies += (Hamming(width=24, distance=distance),)
for energy in energies:
    head = energy.over(500)
    hidden = torch.randn(300, 24, requires_grad=True)
    targets = torch.randint(500, (300,))
    targets[::7] = -100
    loss = head.loss(hidden, targets)
    loss.backward()
    print(loss.item(), hidden.grad.norm().item(), *(p.grad.norm().item() for p in head.parameters()))
"""


def test_the_package_computes_the_same_without_the_kernel():
    fused = run(TRAIN, SEQSTATE_NATIVE="1").stdout.splitlines()
    tiled = run(TRAIN, SEQSTATE_NATIVE="0").stdout.splitlines()
    assert fused[0].startswith("native ") and fused[0].endswith(", 1 thread")
    assert tiled[0] == "torch tiles"
    for one, other in zip(fused[1:], tiled[1:], strict=True):
        left, right = (torch.tensor([float(x) for x in line.split()]) for line in (one, other))
        torch.testing.assert_close(left, right, atol=1e-7, rtol=1e-5)


@pytest.fixture
def fresh():
    """The choice of a path is made once; this test makes it anew, and forgets it."""
    found = native._extension, native.isa_names
    for choice in found:
        choice.cache_clear()
    yield
    for choice in found:
        choice.cache_clear()


def test_a_missing_kernel_that_is_demanded_is_one_clear_line(monkeypatch, fresh):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match="SEQSTATE_NATIVE=1, but this installation has no native kernel"
    ):
        native.path_taken()
    monkeypatch.delenv("SEQSTATE_NATIVE")
    assert native.path_taken() == "torch tiles"
    assert not native.available()


def test_nonsense_in_the_environment_is_refused(monkeypatch, fresh):
    monkeypatch.setenv("SEQSTATE_ISA", "mmx")
    with pytest.raises(ValueError, match="SEQSTATE_ISA=mmx cannot run here; choose one of"):
        native.path_taken()
    native._extension.cache_clear()
    monkeypatch.setenv("SEQSTATE_NATIVE", "yes")
    with pytest.raises(
        ValueError, match=r"SEQSTATE_NATIVE=yes, but it must be 0 \(never\), 1 \(always\)"
    ):
        native.available()


def test_the_instruction_set_can_be_forced(monkeypatch):
    assert isas()[-1] == "scalar"
    for name in isas():
        monkeypatch.setenv("SEQSTATE_ISA", name)
        assert native.path_taken().startswith(f"native {name}, ")


def test_small_problems_and_other_types_stay_with_torch(monkeypatch):
    monkeypatch.delenv("SEQSTATE_NATIVE")
    assert not native.worth(8, 60, 16)
    assert native.worth(1024, 8192, 256)
    assert native.usable(torch.zeros(1), None)
    assert not native.usable(torch.zeros(1), torch.zeros(1, dtype=torch.float64))
    assert not native.usable(torch.zeros(1, device="meta"))


@pytest.mark.parametrize(
    "energy",
    [
        Inner(width=12),
        MultiHamming(width=12, groups=3),
        RBF(width=12, groups=3),
        Hamming(width=12, distance="squashed"),
    ],
)
def test_double_precision_takes_the_torch_path_and_agrees(energy):
    head = energy.over(300)
    hidden, targets = torch.randn(40, 12), torch.randint(300, (40,))
    fused = head.nll(hidden, targets)
    tiled = head.double().nll(hidden.double(), targets)
    torch.testing.assert_close(fused, tiled.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "energy",
    [
        Inner(width=12),
        MultiHamming(width=12, groups=3),
        RBF(width=12, groups=3),
        Hamming(width=12),
        Hamming(width=12, distance="squashed"),
    ],
)
def test_what_autocast_left_in_bfloat16_is_read_by_the_kernel(energy):
    head, hidden, targets = energy.over(300), torch.randn(40, 12), torch.randint(300, (40,))
    with torch.no_grad():  # products may take the words in bfloat16 as well
        head.weight.copy_(head.weight.bfloat16())
    short = hidden.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = head.nll(short, targets)
    exact = short.detach().float().requires_grad_()
    wanted = head.nll(exact, targets)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)
    (of_short,) = torch.autograd.grad(found.sum(), short)
    (of_exact,) = torch.autograd.grad(wanted.sum(), exact)
    # each of its terms may have been rounded, and the sum was
    off = 2**-7 * of_exact.abs().max().item()
    torch.testing.assert_close(of_short.float(), of_exact, atol=off, rtol=0)


@pytest.mark.parametrize("kind", ["inner", "sigmoid", "rbf", "tanh", "clipped"])
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_the_working_memory_is_bounded_whatever_the_sizes(kind, threads):
    for rows in (1, 1024, 10**6):
        for vocab in (50, 8192, 10**7):
            for width, groups in ((64, 8), (256, 8), (256, 32), (1024, 64)):
                groups = {"inner": 1, "tanh": width, "clipped": width}.get(kind, groups)
                for short in (False, True):
                    used = losses.workspace_bytes(
                        rows,
                        vocab,
                        width,
                        groups,
                        kind=kind,
                        threads=threads,
                        backward=True,
                        bfloat16=short,
                    )
                    assert used <= 8 << 20 if threads <= 2 else used <= 4 * threads << 20


def test_the_peak_memory_of_a_step_is_the_workspace_and_the_gradients():
    """Measured by the operating system, in a process of its own."""
    code = (
        "import torch\n"
        "from seqstate.native import cross_entropy_multi_hamming as loss\n"
        "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) / 1024\n"
        "torch.set_num_threads(1)\n"
        "h, w = torch.randn(64, 32, requires_grad=True), torch.randn(100_000, 32, requires_grad=True)\n"
        "tau = torch.ones(8, requires_grad=True)\n"
        "y = torch.randint(100_000, (64,))\n"
        "loss(h[:1], w[:99], tau, tau, tau, None, y[:1] % 99).sum().backward()\n"
        "w.grad = None\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"  # the peak starts anew from here
        "before = peak()\n"
        "loss(h, w, tau, tau, tau, None, y).sum().backward()\n"
        "print(peak() - before)\n"
    )
    grown = float(run(code, SEQSTATE_NATIVE="1").stdout)  # MB; the logits alone would be 25.6
    gradients = 100_000 * 32 * 4 / 2**20
    assert gradients / 2 < grown < gradients + 8


def test_hosts_of_the_kernel_release_the_interpreter():
    """Two losses at once from two Python threads give what one after the other gives."""
    from concurrent.futures import ThreadPoolExecutor

    problems = [problem("sigmoid", 120, 400, 4, 8, seed=seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda given: given.run(), problems))
    for given, (found, gradients) in zip(problems, results, strict=True):
        wanted, twins = given.run()
        assert torch.equal(found, wanted)
        assert all(torch.equal(gradients[name], twins[name]) for name in twins)
    check(problems[0])
