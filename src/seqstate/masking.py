"""Words guessed from both sides: a state that reads both ways, its masked words, and what they cost.

BERT's objective (Devlin et al. 2019, https://arxiv.org/abs/1810.04805): some tokens are hidden and predicted
from all others. There is no next word in it, so such a model does not write, and its pseudo-likelihood (each
token from all others: Salazar et al. 2020, https://arxiv.org/abs/1910.14659) is no likelihood of the text: it
cannot be set beside nats or bits of a model that reads from left to right.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from seqstate.core import registry
from seqstate.core.energy import Head
from seqstate.core.instrument import evaluating
from seqstate.core.model import IGNORE, ReadsBothWays, device_of
from seqstate.core.record import Reading
from seqstate.core.state import State
from seqstate.model import NeuralLM, build_model
from seqstate.text.batches import Windows

SHARE, MASKED, RANDOM = 0.15, 0.8, 0.1  # hidden; of these: behind the mask, behind a random token
ROWS = 64  # windows read at once
SCORED = 1024  # tokens a pseudo-likelihood is measured on, at most
CHECKED = 128  # windows a validation reads, at most


class MaskedLM(nn.Module):
    """Token ids 0 to V - 1, and V for the mask; vectors and distributions of every place from both sides."""

    def __init__(self, inside: NeuralLM) -> None:
        super().__init__()
        if not isinstance(inside.states, ReadsBothWays):
            raise ValueError(
                f"{type(inside.states).__name__.lower()} reads from left to right only, but masked words are "
                f"guessed from both sides; states that read both ways: {both_ways()}"
            )
        self.inside, self.vocab_size = inside, inside.vocab_size
        self.mask = nn.Parameter(torch.randn(inside.states.width))

    @property
    def head(self) -> Head:
        return self.inside.head

    @property
    def mask_id(self) -> int:
        return self.vocab_size

    def hidden(
        self, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B T D"]:
        """The vector of every place, which the head scores words against."""
        masked: Bool[Tensor, "B T"] = tokens == self.mask_id
        x = self.inside.inputs(tokens.masked_fill(masked, 0))
        x = torch.where(masked[..., None], self.mask.to(x.dtype), x)
        hidden = self.inside.states.both_ways(x, lengths)
        return self.inside.project(self.inside.dropout(hidden))

    def forward(
        self, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B T V"]:
        """Logits of the word at (not after) every place."""
        return self.head(self.hidden(tokens, lengths))

    def nll(
        self, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"], state: State | None = None
    ) -> tuple[Float[Tensor, "B T"], State]:
        """Nats of the words at the places where targets are not IGNORE, 0 elsewhere; no state is carried."""
        where = targets != IGNORE
        nats = self.head.nll(self.hidden(tokens)[where], targets[where])
        return nats.new_zeros(targets.shape).masked_scatter(where, nats), ()


def build_masked(state: str, energy: str | None, *, vocab_size: int, **options) -> MaskedLM:
    """As model.build_model. Raises ValueError for states that cannot read both ways."""
    model = build_model(state, energy, vocab_size=vocab_size, **options)
    if not isinstance(model, NeuralLM):
        raise ValueError(
            f"{state} is a distribution of the next word, but masked words are guessed from both sides; "
            f"states that read both ways: {both_ways()}"
        )
    return MaskedLM(model)


def both_ways() -> str:
    """The names of the states that can read so."""
    names = registry.names("states")
    return ", ".join(
        name for name in names if issubclass(registry.find("states", name), ReadsBothWays)
    )


class MaskedWindows:
    """Windows at random places with words hidden in each, a pure function of the batch's number.

    Of the words that are asked for, eight in ten are behind the mask, one behind a random token and one
    stays in sight, so that the vectors of unmasked text are taught as well (Devlin et al. 2019).
    plain: all of them are behind the mask.
    """

    def __init__(
        self,
        ids: NDArray,
        *,
        rows: int,
        context: int,
        seed: int,
        vocab_size: int,
        plain: bool = False,
    ) -> None:
        self.windows = Windows(ids, rows=rows, context=context, seed=seed)
        self.seed, self.vocab_size, self.plain = seed, vocab_size, plain

    def batch(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
        tokens, _, _ = self.windows.batch(index)
        draw = np.random.default_rng([self.seed, index, 1])
        chance = draw.random(tokens.shape)
        chosen = chance < SHARE
        chosen |= chance == chance.min(1, keepdims=True)  # at least one a row
        kind = np.zeros(tokens.shape) if self.plain else draw.random(tokens.shape)
        shown = np.where(kind < MASKED, self.vocab_size, tokens)
        other = draw.integers(self.vocab_size, size=tokens.shape)
        shown = np.where((kind >= MASKED) & (kind < MASKED + RANDOM), other, shown)
        return np.where(chosen, shown, tokens), np.where(chosen, tokens, IGNORE), True


def validate_masked(
    model: MaskedLM, ids: NDArray, *, context: int, share: tuple[int, int] = (0, 1)
) -> float:
    """Nats per masked token on a fixed sample of windows, SHARE of their tokens behind the mask.

    share: (r, n) reads the windows r, r + n, ... only, and returns what these add to the whole.
    """
    context = min(context, len(ids) - 1)
    rows = min(CHECKED, max(1, (len(ids) - 1) // context))
    shape = {"rows": rows, "context": context, "vocab_size": model.vocab_size}
    tokens, targets, _ = MaskedWindows(ids, **shape, seed=0, plain=True).batch(0)
    device, mine = device_of(model), slice(share[0], None, share[1])
    read, wanted = (torch.from_numpy(part[mine]).to(device) for part in (tokens, targets))
    if not len(read):
        return 0.0
    with evaluating(model), torch.inference_mode():
        nats, _ = model.nll(read, wanted)
    return float(nats.double().sum() / (targets != IGNORE).sum())


def pseudo_likelihood(
    model: MaskedLM,
    ids: NDArray,
    *,
    context: int,
    scored: int = SCORED,
    progress: Callable[[float], None] | None = None,
) -> list[Reading]:
    """Nats of tokens each masked alone, in the window of `context` tokens around it.

    scored: how many, evenly spread (fewer if the text has fewer). The names say that these are no numbers
    of a left-to-right model. Raises ValueError for a text without a token to mask.
    """
    if len(ids) < 2:
        raise ValueError("nothing to evaluate: the text has no token to mask")
    context = min(context, len(ids))
    count = min(scored, len(ids) - 1)
    places = 1 + np.arange(count) * (len(ids) - 1) // count  # the first token opens the text
    starts = np.clip(places - context // 2, 0, len(ids) - context)
    read = np.asarray(ids)[starts[:, None] + np.arange(context)].astype(np.int64)
    targets = np.full_like(read, IGNORE)
    row = np.arange(count)
    targets[row, places - starts] = read[row, places - starts]
    read[row, places - starts] = model.mask_id
    device, found = device_of(model), []
    with evaluating(model), torch.inference_mode():
        for at in range(0, count, ROWS):
            tokens, wanted = (torch.from_numpy(part[at : at + ROWS]) for part in (read, targets))
            found.append(model.nll(tokens.to(device), wanted.to(device))[0].sum(1).cpu())
            if progress is not None:
                progress(min(1.0, (at + ROWS) / count))
    nats = torch.cat(found).double()
    mean, stderr = float(nats.mean()), float(nats.std(unbiased=False)) / count**0.5
    perplexity = float(np.exp(min(mean, 700.0)))
    return [
        Reading("pseudo_nats_per_token", mean, "nat/token", count, stderr),
        Reading("pseudo_perplexity", perplexity, "1", count, perplexity * stderr),
    ]
