"""A distribution over the trees of given sentences, with the method names of torch-struct's SentCFG."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqstate.states._grammar.bracketing import fill_nodes
from seqstate.states._grammar.chart import Chart, Words, fill
from seqstate.states._grammar.dense import Dense
from seqstate.states._grammar.rules import Rules
from seqstate.states._grammar.topdown import best, derive, sampler, to_trees
from seqstate.text.trees import Tree


@dataclass(frozen=True)
class Estimate:
    """log P(sentence) estimated from sampled bracketings: one number a sentence."""

    log_prob: Float[Tensor, " B"]
    log_stderr: Float[Tensor, " B"]  # logarithm of the standard error of P itself
    effective: Float[Tensor, " B"]  # effective sample size, (sum w)^2 / sum w^2


class TreeDistribution:
    """All binary trees over B sentences, weighted by rules. Weights need not be probabilities.

    terms: log-weight of each preterminal at each word, [B N P]. roots: log-weights at the root, [.. A], or
    [.. S] where a sentence may be one word. lengths: words of each row (None: N).
    `partition` is log Z; trees are leaves 0..N-1 (positions) unless `words` are given.
    """

    def __init__(
        self,
        terms: Float[Tensor, "B N P"],
        rules: Rules,
        roots: Tensor,
        lengths: Int[Tensor, " B"] | None = None,
        *,
        names: list[str] | None = None,
        words: list[list] | None = None,
    ) -> None:
        batch, n, p = terms.shape
        if p != rules.preterminals:
            raise ValueError(
                f"terms score {p} preterminals, but the rules have {rules.preterminals}"
            )
        symbols = rules.nonterminals + p
        self.lengths = torch.full((batch,), n, device=terms.device) if lengths is None else lengths
        if not bool(((self.lengths >= 1) & (self.lengths <= n)).all()):
            raise ValueError(f"lengths {self.lengths.tolist()} are not all between 1 and {n}")
        if roots.shape[-1] == rules.nonterminals:
            one_word = roots.new_full((*roots.shape[:-1], p), -torch.inf)
            roots = torch.cat([roots, one_word], -1)
        self.terms, self.rules = terms, rules
        self.roots = roots.expand(batch, symbols)
        self.names = names or _names(rules)
        self.words = words
        self._shift = 0.0  # log-weight taken out of every rule

    @classmethod
    def from_logs(
        cls,
        terms: Float[Tensor, "B N P"],
        rules: Float[Tensor, "*rows A S S"],
        roots: Tensor,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> TreeDistribution:
        """From log-potentials as torch-struct's `SentCFG((terms, rules, roots), lengths)` takes them."""
        shift = rules.detach().amax()
        made = cls(terms, Dense((rules - shift).exp()), roots, lengths)
        made._shift = shift.double()
        return made

    @cached_property
    def partition(self) -> Float[Tensor, " B"]:
        """log Z: the logarithm of the summed weight of all trees; differentiable once."""
        return self._log_total(self.chart)

    @cached_property
    def max(self) -> Float[Tensor, " B"]:
        """Log-weight of the best tree (of the best derivation, where rules hide choices)."""
        with torch.no_grad():
            return self._log_total(self._best_chart, maxima=True)

    @cached_property
    def argmax(self) -> list[Tree]:
        """The best tree of each sentence (Viterbi)."""
        return self._derive(self._best_chart, 1, best, maxima=True)[0]

    @cached_property
    def marginals(self) -> tuple[Tensor, Tensor]:
        """Probability of each preterminal at each word [B N P], and of each span [B N N].

        spans[b, i, j - 1]: i..j-1 is a constituent (of two words or more). Gradients of log Z; those of the
        rules are had the same way, from `torch.autograd.grad(d.partition.sum(), rules)`.
        """
        with torch.enable_grad():
            terms = self.terms.detach().requires_grad_()
            n, batch = terms.shape[1], terms.shape[0]
            bonus = terms.new_ones(n + 1, batch, n, 1).requires_grad_()
            total = self._log_total(self._fill(terms, bonus)).sum()
            of_terms, of_cells = torch.autograd.grad(total, (terms, bonus))
        spans = terms.new_zeros(batch, n, n)
        ends, starts = torch.tril_indices(n + 1, n + 1, -1).to(terms.device)
        spans[:, starts, ends - 1] = of_cells[ends, :, n - (ends - starts), 0].T
        return of_terms, spans

    def sample(self, count: int, generator: torch.Generator | None = None) -> list[list[Tree]]:
        """`count` exact samples for each sentence: samples[k][b]."""
        return self._derive(self.chart, count, sampler(generator))

    def log_prob(self, trees: list[Tree]) -> Float[Tensor, " B"]:
        """Log-probability of one tree a sentence, given the sentence."""
        return self.score(trees) - self.partition

    def score(self, trees: list[Tree]) -> Float[Tensor, " B"]:
        """Log-weight of one binary tree a sentence; -inf if it is impossible."""
        ids = {name: i for i, name in enumerate(self.names)}
        return torch.stack([self._score(b, tree, ids) for b, tree in enumerate(trees)])

    def most_expected(self) -> list[Tree]:
        """The bracketing with the most expected correct spans (Goodman 1996), its nodes labelled `X`.

        Maximises unlabelled recall; differs from the shape of the best tree, and is as good a parse when the
        labels do not matter.
        """
        return [
            _bracket(spans.tolist(), int(length), self._leaves(b))
            for b, (spans, length) in enumerate(zip(self.marginals[1], self.lengths, strict=True))
        ]

    def estimate(
        self,
        samples: int,
        proposal: TreeDistribution | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        """log Z by importance sampling of bracketings instead of the chart.

        A bracketing b is drawn from `proposal`, a distribution over trees of the same sentences with any
        symbols of its own (None: uniform over all bracketings). Its weight is W(b) / q(b), where W(b) sums
        over all labellings of b alone, at a cost linear in the length. The mean of the weights is an unbiased
        estimate of Z; its spread is zero if the proposal is the posterior itself. Rules must be shared by all
        rows (ValueError).
        """
        proposal = proposal or self.uniform()
        if self.rules.by_row or proposal.rules.by_row:
            raise ValueError(
                "found one rule table a row; sampled estimates want one shared by all rows"
            )
        rows = torch.arange(len(self.lengths), device=self.terms.device).repeat(samples)
        labels = derive(
            proposal.rules,
            proposal.chart,
            proposal.roots.exp(),
            proposal.lengths,
            rows,
            sampler(generator),
        )
        nodes = labels >= 0
        log_weight = self._bracket_log(nodes, rows) - proposal._bracket_log(nodes, rows)
        log_weight = (log_weight + proposal.partition.detach()[rows]).view(samples, -1)
        top = log_weight.amax(0)
        weight = (log_weight - top).exp()
        mean = weight.mean(0)
        error = weight.std(0, correction=1) / samples**0.5 if samples > 1 else mean * torch.nan
        effective = weight.sum(0).square() / weight.square().sum(0)
        return Estimate(top + mean.log(), top + error.log(), effective)

    def flattened(self, power: float) -> TreeDistribution:
        """The same trees, the weights of words raised to a power: a proposal that is sure of less."""
        return TreeDistribution(power * self.terms, self.rules, self.roots, self.lengths)

    def uniform(self) -> TreeDistribution:
        """All bracketings of the same sentences with equal weight; its Z counts them (Catalan numbers)."""
        batch, n, _ = self.terms.shape
        one = self.terms.new_ones(1, 2, 2)
        return TreeDistribution(
            self.terms.new_zeros(batch, n, 1), Dense(one), one.new_zeros(2), self.lengths
        )

    @cached_property
    def chart(self) -> Chart:
        """The inside chart, with gradient."""
        return self._fill(self.terms)

    @cached_property
    def _best_chart(self) -> Chart:
        with torch.no_grad():
            return self._fill(self.terms, maxima=True)

    def _fill(self, terms: Tensor, bonus: Tensor | None = None, *, maxima: bool = False) -> Chart:
        real = torch.arange(terms.shape[1], device=terms.device)[:, None] < self.lengths
        words = Words.of(terms.transpose(0, 1), real)
        algebra = self.rules.maxima() if maxima else self.rules.sums()
        return fill(algebra, words, bonus=bonus)

    def _log_total(self, chart: Chart, maxima: bool = False) -> Float[Tensor, " B"]:
        a = self.rules.nonterminals
        cells, scale = chart.span(torch.zeros_like(self.lengths), self.lengths)
        roots = self.roots.exp()
        if maxima:
            longer = (self.rules.labels(cells, True) * roots[:, :a]).amax(-1)
            single = (chart.words.emission[0] * roots[:, a:]).amax(-1)
        else:
            longer = self.rules.total(cells, roots[:, :a])
            single = (chart.words.emission[0] * roots[:, a:]).sum(-1)
        log = torch.where(self.lengths == 1, single, longer).log().double()
        return (log + scale + self._shift * (self.lengths - 1)).to(self.terms.dtype)

    def _derive(self, chart: Chart, count: int, pick, *, maxima: bool = False) -> list[list[Tree]]:
        batch = len(self.lengths)
        rows = torch.arange(batch, device=self.terms.device).repeat(count)
        labels = derive(
            self.rules, chart, self.roots.exp(), self.lengths, rows, pick, maxima=maxima
        )
        leaves = [self._leaves(b) for b in range(batch)] * count
        trees = to_trees(labels, self.lengths[rows], self.names, leaves)
        return [trees[k * batch : (k + 1) * batch] for k in range(count)]

    def _leaves(self, row: int) -> list:
        length = int(self.lengths[row])
        return list(range(length)) if self.words is None else list(self.words[row][:length])

    def _score(self, row: int, tree: Tree, ids: dict[str, int]) -> Float[Tensor, ""]:
        a = self.rules.nonterminals
        log = self.roots[row, ids[tree.label]]
        position = 0
        for node in tree.nodes():
            symbol = ids[node.label]
            if node.is_preterminal:
                log = log + self.terms[row, position, symbol - a]
                position += 1
            else:
                left, right = (ids[child.label] for child in node.children)
                weight = self.rules.score(symbol, left, right)
                log = log + (weight if weight.ndim == 0 else weight[row]).log() + self._shift
        return log

    def _bracket_log(self, nodes: Tensor, rows: Int[Tensor, " K"]) -> Float[Tensor, " K"]:
        """log of the summed weight of all labellings of each bracketing."""
        a, words = self.rules.nonterminals, self.chart.words
        cell, scale = fill_nodes(self.rules.sums(), words, nodes, rows)
        roots, lengths = self.roots[rows].exp(), self.lengths[rows]
        single = (words.emission[0, rows] * roots[:, a:]).sum(-1).log().double() + words.scale[
            0, rows
        ]
        longer = self.rules.total(cell, roots[:, :a]).log().double() + scale
        log = torch.where(lengths == 1, single, longer) + self._shift * (lengths - 1)
        return log.to(self.terms.dtype)


def _names(rules: Rules) -> list[str]:
    return [f"N{i}" for i in range(rules.nonterminals)] + [
        f"T{i}" for i in range(rules.preterminals)
    ]


def _bracket(spans: list, length: int, leaves: list) -> Tree:
    best_sum = {(i, i + 1): 0.0 for i in range(length)}
    split = {}
    for width in range(2, length + 1):
        for i in range(length - width + 1):
            j = i + width
            at = max(range(i + 1, j), key=lambda m: best_sum[i, m] + best_sum[m, j])
            split[i, j] = at
            best_sum[i, j] = best_sum[i, at] + best_sum[at, j] + spans[i][j - 1]

    def build(i: int, j: int) -> Tree:
        if j == i + 1:
            return Tree("X", (leaves[i],))
        return Tree("X", (build(i, split[i, j]), build(split[i, j], j)))

    return build(0, length)
