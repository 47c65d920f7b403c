"""The fused losses as differentiable functions of torch tensors.

Two passes: forward keeps each row's log-sum-exp, backward recomputes the scores tile by tile. Rows whose
target is IGNORE, and rows whose loss receives no gradient, cost nothing and may hold anything, even NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate import native
from seqstate.core.model import IGNORE
from seqstate.native import tiles

KINDS = {"inner": 0, "sigmoid": 1, "clamped": 2, "rational": 3, "rbf": 4}
KINDS |= {"tanh": 5, "exponential": 6, "clipped": 7, "absolute": 8}
THREAD_WORK = 1 << 22  # rows x words x width that are worth another thread


class Options(NamedTuple):
    """What is not a tensor."""

    kind: str
    label_smoothing: float
    z_loss: float
    bfloat16: bool = False  # `hidden` was, and products may be, where the CPU has them


def cross_entropy_inner(
    hidden: Float[Tensor, "R D"],
    words: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"] | None,
    targets: Int[Tensor, " R"],
    *,
    scale: float = 1.0,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> Float[Tensor, " R"]:
    """Loss of each row in nats under softmax(scale <h, w> + bias); 0 where the target is IGNORE.

    Of a bfloat16 `hidden`, the matrix products of scores and gradients are of numbers rounded to bfloat16 and
    summed in float32, where the CPU has such products; all else is float32.
    label_smoothing: share of the target's probability spread over all words. z_loss: weight of the squared
    log-sum-exp (PaLM, https://arxiv.org/abs/2204.02311). Raises IndexError for a target outside 0..V-1.
    """
    options = Options("inner", *checked(label_smoothing, z_loss), _short(hidden))
    hidden, words, bias = native.widened(hidden, words, bias)
    if native.usable(hidden, words, bias) and native.worth(hidden.shape[0], *words.shape):
        sharpness = torch.tensor([scale])
        return _Fused.apply(hidden, words, bias, None, sharpness, None, targets, options)[0]
    return _torch_nll(hidden, words, bias, None, torch.tensor([scale]), None, targets, options)


def cross_entropy_multi_hamming(
    hidden: Float[Tensor, "R D"],
    words: Float[Tensor, "V D"],
    tau: Float[Tensor, " G"],
    a: Float[Tensor, " G"],
    b: Float[Tensor, " G"],
    bias: Float[Tensor, " V"] | None,
    targets: Int[Tensor, " R"],
    *,
    activation: str = "sigmoid",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> Float[Tensor, " R"]:
    """Loss of each row in nats under softmax(bias - sum_g tau_g sigma(-(a_g <h_g, w_g> + b_g))).

    activation: sigmoid, clamped or rational. The rest as in `cross_entropy_inner`.
    """
    if activation not in tiles.ACTIVATIONS:
        raise ValueError(f"activation={activation!r}; there are {', '.join(tiles.ACTIVATIONS)}")
    _check_groups(hidden, tau)
    options = Options(activation, *checked(label_smoothing, z_loss), _short(hidden))
    tensors = (*native.widened(hidden, words, bias), tau, a, b)
    if native.usable(*tensors):
        return _Fused.apply(*tensors, targets, options)[0]
    return _torch_nll(*tensors, targets, options)


def cross_entropy_rbf(
    hidden: Float[Tensor, "R D"],
    words: Float[Tensor, "V D"],
    tau: Float[Tensor, " G"],
    a: Float[Tensor, " G"],
    bias: Float[Tensor, " V"] | None,
    targets: Int[Tensor, " R"],
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> Float[Tensor, " R"]:
    """Loss of each row in nats under softmax(bias + sum_g tau_g exp(-a_g |h_g - w_g|^2)), a_g > 0.

    Distances come from lengths and products, so an exponent is off by about 1e-7 a (|h_g|^2 + |w_g|^2).
    The rest as in `cross_entropy_inner`.
    """
    _check_groups(hidden, tau)
    options = Options("rbf", *checked(label_smoothing, z_loss))
    tensors = (hidden, words, bias, tau, a, None)
    if native.usable(*tensors):
        return _Fused.apply(*tensors, targets, options)[0]
    return _torch_nll(*tensors, targets, options)


def cross_entropy_hamming(
    hidden: Float[Tensor, "R D"],
    words: Float[Tensor, "V D"],
    tau: Float[Tensor, " D"],
    a: Float[Tensor, " D"],
    bias: Float[Tensor, " V"] | None,
    targets: Int[Tensor, " R"],
    *,
    distance: str = "tanh",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> Float[Tensor, " R"]:
    """Loss of each row in nats under softmax(bias - sum_d tau_d D(a_d |h_d - w_d|)), a_d > 0.

    distance: tanh, exponential or clipped. Where h_d = w_d its slope is 0, as torch has it. The rest as in
    `cross_entropy_inner`.
    """
    if distance not in tiles.DISTANCES:
        raise ValueError(f"distance={distance!r}; there are {', '.join(tiles.DISTANCES)}")
    options = Options(distance, *checked(label_smoothing, z_loss))
    tensors = (hidden, words, bias, tau, a, None)
    if native.usable(*tensors):
        return _Fused.apply(*tensors, targets, options)[0]
    return _torch_nll(*tensors, targets, options)


def cross_entropy_l1(
    hidden: Float[Tensor, "R D"],
    words: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"] | None,
    targets: Int[Tensor, " R"],
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> Float[Tensor, " R"]:
    """Loss of each row in nats under softmax(bias - sum_d |h_d - w_d|), slope 0 where h_d = w_d.

    The rest as in `cross_entropy_inner`.
    """
    options = Options("absolute", *checked(label_smoothing, z_loss))
    if native.usable(hidden, words, bias):
        ones = torch.ones(hidden.shape[1])
        return _Fused.apply(hidden, words, bias, ones, ones, None, targets, options)[0]
    return _torch_nll(hidden, words, bias, None, None, None, targets, options)


def workspace_bytes(
    rows: int,
    words: int,
    width: int,
    groups: int,
    *,
    kind: str,
    threads: int,
    backward: bool,
    bfloat16: bool = False,
) -> int:
    """Bytes of working memory of one call of the kernel, all threads together."""
    sizes = rows, words, width, groups
    return native.extension().workspace(
        native.isa(), threads, KINDS[kind], *sizes, 0.0, bfloat16, backward
    )


def _short(hidden: Tensor) -> bool:
    return hidden.dtype == torch.bfloat16


def outside(targets: Tensor, row: int, vocab_size: int) -> IndexError:
    """What to raise for the target of this row."""
    return IndexError(
        f"target {int(targets[row])} of row {row} is outside the vocabulary 0..{vocab_size - 1} "
        f"(ignored targets are {IGNORE})"
    )


def _check_groups(hidden: Tensor, tau: Tensor) -> None:
    if hidden.shape[1] % tau.shape[0]:
        raise ValueError(f"{tau.shape[0]} groups do not divide a width of {hidden.shape[1]}")


def checked(label_smoothing: float, z_loss: float) -> tuple[float, float]:
    """The two regularisers, if they can be."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing={label_smoothing}, but it is a share between 0 and 1")
    return float(label_smoothing), float(z_loss)


def _torch_nll(hidden, words, bias, tau, a, b, targets, options: Options) -> Tensor:
    if options.kind == "inner":
        scale = float(a)
        logits_of = lambda rows: tiles.inner_logits(rows, words, bias, scale)  # noqa: E731
    elif options.kind == "rbf":
        logits_of = lambda rows: tiles.rbf_logits(rows, words, tau, a, bias)  # noqa: E731
    elif options.kind == "absolute":
        logits_of = lambda rows: tiles.l1_logits(rows, words, bias)  # noqa: E731
    elif options.kind in tiles.DISTANCES:
        logits_of = lambda rows: tiles.hamming_logits(  # noqa: E731
            rows, words, tau, a, bias, options.kind
        )
    else:
        logits_of = lambda rows: tiles.multi_hamming_logits(  # noqa: E731
            rows, words, tau, a, b, bias, options.kind
        )
    extras = {"label_smoothing": options.label_smoothing, "z_loss": options.z_loss}
    return tiles.nll(logits_of, hidden, targets, words.shape[0], **extras)


class _Fused(torch.autograd.Function):
    """The kernel's two passes. Order of the inputs: hidden, words, bias, tau, a, b, targets, options."""

    @staticmethod
    def forward(hidden, words, bias, tau, a, b, targets, options):
        tensors = [plain(t) for t in (hidden, words, bias, tau, a, b)]
        wanted = targets.to(torch.int64).contiguous()
        out = torch.empty(3, hidden.shape[0])
        status = native.extension().forward(
            *call(tensors, wanted, options), *addresses_of_rows(out)
        )
        if status < 0:
            row = -1 - status
            raise outside(wanted, row, words.shape[0])
        return out[0], out[1:]

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, targets, options = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*tensors, targets, output[1])
        ctx.options = options

    @staticmethod
    def backward(ctx, grad_nll, _):
        *tensors, targets, lse = ctx.saved_tensors
        needed = ctx.needs_input_grad[:6]
        if torch.is_grad_enabled():
            return (
                *_differentiable_gradients(tensors, targets, ctx.options, needed, grad_nll),
                None,
                None,
            )
        # copies made here must outlive the call, which sees addresses only
        given, upstream = [plain(t) for t in tensors], plain(grad_nll)
        wanted = targets.to(torch.int64).contiguous()
        grads = [
            torch.empty_like(t) if need else None for t, need in zip(given, needed, strict=True)
        ]
        native.extension().backward(
            *call(given, wanted, ctx.options),
            upstream.data_ptr(),
            *addresses_of_rows(lse),
            *(0 if grad is None else grad.data_ptr() for grad in grads),
        )
        return *grads, None, None


def plain(tensor: Tensor | None) -> Tensor | None:
    """Numbers in order, which the kernel may read."""
    return None if tensor is None else tensor.detach().contiguous()


def addresses_of_rows(table: Tensor) -> list[int]:
    """Where every row of a contiguous table starts."""
    start, step = table.data_ptr(), table.shape[1] * table.element_size()
    return [start + row * step for row in range(table.shape[0])]


def call(
    tensors: list[Tensor | None],
    targets: Tensor,
    options: Options,
    first: int = 0,
    vocabulary: int = 0,
) -> tuple[Any, ...]:
    """What both passes of the kernel ask for: hidden, words, bias, tau, a, b and the rest."""
    hidden, words, _, tau, *_ = tensors
    groups = 1 if tau is None else tau.shape[0]
    work = hidden.shape[0] * words.numel()
    threads = max(1, min(torch.get_num_threads(), work // THREAD_WORK))
    return (
        native.isa(),
        threads,
        KINDS[options.kind],
        hidden.shape[0],
        words.shape[0],
        hidden.shape[1],
        groups,
        *(0 if t is None else t.data_ptr() for t in tensors),
        targets.data_ptr(),
        IGNORE,
        options.label_smoothing,
        options.z_loss,
        first,
        vocabulary,
        options.bfloat16,
    )


def _differentiable_gradients(tensors, targets, options, needed, grad_nll) -> list[Tensor | None]:
    """The same gradients through torch, so that they can be differentiated again."""
    loss = _torch_nll(*tensors, targets, options)
    wanted = [t for t, need in zip(tensors, needed, strict=True) if need]
    found = iter(torch.autograd.grad(loss, wanted, grad_nll, create_graph=True))
    return [next(found) if need else None for need in needed]
