"""Bracketed trees: reading, binary form, drawing, scoring, and a grammar counted from them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqstate.core.spec import Spec
from seqstate.model import build_model
from seqstate.states._grammar.counting import count_trees
from seqstate.states.table_pcfg import (
    TablePCFG,
    Tree,
    binary,
    draw,
    read_tree,
    read_trees,
    score_brackets,
    unbinary,
    word_ids,
)
from seqstate.text.brackets import brackets

PENN = """# newdoc id = 1
( (S (NP-SBJ-1 (DT The) (JJ hidden) (NN state)) (VP (VBZ is) (VP (VBN carried) (NP (-NONE- *-1)))) (. .)) )
(ROOT (FRAG (NP=2 (NN Xpd †XPCS) (-LRB- -LRB-) (NN x) (-RRB- -RRB-))))
( (S (NP (-NONE- *PRO*))) )
"""


@pytest.fixture
def trees(tmp_path):
    path = tmp_path / "two.tree"
    path.write_text(PENN, encoding="utf-8")
    return read_trees(path)


def test_a_bracket_file_is_read_without_traces_wrappers_and_function_tags(trees):
    assert [str(tree) for tree in trees] == [
        "(S (NP (DT The) (JJ hidden) (NN state)) (VP (VBZ is) (VP (VBN carried))) (. .))",
        "(FRAG (NP (NN Xpd_†XPCS) (-LRB- -LRB-) (NN x) (-RRB- -RRB-)))",
    ]
    assert trees[0].leaves() == ["The", "hidden", "state", "is", "carried", "."]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("(S (NP x)", "wanted 1 more '\\)'"),
        ("(S (NP x)))", "found '\\)' without its '\\('"),
        ("word (S x)", "found 'word' outside brackets"),
    ],
)
def test_unbalanced_brackets_are_refused_in_one_line(tmp_path, text, wanted):
    path = tmp_path / "broken.tree"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=wanted):
        read_trees(path)


def test_binary_form_joins_chains_and_branches_to_the_right(trees):
    assert str(binary(trees[0])) == (
        "(S (NP (DT The) (@NP (JJ hidden) (NN state))) (@S (VP (VBZ is) (VP+VBN carried)) (. .)))"
    )


labels = st.sampled_from(["S", "NP", "VP"])
any_tree = st.recursive(
    st.builds(
        lambda tag, word: Tree(tag, (word,)),
        st.sampled_from(["DT", "NN"]),
        st.text("ab", min_size=1),
    ),
    lambda below: st.builds(
        lambda label, children: Tree(label, tuple(children)),
        labels,
        st.lists(below, min_size=1, max_size=4),
    ),
    max_leaves=12,
)


@given(any_tree)
def test_binary_form_can_be_undone(tree):
    folded = binary(tree)
    assert unbinary(folded) == tree
    assert all(len(node.children) == 2 or node.is_preterminal for node in folded.nodes())


def test_a_tree_is_drawn_one_line_a_node():
    tree = read_tree("(S (NP (DT the) (NN state)) (VP (VBZ evolves)))")
    assert draw(tree).splitlines() == [
        "S",
        "├─ NP",
        "│  ├─ DT the",
        "│  └─ NN state",
        "└─ VP",
        "   └─ VBZ evolves",
    ]


def test_trivial_and_repeated_spans_and_punctuation_are_no_brackets():
    tree = read_tree("(S (NP (NP (DT a) (NN b))) (VP (V c) (NP (D d) (N e) (, ,))) (. .))")
    assert brackets(tree) == {(0, 2), (2, 6), (3, 6)}
    # without punctuation the last two lose a word; the sentence is a b c d e
    assert brackets(tree, ignore=[",", "."]) == {(0, 2), (2, 5), (3, 5)}


def test_unlabelled_f1_of_a_known_case():
    gold = read_tree("(S (NP (D a) (N b)) (VP (V c) (NP (D d) (N e))) (. .))")
    parse = read_tree("(X (X (X a) (X b)) (X (X (X (X c) (X d)) (X e)) (X .)))")
    score = score_brackets([parse, gold], [gold, gold])
    # the full stop taken out: ours are 0-2 2-5 2-4, theirs 0-2 2-5 3-5
    assert score.precision == pytest.approx(100 * 5 / 6)
    assert score.recall == pytest.approx(100 * 5 / 6)
    assert score.sentence_f1 == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert (score.sentences, score.brackets) == (2, 6)
    with pytest.raises(ValueError, match="a parse has 1 words, its gold tree 6"):
        score_brackets([Tree("X", ("a",))], [gold])


def test_counted_tables_are_smoothed_relative_frequencies():
    treebank = [
        read_tree(text) for text in ("(S (A x) (B y))", "(S (A x) (A x))", "(S (A x) (B y))")
    ]
    ids = word_ids(treebank, min_count=1)
    assert ids == {"<doc>": 0, "<unk>": 1, "x": 2, "y": 3}
    encoded = [tree.map_words(ids.__getitem__) for tree in treebank]
    counts = count_trees(encoded, 4, {0}, 1)
    assert (counts.nonterminals, counts.preterminals) == (("S",), ("A", "B"))
    for table in (counts.roots, counts.rules.flatten(1), counts.words):
        torch.testing.assert_close(table.sum(-1), torch.ones_like(table.sum(-1)))
        assert (table[..., 1:] > 0).all()
    # S -> A B: (2 + 2 q) / (3 + 2), q = P(left A) P(right B), each (count + kinds / 3) / (3 + kinds)
    left_a, right_b = (3 + 1 / 3) / 4, (2 + 2 / 3) / 5
    assert counts.rules[0, 1, 2].item() == pytest.approx((2 + 2 * left_a * right_b) / 5)
    # A -> x: (4 + P(x)) / (4 + 1), P(x) = (4 + 2 / 3) / (6 + 2)
    assert counts.words[0, 2].item() == pytest.approx((4 + (4 + 2 / 3) / 8) / 5)
    assert (counts.words[:, 0] == 0).all()
    assert counts.roots[0].item() == pytest.approx(0.25 / 4)


def test_a_counted_grammar_parses_what_it_has_seen_and_generates_words_with_its_frequencies():
    texts = [
        "(S (NP (DT the) (NN cat)) (VP (VBZ sees) (NP (DT the) (NN dog))))",
        "(S (NP (DT the) (NN dog)) (VP (VBZ sleeps)))",
        "(S (NP (NP (DT the) (NN cat)) (PP (IN of) (NP (DT the) (NN dog)))) (VP (VBZ sleeps)))",
    ]
    treebank = [read_tree(text) for text in texts for _ in range(5)]
    ids = word_ids(treebank)
    model = TablePCFG.from_trees(
        [tree.map_words(ids.__getitem__) for tree in treebank], vocab_size=len(ids)
    )
    words = {i: word for word, i in ids.items()}
    for text in texts:
        tree = read_tree(text)
        parse = model.parse([ids[word] for word in tree.leaves()])
        assert unbinary(parse.map_words(words.get)) == tree
    first = model(torch.tensor([[0]]))[0].softmax(-1)[0, 0]
    assert words[int(first.argmax())] == "the"
    tokens = torch.tensor([[ids[word] for word in ("<doc>", "the", "dog", "sleeps")]])
    after = model(tokens)[0].softmax(-1)[0]
    assert after[-1].argmax() == 0  # the sentence is over
    assert after[1, ids["cat"]] + after[1, ids["dog"]] > 0.9


def test_a_counted_grammar_is_rebuilt_from_its_spec_and_weights():
    treebank = [read_tree("(S (NP (DT the) (NN cat)) (VP (VBZ sleeps)))")] * 6
    ids = word_ids(treebank)
    counted = TablePCFG.from_trees(
        [tree.map_words(ids.__getitem__) for tree in treebank], vocab_size=len(ids)
    )
    spec = Spec(
        "table_pcfg",
        {"nonterminals": ("NP", "S"), "preterminals": ("DT", "NN", "VP+VBZ")},
    )
    again = build_model(str(spec), vocab_size=len(ids))
    again.load_state_dict(counted.state_dict())
    assert again.names == counted.names
    assert again.parse([2, 3, 4]) == counted.parse([2, 3, 4])


def test_rare_chain_labels_are_cut():
    often = [read_tree("(S (NP (N x)) (VP (V y)))")] * 3
    rare = [read_tree("(S (QP (N x)) (VP (S (VP (V y) (N x)))))")]
    ids = word_ids(often, min_count=1)
    counts = count_trees([tree.map_words(ids.__getitem__) for tree in often + rare], 4, {0}, 2)
    assert counts.preterminals == ("N", "NP+N", "V", "VP+V")
    assert counts.nonterminals == ("S", "VP")


def test_a_name_of_both_kinds_is_told_apart():
    tree = read_tree("(NN (NN x) (NN (NN y) (NN x)))").map_words({"x": 1, "y": 2}.get)
    model = TablePCFG.from_trees([tree], vocab_size=3)
    assert model.names == ["NN", "NN/word"]
    with pytest.raises(ValueError, match="a name stands for two symbols"):
        TablePCFG(vocab_size=3, nonterminals=("NN",), preterminals=("NN",))


def test_leaves_that_are_no_words_are_refused_in_one_line():
    with pytest.raises(ValueError, match="found the leaf 'x', wanted a word id below 5"):
        TablePCFG.from_trees([read_tree("(S (A x) (B y))")], vocab_size=5)
    with pytest.raises(ValueError, match="found the leaf 0, wanted a word id"):
        TablePCFG.from_trees([Tree("S", (Tree("A", (0,)), Tree("B", (1,))))], vocab_size=5)
    with pytest.raises(ValueError, match="found no trees"):
        TablePCFG.from_trees([], vocab_size=5)


def test_the_perplexity_of_the_training_trees_is_that_of_their_frequencies():
    # two sentences, equally often: ln 2 nats for the choice, hardly more for the smoothing
    treebank = [read_tree(text) for text in ("(S (A x) (B y))", "(S (C z) (D w))")] * 500
    ids = word_ids(treebank)
    model = TablePCFG.from_trees(
        [tree.map_words(ids.__getitem__) for tree in treebank], vocab_size=len(ids)
    )
    tokens = torch.tensor([[0, ids["x"], ids["y"], 0], [0, ids["z"], ids["w"], 0]])
    nats = model.nll(tokens[:, :-1], tokens[:, 1:])[0].sum(1)
    assert nats.tolist() == pytest.approx([math.log(2)] * 2, abs=0.05)
