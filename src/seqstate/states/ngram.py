"""N-gram: the last order-1 words and a smoothed table (interpolated modified Kneser-Ney).

The state is the window of words, nothing else. Chen & Goodman 1999; Heafield et al. 2013.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.model import IGNORE, Counted, LanguageModel, last_real
from seqstate.core.state import State
from seqstate.states._arpa_read import read
from seqstate.states._arpa_write import write
from seqstate.states._kneser_ney import Tables, smooth
from seqstate.states._ngram_counts import closed_stream, count_ngrams, word_bits

NOTHING = -1  # a place of the window where nothing was read yet


class NGram(LanguageModel, Counted):
    """Logits are natural log-probabilities; uniform until `count` has read a text.

    order: words of an n-gram, so order - 1 words are remembered. prune: n-grams of length n seen
    prune[n - 1] times or less are dropped (the last threshold serves all longer ones; () drops none).
    fallback: discounts of counts 1, 2 and 3 or more where the text is too small to estimate them.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        order: int = 5,
        prune: Sequence[int] = (),
        fallback: Sequence[float] = (0.5, 1.0, 1.5),
    ) -> None:
        super().__init__()
        _check_options(vocab_size, order, prune, fallback)
        self.vocab_size, self.order = vocab_size, order
        self.prune, self.fallback = tuple(prune), tuple(fallback)
        self.bits = word_bits(vocab_size)
        self.register_buffer("boundary", torch.tensor(NOTHING))
        uniform = torch.full((vocab_size,), -math.log(vocab_size), dtype=torch.float64)
        self.register_buffer("unigram", uniform)
        for n in range(2, order + 1):
            rows = vocab_size if n == 2 else 0
            self.register_buffer(f"backoff_{n - 1}", torch.zeros(rows))
            if n > 2:
                self.register_buffer(f"contexts_{n - 1}", torch.zeros(0, dtype=torch.int64))
            self.register_buffer(f"keys_{n}", torch.zeros(0, dtype=torch.int64))
            self.register_buffer(f"logp_{n}", torch.zeros(0))

    def count(self, tokens: Any, boundary: int) -> None:
        """Estimate from ids in which `boundary` opens each document; what was counted before is forgotten.

        The boundary stands for both ends of a document: it is predicted after the last word and is the
        first word of every context that reaches the start. A text that does not begin with it is read as
        if it did; after the last document it is implied. Raises ValueError for ids out of range.
        """
        stream = closed_stream(tokens, boundary, self.vocab_size)
        counts = count_ngrams(stream, boundary, self.vocab_size, self.order)
        self.fill(smooth(counts, boundary, self.fallback, self.prune), boundary)

    def fill(self, tables: Tables, boundary: int) -> None:
        """Take over estimated tables."""
        arrays = {"unigram": tables.unigram}
        for name in ("contexts", "backoff", "keys", "logp"):
            arrays |= {f"{name}_{n}": array for n, array in getattr(tables, name).items()}
        device = self.unigram.device
        for name, array in arrays.items():
            setattr(self, name, torch.from_numpy(array).to(device))
        self.boundary.fill_(boundary)

    def tables(self) -> Tables:
        """What was estimated, as numpy arrays that share the model's memory."""
        groups: dict[str, dict[int, Any]] = {"contexts": {}, "backoff": {}, "keys": {}, "logp": {}}
        for name, buffer in self.named_buffers():
            kind, _, length = name.partition("_")
            if length:
                groups[kind][int(length)] = buffer.cpu().numpy()
        return Tables(self.unigram.cpu().numpy(), **groups)

    def to_arpa(self, path: str | Path, words: Sequence[str]) -> None:
        """Write an ARPA file (compressed if `path` ends in .gz), as KenLM and SRILM read it.

        `words[i]` names token i; the document boundary becomes `<s>` and `</s>`. Raises ValueError for
        names with white space, empty or repeated names.
        """
        write(path, self.tables(), words, int(self.boundary))

    @classmethod
    def from_arpa(cls, path: str | Path) -> tuple[NGram, list[str]]:
        """A model from an ARPA file of any tool, and the name of each token (`<s>`: the boundary).

        Raises ValueError, with the number of the line, for a file that is not a whole ARPA model.
        """
        found = read(path)
        model = cls(vocab_size=len(found.words), order=max(found.tables.keys, default=1))
        model.fill(found.tables, found.boundary)
        return model, found.words

    def init_state(self, batch_size: int) -> State:
        shape = (batch_size, self.order - 1)
        return torch.full(shape, NOTHING, dtype=torch.int32, device=self.unigram.device)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T V"], State]:
        windows, after = self._windows(tokens, state, lengths)
        return self._distribution(windows.flatten(0, 1)).unflatten(0, tokens.shape), after

    def next_logits(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B V"], State]:
        windows, after = self._windows(tokens, state, lengths)
        return self._distribution(last_real(windows, lengths)), after

    def nll(
        self,
        tokens: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"],
        state: State | None = None,
    ) -> tuple[Float[Tensor, "B T"], State]:
        windows, after = self._windows(tokens, state, None)
        asked = targets != IGNORE
        self._check_ids(targets[asked])
        words = targets.long().where(asked, 0).flatten()
        loss = -self._score(windows.flatten(0, 1), words).view_as(targets)
        return loss.where(asked, 0).float(), after

    def _windows(
        self, tokens: Tensor, state: State | None, lengths: Tensor | None
    ) -> tuple[Int[Tensor, "B T C"], State]:
        """The order - 1 newest words at each position (C of them, newest last), and the state."""
        self._check_ids(tokens)
        before = self.init_state(tokens.shape[0]) if state is None else state
        joined = torch.cat([before, tokens.to(before.dtype)], 1)
        context = self.order - 1
        if not context:
            return joined.new_zeros(*tokens.shape, 0).long(), before
        ends = tokens.new_tensor([tokens.shape[1]]) if lengths is None else lengths
        places = ends[:, None] + torch.arange(context, device=tokens.device)
        after = joined.gather(1, places.expand(len(joined), -1))
        return joined[:, 1:].unfold(1, context, 1).long(), after

    def _rows(self, windows: Int[Tensor, "Q C"]) -> list[Int[Tensor, " Q"]]:
        """Row of the context of length 1, 2, ... in its table; -1 where it was never seen."""
        if windows.shape[1] == 0:
            return []
        rows = [windows[:, -1]]
        for length in range(2, self.order):
            # an absent row or word has all its high bits set, so its key is negative and is not found
            key = (rows[-1] << self.bits) | windows[:, -length]
            place, found = _find(getattr(self, f"contexts_{length}"), key)
            rows.append(place.where(found, NOTHING))
        return rows

    def _backoff(self, length: int, row: Int[Tensor, " Q"]) -> Float[Tensor, " Q"]:
        table = getattr(self, f"backoff_{length}")
        if table.numel() == 0:
            return table.new_zeros(row.shape)
        return table[row.clamp(min=0)].where(row >= 0, 0)

    def _score(self, windows: Int[Tensor, "Q C"], words: Int[Tensor, " Q"]) -> Float[Tensor, " Q"]:
        """Log-probability of one word after each window, in float64."""
        score = self.unigram[words]
        for n, row in enumerate(self._rows(windows), 2):
            place, found = _find(getattr(self, f"keys_{n}"), (row << self.bits) | words)
            seen = _take(getattr(self, f"logp_{n}"), place)
            score = seen.double().where(found, score + self._backoff(n - 1, row))
        return score

    def _distribution(self, windows: Int[Tensor, "Q C"]) -> Float[Tensor, "Q V"]:
        """Log-probabilities of all words: unigrams, then the words seen after ever longer contexts."""
        rows = self._rows(windows)
        shares = [self._backoff(length, row) for length, row in enumerate(rows, 1)]
        # log of what the contexts of this length and longer leave to shorter ones
        left = windows.new_zeros(len(windows), dtype=torch.float64)
        remaining = [left := left + share for share in reversed(shares)][::-1]
        out = self.unigram.expand(len(windows), -1)
        out = (out + remaining[0][:, None] if remaining else out).float()
        for n, row in enumerate(rows, 2):
            rest = remaining[n - 1] if n <= len(rows) else torch.zeros_like(left)
            self._overwrite(out, n, row, rest)
        return out

    def _overwrite(
        self,
        out: Float[Tensor, "Q V"],
        n: int,
        row: Int[Tensor, " Q"],
        rest: Float[Tensor, " Q"],
    ) -> None:
        """Write the n-grams that continue each context, times what longer contexts leave."""
        keys, logp = getattr(self, f"keys_{n}"), getattr(self, f"logp_{n}")
        known = (row >= 0).nonzero()[:, 0]
        first = row[known] << self.bits
        start = torch.searchsorted(keys, first)
        size = torch.searchsorted(keys, first + (1 << self.bits)) - start
        if not int(size.sum()):
            return
        owner = known.repeat_interleave(size)
        shift = start - (size.cumsum(0) - size)
        place = torch.arange(len(owner), device=row.device) + shift.repeat_interleave(size)
        word = keys[place] & ((1 << self.bits) - 1)
        out.view(-1)[owner * self.vocab_size + word] = logp[place] + rest.float()[owner]

    def _check_ids(self, ids: Tensor) -> None:
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.vocab_size:
            raise ValueError(
                f"token ids run from {int(ids.min())} to {int(ids.max())}, "
                f"wanted 0 to {self.vocab_size - 1} (vocab_size {self.vocab_size})"
            )

    def _load_from_state_dict(self, state_dict, prefix, *rest) -> None:
        """The tables take the size of those that are loaded; the vocabulary and order must agree."""
        for name, buffer in self.named_buffers(recurse=False):
            loaded = state_dict.get(prefix + name)
            if name not in ("unigram", "boundary", "backoff_1") and loaded is not None:
                setattr(self, name, buffer.new_empty(loaded.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _find(table: Int[Tensor, " N"], key: Int[Tensor, " Q"]) -> tuple[Int[Tensor, " Q"], Tensor]:
    """Where each key would be in a sorted table, and whether it is there."""
    if table.numel() == 0:
        return torch.zeros_like(key), torch.zeros_like(key, dtype=torch.bool)
    place = torch.searchsorted(table, key).clamp(max=len(table) - 1)
    return place, table[place] == key


def _take(table: Float[Tensor, " N"], place: Int[Tensor, " Q"]) -> Float[Tensor, " Q"]:
    return table[place] if table.numel() else table.new_zeros(place.shape)


def _check_options(vocab_size: int, order: int, prune: Any, fallback: Any) -> None:
    if vocab_size < 1:
        raise ValueError(f"vocab_size is {vocab_size}, wanted at least 1")
    if order < 1:
        raise ValueError(f"order is {order}, wanted at least 1 (1: no memory, 5: four words)")
    thresholds = list(prune) if isinstance(prune, tuple | list) else None
    if thresholds is None or thresholds != sorted(thresholds) or any(thresholds[:1]):
        raise ValueError(
            f"prune is {prune!r}, wanted thresholds that start at 0 and never fall, such as (0, 0, 1)"
        )
    if len(fallback) != 3 or not all(0 < d <= j for j, d in enumerate(fallback, 1)):
        raise ValueError(
            f"fallback is {fallback!r}, wanted discounts of counts 1, 2, 3+ such as (0.5, 1.0, 1.5)"
        )
