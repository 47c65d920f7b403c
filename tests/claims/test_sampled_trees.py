"""The verdict of the claim on sampled trees, on made-up records; its pooled estimates; one trial."""

import numpy as np
import pytest

from seqstate.claims.sampled_trees import (
    GROUP,
    PROPOSALS,
    SENTENCES,
    WORDS,
    SampledTrees,
    pooled,
)
from seqstate.core.claim import TrialRecord
from seqstate.core.record import Reading
from seqstate.text.store import prepare

NAMES = ("percent_1000", "tenth_1000", "covered_100", "error_1000", "stderr_1000", "cost", "needed")


def record(proposal, words, percent, covered, sentence=0):
    values = dict.fromkeys(NAMES, 0.5) | {"percent_1000": percent, "covered_100": covered}
    values["needed"] = 99.5 if words == WORDS[-1] else 10.0
    settings = {"corpus": "bank", "proposal": proposal, "samples": 1000, "sentence": sentence}
    settings |= {"shortest": words[0], "longest": words[1]}
    return TrialRecord(settings, [Reading(n, value, "1") for n, value in values.items()], 1.0)


def records(flattened, uniform=(0.0, 0.2), sentences=SENTENCES):
    """flattened, uniform: share within 1 % and share covered, at every length."""
    given = {"flattened": flattened, "uniform": uniform}
    return [
        record(proposal, words, *given[proposal], sentence)
        for proposal in PROPOSALS
        for words in WORDS
        for sentence in range(sentences)
    ]


@pytest.mark.parametrize(
    ("flattened", "uniform", "holds"),
    [
        ((1.0, 0.95), (0.0, 0.2), True),
        ((0.0, 0.2), (1.0, 0.95), True),  # either proposal will do
        ((1.0, 0.8), (0.0, 0.2), False),  # near, but the error told is not to be believed
        ((0.9, 0.95), (0.0, 0.2), False),  # believed, but not near
        ((1.0, 0.8), (0.9, 0.95), False),  # one of the two each
    ],
)
def test_one_proposal_is_to_be_near_and_believed(flattened, uniform, holds):
    verdict = SampledTrees().verdict(records(flattened, uniform))
    assert verdict.holds is holds
    assert len(verdict.table) == len(WORDS) * len(PROPOSALS)


def test_one_length_that_fails_is_enough_to_fail():
    found = records((1.0, 0.95))
    long = ("flattened", *WORDS[-1])
    kept = [r for r in found if (r["proposal"], r["shortest"], r["longest"]) != long]
    found = kept + [record("flattened", WORDS[-1], 1.0, 0.6, s) for s in range(SENTENCES)]
    verdict = SampledTrees().verdict(found)
    assert verdict.holds is False
    assert (
        "flattened, worst length: 100% within 1 %, 60% within 2 standard errors" in verdict.reason
    )
    assert "100 trees or more for 0.1 nats, a tree takes 0.5 times the exact sum" in verdict.reason


def test_too_few_sentences_decide_nothing():
    assert SampledTrees().verdict([]).holds is None
    assert SampledTrees().verdict(records((1.0, 0.95), sentences=SENTENCES - 1)).holds is None
    short = [one for one in records((1.0, 0.95)) if one["shortest"] == 5]
    assert SampledTrees().verdict(short).holds is None


def test_draws_pooled_are_the_estimates_of_all_their_trees():
    weights = np.random.default_rng(0).lognormal(sigma=1.5, size=(12, GROUP))
    effective = weights.sum(1) ** 2 / (weights**2).sum(1)
    error, stderr = pooled(weights.mean(1), effective, draws=4)
    whole = weights.reshape(3, 4 * GROUP)
    np.testing.assert_allclose(error, np.log(whole.mean(1)))
    spread = whole.std(1, ddof=1) / np.sqrt(whole.shape[1])
    np.testing.assert_allclose(stderr, spread / whole.mean(1))


def test_weights_without_spread_have_no_error():
    error, stderr = pooled(np.ones(6), np.full(6, float(GROUP)), draws=3)
    np.testing.assert_allclose(error, 0, atol=1e-12)
    np.testing.assert_allclose(stderr, 0, atol=1e-7)


def trees(count):
    """Sentences of six to ten words, where a phrase attaches to the verb or to the object."""
    nouns, verbs = ("cat", "dog", "man", "sea"), ("sees", "hears", "likes")
    for number in range(count):
        one, other, third = (nouns[number // 4**power % 4] for power in range(3))
        noun, phrase = f"(NP (DT the) (NN {other}))", f"(PP (IN by) (NP (DT the) (NN {third})))"
        inside = f"(NP {noun} {phrase})" if number % 3 else f"{noun} {phrase}"
        verb = f"(VP (VBZ {verbs[number % 3]}) {noun if number % 5 == 0 else inside})"
        yield f"( (S (NP (DT the) (NN {one})) {verb} (. .)) )"


def test_a_trial_from_end_to_end(tmp_path):
    bank = tmp_path / "bank.ptb"
    bank.write_text("\n".join(trees(120)))
    corpus = prepare([str(bank)], tokenizer="space", cache=tmp_path / "cache")
    claim = SampledTrees()
    flat, uniform = claim.runs([corpus.id], "small", {})
    found = [
        TrialRecord(trial.settings, claim.measure(trial, {corpus.id: corpus}, tmp_path), 1.0)
        for trial in (flat, uniform)
    ]
    for record in found:
        assert 5 <= record.value("words") <= 10
        assert -40 < record.value("log_prob") < -5
    # all trees of a sentence have the same words under the same tags, so flattened is as it was: no spread
    assert found[0].value("error_10") < 1e-3 and found[0].value("needed") < 1e-3
    # of bracketings drawn alike few are possible at all, and one of ten may be all there is
    assert 0.1 < found[1].value("stderr_10") <= 1
    assert 0.01 < found[1].value("error_100") < found[1].value("error_10")
    assert claim.verdict(found).holds is None


def test_text_and_too_few_sentences_are_refused(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sees the dog .\n" * 200)
    corpus = prepare([str(text)], tokenizer="word", cache=tmp_path / "cache")
    trial = SampledTrees().runs([corpus.id], "small", {})[0]
    with pytest.raises(ValueError, match="is text; this claim wants a treebank"):
        SampledTrees().measure(trial, {corpus.id: corpus}, tmp_path)
    bank = tmp_path / "few.ptb"
    bank.write_text("\n".join(trees(40)))
    corpus = prepare([str(bank)], tokenizer="space", cache=tmp_path / "cache")
    trial = SampledTrees().runs([corpus.id], "full", {})[-1]
    with pytest.raises(ValueError, match="has 0 held-out sentences of 31 to 40 words"):
        SampledTrees().measure(trial, {corpus.id: corpus}, tmp_path)
