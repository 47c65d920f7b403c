"""The training loop: it learns, stops, resumes bit-equal and refuses to go on with nonsense."""

import json
import math

import numpy as np
import pytest
import torch

from seqstate.core.record import RunConfig
from seqstate.errors import Diverged
from seqstate.material import validate
from seqstate.model import build_model
from seqstate.optimise import learning_rate
from seqstate.train import fit

VOCAB = 7


def text(size=3000, seed=0):
    """A text with structure: each token is its predecessor plus one, now and then plus two."""
    jumps = 1 + (np.random.default_rng(seed).random(size) < 0.1)
    return (np.cumsum(jumps) % VOCAB).astype(np.uint16)


def config(**changes):
    settled = dict(
        state="lstm(width=16)", energy="inner", corpus="test", steps=24, batch_size=4, context=8,
        eval_every=6, dropout=0.1,
    )  # fmt: skip
    return RunConfig(**{**settled, **changes})


def model(settled):
    torch.manual_seed(settled.seed)
    return build_model(settled.state, settled.energy, vocab_size=VOCAB, dropout=settled.dropout)


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


def killed_after(step):
    def watch(progress):
        if progress.step == step:
            raise Killed

    return watch


@pytest.mark.parametrize("state", ["lstm(width=16, layers=2)", "rnn(width=16)"])
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"carry": False}])
def test_a_killed_run_resumed_ends_with_the_same_bits(tmp_path, state, options):
    settled = config(state=state, **options)
    straight = model(settled)
    whole = fit(straight, text(), text(600, 1), settled)

    for step in (5, 13, 14):
        with pytest.raises(Killed):
            fit(
                model(settled), text(), text(600, 1), settled,
                folder=tmp_path, resume=True, watch=killed_after(step), checkpoint_seconds=0,
            )  # fmt: skip
    resumed = model(settled)
    outcome = fit(resumed, text(), text(600, 1), settled, folder=tmp_path, resume=True)
    for (name, one), other in zip(
        straight.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
    timeless = [
        [{k: v for k, v in p.items() if "seconds" not in k} for p in o.curve]
        for o in (whole, outcome)
    ]
    assert timeless[0] == timeless[1]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [6, 12, 18, 24]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    runs = []
    for seed in (3, 3, 4):
        settled = config(seed=seed)
        trained = model(settled)
        fit(trained, text(), text(600, 1), settled)
        runs.append(trained.head.weight.detach())
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_it_learns_the_structure():
    settled = config(steps=200, eval_every=50, lr=1e-2, dropout=0.0)
    trained = model(settled)
    outcome = fit(trained, text(), text(600, 1), settled)
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert outcome.curve[0]["valid_nats"] > outcome.curve[-1]["valid_nats"]
    assert validate(trained, text(2000, 2)) < entropy + 0.12


def test_the_best_weights_are_kept_when_later_ones_are_worse():
    settled = config(steps=300, eval_every=10, lr=0.03, patience=3, dropout=0.0, min_lr=1.0)
    trained = model(settled)
    noise = np.random.default_rng(0).integers(VOCAB, size=200).astype(np.uint16)
    outcome = fit(trained, noise, text(600, 1), settled)  # learning noise by heart makes it worse
    assert outcome.stopped == "patience"
    assert outcome.step < 300
    best = min(point["valid_nats"] for point in outcome.curve)
    assert outcome.curve[-1]["valid_nats"] > best
    assert validate(trained, text(600, 1), context=settled.context) == pytest.approx(best, abs=1e-6)


def test_a_loss_that_is_not_finite_stops_with_a_clear_word(tmp_path):
    settled = config(lr=1e38, clip=0.0, warmup=0.0, weight_decay=0.0)
    with pytest.raises(Diverged, match="no longer a finite number at step .* try a lower --lr"):
        fit(model(settled), text(), text(600, 1), settled, folder=tmp_path)


def test_held_out_text_with_a_loss_that_is_not_finite_stops_it_too():
    settled = config(tie=False)
    torch.manual_seed(0)
    broken = build_model(settled.state, settled.energy, vocab_size=VOCAB + 1, tie=False)
    with torch.no_grad():
        broken.embedding.weight[VOCAB] = math.nan  # a word that is held out alone
    held_out = np.append(text(600, 1), [VOCAB, 0, 1]).astype(np.uint16)
    with pytest.raises(Diverged, match="no longer a finite number at step 6"):
        fit(broken, text(), held_out, settled)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": -3}, "steps -3 is not above 0"),
        ({"steps": None, "seconds": 0.0}, "seconds 0.0 is not above 0"),
        ({"seconds": 9.0}, "exactly one of the two is set"),
        ({"batch_size": 0}, "batch_size 0 is not above 0"),
        ({"dropout": 1.0}, r"dropout 1.0 is not in \[0, 1\)"),
        ({"patience": -1}, "patience -1 is below 0"),
        ({"precision": "float64"}, "precision 'float64' is none of auto, float32, bfloat16"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_before_anything_is_done(changes, said, tmp_path):
    trained = model(config())
    with pytest.raises(ValueError, match=said):
        fit(trained, text(), text(600, 1), config(**changes), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    with pytest.raises(Killed):
        fit(model(config()), text(), text(600, 1), config(), folder=tmp_path,
            watch=killed_after(9), checkpoint_seconds=0)  # fmt: skip
    with pytest.raises(ValueError, match="unfinished run with other settings .lr differ"):
        fit(model(config()), text(), text(600, 1), config(lr=1e-4), folder=tmp_path, resume=True)


def test_a_checkpoint_of_another_version_names_the_setting_that_is_gone(tmp_path, monkeypatch):
    with monkeypatch.context() as former, pytest.raises(Killed):
        known = RunConfig.to_json
        former.setattr(RunConfig, "to_json", lambda config: known(config) | {"momentum": 0.9})
        fit(model(config()), text(), text(600, 1), config(), folder=tmp_path,
            watch=killed_after(9), checkpoint_seconds=0)  # fmt: skip
    with pytest.raises(ValueError, match="with other settings .momentum differ"):
        fit(model(config()), text(), text(600, 1), config(), folder=tmp_path, resume=True)


def test_a_counted_model_is_estimated_in_one_pass():
    settled = RunConfig(state="ngram(order=3)", energy=None, corpus="test")
    counted = build_model("ngram(order=3)", vocab_size=VOCAB)
    outcome = fit(counted, text(), text(600, 1), settled, boundary=0)
    assert len(outcome.curve) == 1
    assert outcome.curve[0]["valid_nats"] < 0.5


def test_gradient_accumulation_equals_the_large_batch():
    large, small = (
        config(batch_size=4, dropout=0.0),
        config(batch_size=2, accumulate=2, dropout=0.0),
    )
    one, other = model(large), model(small)
    fit(one, text(), text(600, 1), large)
    fit(other, text(), text(600, 1), small)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-2)


def test_the_learning_rate_warms_up_peaks_and_falls_to_its_share():
    settled = config(lr=1.0, warmup=0.1, min_lr=0.2)
    assert learning_rate(settled, 0.05) == pytest.approx(0.5)
    assert learning_rate(settled, 0.1) == pytest.approx(1.0)
    assert learning_rate(settled, 1.0) == pytest.approx(0.2)
    falling = [learning_rate(settled, share) for share in np.linspace(0.1, 1, 20)]
    assert falling == sorted(falling, reverse=True)


def test_a_time_budget_is_kept():
    settled = config(steps=None, seconds=0.3, eval_every=0)
    outcome = fit(model(settled), text(), text(600, 1), settled)
    assert outcome.wall_seconds >= 0.3
    assert outcome.step >= 1
    assert outcome.curve[-1]["step"] == outcome.step
