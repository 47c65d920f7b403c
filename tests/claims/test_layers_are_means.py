"""The verdict of the claim on the mean field, on made-up records, and what its readings must obey."""

import random

import pytest
import torch

from seqstate.claims.layers_are_means import (
    CONTEXT,
    GRAPHS,
    LAYERS,
    OPTIONS,
    ROWS,
    LayersAreMeans,
    hardened,
    held_out,
    readings_of,
)
from seqstate.core.claim import TrialRecord
from seqstate.core.record import Reading
from seqstate.model import build_model
from seqstate.text.store import prepare


def record(layers, kl, mixture, text="diary", seed=0):
    found = {"nats_mean": 2.0, "nats_map": 3.0, "nats_sample": 2.5, "nats_mixture": mixture}
    found |= {"kl_mixture": kl, "kl_all": kl, "kl_sample": 0.4, "graph_sharpness": 0.4}
    found |= {"kl_draws_4": 0.1, "kl_draws_16": 0.03}
    settings = {"corpus": text, "layers": layers, "graphs": GRAPHS, "seed": seed}
    return TrialRecord(settings, [Reading(name, value, "1") for name, value in found.items()], 1.0)


def records(kl=0.005, mixture=2.01, seeds=(0, 1)):
    return [record(layers, kl, mixture, seed=seed) for layers in LAYERS for seed in seeds]


@pytest.mark.parametrize(
    ("kl", "mixture", "holds"),
    [
        (0.005, 2.01, True),
        (0.011, 2.01, False),
        (0.005, 2.03, False),
        (0.005, 1.97, False),
    ],  # better is apart, too
)
def test_the_mean_over_graphs_is_to_be_near_in_both_ways(kl, mixture, holds):
    assert LayersAreMeans().verdict(records(kl, mixture)).holds is holds


def test_one_depth_in_one_seed_is_enough_to_fail():
    verdict = LayersAreMeans().verdict([*records(), record(3, 0.2, 2.01, seed=2)])
    assert verdict.holds is False
    assert (
        "2 layers: KL up to 0.0050, nats 0.50% apart; 3 layers: KL up to 0.2000" in verdict.reason
    )
    assert (
        "one sampled graph takes 25% to 25% more nats, the likeliest 50% to 50%" in verdict.reason
    )


def test_too_few_seeds_decide_nothing():
    assert LayersAreMeans().verdict([]).holds is None
    assert LayersAreMeans().verdict(records(seeds=(0,))).holds is None
    shallow = [one for one in records() if one["layers"] < 3]
    assert LayersAreMeans().verdict(shallow).holds is None


def model_of(layers, sharpness):
    """Attention of some layers with weights of some size, all its heads of one sharpness (logarithm)."""
    model = build_model(f"attention({OPTIONS.format(layers)})", "inner", vocab_size=11).eval()
    with torch.no_grad():
        for weight in model.states.parameters():
            weight.mul_(2)
        for layer in model.states.layers:
            layer.log_sharpness.fill_(sharpness)
    return model


def values(model, layers, graphs=16):
    ids = torch.randint(11, (ROWS, 13), generator=torch.Generator().manual_seed(1))
    return {one.name: one.value for one in readings_of(model, layers, ids, graphs)}


def test_graphs_that_are_certain_are_all_one():
    found = values(model_of(2, sharpness=14.0), 2)
    for name, value in found.items():
        wanted = found["nats_mean"] if name.startswith("nats") else 0
        assert value == pytest.approx(wanted, abs=2e-3), name


def test_uncertain_graphs_part_and_draws_inside_the_layers_close_the_gap():
    found = values(model_of(2, sharpness=-3.0), 2, graphs=64)
    assert found["kl_sample"] > 0.05
    assert found["kl_sample"] > 2 * found["kl_draws_4"] > 4 * found["kl_draws_16"] > 0
    assert found["kl_half"] > found["kl_all"] > found["kl_mixture"]
    assert found["nats_mixture"] < found["nats_sample"]  # Jensen's inequality
    assert abs(found["nats_map"] - found["nats_mean"]) > 1e-3


def test_a_hard_reader_has_the_weights_of_the_soft_one():
    model = model_of(1, sharpness=0.0)
    hard = hardened(model, 1, "map")
    assert all(torch.equal(w, hard.state_dict()[name]) for name, w in model.state_dict().items())
    assert not hard.training


def test_a_trial_from_end_to_end(tmp_path):
    draw, text = random.Random(0), tmp_path / "text.txt"
    text.write_text("".join(draw.choices("abcd efg\n", k=6000)), encoding="utf-8")
    corpus = prepare([str(text)], tokenizer="char", cache=tmp_path / "cache")
    assert held_out(corpus).shape[0] == ROWS and held_out(corpus).shape[1] <= CONTEXT + 1
    claim = LayersAreMeans()
    trials = claim.runs([corpus.id], "small", {})
    assert [trial.settings["layers"] for trial in trials] == list(LAYERS)
    readings = claim.measure(trials[1], {corpus.id: corpus}, tmp_path / "work")
    record = TrialRecord(trials[1].settings, readings, 1.0)
    assert 1 < record.value("nats_mean") < 4
    assert record.value("nats_mixture") < record.value("nats_sample")
    assert claim.verdict([record]).holds is None
