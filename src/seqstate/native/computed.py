"""The fused inner product over a table that is computed from the words, a block of them at a time.

Neither R x V scores nor (where they are many) the V x G numbers that words are read as are stored: the
forward pass joins the log-sum-exps of the blocks, the backward pass reads each block again and takes its
gradient back to the words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate import native
from seqstate.core.model import IGNORE
from seqstate.native import losses, tiles
from seqstate.native.losses import Options, addresses_of_rows, call, plain

BLOCK = 1 << 20  # numbers of a table that are computed at once (4 MB)
KEPT = 1 << 22  # numbers of a table that is kept whole: 5 to 10 % less time than to read it twice
BARE = Options("inner", 0.0, 0.0)  # the regularisers join when all blocks are through

Read = Callable[..., Tensor]


def cross_entropy_computed(
    hidden: Float[Tensor, "R G"],
    words: Float[Tensor, "V S"],
    parameters: tuple[Tensor, ...],
    bias: Float[Tensor, " V"] | None,
    targets: Int[Tensor, " R"],
    *,
    read: Read,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> Float[Tensor, " R"]:
    """Loss of each row in nats under softmax(<h, read(words, *parameters)> + bias); 0 at IGNORE.

    read: maps any block of words [C, S] to [C, G], each word by itself; what it differentiates it must reach
    through its arguments. The rest as in `cross_entropy_inner`.
    """
    extras = {"label_smoothing": label_smoothing, "z_loss": z_loss}
    losses.check_sides(hidden, words, bias, hidden.shape[-1])
    losses.check_targets(targets, len(hidden), hidden.device)
    rows, width, vocab = *hidden.shape, words.shape[0]
    fits = native.usable(hidden, words, bias, *parameters) and native.worth(rows, vocab, width)
    if not fits or vocab * width <= KEPT:
        table = read(words, *parameters)
        return losses.cross_entropy_inner(hidden, table, bias, targets, **extras)
    options = Options("inner", *losses.checked(label_smoothing, z_loss))
    return _Blocks.apply(read, options, targets, hidden, words, bias, *parameters)[0]


class _Blocks(torch.autograd.Function):
    """Order of the inputs: read, options, targets, hidden, words, bias, then the parameters of `read`."""

    @staticmethod
    def forward(read, options, targets, hidden, words, bias, *parameters):
        wanted, rows = targets.to(torch.int64).contiguous(), plain(hidden)
        asked, vocab = wanted != IGNORE, words.shape[0]
        lse = torch.full_like(rows[:, 0], -math.inf, dtype=torch.float64)  # of all blocks, base 2
        nll, most, total = torch.zeros_like(lse), torch.full_like(rows[:, 0], -math.inf), 0.0
        for start, part in _blocks(words, rows.shape[1]):
            table = _table(read, part, parameters, rows.shape[1])
            # what is made here must outlive the call, which sees addresses only
            inputs = _inner(rows, table, None if bias is None else bias[start : start + len(part)])
            problem = call(inputs, wanted, BARE, start, vocab)
            found, (high, rest) = losses.scored(native.extension().forward, problem, wanted, vocab)
            here = (wanted >= start) & (wanted < start + len(part))
            of_block = high.double() + rest
            nll = torch.where(here, found - math.log(2) * of_block, nll)
            lse, most = torch.logaddexp2(lse, of_block), torch.maximum(most, high)
            if options.label_smoothing:
                total = total + table.sum(0, dtype=torch.float64)
        natural = math.log(2) * lse
        nll = nll + natural  # -log-sum-exp of the target's block was in it
        if options.label_smoothing:
            offset = 0.0 if bias is None else bias.double().mean()
            average = rows.nan_to_num().double() @ (total / vocab) + offset
            nll = (1 - options.label_smoothing) * nll + options.label_smoothing * (
                natural - average
            )
        nll = torch.where(asked, nll + options.z_loss * natural.square(), 0.0)
        parts = torch.stack([most, (lse - most).float()])
        return nll.float(), torch.where(asked, parts, 0.0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.read, ctx.options, targets, *tensors = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(targets, output[1], *tensors)

    @staticmethod
    def backward(ctx, grad_nll, _):
        targets, lse, *tensors = ctx.saved_tensors
        needed = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():
            return None, None, None, *_differentiable(ctx, targets, tensors, needed, grad_nll)
        return None, None, None, *_gradients(ctx, targets, lse, tensors, needed, plain(grad_nll))


def _gradients(ctx, targets, lse, tensors, needed, upstream) -> list[Tensor | None]:
    hidden, words, bias, *parameters = tensors
    wanted, rows = targets.to(torch.int64).contiguous(), plain(hidden)
    to = [torch.zeros_like(t) if need else None for t, need in zip(tensors, needed, strict=True)]
    of_hidden = torch.empty_like(rows) if needed[0] else None
    deep = [
        parameter.detach().requires_grad_(n)
        for parameter, n in zip(parameters, needed[3:], strict=True)
    ]
    for start, part in _blocks(words, rows.shape[1]):
        piece = slice(start, start + len(part))
        part = part.detach().requires_grad_(needed[1])
        with torch.enable_grad():
            table = _table(ctx.read, part, deep, rows.shape[1])
        inputs = _inner(rows, table, None if bias is None else bias[piece])
        of_table = torch.empty_like(inputs[1]) if table.requires_grad else None
        of_bias = torch.empty_like(inputs[2]) if needed[2] else None
        outs = (of_hidden, of_table, of_bias, None, None, None)
        native.extension().backward(
            *call(inputs, wanted, ctx.options, start, words.shape[0]),
            upstream.data_ptr(),
            *addresses_of_rows(lse),
            *map(native.address, outs),
        )
        if of_hidden is not None:
            to[0] += of_hidden
        if of_bias is not None:
            to[2][piece] = of_bias
        if of_table is None:
            continue
        leaves = [t for t in (part, *deep) if t.requires_grad]
        found = iter(torch.autograd.grad(table, leaves, of_table))
        if needed[1]:
            to[1][piece] = next(found)
        for place in to[3:]:
            if place is not None:
                place += next(found)
    return to


def _blocks(words: Tensor, width: int) -> Iterator[tuple[int, Tensor]]:
    """Where each block starts, and its words."""
    size = max(1, BLOCK // width)
    for start in range(0, len(words), size):
        yield start, words[start : start + size]


def _table(read: Read, words: Tensor, parameters: Sequence[Tensor], width: int) -> Tensor:
    """What a block of words is read as, in float32 as the kernel has it, whatever autocast is on."""
    with torch.autocast("cpu", enabled=False):
        table = read(words, *parameters)
    if table.shape != (len(words), width) or table.dtype != torch.float32:
        raise ValueError(
            f"words were read as {list(table.shape)} in {table.dtype}; wanted [{len(words)}, {width}] "
            "in torch.float32"
        )
    return table


def _inner(rows: Tensor, table: Tensor, bias: Tensor | None) -> list[Tensor | None]:
    """The kernel's tensors for a plain inner product."""
    return losses.given(rows, table, bias, None, None, None, BARE)


def _differentiable(ctx, targets, tensors, needed, grad_nll) -> list[Tensor | None]:
    """The same gradients through torch, so that they can be differentiated again."""
    hidden, words, bias, *parameters = tensors
    table = ctx.read(words, *parameters)
    loss = tiles.nll(
        lambda rows: tiles.inner_logits(rows, table, bias, 1.0),
        hidden,
        targets,
        len(words),
        label_smoothing=ctx.options.label_smoothing,
        z_loss=ctx.options.z_loss,
    )
    return losses.differentiable(loss, tensors, needed, grad_nll)
