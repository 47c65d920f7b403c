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


class Options(NamedTuple):
    """What is not a tensor."""

    kind: str
    label_smoothing: float
    z_loss: float
    bfloat16: bool = False  # `hidden` was, and products may be, where the CPU has them
    scale: float = 1.0  # of inner products


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
    log-sum-exp (PaLM, https://arxiv.org/abs/2204.02311). Raises IndexError for a target outside 0..V-1, and
    ValueError for sizes that do not fit.
    """
    options = Options("inner", *checked(label_smoothing, z_loss), _short(hidden), scale)
    sides = native.widened(hidden, words, bias)
    return _nll(*sides, None, None, None, targets, options)


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
    options = Options(activation, *checked(label_smoothing, z_loss), _short(hidden))
    return _nll(*native.widened(hidden, words, bias), tau, a, b, targets, options)


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
    options = Options("rbf", *checked(label_smoothing, z_loss))
    return _nll(hidden, words, bias, tau, a, None, targets, options)


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
    return _nll(hidden, words, bias, tau, a, None, targets, options)


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
    ones = hidden.new_ones(hidden.shape[-1])
    return _nll(hidden, words, bias, ones, ones, None, targets, options)


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


def scored(kernel, problem: tuple, targets: Tensor, vocab_size: int) -> tuple[Tensor, Tensor]:
    """A forward pass of the kernel: the rows' losses, and their log-sum-exps in two parts, base 2.

    Raises IndexError for a target that the kernel found outside the vocabulary.
    """
    nll = torch.empty(len(targets), dtype=torch.float32, device="cpu")
    lse = nll.new_empty(2, len(targets))
    status = kernel(*problem, nll.data_ptr(), *addresses_of_rows(lse))
    if status < 0:
        row = -1 - status
        raise IndexError(
            f"target {int(targets[row])} of row {row} is outside the vocabulary 0..{vocab_size - 1} "
            f"(ignored targets are {IGNORE})"
        )
    return nll, lse


def check_targets(targets: Tensor, rows: int, device: torch.device) -> None:
    """Raises ValueError unless there is a whole number for each row; the kernel sees addresses only."""
    if targets.shape != (rows,) or targets.is_floating_point() or targets.device != device:
        raise ValueError(
            f"targets are {targets.dtype} {list(targets.shape)} on {targets.device}, but must be "
            f"whole numbers [{rows}] on {device}"
        )


def check_sides(hidden: Tensor, words: Tensor, bias: Tensor | None, width: int) -> None:
    """Raises ValueError unless there are rows of one width, at least one word, and a bias a word."""
    fit = hidden.ndim == words.ndim == 2 and hidden.shape[1] == width > 0 and len(words) > 0
    if not fit or not (bias is None or bias.shape == words.shape[:1]):
        shapes = [None if t is None else list(t.shape) for t in (hidden, words, bias)]
        raise ValueError(
            "hidden {}, words {} and bias {} do not fit; wanted [R, D], [V, D] and [V]".format(
                *shapes
            )
        )


def checked(label_smoothing: float, z_loss: float) -> tuple[float, float]:
    """The two regularisers, if they can be."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing={label_smoothing}, but it is a share between 0 and 1")
    return float(label_smoothing), float(z_loss)


def _check_groups(scalars: list[Tensor], width: int, kind: str) -> None:
    """Raises ValueError unless there is one of each scalar a group; of a distance, a group is one number."""
    for scalar in scalars:
        groups = scalar.numel()
        if scalar.shape != scalars[0].shape or scalar.ndim != 1 or not groups or width % groups:
            shapes = ", ".join(str(list(t.shape)) for t in scalars)
            raise ValueError(f"scalars {shapes} are not groups that divide a width of {width}")
        if kind in tiles.DISTANCES and groups != width:
            raise ValueError(
                f"{groups} scalars for a width of {width}; a distance has one a number"
            )


def _nll(hidden, words, bias, tau, a, b, targets, options: Options) -> Tensor:
    """By the kernel where it can and is worth it."""
    check_sides(hidden, words, bias, words.shape[-1])
    check_targets(targets, len(hidden), hidden.device)
    _check_groups([t for t in (tau, a, b) if t is not None], hidden.shape[1], options.kind)
    tensors = hidden, words, bias, tau, a, b
    fits = native.usable(*tensors)
    if options.kind == "inner":
        fits = fits and native.worth(len(hidden), *words.shape)
    if options.kind == "exponential":  # whose kernel divides what it sums for tau by tau
        fits = fits and bool(tau.all())
    if fits:
        return _Fused.apply(*tensors, targets, options)[0]
    return _torch_nll(*tensors, targets, options)


def _torch_nll(hidden, words, bias, tau, a, b, targets, options: Options) -> Tensor:
    if options.kind == "inner":
        logits_of = lambda rows: tiles.inner_logits(rows, words, bias, options.scale)  # noqa: E731
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
        tensors = given(hidden, words, bias, tau, a, b, options)
        wanted = targets.to(torch.int64).contiguous()
        problem = call(tensors, wanted, options)
        return scored(native.extension().forward, problem, wanted, words.shape[0])

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
            loss = _torch_nll(*tensors, targets, ctx.options)
            return *differentiable(loss, tensors, needed, grad_nll), None, None
        # copies made here must outlive the call, which sees addresses only
        inputs, upstream = given(*tensors, ctx.options), plain(grad_nll)
        wanted = targets.to(torch.int64).contiguous()
        grads = [
            torch.empty_like(t) if need else None for t, need in zip(inputs, needed, strict=True)
        ]
        native.extension().backward(
            *call(inputs, wanted, ctx.options),
            upstream.data_ptr(),
            *addresses_of_rows(lse),
            *map(native.address, grads),
        )
        return *grads, None, None


def differentiable(loss, inputs, needed, grad_nll) -> list[Tensor | None]:
    """Gradients through torch, so that they can be differentiated again."""
    leaves = [t for t, need in zip(inputs, needed, strict=True) if need]
    found = iter(torch.autograd.grad(loss, leaves, grad_nll, create_graph=True))
    return [next(found) if need else None for need in needed]


def plain(tensor: Tensor | None) -> Tensor | None:
    """Numbers in order, which the kernel may read."""
    return None if tensor is None else tensor.detach().contiguous()


def given(hidden, words, bias, tau, a, b, options: Options) -> list[Tensor | None]:
    """A problem as the kernel may read it, which takes the scale of inner products for an `a`."""
    if options.kind == "inner":
        a = torch.tensor([options.scale], dtype=torch.float32, device="cpu")
    return [plain(t) for t in (hidden, words, bias, tau, a, b)]


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
    return (
        native.isa(),
        native.threads_for(hidden.shape[0] * words.numel()),
        KINDS[options.kind],
        hidden.shape[0],
        words.shape[0],
        hidden.shape[1],
        groups,
        *map(native.address, tensors),
        targets.data_ptr(),
        IGNORE,
        options.label_smoothing,
        options.z_loss,
        first,
        vocabulary,
        options.bfloat16,
    )
