"""Penn brackets on the command line: counted, trained on as words, parsed, measured; faults get one line."""

from __future__ import annotations

import json

import pytest

NOUNS, VERBS = ("cat", "dog", "man", "sea"), ("sees", "hears", "likes")


def treebank(count: int, start: int = 0) -> str:
    """Subject, verb, object; traces, function tags and a wrapper now and then, trees over two lines."""
    trees = []
    for number in range(start, start + count):
        one, other = NOUNS[number % 4], NOUNS[(number // 4) % 4]
        place = f" (PP (IN by) (NP (DT the) (NN {NOUNS[number % 3]})))" if number % 3 == 0 else ""
        subject = f"(NP-SBJ-1 (DT the) (NN {one}){place})"
        said = f"(VP (VBZ {VERBS[number % 3]})\n  (NP (DT the) (NN {other})) (NP (-NONE- *T*-1)))"
        trees.append(f"( (S {subject} {said} (. .)) )")
    return "# a comment\n" + "\n".join(trees) + "\n"


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trees")
    (folder / "train.mrg").write_text(treebank(48))
    (folder / "test.ptb").write_text(treebank(12, start=48))
    return folder


@pytest.fixture(scope="module")
def grammar(trees):
    """Trained once, through the library's main, as the fixtures of a module cannot be the function's own."""
    from seqstate.cli import main

    out = trees / "grammar"
    if not out.exists():
        command = ["train", trees / "train.mrg", "--valid", trees / "test.ptb"]
        assert main([*map(str, command), "--state", "table_pcfg", "--out", str(out)]) == 0
    return out


def test_trees_are_counted_and_parses_beat_what_needs_no_grammar(seqstate, trees, grammar):
    settled = json.loads((grammar / "config.json").read_text())
    assert "nonterminals=('@NP', '@S', 'NP', 'PP', 'S', 'VP')" in settled["state"]
    assert settled["ends"] == []
    code, out, err = seqstate("evaluate", grammar, trees / "test.ptb", "--json")
    assert code == 0, err
    found = json.loads(out)
    # only where "by" attaches is not told by the flat noun phrase
    assert 95 < found["parse_f1_corpus"] < found["parse_f1"] < 100
    baselines = ("right_branching_f1", "left_branching_f1", "random_trees_f1")
    assert all(10 < found[name] < 80 for name in baselines)
    assert found["nats_per_token"] < 1.2
    record = json.loads((grammar / "run.json").read_text())
    named = {reading["name"]: reading for reading in record["readings"]}
    assert named["parse_f1"]["value"] == pytest.approx(found["parse_f1"])
    assert named["parse_f1"]["count"] == 12
    code, out, _ = seqstate("evaluate", grammar, trees / "test.ptb")
    assert "best tree" in out
    assert "12 gold trees" in out


def test_a_sentence_is_parsed_drawn_and_its_likelihood_sampled(seqstate, grammar):
    code, out, err = seqstate("parse", grammar, "the cat sees the dog .", "--brackets")
    assert code == 0, err
    gold = "(S (NP (DT the) (NN cat)) (VP (VBZ sees) (NP (DT the) (NN dog))) (. .))"
    assert out.strip() == gold
    code, out, _ = seqstate("parse", grammar, "the cat sees the dog .")
    assert "├─ NP" in out
    assert "best tree" in out
    ask = ["parse", grammar, "the cat sees the dog .", "--samples", 3, "--estimate", 300, "--json"]
    code, out, _ = seqstate(*ask, "--seed", 4)
    (found,) = json.loads(out)
    assert len(found["trees"]) == 3
    estimate = found["estimate"]
    assert abs(estimate["log_prob"] - found["log_prob"]) < 5 * estimate["stderr"] + 1e-4
    assert seqstate(*ask, "--seed", 4)[1] == out


@pytest.mark.parametrize(
    "state", ["pcfg(nonterminals=3, preterminals=4, width=8)", "ngram(order=3)"]
)
def test_other_states_read_the_words(seqstate, trees, tmp_path, state):
    model, quick = tmp_path / "model", ["--steps", 6, "--batch-size", 2, "--context", 16]
    code, out, err = seqstate(
        "train", trees / "train.mrg", "--state", state, *quick, "--out", model
    )
    assert code == 0, err
    assert "space tokens" in err
    assert "of 48 trees" in err
    assert ("best tree" in out) == state.startswith("pcfg")
    code, out, err = seqstate("generate", model, "--tokens", 12)
    assert code == 0, err
    assert set(out.split()) <= {"the", "by", ".", *NOUNS, *VERBS, "<unk>"}
    code, out, _ = seqstate("evaluate", model, trees / "test.ptb", "--json")
    assert ("parse_f1" in json.loads(out)) == state.startswith("pcfg")


def test_words_of_several_tokens_are_nodes_of_their_own(seqstate, trees, tmp_path):
    model = tmp_path / "model"
    train = ["train", trees / "train.mrg", "--valid", trees / "test.ptb", "--state", "table_pcfg"]
    code, _, err = seqstate(*train, "--tokenizer", "bpe", "--vocab-size", 270, "--out", model)
    assert code == 0, err
    code, out, err = seqstate("evaluate", model, trees / "test.ptb", "--json")
    assert code == 0, err
    assert json.loads(out)["parse_f1"] > 75  # right-branching: 57


def test_a_grammar_learnt_from_text_is_scored_on_trees_its_full_stops_left_out(
    seqstate, trees, tmp_path
):
    text = tmp_path / "text.txt"
    text.write_text("The cat sees the dog. The man hears the sea. " * 60)
    state = "pcfg(nonterminals=3, preterminals=4, width=8)"
    quick = ["--tokenizer", "word", "--steps", 3, "--batch-size", 2, "--context", 16]
    code, _, err = seqstate("train", text, "--state", state, *quick, "--out", tmp_path / "model")
    assert code == 0, err
    code, out, err = seqstate("evaluate", tmp_path / "model", trees / "test.ptb", "--json")
    assert code == 0, err
    assert 0 <= json.loads(out)["parse_f1"] <= 100
    code, out, _ = seqstate("parse", tmp_path / "model", "the cat sees.", "--brackets")
    assert out.count("(T") == 3  # the full stop closes the sentence


def test_faults_get_one_clear_line(seqstate, trees, grammar, book, tmp_path):
    broken, stray = tmp_path / "broken.ptb", tmp_path / "stray.tree"
    broken.write_text(treebank(3) + "( (S (NP (DT the)\n(NN cat))\n")
    stray.write_text(treebank(2) + "word\n")
    (tmp_path / "deep.ptb").write_text("(X " * 5000 + "a" + ")" * 5000)
    (tmp_path / "few.ptb").write_text("".join(f"(S (A {'a' * 400}) (B b{i}))\n" for i in range(4)))
    (tmp_path / "text.txt").write_text(book.read_text())
    out = ["--out", tmp_path / "no"]
    table = ["--state", "table_pcfg"]
    cases = [
        (["train", broken, *table, *out], "broken.ptb, line 8: a tree begins here"),
        (["train", stray, *table, *out], "stray.tree, line 6: found 'word' outside brackets"),
        (["train", tmp_path / "deep.ptb", *out], "more than 200 brackets deep"),
        (["train", tmp_path / "few.ptb", *table, *out], "4 trees, too few to hold out 10%"),
        (["train", trees / "test.ptb", book, *out], "holds trees, "),
        (["train", trees / "train.mrg", "--valid", book, *out], "one is trees"),
        (
            ["train", trees / "train.mrg", "--pairs", "a,b", *out],
            "holds trees; pairs are read from",
        ),
        (
            ["train", trees / "train.mrg", "--state", "table_pcfg(nonterminals=9)", *out],
            "decide nonterminals of table_pcfg",
        ),
        (["evaluate", grammar, broken], "broken.ptb, line 8"),
        (["parse", grammar, " "], "there is no word in ' '"),
        (["parse", grammar, "the cat", "--samples", "-1"], "--samples -1 is below 0"),
        (["parse", grammar, "the cat", "--estimate", "1"], "no standard error"),
    ]
    for command, said in cases:
        code, printed, err = seqstate(*command)
        assert code == 2, (command, err)
        assert said in err, (command, err)
        assert err.strip().splitlines()[-1].startswith("seqstate: error:")
        assert "Traceback" not in printed + err
    assert not (tmp_path / "no").exists()


def test_what_is_no_grammar_does_not_parse(seqstate, trees, tmp_path):
    train = ["train", trees / "train.mrg", "--state", "ngram(order=2)", "--out", tmp_path / "model"]
    assert seqstate(*train)[0] == 0
    code, _, err = seqstate("parse", tmp_path / "model", "the cat")
    assert code == 2
    assert "draws no trees" in err
