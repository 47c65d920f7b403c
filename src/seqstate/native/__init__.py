"""Fused cross-entropies in C++; the package works without them and says which path it took.

`cross_entropy_inner`, `_computed`, `_multi_hamming`, `_rbf`, `_hamming`, `_l1` and `_coded` give each row's
loss over a whole vocabulary without ever holding R x V numbers. On a CPU in float32 a native kernel computes
them (AVX-512, AVX2, NEON or portable, chosen at run time); elsewhere, and where a second derivative is asked
for, tiles of torch do.

SEQSTATE_NATIVE=0 forces the tiles; =1 forces the kernel (and refuses to start without it).
SEQSTATE_ISA=scalar, avx2, avx512 or neon picks an instruction set.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

FEW_WORDS = 256  # with fewer, torch's own matrix products waste less on padding
CACHED = 1 << 11  # rows x words per number of width below which torch's logits stay in its caches
THREAD_WORK = 1 << 22  # multiplications that are worth another thread


def available() -> bool:
    """True if the native kernel was built and SEQSTATE_NATIVE does not forbid it."""
    return _extension() is not None


def path_taken() -> str:
    """What large float32 losses on a CPU run on, such as "native avx512, 2 threads" or "torch tiles"."""
    if not available():
        return "torch tiles"
    threads = torch.get_num_threads()
    return f"native {isa_names()[isa()]}, {threads} thread{'s' if threads > 1 else ''}"


def usable(*tensors: Tensor | None, short: bool = False) -> bool:
    """True if the kernel is there and can take these tensors: float32 on a CPU, not while compiling.

    short: bfloat16 will do as well.
    """
    if not available() or torch.compiler.is_compiling():
        return False
    given = [tensor for tensor in tensors if tensor is not None]
    types = (torch.float32, torch.bfloat16) if short else (torch.float32,)
    return all(t.dtype in types and t.device.type == "cpu" for t in given)


def widened(*tensors: Tensor | None) -> list[Tensor | None]:
    """bfloat16 on a CPU (as autocast leaves it) in float32, which holds the same numbers, for the kernel.

    Losses that multiply bfloat16 remember what `hidden` was (`losses.Options`); the others are all float32.
    """
    if not available() or torch.compiler.is_compiling():
        return list(tensors)
    return [
        t.float() if t is not None and t.dtype == torch.bfloat16 and t.device.type == "cpu" else t
        for t in tensors
    ]


def worth(rows: int, words: int, width: int) -> bool:
    """True if the kernel is expected to beat torch's three matrix products and a softmax (measured)."""
    return _forced() or (words >= FEW_WORDS and rows * words > CACHED * width)


def threads_for(work: int) -> int:
    """How many of torch's threads the kernel takes for so many multiplications."""
    return max(1, min(torch.get_num_threads(), work // THREAD_WORK))


def address(tensor: Tensor | None) -> int:
    """Where a tensor's numbers start; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()


def extension() -> ModuleType:
    """The compiled module; call only if `available()`."""
    module = _extension()
    assert module is not None
    return module


@cache
def isa_names() -> tuple[str, ...]:
    """Instruction sets that this machine can run, best first; empty without the kernel."""
    module = _extension()
    return tuple(module.isas()) if module is not None else ()


def isa() -> int:
    """Index into `isa_names()` of the one in use."""
    wanted = os.environ.get("SEQSTATE_ISA")
    if wanted is None:
        return 0
    if wanted not in isa_names():
        raise ValueError(
            f"SEQSTATE_ISA={wanted} cannot run here; choose one of {', '.join(isa_names())}"
        )
    return isa_names().index(wanted)


def _forced() -> bool:
    return os.environ.get("SEQSTATE_NATIVE") == "1"


@cache
def _extension() -> ModuleType | None:
    wish = os.environ.get("SEQSTATE_NATIVE", "")
    if wish not in ("", "0", "1"):
        raise ValueError(f"SEQSTATE_NATIVE={wish}, but it must be 0 (never), 1 (always) or unset")
    if wish == "0":
        return None
    name = f"{__name__}._fused"
    if importlib.util.find_spec(name) is None:
        if wish == "1":
            raise ImportError(
                "SEQSTATE_NATIVE=1, but this installation has no native kernel; "
                "install a C++17 compiler and run `pip install --force-reinstall --no-deps seqstate`"
            )
        return None
    return importlib.import_module(name)


from seqstate.native.coded import coded_logits, cross_entropy_coded  # noqa: E402
from seqstate.native.computed import cross_entropy_computed  # noqa: E402
from seqstate.native.losses import (  # noqa: E402
    cross_entropy_hamming,
    cross_entropy_inner,
    cross_entropy_l1,
    cross_entropy_multi_hamming,
    cross_entropy_rbf,
)

__all__ = [
    "available",
    "coded_logits",
    "cross_entropy_coded",
    "cross_entropy_computed",
    "cross_entropy_hamming",
    "cross_entropy_inner",
    "cross_entropy_l1",
    "cross_entropy_multi_hamming",
    "cross_entropy_rbf",
    "path_taken",
]
