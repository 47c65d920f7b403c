"""What is special to each task: its definition by a slow twin, its shape, what it refuses."""

import itertools
import math

import pytest
import torch
from reference import tasks as slow

from seqstate.core.model import IGNORE
from seqstate.instruments import LogitRank
from seqstate.tasks import MQAR, Brackets, Copy, HighRank, KHop, SpamLang, Tree
from seqstate.tasks.tree import NAMES, evaluate


def test_copy_asks_for_each_symbol_in_turn_after_the_bar():
    batch = Copy(length=4, symbols=5).sample(3, 0)
    assert batch.tokens.shape == (3, 9)
    for tokens, targets, place in zip(
        batch.tokens, batch.targets, batch.tags["place"], strict=True
    ):
        assert tokens[4] == 5
        assert torch.equal(tokens[:4], tokens[5:])
        assert targets.tolist() == [IGNORE] * 4 + tokens[:4].tolist() + [IGNORE]
        assert place.tolist() == [-1] * 4 + [0, 1, 2, 3] + [-1]


def test_mqar_is_zoology_s_layout():
    task = MQAR(vocab=40, length=32, pairs=6)
    batch = task.sample(50, 0)
    keys, values = batch.tokens[:, 0:12:2], batch.tokens[:, 1:12:2]
    assert keys.min() >= 1 and keys.max() < 20 and values.min() >= 20
    for row in range(50):
        assert len(set(keys[row].tolist())) == len(set(values[row].tolist())) == 6
        queried = torch.nonzero(batch.targets[row] != IGNORE).flatten()
        assert len(queried) == 6 and (queried % 2 == 0).all() and queried.min() >= 12
        answers = slow.recall(batch.tokens[row].tolist(), 6)
        assert [answers[t] for t in queried] == batch.targets[row, queried].tolist()
        for t in queried.tolist():
            first = batch.tokens[row].tolist().index(int(batch.tokens[row, t]))
            assert batch.tags["distance"][row, t] == t - first


def test_mqar_gaps_follow_their_power_law():
    task = MQAR(vocab=40, length=84, pairs=1, power=0.01)  # 41 places
    first = (task.sample(4000, 0).targets != IGNORE).int().argmax(1)
    weights = [k ** (0.01 - 1) for k in range(1, 42)]
    for place in (0, 1, 5):
        share, wanted = (first == 2 + 2 * place).double().mean(), weights[place] / sum(weights)
        assert abs(share - wanted) < 4 * math.sqrt(wanted / 4000)


def test_mqar_without_filler_is_silent_between_queries():
    batch = MQAR(filler=False).sample(4, 0)
    silent = batch.targets == IGNORE
    silent[:, :16] = False
    assert (batch.tokens[silent] == 0).all()


@pytest.mark.parametrize("hops", [1, 2, 3, 5])
def test_khop_is_its_definition(hops):
    batch = KHop(hops=hops, length=40, symbols=4).sample(10, hops)
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        assert targets == slow.hop(tokens, hops)
        assert all(a != b for a, b in itertools.pairwise(tokens))


def test_khop_mixed_tells_the_number_of_hops_first():
    task = KHop(hops=3, length=30, symbols=4, mixed=True)
    batch = task.sample(40, 0)
    assert task.vocab_size == 8
    seen = set()
    for row, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        hops = row[0] - 4
        seen.add(hops)
        assert targets == [IGNORE, *slow.hop(row[1:], hops)]
    assert seen == {0, 1, 2, 3}
    assert torch.equal(batch.tags["hops"][:, 0], batch.tokens[:, 0] - 4)


def test_khop_pointers_lead_to_the_answer_of_one_hop():
    batch = KHop(hops=1, length=30).sample(10, 0)
    known = batch.tags["pointer"] >= 0
    assert torch.equal(known, batch.targets != IGNORE)
    found = batch.tokens.gather(1, batch.tags["pointer"].clamp(min=0))
    assert torch.equal(found[known], batch.targets[known])


def test_brackets_are_balanced_and_closers_match_at_their_distance():
    task = Brackets(kinds=3, depth=4, length=60)
    batch = task.sample(30, 0)
    assert batch.tags["depth"].min() == 0 and batch.tags["depth"].max() == 4
    for row in range(30):
        text = [*batch.tokens[row].tolist(), int(batch.targets[row, -1])]
        stack = []
        for t, token in enumerate(text):
            if token < 3:
                stack.append((token, t))
                assert t == 0 or batch.tags["distance"][row, t - 1] == -1
            else:
                kind, since = stack.pop()
                assert token == 3 + kind
                assert batch.tags["distance"][row, t - 1] == t - 1 - since
            if t < 60:
                assert batch.tags["depth"][row, t] == len(stack)
    assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])


def test_brackets_of_depth_one_have_half_the_entropy_of_their_kinds():
    # open, close, open, close ...: every second target is a kind drawn anew
    task = Brackets(kinds=8, depth=1, length=10)
    assert task.entropy == pytest.approx(math.log(8) / 2)
    assert task.chance == pytest.approx(1 / 16)


def test_high_rank_has_full_rank_and_its_entropy():
    task = HighRank(symbols=12, length=5)
    readings = {r.name: r.value for r in LogitRank().of_logits(task.log_matrix)}
    assert readings["logit_rank"] == 11
    matrix = task.log_matrix.exp()
    torch.testing.assert_close(task.stationary @ matrix, task.stationary)
    assert task.entropy == pytest.approx(
        -(task.stationary[:, None] * matrix * task.log_matrix).sum()
    )
    assert torch.equal(HighRank(symbols=12).log_matrix, task.log_matrix)
    assert not torch.equal(HighRank(symbols=12, table=1).log_matrix, task.log_matrix)


def test_high_rank_is_sampled_from_its_table():
    task = HighRank(symbols=4, length=50, sharpness=1.0)
    batch = task.sample(400, 0)
    pairs = 4 * batch.tokens + batch.targets
    counts = torch.bincount(pairs.flatten(), minlength=16).view(4, 4).double()
    shares = counts / counts.sum(1, keepdim=True)
    spread = (task.log_matrix.exp() / counts.sum(1, keepdim=True)).sqrt()
    assert ((shares - task.log_matrix.exp()).abs() < 4.5 * spread).all()


def text_of(row):
    return " ".join(NAMES[token] for token in row if NAMES[token] != "_")


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_tree_values_and_heights_are_those_of_the_expression(depth):
    batch = Tree(depth=depth, arity=4, branching=0.4).sample(40, depth)
    for row, targets, heights in zip(
        batch.tokens.tolist(), batch.targets.tolist(), batch.tags["height"].tolist(), strict=True
    ):
        closed = [t for t, token in enumerate(row) if NAMES[token] == "]"]
        assert [t for t, target in enumerate(targets) if target != IGNORE] == closed
        assert targets[closed[-1]] == slow.list_value(text_of(row))
        assert max(heights) == heights[closed[-1]] == depth
        assert min(heights[t] for t in closed) == 1


def test_tree_asks_for_every_inner_list_as_for_a_whole_one():
    row = [
        NAMES.index(word)
        for word in ["[MAX", "3", "[SM", "4", "9", "]", "[MED", "1", "8", "2", "4", "]", "]"]
    ]
    values, heights = evaluate(row)
    assert [v for v in values if v != IGNORE] == [3, 3, 3]
    assert [h for h in heights if h != -1] == [1, 1, 2]


def test_spam_lang_says_what_it_said():
    batch = SpamLang(symbols=50, length=6).sample(30, 0)
    assert (batch.tokens == batch.tokens[:, :1]).all()
    assert torch.equal(batch.tokens, batch.targets)
    assert len(batch.tokens[:, 0].unique()) > 10


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Copy(symbols=1), "symbols >= 2"),
        (lambda: MQAR(length=20, pairs=8), "pairs <= length / 4"),
        (lambda: MQAR(vocab=12, pairs=8), "try vocab=18"),
        (lambda: KHop(symbols=2), "symbols >= 3"),
        (lambda: Brackets(opening=1.0), "0 < opening < 1"),
        (lambda: HighRank(sharpness=0.0), "sharpness > 0"),
        (lambda: Tree(arity=1), "arity <= 4"),
        (lambda: SpamLang(symbols=1), "symbols >= 2"),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(build, words):
    with pytest.raises(ValueError, match=words) as caught:
        build()
    assert "\n" not in str(caught.value)
