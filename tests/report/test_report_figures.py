"""Figures: valid plotly, honest frames, and colours that eyes of all kinds tell apart."""

import itertools
import math

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.builder import fake_run, fake_runs, gates

from seqstate.report import figures, numerals, palette
from seqstate.report.sections import SECTIONS
from seqstate.report.summary import ladders


def sections_of(runs):
    [ladder] = ladders(runs)
    models = {row.label: index for index, row in enumerate(ladder.rows)}
    return {made.name: made for section in SECTIONS if (made := section(ladder, models))}


def drawn(runs):
    return {
        figure.name: figure for section in sections_of(runs).values() for figure in section.figures
    }


def test_every_figure_is_valid_plotly():
    found = drawn(fake_runs(2, extra=gates(64, 0.7)))
    assert set(found) == {
        "curve-tokens",
        "curve-cpu_seconds",
        "against-state_bytes",
        "against-parameters",
        "starvation",
    }
    for figure in found.values():
        go.Figure(
            data=figure.data, layout=figure.layout
        )  # raises for a property plotly does not know


def test_curves_end_at_the_last_validation_in_bits_per_byte():
    run = fake_run()
    [ladder] = ladders([run])
    data, _ = figures.learning_curves(ladder, "tokens", {ladder.rows[0].label: 0})
    line = next(trace for trace in data if trace["meta"]["role"] == "line")
    share = run.reading("bits_per_byte").value / run.reading("bits_per_token").value
    assert line["x"][-1] == run.curve[-1]["tokens"]
    assert line["y"][-1] == pytest.approx(
        run.curve[-1]["valid_nats"] / math.log(2) * share, rel=1e-5
    )
    assert len(line["x"]) == len(run.curve)


def test_a_long_curve_is_thinned_but_keeps_its_end():
    run = fake_run(points=1501)
    x, y = figures.curve(run, "tokens", 1.0)
    assert len(x) <= figures.CURVE_POINTS + 1 and x == sorted(x)
    assert (x[-1], y[-1]) == (
        run.curve[-1]["tokens"],
        pytest.approx(run.curve[-1]["valid_nats"], rel=1e-5),
    )


def test_every_end_of_a_curve_is_within_the_frame():
    figure = drawn(fake_runs(3))["curve-tokens"]
    low, high = figure.layout["yaxis"]["range"]
    ends = [trace["y"][-1] for trace in figure.data if trace["meta"]["role"] == "end"]
    assert len(ends) == 19 and all(low < y < high for y in ends)


def test_error_bars_are_the_spread_over_seeds():
    [ladder] = ladders(fake_runs(3))
    models = {row.label: index for index, row in enumerate(ladder.rows)}
    data, _ = figures.against(ladder, "state_bytes", models)
    points = {t["meta"]["model"]: t for t in data if t["meta"]["role"] == "point"}
    for row in ladder.rows:
        bar, spread = points[models[row.label]]["error_y"], row.stats["bits_per_byte"].spread
        assert bar["array"] == [pytest.approx(spread or 0.0, rel=1e-5)]
        assert bar["visible"] == (spread is not None)


SIZES = st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    min_size=1,
    max_size=6,
    unique_by=lambda p: p[1],
)


@given(SIZES)
def test_the_front_holds_the_rows_no_other_beats_with_as_little(pairs):
    runs = [
        fake_run(f"s{memory}x{bits}", "inner", bits=bits, memory=memory, points=1, tokens=1)
        for memory, bits in pairs
    ]
    [ladder] = ladders(runs)
    size, score = (
        (lambda row: row.stats["state_bytes"].mean),
        (lambda row: row.stats["bits_per_byte"].mean),
    )
    expected = [
        row
        for row in ladder.rows
        if not any(size(o) <= size(row) and score(o) < score(row) for o in ladder.rows)
    ]
    assert sorted(map(id, figures.front(ladder.ranked, "state_bytes"))) == sorted(map(id, expected))


def test_a_row_without_state_is_named_not_drawn():
    figure = drawn([*fake_runs(1), fake_run("unigram", None, memory=0)])["against-state_bytes"]
    assert "unigram" not in [trace.get("name") for trace in figure.data]
    assert "not drawn, for want of any: unigram" in figure.caption


@given(st.floats(0, 8), st.floats(0.5, 6))
def test_ticks_are_few_and_within_the_axis(start, reach):
    decades = [start, start + reach]
    for ticks, most in ((figures._byte_ticks(decades), 7), (figures._count_ticks(decades), 6)):
        assert 1 <= len(ticks["tickvals"]) <= most and len(ticks["tickvals"]) == len(
            ticks["ticktext"]
        )
        assert all(
            decades[0] - 1e-9 <= math.log10(tick) <= decades[1] + 1e-9 for tick in ticks["tickvals"]
        )


# linear sRGB under full colour blindness, Machado et al. 2009
EYES = {
    "normal": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    "protanope": [
        0.152286,
        1.052583,
        -0.204868,
        0.114503,
        0.786281,
        0.099216,
        -0.003882,
        -0.048116,
        1.051998,
    ],
    "deuteranope": [
        0.367322,
        0.860646,
        -0.227968,
        0.280085,
        0.672501,
        0.047413,
        -0.01182,
        0.04294,
        0.968881,
    ],
    "tritanope": [
        1.255528,
        -0.076749,
        -0.178779,
        -0.078411,
        0.930809,
        0.147602,
        0.004733,
        0.691367,
        0.3039,
    ],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    part = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    x, y, z = XYZ @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    f = [np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("hues", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_colours_stay_apart_for_all_eyes(hues, eyes):
    seen = [lab(np.reshape(EYES[eyes], (3, 3)) @ linear(hue)) for hue in hues]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= 20


@pytest.mark.parametrize(("hues", "paper"), [(palette.LIGHT, "#ffffff"), (palette.DARK, "#14171c")])
def test_colours_stand_out_from_the_page(hues, paper):
    def bright(colour):
        return (XYZ @ linear(colour))[1] + 0.05

    for hue in hues:
        light, dark = max(bright(hue), bright(paper)), min(bright(hue), bright(paper))
        assert light / dark >= 2.85, hue


def test_looks_are_all_different_and_the_first_eight_differ_without_colour():
    looks = [palette.look(index) for index in range(256)]
    assert len(set(looks)) == 256
    assert len({one.symbol for one in looks[:8]}) == 8 and {one.dash for one in looks[:8]} == {
        "solid"
    }


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (numerals.size, 32, "32 B"),
        (numerals.size, 1023.9, "1.00 KiB"),
        (numerals.size, 360_448, "352 KiB"),
        (numerals.short, 999, "999"),
        (numerals.short, 402_113, "402 k"),
        (numerals.short, 999_700, "1.00 M"),
        (numerals.figures, 12_345.6, "12,300"),
        (numerals.figures, 0.00012345, "0.000123"),
        (numerals.gap, 0.0004, "0.0004"),
        (numerals.spread, 0.0001, "<0.001"),
        (numerals.duration, 342, "5 min 42 s"),
        (numerals.duration, 7380, "2 h 3 min"),
    ],
)
def test_numbers_are_written_to_be_read(write, value, text):
    assert write(value) == text
