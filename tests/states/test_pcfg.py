"""Grammars as language models: next words against every tree and every string, sentences, and training."""

import itertools

import pytest
import torch
from laws.grid import awake
from reference.trees import all_strings, all_trees, weight

import seqstate
from seqstate.core.model import IGNORE
from seqstate.core.state import leaves, map_state, state_bytes
from seqstate.states.low_rank_pcfg import LowRankPCFG
from seqstate.states.pcfg import PCFG
from seqstate.states.simple_pcfg import SimplePCFG
from seqstate.states.table_pcfg import TablePCFG

SIZES = {"vocab_size": 4, "nonterminals": 2, "preterminals": 3}
KINDS = {
    "pcfg": lambda **more: PCFG(**{**SIZES, "width": 4, **more}),
    "table_pcfg": lambda **more: TablePCFG(**{**SIZES, **more}),
    "low_rank_pcfg": lambda **more: LowRankPCFG(**{**SIZES, "width": 4, "rank": 4, **more}),
    "simple_pcfg": lambda **more: SimplePCFG(**{**SIZES, "width": 4, **more}),
}


@pytest.fixture(params=KINDS)
def make(request):
    return lambda **more: awake(KINDS[request.param](**more)).double()


def sentence_probability(model, words) -> float:
    """P(sentence) by enumeration of every tree."""
    with torch.no_grad():
        grammar = model.grammar()
    if not words:
        return grammar.empty.item()
    a, s = grammar.rules.nonterminals, len(grammar.roots)
    rules = [
        [[grammar.rules.score(i, j, k).item() for k in range(s)] for j in range(s)]
        for i in range(a)
    ]
    terms = grammar.emission.exp().T[list(words)].tolist()
    trees = all_trees(a, s - a, 0, len(words))
    return sum(weight(tree, grammar.roots.tolist(), rules, terms, a) for tree in trees)


def stream_log_probability(model, tokens) -> torch.Tensor:
    """log P(tokens after the first), straight from the logits: nothing is renormalised."""
    logits = model(torch.tensor([tokens]))[0][0]
    return sum(logits[t, token] for t, token in enumerate(tokens[1:]))


def test_a_sentence_is_as_likely_as_all_its_trees(make):
    model = make()
    for words in ([], [2], [1, 3], [3, 1, 2], [2, 2, 1, 3]):
        found = stream_log_probability(model, [0, *words, 0]).exp().item()
        assert found == pytest.approx(sentence_probability(model, words), rel=1e-10)


def test_the_next_words_and_the_end_sum_to_one_without_normalising(make):
    model = make(vocab_size=7, nonterminals=5, preterminals=6)
    tokens = torch.randint(7, (4, 12))
    logits, state = model(tokens)
    assert logits.logsumexp(-1).abs().max() < 1e-8
    assert model.next_logits(tokens[:, :3], state)[0].logsumexp(-1).abs().max() < 1e-8


def test_a_grammar_whose_trees_may_never_end_still_has_proper_next_words():
    model = KINDS["table_pcfg"]().double()
    with torch.no_grad():
        model.rules[:, :2, :2] += 4  # most children are nonterminals: expected size infinite
    tokens = torch.tensor([[0, 1, 2, 3, 1, 2, 2]])
    assert model(tokens)[0].logsumexp(-1).abs().max() < 1e-8


def test_a_prefix_is_as_likely_as_all_strings_that_begin_with_it():
    model = KINDS["table_pcfg"](vocab_size=3, preterminals=2, max_length=20).double()
    with torch.no_grad():
        model.rules[:, 2:, 2:] += 4  # most rules end at once: short sentences
    by_length = {}
    for length in range(1, 11):
        strings = torch.tensor(list(itertools.product((1, 2), repeat=length)))
        with torch.no_grad():
            by_length[length] = strings, model.distribution(strings).partition.exp()
    total = sum(p.sum() for _, p in by_length.values()) + model.grammar().empty
    tail = (1 - total).item()
    assert 0 < tail < 1e-6
    for prefix in ([1], [2, 1], [1, 1, 2], [2, 2, 1, 2]):
        n = len(prefix)
        wanted = sum(
            p[(strings[:, :n] == torch.tensor(prefix)).all(1)].sum().item()
            for length, (strings, p) in by_length.items()
            if length >= n
        )
        found = stream_log_probability(model, [0, *prefix]).exp().item()
        assert wanted <= found <= wanted + tail


def test_all_strings_of_a_length_sum_to_one(make):
    model = make(vocab_size=3, max_length=2)
    total = sum(
        stream_log_probability(model, [0, *tokens]).exp().item()
        for tokens in all_strings(range(3), 3)
        if len(tokens) == 3
    )
    assert total == pytest.approx(1, abs=1e-10)


def test_at_the_longest_length_the_end_keeps_its_probability_and_the_rest_starts_anew(make):
    model, free = make(max_length=3), make(max_length=20)
    free.load_state_dict(model.state_dict())
    tokens = torch.tensor([[0, 1, 2, 3]])
    cut, exact = model(tokens)[0][0, -1].exp(), free(tokens)[0][0, -1].exp()
    first = model(tokens[:, :1])[0][0, -1].exp()
    assert cut[0].item() == pytest.approx(exact[0].item())
    torch.testing.assert_close(cut[1:], (1 - exact[0]) * first[1:] / first[1:].sum())
    after, _ = model(torch.tensor([[0, 1, 2, 3, 2]]))
    again, state = model(torch.tensor([[0, 2]]))
    torch.testing.assert_close(after[0, -1], again[0, -1])
    assert state["count"].tolist() == [1]


def test_an_end_token_closes_a_sentence_as_the_boundary_does(make):
    model = make(ends=(3,), vocab_size=5)
    logits, _ = model(torch.tensor([[0, 1, 2, 3, 1, 0, 3]]))
    for fresh in (3, 5, 6):
        torch.testing.assert_close(logits[0, fresh], logits[0, 0])
    chosen = model.closer.softmax(0)
    end = logits[0, 2].exp()[[0, 3]]
    torch.testing.assert_close(end / end.sum(), chosen)
    found = stream_log_probability(model, [0, 1, 2, 3]).exp() / chosen[1]
    assert found.item() == pytest.approx(sentence_probability(model, [1, 2]), rel=1e-10)


def test_the_loss_is_the_cross_entropy_of_the_logits_with_gradients(make):
    model = make(ends=(3,), vocab_size=6, max_length=4)
    tokens, targets = torch.randint(6, (3, 9)), torch.randint(6, (3, 9))
    targets[1, 2] = targets[0, 0] = IGNORE
    loss, after = model.nll(tokens, targets)
    logits, same = model(tokens)
    plain = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORE
    )
    torch.testing.assert_close(loss.flatten(), plain)
    for one, other in zip(leaves(after), leaves(same), strict=True):
        torch.testing.assert_close(one, other)
    parameters = list(model.parameters())
    ours = torch.autograd.grad(loss.sum(), parameters)
    for one, other in zip(ours, torch.autograd.grad(plain.sum(), parameters), strict=True):
        torch.testing.assert_close(one, other)


def test_the_gradient_flows_back_through_the_state(make):
    model = make(vocab_size=5)
    tokens, targets = torch.randint(1, 5, (3, 8)), torch.randint(5, (3, 8))
    tokens[1, 2] = tokens[2, 5] = 0
    parameters = list(model.parameters())
    whole = torch.autograd.grad(model.nll(tokens, targets)[0].sum(), parameters)
    first, state = model.nll(tokens[:, :3], targets[:, :3])
    second, state = model.nll(tokens[:, 3:5], targets[:, 3:5], state)
    third, _ = model.nll(tokens[:, 5:], targets[:, 5:], state)
    pieces = torch.autograd.grad(first.sum() + second.sum() + third.sum(), parameters)
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other)


def test_long_sentences_agree_in_single_and_double_precision(make):
    model = make(vocab_size=300, nonterminals=5, preterminals=9, max_length=60)
    tokens = torch.randint(1, 300, (2, 60))
    exact, _ = model(tokens)
    found, _ = model.float()(tokens)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-4)


def test_mixed_precision_does_not_touch_the_chart(make):
    model = make().float()
    tokens, targets = torch.randint(4, (2, 9)), torch.randint(4, (2, 9))
    with torch.autocast("cpu", torch.bfloat16):
        found = model.nll(tokens, targets)[0], model(tokens)[0], model.next_logits(tokens)[0]
    plain = model.nll(tokens, targets)[0], model(tokens)[0], model.next_logits(tokens)[0]
    for one, other in zip(found, plain, strict=True):
        assert torch.equal(one, other)


def test_the_state_is_as_large_as_the_open_sentence(make):
    model = make(max_length=9)
    sizes = [state_bytes(model(torch.ones(1, n, dtype=torch.long))[1]) for n in range(1, 10)]
    assert sizes[:8] == sorted(sizes[:8])
    assert sizes[7] > 4 * sizes[1]
    assert sizes[8] < sizes[0]  # the ninth word closes the sentence


def test_a_detached_state_can_be_trained_from(make):
    model = make(vocab_size=5)
    _, state = model(torch.randint(1, 5, (2, 4)))
    state = map_state(torch.Tensor.detach, state)
    model.nll(torch.randint(1, 5, (2, 3)), torch.randint(5, (2, 3)), state)[0].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_training_on_raw_strings_learns_that_brackets_match():
    # <doc> a^n b^n, n = 1 to 4. Two symbols that call each other make the depth geometric: with mean 2.5
    # its entropy is 1.683 nats a string, and nothing else is uncertain. A chain that forgets n pays more.
    model = PCFG(vocab_size=3, nonterminals=2, preterminals=2, width=16)
    strings = [[0, *[1] * n, *[2] * n] for n in range(1, 5)]
    batch = torch.tensor([(string * 9)[:9] for string in strings])
    known = torch.tensor([len(string) for string in strings])
    targets = batch.roll(-1, 1).masked_fill(torch.arange(9) >= known[:, None], IGNORE)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.06)
    for _ in range(40):
        loss = model.nll(batch, targets)[0].sum() / len(strings)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() == pytest.approx(1.683, abs=0.02)
    after = model(torch.tensor([[0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]]))[0].softmax(-1)[0]
    assert after[9, 2] > 0.98  # one b is still owed, deeper than ever seen
    assert after[10, 0] > 0.98  # none is


def test_wrong_options_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"closing ids \[0, 9\] are not all below vocab_size 4"):
        KINDS["pcfg"](ends=(9,))
    with pytest.raises(ValueError, match="all 2 ids close a sentence"):
        KINDS["pcfg"](vocab_size=2, ends=(1,))
    with pytest.raises(ValueError, match="max_length 1, wanted 2 words or more"):
        KINDS["pcfg"](max_length=1)
    with pytest.raises(ValueError, match="0 nonterminals and 3 preterminals"):
        KINDS["table_pcfg"](nonterminals=0)


def test_a_grammar_trained_on_text_closes_its_sentences_at_full_stops(tmp_path):
    text = "a dog ran . a cat sat . the dog saw a cat .\n" * 60
    trained = seqstate.fit(
        text, tokenizer="word", state="pcfg(nonterminals=2, preterminals=3, width=8)", steps=1
    )
    stop = int(trained.tokenizer.encode("a dog ran .")[-1])
    assert stop in trained.model.ends
    assert seqstate.load(trained.save(tmp_path / "model")).model.ends == trained.model.ends
    own = "pcfg(nonterminals=2, preterminals=3, width=8, ends=())"
    assert seqstate.fit(text, tokenizer="word", state=own, steps=1).model.ends == ()
