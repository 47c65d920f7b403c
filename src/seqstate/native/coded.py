"""Words that are codes: the fused loss over their tables, and the logits of a whole vocabulary by look-up.

A word is one of C codes in each of G groups (`codes` [V, G], one byte each), a row is a table of what each
code adds to a logit. The loss keeps nothing of size R x V; its gradient is that of the tables and the bias.
The logits of a row are sums in float32 in the order of the groups, bit for bit those of torch. Up to 16 codes
are looked up in registers, from codes packed to four bits (`pack`); where the processor permutes bytes, their
sums are exact sums of 24-bit numbers: off by at most G / 2^25 of the widest group's range, as float32 is.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from seqstate import native
from seqstate.core.model import IGNORE
from seqstate.native import losses, tiles
from seqstate.native.losses import Options, addresses_of_rows, plain

SCANNED = 16  # most codes of a group that are looked up in registers
LARGEST = 1 << 12  # numbers of a row's tables beyond which they leave the caches


def cross_entropy_coded(
    tables: Float[Tensor, "R G C"],
    codes: UInt8[Tensor, "V G"],
    bias: Float[Tensor, " V"] | None,
    targets: Int[Tensor, " R"],
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> Float[Tensor, " R"]:
    """Loss of each row in nats under softmax(bias_v + sum_g table_g[code_g(v)]); 0 where it is IGNORE.

    Raises ValueError for a code that is not below C; the rest as in `cross_entropy_inner`.
    """
    _check_sizes(tables, codes, bias)
    _check_codes(tables, codes)
    losses.check_targets(targets, len(tables), tables.device)
    options = Options("coded", *losses.checked(label_smoothing, z_loss))
    if native.usable(tables, bias) and codes.device.type == "cpu":
        return _Coded.apply(tables, bias, codes, targets, options)[0]
    return _torch_nll(tables, bias, codes, targets, options)


def coded_logits(
    tables: Float[Tensor, "*B G C"],
    codes: UInt8[Tensor, "V G"],
    bias: Float[Tensor, " V"] | None,
    packed: Int[Tensor, " P"] | None = None,
) -> Float[Tensor, "*B V"]:
    """Logits of all words, without a gradient. packed: `pack(codes)`, which is read faster."""
    if not (native.usable(tables, bias) and codes.device.type == "cpu"):
        return tiles.coded_logits(tables, codes, bias)
    # little is called here: one row takes less time than the caches take to be filled with Python
    _check_sizes(tables, codes, bias)
    *many, groups, each = tables.shape
    if each > SCANNED or packed is None:  # larger tables do not fit what packed codes look up
        _check_codes(tables, codes)
        packed, codes = None, codes.contiguous()
    tables, bias = tables.contiguous(), None if bias is None else bias.contiguous()
    out = tables.new_empty(*many, len(codes))
    native.extension().coded_logits(
        native.isa(),
        1,
        math.prod(many),
        len(codes),
        groups,
        each,
        *map(native.address, (tables, codes, bias, None)),
        *(IGNORE, 0.0, 0.0),
        native.address(packed),
        packed is not None and scans_fixed(),
        out.data_ptr(),
    )
    return out


def scans_fixed() -> bool:
    """True if packed codes are scanned in fixed point: AVX-512 with VBMI and VNNI."""
    return native.isa_names()[native.isa()] == "avx512" and native.extension().can_scan_fixed()


def worth(groups: int, codes: int) -> bool:
    """True if looking up is expected to beat products with the decoded words (measured)."""
    return groups * codes <= LARGEST


def pack(codes: UInt8[Tensor, "V G"]) -> Int[Tensor, " P"] | None:
    """The codes in four bits each, as the kernel reads them; None without a kernel or if they need more."""
    if not native.available() or codes.device.type != "cpu" or codes.max() >= SCANNED:
        return None
    codes = codes.contiguous()
    packed = torch.empty(native.extension().scan_size(*codes.shape), dtype=torch.int32)
    native.extension().pack_scan(*codes.shape, codes.data_ptr(), packed.data_ptr())
    return packed


def workspace_bytes(
    rows: int, words: int, groups: int, codes: int, *, threads: int, backward: bool
) -> int:
    """Bytes of working memory of one loss, all threads together."""
    sizes = (native.isa(), threads, rows, words, groups, codes)
    return native.extension().coded_workspace(*sizes, 0, 0, 0, 0, IGNORE, 0.0, 0.0, backward)


def _check_sizes(tables: Tensor, codes: Tensor, bias: Tensor | None) -> None:
    """What the kernel takes for granted of tensors of which it sees addresses only."""
    fit = codes.dtype == torch.uint8 and codes.shape[1] == tables.shape[-2] > 0 and len(codes) > 0
    if not fit or not (bias is None or bias.shape == codes.shape[:1]):
        raise ValueError(
            f"codes {list(codes.shape)} ({codes.dtype}), tables {list(tables.shape)} and bias "
            f"{None if bias is None else list(bias.shape)} do not fit; wanted [V, G] (torch.uint8), "
            "[..., G, C] and [V]"
        )


def _check_codes(tables: Tensor, codes: Tensor) -> None:
    most = int(codes.max())
    if most >= tables.shape[-1]:
        raise ValueError(
            f"codes up to {most}, but the tables have {tables.shape[-1]} numbers a group; "
            "a code counts from 0"
        )


def _torch_nll(tables, bias, codes, targets, options: Options) -> Tensor:
    shape = tables.shape[1:]
    return tiles.nll(
        lambda rows: tiles.coded_logits(rows.unflatten(-1, shape), codes, bias),
        tables.flatten(1),
        targets,
        len(codes),
        label_smoothing=options.label_smoothing,
        z_loss=options.z_loss,
    )


class _Coded(torch.autograd.Function):
    """The kernel's two passes. Order of the inputs: tables, bias, codes, targets, options."""

    @staticmethod
    def forward(tables, bias, codes, targets, options):
        tables, bias, codes = plain(tables), plain(bias), codes.contiguous()
        wanted = targets.to(torch.int64).contiguous()
        problem = _call(tables, bias, codes, wanted, options)
        return losses.scored(native.extension().coded_forward, problem, wanted, len(codes))

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.options = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*tensors, output[1])

    @staticmethod
    def backward(ctx, grad_nll, _):
        tables, bias, codes, targets, lse = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            loss = _torch_nll(tables, bias, codes, targets, ctx.options)
            grads = losses.differentiable(loss, (tables, bias), needed, grad_nll)
            return *grads, None, None, None
        # copies made here must outlive the call, which sees addresses only
        tables, bias, codes = plain(tables), plain(bias), codes.contiguous()
        upstream = plain(grad_nll)
        wanted = targets.to(torch.int64).contiguous()
        grads = [
            torch.empty_like(t) if need else None
            for t, need in zip((tables, bias), needed, strict=True)
        ]
        native.extension().coded_backward(
            *_call(tables, bias, codes, wanted, ctx.options),
            upstream.data_ptr(),
            *addresses_of_rows(lse),
            *map(native.address, grads),
        )
        return *grads, None, None, None


def _call(tables, bias, codes, targets, options: Options) -> tuple[Any, ...]:
    rows, groups, each = tables.shape
    return (
        native.isa(),
        native.threads_for(rows * codes.numel()),
        rows,
        len(codes),
        groups,
        each,
        *map(native.address, (tables, codes, bias, targets)),
        IGNORE,
        options.label_smoothing,
        options.z_loss,
    )
