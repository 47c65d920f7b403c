"""N-gram: the last order-1 words and a smoothed table (interpolated modified Kneser-Ney).

The state is the window of words, nothing else. Chen & Goodman 1999; Heafield et al. 2013.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.model import IGNORE, Counted, LanguageModel, last_real
from seqstate.core.state import State
from seqstate.states._arpa_read import read
from seqstate.states._arpa_write import write
from seqstate.states._kneser_ney import Tables, smooth
from seqstate.states._ngram_counts import checked_tokens, closed_stream, count_ngrams, word_bits
from seqstate.states._sorted_tables import ended, entries, find, resize_buffers

COUNTING_BYTES = 50  # per token and order, at the peak of counting in memory (measured)
SMALLEST_GB = 0.1  # of memory with which the engine on disk still works
NOTHING = -1  # a place of the window where nothing was read yet; the row of a context never seen


class NGram(LanguageModel, Counted):
    """Logits are natural log-probabilities; uniform until `count` has read a text.

    order: words of an n-gram, so order - 1 words are remembered. prune: n-grams of length n seen
    prune[n - 1] times or less are dropped (the last threshold serves all longer ones; () drops none).
    fallback: discounts of counts 1, 2 and 3 or more where the text is too small to estimate them.
    memory_gb: a text whose counting would take more goes through DuckDB, on disk.
    """

    unigram: Tensor
    boundary: Tensor

    def __init__(
        self,
        *,
        vocab_size: int,
        order: int = 5,
        prune: Sequence[int] = (),
        fallback: Sequence[float] = (0.5, 1.0, 1.5),
        memory_gb: float = 8.0,
    ) -> None:
        super().__init__()
        _check_options(vocab_size, order, prune, fallback, memory_gb)
        self.vocab_size, self.order = vocab_size, order
        self.prune, self.fallback, self.memory_gb = tuple(prune), tuple(fallback), memory_gb
        self.bits = word_bits(vocab_size)
        uniform = torch.full((vocab_size,), -math.log(vocab_size), dtype=torch.float64)
        self.register_buffer("unigram", uniform)
        self.register_buffer("boundary", torch.tensor(NOTHING))
        for n in range(2, order + 1):
            self._keep(f"backoff_{n - 1}", np.zeros(vocab_size if n == 2 else 0))
            self._keep(f"keys_{n}", np.zeros(0, np.int64))
            self._keep(f"logp_{n}", np.zeros(0))
            if n > 2:
                self._keep(f"contexts_{n - 1}", np.zeros(0, np.int64))

    def count(self, tokens: Any, boundary: int) -> None:
        """Estimate from ids in which `boundary` opens each document; what was counted before is forgotten.

        The boundary stands for both ends of a document: it is predicted after the last word and is the
        first word of every context that reaches the start. A text that does not begin with it is read as
        if it did; after the last document it is implied. Raises ValueError for ids out of range.
        """
        tokens = checked_tokens(tokens, boundary, self.vocab_size)
        if self.order > 1 and tokens.size * self.order * COUNTING_BYTES > self.memory_gb * 1e9:
            tables = self._estimate_on_disk(tokens, boundary)
        else:
            stream = closed_stream(tokens, boundary, self.vocab_size)
            counts = count_ngrams(stream, boundary, self.vocab_size, self.order)
            tables = smooth(counts, boundary, self.fallback, self.prune)
        self.fill(tables, boundary)

    def _estimate_on_disk(self, tokens: np.ndarray, boundary: int) -> Tables:
        from seqstate.states._ngram_disk import estimate

        return estimate(
            tokens,
            boundary,
            self.vocab_size,
            self.order,
            fallback=self.fallback,
            thresholds=self.prune,
            memory_gb=self.memory_gb,
        )

    def fill(self, tables: Tables, boundary: int) -> None:
        """Take over estimated tables."""
        self.unigram.copy_(torch.from_numpy(tables.unigram))
        self.boundary.fill_(boundary)
        for kind in ("contexts", "backoff", "keys", "logp"):
            for n, array in getattr(tables, kind).items():
                self._keep(f"{kind}_{n}", array)

    def tables(self) -> Tables:
        """What was estimated, as numpy arrays that share the model's memory."""
        groups: dict[str, dict[int, Any]] = {"contexts": {}, "backoff": {}, "keys": {}, "logp": {}}
        for name, buffer in self.named_buffers():
            kind, _, length = name.partition("_")
            if length:
                groups[kind][int(length)] = buffer[:-1].cpu().numpy()
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

    def _keep(self, name: str, array: np.ndarray) -> None:
        self.register_buffer(name, ended(array).to(self.unigram.device))

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
        if lengths is None:
            after = joined[:, -context:].clone()
        else:
            places = lengths[:, None] + torch.arange(context, device=tokens.device)
            after = joined.gather(1, places)
        return joined[:, 1:].unfold(1, context, 1).long(), after

    def _rows(self, windows: Int[Tensor, "Q C"]) -> list[Int[Tensor, " Q"]]:
        """Row of the context of length 1, 2, ... in its table; NOTHING where it was never seen."""
        rows = [windows[:, -1]] if self.order > 1 else []
        for length in range(2, self.order):
            # an absent row or word has all its high bits set, so its key is negative and is not found
            key = (rows[-1] << self.bits) | windows[:, -length]
            place, found = find(self.get_buffer(f"contexts_{length}"), key)
            rows.append(place.where(found, NOTHING))
        return rows

    def _score(self, windows: Int[Tensor, "Q C"], words: Int[Tensor, " Q"]) -> Float[Tensor, " Q"]:
        """Log-probability of one word after each window, in float64."""
        score = self.unigram[words]
        for n, row in enumerate(self._rows(windows), 2):
            place, found = find(self.get_buffer(f"keys_{n}"), (row << self.bits) | words)
            backed_off = score + self.get_buffer(f"backoff_{n - 1}")[row]
            score = self.get_buffer(f"logp_{n}")[place].double().where(found, backed_off)
        return score

    def _distribution(self, windows: Int[Tensor, "Q C"]) -> Float[Tensor, "Q V"]:
        """Log-probabilities of all words: unigrams, then the words seen after ever longer contexts."""
        rows = self._rows(windows)
        # log of what contexts of each length and all longer ones leave to shorter ones
        left = [windows.new_zeros(len(windows), dtype=torch.float64)]
        for length in range(len(rows), 0, -1):
            left.append(left[-1] + self.get_buffer(f"backoff_{length}")[rows[length - 1]])
        out = (self.unigram + left.pop()[:, None]).float()
        for n, row in enumerate(rows, 2):
            remains = left.pop().float()
            owner, place, word = entries(self.get_buffer(f"keys_{n}"), row, self.bits)
            out[owner, word] = self.get_buffer(f"logp_{n}")[place] + remains[owner]
        return out

    def _check_ids(self, ids: Tensor) -> None:
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.vocab_size:
            raise ValueError(
                f"token ids run from {int(ids.min())} to {int(ids.max())}, "
                f"wanted 0 to {self.vocab_size - 1} (vocab_size {self.vocab_size})"
            )

    def _load_from_state_dict(self, state_dict, prefix, *rest) -> None:
        """The tables take the size of those that are loaded; the vocabulary and order must agree."""
        resize_buffers(self, state_dict, prefix, ("unigram", "boundary", "backoff_1"))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _check_options(
    vocab_size: int, order: int, prune: Any, fallback: Any, memory_gb: float
) -> None:
    if vocab_size < 1:
        raise ValueError(f"vocab_size is {vocab_size}, wanted at least 1")
    if order < 1:
        raise ValueError(f"order is {order}, wanted at least 1 (1: no memory, 5: four words)")
    if list(prune) != sorted(prune) or any(prune[:1]):
        raise ValueError(
            f"prune is {prune!r}, wanted thresholds that start at 0 and never fall, such as (0, 0, 1)"
        )
    if len(fallback) != 3 or not all(0 < d <= j for j, d in enumerate(fallback, 1)):
        raise ValueError(
            f"fallback is {fallback!r}, wanted discounts of counts 1, 2, 3+ such as (0.5, 1.0, 1.5)"
        )
    if not memory_gb >= SMALLEST_GB:
        raise ValueError(f"memory_gb is {memory_gb}, wanted at least {SMALLEST_GB}")
