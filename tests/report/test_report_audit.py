"""The audit's section and the lines of the bits: drawn where they were recorded, and nowhere else."""

import dataclasses
import json

import plotly.graph_objects as go
import pytest
from report.builder import HOSTILE, fake_run, fake_runs
from report.reader import read

from seqstate.core.record import Reading
from seqstate.report.audit import FLOOR
from seqstate.report.page import html
from seqstate.report.sections import SECTIONS
from seqstate.report.summary import ladders


def audit(bound=None, rank=64, contexts=100, never=3, seed=0):
    """Readings as `seqstate audit --record` leaves them, with lists that differ from seed to seed."""
    spectrum = [10.0 * 0.8**i for i in range(rank)] + [1e-20] * (90 - rank)
    declared = [] if bound is None else [Reading("rank_bound", bound, "dimensions")]
    tags = {"words": [seed, 1, 2], "found": never + seed, "note": f"note {seed}"}
    name = "argmax_unwitnessed" if bound is None else "unargmaxable"
    return (
        *declared,
        Reading(
            "logit_rank", rank, "dimensions", contexts, tags={"spectrum": spectrum, "note": ""}
        ),
        Reading("eps_rank_kl", 7 + seed, "dimensions", contexts),
        Reading("top_m_witnessed", 0.25, "share of sets of 4", 60, 0.01, {"m": 4, "note": ""}),
        Reading(name, never / 200, "share of words", 200, None, tags),
        Reading("gradient_lost", 0.9321, "share of squared norm", 255, 0.001),
        Reading("pattern_bound", 12.5, "bit", tags={"note": f"{seed} words"}),
    )


def audited_runs():
    linear = [fake_run(seed=seed, extra=audit(33, 33, seed=seed)) for seed in range(2)]
    return [*linear, fake_run(energy="mos", extra=audit(None, 90)), fake_run(energy="minimum")]


def section(runs, name):
    [ladder] = ladders(runs)
    models = {row.label: index for index, row in enumerate(ladder.rows)}
    found = [made for one in SECTIONS if (made := one(ladder, models)) and made.name == name]
    return found[0] if found else None


def test_a_page_without_a_spectrum_has_no_audit():
    assert section(fake_runs(1), "audit") is None
    plain = fake_run(extra=(Reading("logit_rank", 33, "dimensions"),))
    assert section([plain], "audit") is None
    names = [line["name"] for line in section([plain], "instruments").content["lines"]]
    assert names == ["logit_rank"]


def test_spectra_are_drawn_on_a_log_scale_with_declared_ranks_marked():
    [figure] = section(audited_runs(), "audit").figures
    go.Figure([{k: v for k, v in t.items() if k != "meta"} for t in figure.data])
    assert figure.layout["yaxis"]["type"] == "log"
    roles = sorted(trace["meta"]["role"] for trace in figure.data)
    assert roles == ["line", "line", "rule"]
    [rule] = [trace for trace in figure.data if trace["meta"]["role"] == "rule"]
    assert rule["x"] == [33, 33]
    for line in figure.data:
        assert max(line["y"]) == 1 and min(line["y"]) >= FLOOR
    assert figure.caption == (
        "Singular values of the centred log-probabilities at 100 contexts, the largest set to 1: the ranks "
        "go from 33 (lstm + inner) to 90 (lstm + mos); dotted, the rank a head declares."
    )


def test_the_table_says_what_is_proved_and_what_is_a_bound():
    lines = section(audited_runs(), "audit").content["lines"]
    cells = {line["row"].config.energy: line["cells"] for line in lines}
    assert cells["inner"] == ["33", "33", "–", "7.50", "25.0 %", "–", "3 of 200", "93.2 %"]
    assert cells["mos"] == ["–", "90", "–", "7", "25.0 %", "–", "≤ 3 of 200", "93.2 %"]


def test_seeds_share_their_lines_whatever_their_notes_and_lists_say():
    lines = section(audited_runs(), "instruments").content["lines"]
    assert [line["name"] for line in lines] == ["pattern_bound"]
    assert [stat.count for stat in lines[0]["stats"] if stat] in ([2, 1], [1, 2])


def test_names_stay_text_in_the_audit():
    run = fake_run(HOSTILE, HOSTILE, extra=audit(33, 33))
    tree = read(html([run]))
    assert "<script>" in tree.one("section", id="audit").text
    assert not tree.all("img")
    figure = json.loads(tree.one("script", id="figures").text)["figures"]["plot-spectrum"]
    assert "<" not in figure["data"][0]["name"]


@pytest.mark.parametrize("broken", [[], "x", [0.0, 0.0], ["a", 1], [float("nan")], None])
def test_a_spectrum_that_is_none_is_left_out(broken):
    reading = Reading("logit_rank", 3, "dimensions", tags={"spectrum": broken})
    assert section([fake_run(extra=(reading,))], "audit") is None


def with_bits(run, kind, saturation, temperature):
    names = [f"{kind}_bit_saturation", f"{kind}_bit_temperature"]
    curve = [
        {**point, names[0]: saturation * (i + 1) / len(run.curve), names[1]: temperature}
        for i, point in enumerate(run.curve)
    ]
    return dataclasses.replace(
        run, curve=curve, readings=[*run.readings, Reading(names[0], 0.4, "1")]
    )


def test_bits_are_followed_through_the_training():
    runs = [
        with_bits(fake_run(energy="multi_hamming(groups=8)"), "match", 0.4, 0.5),
        with_bits(fake_run(energy="soft_bits"), "word", 0.125, 3.25),
        fake_run(energy="inner"),
    ]
    shares, temperatures = section(runs, "instruments").figures
    ends = [trace["y"][-1] for trace in shares.data if trace["meta"]["role"] == "line"]
    assert sorted(ends) == [12.5, 40.0]
    assert shares.caption.endswith(
        "at the end between 12.5 % (lstm + soft_bits) and 40.0 % (lstm + multi_hamming)."
    )
    assert temperatures.caption.endswith(
        "at the end between 0.500 (lstm + multi_hamming) and 3.25 (lstm + soft_bits)."
    )
    for figure in (shares, temperatures):
        go.Figure([{k: v for k, v in t.items() if k != "meta"} for t in figure.data], figure.layout)
    alone = section(runs[:1], "instruments").figures[0].caption
    assert alone.endswith(": lstm + multi_hamming ends at 40.0 %.")
    assert not section([fake_run(extra=audit())], "instruments").figures
    read(html(runs))


def test_a_record_of_one_measure_gets_one_figure():
    run = with_bits(fake_run(), "match", 0.4, float("nan"))
    assert [figure.name for figure in section([run], "instruments").figures] == ["bit_saturation"]
