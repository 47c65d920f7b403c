"""The tree distribution against every tree, one at a time, and against torch-struct."""

import collections
import warnings

import pytest
import torch
from reference.trees import all_trees, bracketing, spans, weight
from scipy.stats import chisquare

from seqstate.states._grammar.chart import Words, fill
from seqstate.states._grammar.dense import Dense
from seqstate.states._grammar.distribution import TreeDistribution
from seqstate.states._grammar.low_rank import LowRank

A, P = 2, 3


def potentials(batch=1, words=4, a=A, p=P, dtype=torch.float64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=dtype)  # noqa: E731
    return draw(batch, words, p), draw(a, a + p, a + p), draw(a + p)


def low_rank(a=A, p=P, rank=3):
    generator = torch.Generator().manual_seed(5)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    share = torch.eye(a, dtype=torch.float64) if rank == a else draw(a, rank).softmax(-1)
    return LowRank(share, draw(rank, a + p).softmax(-1), draw(rank, a + p).softmax(-1))


def table_of(rules) -> torch.Tensor:
    """The full table of any rules, one rule at a time."""
    a, s = rules.nonterminals, rules.nonterminals + rules.preterminals
    rows = [[[rules.score(i, j, k) for k in range(s)] for j in range(s)] for i in range(a)]
    return torch.tensor(rows, dtype=torch.float64)


def enumerate_trees(rules, terms, roots, length):
    """(tree, weight) of every tree over the first words of one sentence."""
    a, p = rules.nonterminals, rules.preterminals
    tables = roots.exp().tolist(), table_of(rules).tolist(), terms.exp().tolist()
    return [(tree, weight(tree, *tables, a)) for tree in all_trees(a, p, 0, length)]


KINDS = {
    "dense": lambda: Dense(potentials()[1].exp()),
    "rank": low_rank,
    "simple": lambda: low_rank(rank=A),
}


@pytest.fixture(params=KINDS)
def rules(request):
    return KINDS[request.param]()


def nested(tree, names):
    """A Tree as the reference writes it."""
    symbol = names.index(tree.label)
    if tree.is_preterminal:
        return (symbol, tree.children[0])
    return (symbol, *(nested(child, names) for child in tree.children))


def test_the_partition_is_the_sum_over_all_trees(rules):
    terms, _, roots = potentials(batch=3)
    lengths = torch.tensor([4, 1, 3])
    found = TreeDistribution(terms, rules, roots, lengths).partition
    for b, length in enumerate(lengths.tolist()):
        wanted = sum(w for _, w in enumerate_trees(rules, terms[b], roots, length))
        assert found[b].exp().item() == pytest.approx(wanted, rel=1e-12)


def test_padding_does_not_matter(rules):
    terms, _, roots = potentials(batch=2, words=5)
    short = TreeDistribution(terms[:, :3], rules, roots).partition
    padded = TreeDistribution(terms, rules, roots, torch.tensor([3, 3])).partition
    torch.testing.assert_close(short, padded, rtol=1e-14, atol=0)


def test_marginals_are_shares_of_the_trees_that_have_them(rules):
    terms, _, roots = potentials()
    a = rules.nonterminals
    tags, found = TreeDistribution(terms, rules, roots).marginals
    trees = enumerate_trees(rules, terms[0], roots, 4)
    total = sum(w for _, w in trees)
    wanted_tags, wanted = torch.zeros_like(tags[0]), torch.zeros_like(found[0])
    for tree, w in trees:
        for symbol, start, end in spans(tree):
            if end - start == 1:
                wanted_tags[start, symbol - a] += w / total
            else:
                wanted[start, end - 1] += w / total
    torch.testing.assert_close(tags[0], wanted_tags, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found[0], wanted, rtol=1e-10, atol=1e-12)


def test_the_expected_rule_counts_are_the_gradient_of_the_partition():
    terms, logs, roots = potentials()
    logs.requires_grad_()
    distribution = TreeDistribution.from_logs(terms, logs, roots)
    (found,) = torch.autograd.grad(distribution.partition.sum(), logs)
    trees = enumerate_trees(Dense(logs.detach().exp()), terms[0], roots, 4)
    total = sum(w for _, w in trees)
    wanted = torch.zeros_like(found)

    def count(tree, share):
        if len(tree) == 3:
            wanted[tree[0], tree[1][0], tree[2][0]] += share
            count(tree[1], share)
            count(tree[2], share)

    for tree, w in trees:
        count(tree, w / total)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["dense", "simple"])
def test_the_best_tree_is_the_best_of_all(kind):
    rules = KINDS[kind]()
    terms, _, roots = potentials(batch=2, words=5)
    lengths = torch.tensor([5, 2])
    distribution = TreeDistribution(terms, rules, roots, lengths)
    for b, length in enumerate(lengths.tolist()):
        tree, w = max(enumerate_trees(rules, terms[b], roots, length), key=lambda pair: pair[1])
        assert nested(distribution.argmax[b], distribution.names) == tree
        assert distribution.max[b].exp().item() == pytest.approx(w, rel=1e-12)
    torch.testing.assert_close(distribution.score(distribution.argmax), distribution.max)


def test_the_best_derivation_of_low_rank_rules_is_no_better_than_the_best_tree():
    rules = low_rank()
    terms, _, roots = potentials()
    distribution = TreeDistribution(terms, rules, roots)
    best = max(w for _, w in enumerate_trees(rules, terms[0], roots, 4))
    assert (
        0
        < distribution.max[0].exp()
        <= distribution.score(distribution.argmax)[0].exp()
        <= best + 1e-12
    )


def test_trees_are_sampled_as_often_as_they_are_likely(rules):
    terms, _, roots = potentials(words=3)
    distribution = TreeDistribution(terms, rules, roots)
    trees = dict(enumerate_trees(rules, terms[0], roots, 3))
    total, draws = sum(trees.values()), 2500
    drawn = distribution.sample(draws, torch.Generator().manual_seed(2))
    counts = collections.Counter(nested(tree, distribution.names) for (tree,) in drawn)
    assert set(counts) <= set(trees)
    expected = {tree: draws * w / total for tree, w in trees.items()}
    often = [tree for tree, e in expected.items() if e >= 6]
    rare = [tree for tree in trees if tree not in often]
    observed = [counts[tree] for tree in often] + [sum(counts[tree] for tree in rare)]
    wanted = [expected[tree] for tree in often] + [sum(expected[tree] for tree in rare)]
    assert len(often) > 10
    assert chisquare(observed, wanted).pvalue > 1e-3
    assert distribution.log_prob(drawn[0]).exp().item() == pytest.approx(
        trees[nested(drawn[0][0], distribution.names)] / total
    )


def test_longer_sentences_are_sampled_and_parsed_without_a_broken_tree(rules):
    terms, _, roots = potentials(batch=2, words=9)
    distribution = TreeDistribution(terms, rules, roots, torch.tensor([9, 6]))
    for samples in distribution.sample(3, torch.Generator().manual_seed(0)):
        for tree, length in zip(samples, (9, 6), strict=True):
            assert tree.leaves() == list(range(length))
            assert torch.isfinite(distribution.score(samples)).all()
    assert [tree.leaves() for tree in distribution.most_expected()] == [
        list(range(9)),
        list(range(6)),
    ]


def test_the_most_expected_bracketing_has_the_largest_expected_overlap():
    terms, _, roots = potentials(words=5)
    distribution = TreeDistribution(terms, Dense(potentials()[1].exp()), roots)
    shares = distribution.marginals[1][0]

    def overlap(pairs):
        return sum(shares[start, end - 1].item() for start, end in pairs if end - start > 1)

    every = {
        frozenset((start, end) for _, start, end in spans(tree)) for tree in all_trees(1, 1, 0, 5)
    }
    (found,) = distribution.most_expected()
    ours = overlap({(start, end) for _, start, end in found.spans()})
    assert len(every) == 14
    assert ours == pytest.approx(max(map(overlap, every)))


def test_sampled_bracketings_estimate_the_partition_without_bias(rules):
    terms, _, roots = potentials(batch=2, words=5)
    distribution = TreeDistribution(terms, rules, roots, torch.tensor([5, 4]))
    exact = distribution.partition.exp()
    estimate = distribution.estimate(1000, generator=torch.Generator().manual_seed(3))
    error = (estimate.log_prob.exp() - exact) / estimate.log_stderr.exp()
    assert error.abs().max() < 4
    assert (estimate.log_stderr.exp() < 0.1 * exact).all()
    assert ((estimate.effective > 10) & (estimate.effective <= 1000)).all()


def test_the_posterior_is_a_proposal_without_spread(rules):
    terms, _, roots = potentials(batch=3, words=5)
    distribution = TreeDistribution(terms, rules, roots, torch.tensor([5, 1, 2]))
    estimate = distribution.estimate(20, distribution, torch.Generator().manual_seed(3))
    torch.testing.assert_close(estimate.log_prob, distribution.partition)
    assert (estimate.log_stderr - distribution.partition < -25).all()


def test_uniform_bracketings_are_counted_by_catalan_numbers():
    terms, _, roots = potentials(batch=5, words=6)
    lengths = torch.tensor([1, 2, 4, 5, 6])
    uniform = TreeDistribution(terms, Dense(potentials()[1].exp()), roots, lengths).uniform()
    torch.testing.assert_close(
        uniform.partition.exp(), torch.tensor([1.0, 1, 5, 14, 42], dtype=torch.float64)
    )
    shapes = {bracketing(nested(tree, uniform.names)) for (*_, tree) in uniform.sample(600)}
    assert len(shapes) == 42


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_partition_and_marginals_equal_torch_struct(dtype, tolerance, by_row):
    from torch_struct import SentCFG

    a, p, batch, words = 5, 7, 4, 11
    terms, logs, roots = potentials(batch, words, a, p, dtype=dtype)
    roots, lengths = roots[:a].expand(batch, a).contiguous(), torch.tensor([11, 2, 7, 5])
    copies = logs.expand(batch, -1, -1, -1).contiguous()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = SentCFG((terms, copies, roots), lengths=lengths)
        wanted, (their_tags, their_rules, *_) = peer.partition.squeeze(0), peer.marginals
    ours = (copies if by_row else logs).clone().requires_grad_()
    distribution = TreeDistribution.from_logs(terms, ours, roots, lengths)
    torch.testing.assert_close(distribution.partition, wanted, rtol=tolerance, atol=0)
    torch.testing.assert_close(
        distribution.marginals[0], their_tags, rtol=10 * tolerance, atol=tolerance
    )
    (found,) = torch.autograd.grad(distribution.partition.sum(), ours)
    wanted = their_rules if by_row else their_rules.sum(0)
    torch.testing.assert_close(found, wanted, rtol=100 * tolerance, atol=10 * tolerance)


def test_the_best_tree_scores_as_torch_struct_says():
    from torch_struct import SentCFG

    terms, logs, roots = potentials(3, 8, 4, 5)
    roots, copies = roots[:4].expand(3, 4).contiguous(), logs.expand(3, -1, -1, -1).contiguous()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = SentCFG((terms, copies, roots)).max.squeeze(0)
    distribution = TreeDistribution.from_logs(terms, logs, roots)
    torch.testing.assert_close(distribution.max, wanted)
    torch.testing.assert_close(distribution.score(distribution.argmax), wanted)


def test_wild_potentials_neither_overflow_nor_underflow():
    terms, logs, roots = potentials(2, 30, dtype=torch.float32)
    near = TreeDistribution.from_logs(terms, logs, roots).partition
    far = TreeDistribution.from_logs(terms - 500, logs + 300, roots).partition
    torch.testing.assert_close(far, near - 30 * 500 + 29 * 300, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_chart_has_the_right_gradient_also_when_it_goes_on_from_another(kind):
    generator = torch.Generator().manual_seed(0)
    emission = torch.rand(5, 2, P, generator=generator, dtype=torch.float64).requires_grad_()
    built = KINDS[kind]()
    if kind == "dense":
        tensors = (built.table.requires_grad_(),)
        make = Dense
    else:
        tensors = tuple(x.requires_grad_() for x in (built.share, built.left, built.right))
        make = LowRank
    bonus = (1 + torch.rand(6, 2, 5, 1, generator=generator, dtype=torch.float64)).requires_grad_()

    def total(words, factors, *tables):
        rules = make(*tables)
        head = fill(rules.sums(), Words.of(words[:3].log()), bonus=factors[:4, :, 2:])
        whole = fill(rules.sums(), Words.of(words.log()), head.cells, factors)
        start, end = torch.tensor([0, 1]), torch.tensor([5, 4])
        cell, scale = whole.span(start, end)
        return cell.sum(-1).log() + scale

    assert torch.autograd.gradcheck(total, (emission, bonus, *tensors))


def test_constrained_spans_leave_only_the_trees_that_have_them():
    terms, logs, roots = potentials()
    rules = Dense(logs.exp())
    bonus = torch.ones(5, 1, 4, 1, dtype=torch.float64)
    bonus[3, 0, 4 - 2] = 0  # the span of words 1 and 2 is forbidden
    chart = fill(rules.sums(), Words.of(terms.transpose(0, 1)), bonus=bonus)
    cell, scale = chart.span(torch.tensor([0]), torch.tensor([4]))
    found = ((cell * roots[:A].exp()).sum(-1).log() + scale).exp().item()
    wanted = sum(
        w
        for tree, w in enumerate_trees(rules, terms[0], roots, 4)
        if (1, 3) not in {(start, end) for _, start, end in spans(tree)}
    )
    assert found == pytest.approx(wanted, rel=1e-12)


def test_wrong_shapes_are_refused_in_one_line():
    terms, logs, roots = potentials()
    with pytest.raises(ValueError, match="terms score 2 preterminals, but the rules have 3"):
        TreeDistribution(terms[..., :2], Dense(logs.exp()), roots)
    with pytest.raises(ValueError, match=r"lengths \[5\] are not all between 1 and 4"):
        TreeDistribution(terms, Dense(logs.exp()), roots, torch.tensor([5]))
    by_row = TreeDistribution(terms, Dense(logs.exp().expand(1, -1, -1, -1)), roots)
    with pytest.raises(ValueError, match="one shared by all rows"):
        by_row.estimate(3)
