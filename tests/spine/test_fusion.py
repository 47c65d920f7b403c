"""A fusion is a language model like any other, and its weights are those that fit held-out text."""

import copy
import inspect
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import test_states as laws
from laws.grid import BATCH, TIME, VOCAB, awake, build_language_model
from laws.measures import SeqstateReader

from seqstate.core.model import IGNORE, LanguageModel
from seqstate.core.state import state_bytes
from seqstate.evaluate import evaluate
from seqstate.fusing import best_constant, descend, listen
from seqstate.fusion import FLOOR, Fusion, features
from seqstate.generate import Sampling, generate

MEMBERS = [
    ("ngram(order=3)", None),
    ("lstm", "inner"),
    ("cache(window=5, match=2, strength=3.0)", None),
    ("attention(layers=1, window=4)", "inner"),
]
KINDS = list(itertools.product(["global", "confidence", "context"], ["linear", "geometric"]))
OF_ANY_MODEL = [
    law
    for name, law in vars(laws).items()
    if name.startswith("test_")
    and list(inspect.signature(law).parameters) == ["reader"]
    and law is not laws.test_every_parameter_gets_a_finite_gradient  # members are fixed
]


def built(weights, mix):
    members = [build_language_model(*pair) for pair in MEMBERS]
    fusion = Fusion(members, weights=weights, mix=mix)
    awake(fusion.gate)
    return fusion


@pytest.mark.parametrize("kind", KINDS[:1] + KINDS[3:], ids=" ".join)
@pytest.mark.parametrize("law", OF_ANY_MODEL, ids=lambda law: law.__name__)
def test_the_laws_of_language_models_hold(law, kind):
    law(SeqstateReader(built(*kind), torch.randint(VOCAB, (BATCH, TIME))))


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_the_loss_in_pieces_is_that_of_the_logits_and_only_the_gate_learns(kind, monkeypatch):
    fusion, tokens = built(*kind), torch.randint(VOCAB, (BATCH, TIME + 1))
    targets = tokens[:, 1:].clone()
    targets[1, 3] = IGNORE
    logits, _ = fusion(tokens[:, :-1])
    wanted = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), targets, reduction="none", ignore_index=IGNORE
    )
    monkeypatch.setattr("seqstate.fusion.TILE", 2 * BATCH * VOCAB * len(MEMBERS))
    nats, state = fusion.nll(tokens[:, :-1], targets)
    torch.testing.assert_close(nats, wanted, atol=1e-5, rtol=1e-5)
    assert state_bytes(state) == state_bytes(fusion(tokens[:, :-1])[1])
    nats.sum().backward()
    for name, parameter in fusion.named_parameters():
        assert (parameter.grad is not None) == name.startswith("gate."), name
        assert parameter.grad is None or parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_the_mix_is_the_formula_word_by_word(kind):
    fusion, tokens = built(*kind), torch.randint(VOCAB, (2, 5))
    with torch.no_grad():
        mixed = fusion(tokens)[0].double().softmax(-1)
        said = torch.stack([one(tokens)[0].log_softmax(-1) for one in fusion.members], -2)
        weights = fusion.gate(features(said), tokens).double()
    for b, t in itertools.product(range(2), range(5)):
        chances = said[b, t].double().exp()
        if kind[1] == "linear":
            share = weights[b, t].exp() / weights[b, t].exp().sum()
            expected = sum(share[i] * chances[i] for i in range(len(MEMBERS)))
        else:
            product = torch.ones(VOCAB, dtype=torch.float64)
            for i in range(len(MEMBERS)):
                product = product * chances[i] ** weights[b, t, i]
            expected = product / product.sum()
        torch.testing.assert_close(mixed[b, t], expected, atol=1e-6, rtol=1e-4)


def test_features_are_entropy_height_and_distance_from_the_average():
    said = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]).log()
    found = features(said)
    average = [0.375, 0.375, 0.25]
    away = [
        sum(p * np.log(p / q) for p, q in zip(row, average, strict=True) if p)
        for row in ([0.5, 0.5, 0.0], [0.25, 0.25, 0.5])
    ]
    wanted = [[np.log(2), np.log(0.5), away[0]], [1.5 * np.log(2), np.log(0.5), away[1]]]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float32))


def test_a_word_a_member_rules_out_is_no_nan_in_any_mix():
    never = torch.tensor([[1.0, 0.0], [0.5, 0.5]]).log()
    for mix in ("linear", "geometric"):
        fusion = built("context", mix)
        fusion.gate = awake(Fusion(list(fusion.members)[:2], weights="context", mix=mix).gate)
        mixed = fusion.mixed(never, torch.tensor(3)).softmax(-1)
        mixed.log().sum().backward()
        assert mixed.isfinite().all()
        assert all(one.grad.isfinite().all() for one in fusion.gate.parameters())
    assert FLOOR < -20


def test_greedy_generation_is_that_of_the_whole_text_read_again():
    fusion = built("context", "linear")
    text = [1, 2, 3]
    with torch.no_grad():
        for drawn in generate(fusion, [text.copy()], tokens=6, sampling=Sampling(temperature=0)):
            assert fusion(torch.tensor([text]))[0][0, -1].argmax() == drawn[0]
            text.append(int(drawn[0]))


@given(st.lists(st.floats(-12, -0.01), min_size=30, max_size=60), st.integers(2, 4))
def test_no_constant_weights_fit_better_than_those_found(nats, members):
    own = torch.tensor(nats[: len(nats) // members * members]).view(-1, members)
    best = best_constant(own)
    assert best.exp().sum() == pytest.approx(1, abs=1e-4)
    found = (own + best).logsumexp(-1).mean()
    others = torch.rand(200, 1, members, generator=torch.Generator().manual_seed(0))
    others = torch.cat([others / others.sum(-1, keepdim=True), torch.eye(members)[:, None]])
    assert found >= (own + others.log()).logsumexp(-1).mean(-1).max() - 1e-4


class Knows(LanguageModel):
    """Knows what follows some words, and nothing of the others; memory: how much it has read."""

    def __init__(self, words):
        super().__init__()
        self.vocab_size = 8
        table = torch.full((8, 8), 1 / 8)
        for word in words:
            table[word] = 0.02 / 7
            table[word, (3 * word + 1) % 8] = 0.98
        self.register_buffer("table", table.log())

    def init_state(self, batch_size):
        return torch.zeros(batch_size, 1)

    def forward(self, tokens, state=None, lengths=None):
        return self.table[tokens], self.init_state(len(tokens))


def walk(size, seed):
    """Text whose words follow the rule of `Knows` with probability 0.98 - 1/400."""
    draw = np.random.default_rng(seed)
    ids = [0]
    for _ in range(size):
        ids.append((3 * ids[-1] + 1) % 8 if draw.random() < 0.975 else int(draw.integers(8)))
        if draw.random() < 0.1:
            ids[-1] = int(draw.integers(8))
    return np.array(ids)


@pytest.mark.parametrize("mix", ["linear", "geometric"])
def test_weights_by_context_follow_who_knows_and_constant_ones_cannot(mix):
    nats = {}
    for weights in ("global", "confidence", "context"):
        torch.manual_seed(0)
        fusion = Fusion([Knows([0, 1, 2, 3]), Knows([4, 5, 6, 7])], weights=weights, mix=mix)
        heard = listen(fusion, walk(3000, 1), context=16, carry=True)
        fusion.gate.standardise(heard.features)
        with torch.no_grad():
            best = best_constant(heard.own)
            fusion.gate.score.copy_(best.exp() if mix == "geometric" else best)
        descend(fusion, heard, seed=0)
        nats[weights] = evaluate(fusion, walk(3000, 2), 1).nats_per_token
    alone = evaluate(Knows([0, 1, 2, 3]), walk(3000, 2), 1).nats_per_token
    knows_all = evaluate(Knows(range(8)), walk(3000, 2), 1).nats_per_token
    assert nats["global"] < alone
    if mix == "linear":  # a product leaves the word to the one that is sure, whatever its weights
        assert nats["context"] < nats["global"] - 0.2
        assert nats["confidence"] < nats["global"] - 0.2
    assert nats["context"] < knows_all + 0.02


@pytest.mark.parametrize("carry", [True, False])
def test_members_are_heard_as_they_will_be_read(carry):
    fusion = built("context", "geometric")
    ids = np.random.default_rng(0).integers(0, VOCAB, 203)
    heard = listen(fusion, ids, context=16, carry=carry)
    nats = heard.nats(fusion, slice(None)).detach()
    expected = evaluate(fusion, ids, 1, context=16, carry=carry).nats
    if carry:
        assert torch.equal(heard.targets, torch.from_numpy(ids[1:]))
        np.testing.assert_allclose(nats, expected, atol=1e-5)
    else:  # the first half window, which is read with little before it, teaches nothing
        count = len(nats)
        np.testing.assert_allclose(nats, expected[8 : 8 + count], atol=1e-5)
        assert count >= 180


def test_a_long_text_is_heard_in_rows_and_forgotten_beginnings_do_not_teach(monkeypatch):
    monkeypatch.setattr("seqstate.fusing.LONG", 100)
    monkeypatch.setattr("seqstate.fusing.WARMUP", 30)
    fusion = built("global", "linear")
    ids = np.random.default_rng(0).integers(0, VOCAB, 401)
    assert len(listen(fusion, ids, context=16, carry=True).own) == 400 - 3 * 30


def test_members_stay_in_evaluation_mode_and_untouched():
    fusion = built("context", "linear")
    before = copy.deepcopy(fusion.members.state_dict())
    fusion.train()
    assert fusion.gate.training
    assert not any(member.training for member in fusion.members)
    heard = listen(fusion, np.random.default_rng(0).integers(0, VOCAB, 300), context=8, carry=True)
    descend(fusion, heard, seed=0)
    assert all(torch.equal(before[k], v) for k, v in fusion.members.state_dict().items())


@pytest.mark.parametrize(
    ("members", "options", "said"),
    [
        ([5], {}, "found 1 models"),
        ([5, 7], {}, "vocabularies of 5 and 7 tokens"),
        ([5, 5], {"weights": "magic"}, "weights='magic'"),
        ([5, 5], {"mix": "harmonic"}, "mix='harmonic'"),
    ],
)
def test_what_cannot_be_fused_is_said_in_one_line(members, options, said):
    models = [build_language_model("ngram(order=2)", None, vocab_size=size) for size in members]
    with pytest.raises(ValueError, match=said) as caught:
        Fusion(models, **options)
    assert "\n" not in str(caught.value)
