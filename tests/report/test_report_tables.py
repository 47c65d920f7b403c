"""The ladder in a terminal, in Markdown and as data."""

import io
import json
import os
import subprocess
import sys

import pytest
from report.builder import corpus, fake_run, fake_runs, gates
from rich.console import Console

from seqstate.report import table, table_json, table_markdown


def printed(runs, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table(runs, width))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [36, 48, 60, 80, 100, 140, 200])
def test_a_table_fits_its_terminal_and_keeps_the_score(width):
    text = printed(fake_runs(3), width)
    assert max(map(len, text.splitlines())) <= width
    assert "1.718" in text and "±0.002" in text and "…" not in text


def test_a_hundred_columns_hold_everything():
    text = printed(fake_runs(3), 100)
    for wanted in ("402 k", "1.31 KiB", "2.354", "5.11", "24.8 k", "82.6", "620"):
        assert wanted in text, wanted


def test_columns_leave_in_order_of_need_as_room_shrinks():
    wide, middle, narrow = (printed(fake_runs(1), width) for width in (100, 70, 45))
    assert "82.6" in wide and "82.6" not in middle
    assert "KiB" in middle and "KiB" not in narrow


def test_the_best_is_marked_and_what_seeds_do_not_tell_apart():
    lines = printed(fake_runs(3), 160).splitlines()
    assert [line for line in lines if line.startswith("★  lstm(width=168) + multi_hamming")]
    assert [line for line in lines if line.startswith("≈  attention(layers=4, width=84) + mos")]
    assert "seeds 0, 1, 2" in lines[-1]


def test_one_row_has_no_best():
    assert "★" not in printed([fake_run()], 100)


def test_names_are_not_read_as_console_markup():
    text = printed([fake_run("[red]lstm[/red]", "inner", about=corpus("[bold]x"))], 120)
    assert "[red]lstm[/red] + inner" in text and "[bold]x" in text


def test_corpora_are_stacked_each_with_its_own_best():
    text = printed(fake_runs(1) + fake_runs(1, about=corpus("pepys", id="beef")), 120)
    assert text.count("★  ") == 2
    assert text.index("corpus beef") < text.index("corpus c0ffee12")


def test_data_say_what_was_measured_with_units_and_counts():
    rows = json.loads(json.dumps(table_json(fake_runs(3, extra=gates(64, 0.7)))))
    assert [row["rank"] for row in rows] == list(range(1, 8))
    assert [row["best"] for row in rows] == [True] + [False] * 6
    score = rows[0]["readings"]["bits_per_byte"]
    assert score["unit"] == "bit/byte" and score["seeds"] == 3 and score["spread"] > 0
    assert rows[-1]["counted"] and rows[-1]["energy"] is None
    assert {one["name"] for one in rows[0]["instruments"]} == {"gate_saturation", "logit_rank"}


def test_markdown_has_as_many_cells_in_every_line():
    text = table_markdown([*fake_runs(2), fake_run("odd|name", "a`b\nc")])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 8
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "★ fewest bits per byte" in text


def test_importing_the_report_imports_nothing_heavy():
    code = (
        "import sys, seqstate.report as report; report.render; "
        "late = {'torch'} & set(sys.modules); assert not late, late"
    )
    light = "import sys, seqstate.report; late = {'torch', 'plotly', 'jinja2', 'rich'} & set(sys.modules); "
    for program in (code, light + "assert not late, late"):
        subprocess.run([sys.executable, "-c", program], check=True, env=os.environ, timeout=60)
