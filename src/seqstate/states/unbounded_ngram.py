"""Unbounded n-gram: the longest match with the training text, smoothed down all its lengths.

The state is a pointer: a place of the training text, and how many words up to it agree with what was read.
What reached further back can never match again, so these two numbers are all that matters of any history.

Kneser-Ney without an order: Wood et al. 2009 ("A stochastic memoizer for sequence data"), Shareghi et al.
2016. The longest match alone, unsmoothed, is infini-gram (Liu et al. 2024).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.core.model import IGNORE, Counted, LanguageModel, last_real
from seqstate.core.state import State
from seqstate.states._context_tree import ContextTree, grow
from seqstate.states._context_walk import Edges, Path, walk
from seqstate.states._ngram_counts import Array, closed_stream, word_bits
from seqstate.states._sorted_tables import ended, entries, find, resize_buffers
from seqstate.states._tree_smoothing import Smoothed, default_discounts, smooth, tune

NOTHING = -1  # before the first word that was read
TABLES = {
    "edge_keys": np.int64,
    "edge_node": np.int32,
    "edge_length": np.int32,
    "edge_at": np.int32,
    "pair_keys": np.int64,
    "pair_logp": np.float32,
    "node_left": np.float32,
}
FIXED = ("unigram", "log_left")


class UnboundedNGram(LanguageModel, Counted):
    """Logits are natural log-probabilities; uniform until `count` has read a text.

    longest: matches are followed for at most so many words. heldout: the discounts are tuned on the last
    so many words of the text (a tenth at most) before all of it is counted; 0 leaves them at their defaults.
    """

    def __init__(self, *, vocab_size: int, longest: int = 256, heldout: int = 50_000) -> None:
        super().__init__()
        if vocab_size < 1 or longest < 1 or heldout < 0:
            raise ValueError(
                f"found vocab_size={vocab_size}, longest={longest}, heldout={heldout}, "
                "wanted at least 1, 1 and 0"
            )
        self.vocab_size, self.longest, self.heldout = vocab_size, longest, heldout
        self.bits = word_bits(vocab_size + 1)
        uniform = torch.full((vocab_size,), -math.log(vocab_size), dtype=torch.float64)
        self.register_buffer("unigram", uniform)
        self.register_buffer("log_left", torch.zeros(longest + 1, dtype=torch.float64))
        self.register_buffer("text", torch.zeros(1, dtype=torch.int32))
        for name, kind in TABLES.items():
            self.register_buffer(name, ended(np.zeros(0, kind)))

    def count(self, tokens: Any, boundary: int) -> None:
        """Estimate from ids in which `boundary` opens each document; what was counted before is forgotten.

        Contexts stop at the boundary that opens their document; it is predicted after the last word, also
        of the last document. Raises ValueError for ids out of range and texts too long for 64-bit keys.
        """
        stream = closed_stream(tokens, boundary, self.vocab_size)
        discounts = default_discounts()
        cut = stream.size - 1 - min(self.heldout, (stream.size - 1) // 10)
        if cut < stream.size - 1:
            known = np.append(stream[:cut], boundary)
            tree = grow(known, boundary, self.vocab_size, self.longest)
            self._fill(known, tree, smooth(tree, discounts, self.vocab_size, self.longest))
            first = max(0, cut - self.longest)
            words = torch.from_numpy(np.append(NOTHING, stream[first:]))[None]
            end = torch.arange(cut - first, words.shape[1] - 1)
            path = walk(self._edges(), words, torch.zeros_like(end), end)
            discounts = tune(tree, path, known, words[0, end + 1], self.vocab_size, self.longest)
        tree = grow(stream, boundary, self.vocab_size, self.longest)
        self._fill(stream, tree, smooth(tree, discounts, self.vocab_size, self.longest))
        self._put("log_left", torch.from_numpy(discounts.log_left(self.longest)))

    def init_state(self, batch_size: int) -> State:
        return torch.zeros(batch_size, 2, dtype=torch.int32, device=self.unigram.device)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T V"], State]:
        path = self._read(tokens, state)
        return self._distribution(path).unflatten(0, tokens.shape), _after(path, tokens, lengths)

    def next_logits(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B V"], State]:
        real = torch.full_like(tokens[:, 0], tokens.shape[1]) if lengths is None else lengths
        path = self._read(tokens, state, real.to(tokens) - 1)
        return self._distribution(path), torch.stack([path.at, path.length], 1).int()

    def nll(
        self,
        tokens: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"],
        state: State | None = None,
    ) -> tuple[Float[Tensor, "B T"], State]:
        path = self._read(tokens, state)
        asked = targets != IGNORE
        self._check_ids(targets[asked])
        words = targets.long().where(asked, 0).flatten()
        loss = -self._score(path, words).view_as(targets)
        return loss.where(asked, 0).float(), _after(path, tokens, None)

    def _read(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None,
        last: Int[Tensor, " B"] | None = None,
    ) -> Path:
        """The longest match that ends at every token, rows after rows; or at token `last` of each row."""
        self._check_ids(tokens)
        before = self.init_state(tokens.shape[0]) if state is None else state
        place, matched = before.long().unbind(1)
        # the words of the match again, right before the tokens, and at least one column of NOTHING
        back = torch.arange(int(matched.max()) + 1, 0, -1, device=tokens.device)
        known = self.text[(place[:, None] - back + 1).clamp(min=0)].long()
        words = torch.cat([known.where(back <= matched[:, None], NOTHING), tokens.long()], 1)
        rows = torch.arange(len(words), device=tokens.device)
        if last is None:
            ends = torch.arange(len(back), words.shape[1], device=tokens.device)
            rows, ends = rows.repeat_interleave(len(ends)), ends.repeat(len(rows))
        else:
            ends = last.long() + len(back)
        return walk(self._edges(), words, rows, ends)

    def _edges(self) -> Edges:
        return Edges(
            self.edge_keys, self.edge_node, self.edge_length, self.edge_at, self.text, self.bits
        )

    def _log_between(self, path: Path, inside: Tensor) -> Float[Tensor, " I"]:
        """log of what the context lengths since the last node leave, where the match ends within an edge."""
        return self.log_left[path.length[inside]] - self.log_left[path.base[inside]]

    def _score(self, path: Path, words: Int[Tensor, " Q"]) -> Float[Tensor, " Q"]:
        """Log-probability of one word after each match, in float64."""
        score = self.unigram[words]
        for queries, nodes in path.steps:
            place, found = find(self.pair_keys, (nodes << self.bits) | words[queries])
            backed_off = score[queries] + self.node_left[nodes]
            score[queries] = self.pair_logp[place].double().where(found, backed_off)
        inside = path.inside.nonzero()[:, 0]
        left = self._log_between(path, inside)
        query, word, kinds = self._continuations(path, inside)
        score[inside] += left
        hit = word == words[inside[query]]
        query, kinds = query[hit], kinds[hit]
        own = (-left[query].expm1()).log() - kinds.log()
        score[inside[query]] = torch.logaddexp(score[inside[query]], own)
        return score

    def _distribution(self, path: Path) -> Float[Tensor, "Q V"]:
        """Log-probabilities of all words, from the empty context to the longest match."""
        inside = path.inside.nonzero()[:, 0]
        between = self._log_between(path, inside)
        # log of what longer contexts leave to the node of each step
        left = torch.zeros(len(path.node), dtype=torch.float64, device=self.text.device)
        left[inside] = between
        remains = []
        for queries, nodes in reversed(path.steps):
            remains.append(left[queries].float())
            left[queries] += self.node_left[nodes]
        out = (self.unigram + left[:, None]).float()
        for queries, nodes in path.steps:
            owner, place, word = entries(self.pair_keys, nodes, self.bits)
            out[queries[owner], word] = self.pair_logp[place] + remains.pop()[owner]
        query, word, kinds = self._continuations(path, inside)
        own = (-between[query].expm1()).log() - kinds.log()
        where = inside[query], word
        out[where] = torch.logaddexp(out[where], own.float())
        return out

    def _continuations(
        self, path: Path, inside: Int[Tensor, " I"]
    ) -> tuple[Int[Tensor, " E"], Int[Tensor, " E"], Float[Tensor, " E"]]:
        """Words seen after the matches that end within an edge: whose, which, and how many kinds it has."""
        onward = path.onward[inside]
        once = (onward < 0).nonzero()[:, 0]
        owner, _, word = entries(self.pair_keys, onward, self.bits)
        words = torch.cat([word, self.text[path.at[inside[once]] + 1].long()])
        query = torch.cat([owner, once])
        kinds = torch.bincount(query, minlength=len(inside))
        return query, words, kinds[query].double()

    def _fill(self, text: Array, tree: ContextTree, smoothed: Smoothed) -> None:
        self._put("unigram", torch.from_numpy(smoothed.unigram))
        self._put("text", torch.from_numpy(text.astype(np.int32)))
        values = {"pair_logp": smoothed.logp, "node_left": smoothed.left}
        for name, kind in TABLES.items():
            array = values[name] if name in values else getattr(tree, name)
            self._put(name, ended(array.astype(kind, copy=False)))

    def _put(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor.to(self.unigram.device))

    def _check_ids(self, ids: Tensor) -> None:
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.vocab_size:
            raise ValueError(
                f"token ids run from {int(ids.min())} to {int(ids.max())}, "
                f"wanted 0 to {self.vocab_size - 1} (vocab_size {self.vocab_size})"
            )

    def _load_from_state_dict(self, state_dict, prefix, *rest) -> None:
        """The tables take the size of those that are loaded; vocabulary and longest match must agree."""
        resize_buffers(self, state_dict, prefix, FIXED)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _after(path: Path, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, " B"] | None) -> State:
    pointers = torch.stack([path.at, path.length], 1).int().unflatten(0, tokens.shape)
    return last_real(pointers, lengths).clone()
