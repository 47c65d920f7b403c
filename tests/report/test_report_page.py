"""The page: one file that asks for nothing, escapes everything, and leaves out what it has no data for."""

import dataclasses
import itertools
import json
import math
import re
import time

import pytest
from plotly.offline import get_plotlyjs
from report.builder import CHINESE, HOSTILE, LADDER, corpus, fake_run, fake_runs, gates
from report.reader import read

from seqstate.report import render
from seqstate.report.page import SCRIPTS, STYLES, html

ALL = [
    "asked",
    "ladder",
    "curves",
    "memory",
    "surprise",
    "samples",
    "starvation",
    "instruments",
    "reproduce",
]


def page(runs, title=None):
    """(text without plotly's script, its tree)"""
    text = html(runs, title).replace(get_plotlyjs(), "")
    return text, read(text)


@pytest.fixture(scope="module")
def whole():
    return page(fake_runs(3, extra=gates(64, 0.7)))


def sections(tree):
    return [node.attributes["id"] for node in tree.one("main").all("section")]


def test_all_sections_are_there_with_data_for_all(whole):
    assert sections(whole[1]) == ALL


def test_plotly_is_inlined_once():
    text = html([fake_run()])
    assert text.count(get_plotlyjs()) == 1


def test_nothing_is_loaded_from_outside(whole):
    text, tree = whole
    for node in tree.walk():
        if node.tag in (
            "script",
            "img",
            "link",
            "iframe",
            "video",
            "audio",
            "source",
            "object",
            "embed",
        ):
            assert not {"src", "href", "srcset", "data"} & set(node.attributes), node.tag
        if node.tag == "a":
            assert node.attributes["href"].startswith("#")
    assert not re.search(r"@import|url\(|https?:", text)
    policy = tree.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
    assert (
        policy.startswith("default-src 'none'")
        and "http" not in policy
        and "unsafe-eval" not in policy
    )


def test_ids_are_unique_and_every_link_has_its_target(whole):
    _, tree = whole
    ids = [node.attributes["id"] for node in tree.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    links = [node.attributes["href"][1:] for node in tree.all("a")]
    assert set(ALL) <= set(links) <= set(ids)


def test_every_figure_has_a_caption_with_numbers_and_every_table_a_caption(whole):
    _, tree = whole
    assert len(tree.all("figure")) == 5 + 1 + 7
    for figure in tree.all("figure"):
        caption = figure.one("figcaption").text
        assert caption.strip()
        for plot in figure.all("div", class_="plot"):
            assert re.search(r"\d", caption) and caption.strip().endswith(".")
            assert plot.attributes["role"] == "img" and len(plot.attributes["aria-label"]) > 40
    for table in tree.all("table"):
        assert table.one("caption").text.strip()


def test_headings_do_not_skip_a_level(whole):
    levels = [int(node.tag[1]) for node in whole[1].walk() if re.fullmatch("h[1-6]", node.tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_every_plot_of_the_page_has_its_data(whole):
    _, tree = whole
    data = json.loads(tree.one("script", id="figures").text)
    plots = {node.attributes["id"] for node in tree.all("div", class_="plot")}
    assert plots == set(data["figures"]) and len(plots) == 5
    assert {
        node.attributes["data-log"] for node in tree.all("button") if "data-log" in node.attributes
    } == {
        "plot-curve-tokens",
        "plot-curve-cpu_seconds",
    }


def test_the_ladder_can_be_sorted_by_every_number(whole):
    table = whole[1].one("table", class_="sortable")
    heads = table.one("thead").all("th")
    assert [head.attributes.get("aria-sort") for head in heads].count("ascending") == 1
    for line in table.one("tbody").all("tr"):
        cells = [node for node in line.children if node.tag in ("th", "td")]
        assert len(cells) == len(heads)
        for head, cell in zip(heads, cells, strict=True):
            if head.all("button") and head.attributes.get("data-kind") != "text":
                float(cell.attributes["data-value"] or "nan")
    values = [float(node.attributes["data-value"]) for node in table.all("td", class_="score")]
    assert values == sorted(values) and len(values) == 7


def test_the_best_row_and_no_other_is_marked(whole):
    rows = whole[1].one("table", class_="sortable").one("tbody").all("tr")
    assert ["best" in row.attributes.get("class", "") for row in rows] == [True] + [False] * 6


def test_the_same_runs_give_the_same_bytes_in_any_order(tmp_path):
    runs = fake_runs(2, extra=gates(64, 0.7))
    first = render(runs, tmp_path / "a.html").read_bytes()
    assert render(runs[::-1], tmp_path / "b.html").read_bytes() == first
    assert render(runs + runs[:2], tmp_path / "c.html").read_bytes() == first


def test_a_page_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path):
    out = tmp_path / "deep" / "report.html"
    assert render([fake_run()], out) == out
    render([fake_run()], str(out), title="Again")
    assert "<title>Again</title>" in out.read_text(encoding="utf-8")
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_what_users_write_stays_text():
    hostile = {
        "about": corpus(HOSTILE, tokenizer=HOSTILE),
        "text": HOSTILE * 5,
        "extra": (
            dataclasses.replace(
                gates(3, 0.5)[0], name=HOSTILE, tags={HOSTILE: HOSTILE}, unit=HOSTILE
            ),
        ),
    }
    worst = fake_run(HOSTILE, HOSTILE, sample=HOSTILE + "\ud800", **hostile)
    runs = [*fake_runs(2, **hostile), worst]
    for run in runs:
        run.command = HOSTILE
        run.versions[HOSTILE] = run.machine[HOSTILE] = HOSTILE
    text, tree = page(runs, HOSTILE)
    text.encode("utf-8", errors="replace")
    assert not tree.all("img") and "<img" not in text
    assert len(tree.all("script")) == 5 and not any(
        "alert(" in s.text for s in tree.all("script") if not s.attributes
    )
    assert all(not name.startswith("on") for node in tree.walk() for name in node.attributes)
    assert (
        "\x00" not in text
        and "\x1b" not in text
        and "\u202e"
        not in re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.DOTALL)
    )
    assert "<script>alert('x')</script>" in tree.one("h1").text and "␀␛[31m" in tree.one("h1").text
    names = json.loads(tree.one("script", id="figures").text)["figures"]["plot-against-parameters"][
        "data"
    ]
    assert any("&lt;script&gt;" in trace.get("name", "") for trace in names)
    assert not any("<" in trace.get("name", "") for trace in names)


def test_chinese_is_kept_as_it_is():
    zh = corpus("唐詩三百首", id="ab12", tokenizer="char")
    text, tree = page(fake_runs(1, about=zh, text=CHINESE))
    assert "唐詩三百首" in tree.one("h1").text
    assert CHINESE[:16] in tree.one("div", class_="passage").text
    assert "charset=" in text[:600]


def test_the_passage_is_printed_token_by_token_with_its_colour():
    run = fake_run(tokens=50)
    run.surprise["nats"][7] = 5 * math.log(2)
    _, tree = page([run])
    tokens = tree.one("div", class_="passage").all("span")
    assert len(tokens) == 50
    assert "".join(token.text for token in tokens).replace("↵", "") == "".join(run.surprise["text"])
    assert tokens[7].attributes["class"] == "s5"  # 4 to 6 bits
    data = json.loads(tree.one("script", id="data").text)["surprise"]
    assert data["nats"][0][7] == pytest.approx(5 * math.log(2), abs=1e-4)


def test_words_without_their_spaces_are_set_apart():
    run = fake_run()
    run.surprise = {"text": ["the", "cat", "sat"], "nats": [1.0, 2.0, 3.0], "seen_from": 0}
    _, tree = page([run])
    assert tree.all("div", class_="spaced")
    run.surprise["text"] = ["the", " cat", " sat"]
    assert not page([run])[1].all("div", class_="spaced")


def test_surprise_is_averaged_over_seeds_of_the_passage_most_runs_share():
    runs = [fake_run(seed=seed, tokens=5) for seed in range(2)] + [fake_run("rnn", tokens=5)]
    other = fake_run("gru", text="Something else entirely.", tokens=5)
    _, tree = page([*runs, other])
    data = json.loads(tree.one("script", id="data").text)["surprise"]
    assert (
        len(data["names"]) == 2 and "1 model without this passage left out" in tree.one("main").text
    )
    mean = [
        (a + b) / 2 for a, b in zip(runs[0].surprise["nats"], runs[1].surprise["nats"], strict=True)
    ]
    assert data["nats"][data["names"].index("lstm + inner")] == pytest.approx(mean, abs=1e-4)


def test_one_run_makes_a_page():
    _, tree = page([fake_run()])
    assert sections(tree) == [name for name in ALL if name not in ("memory", "instruments")]
    assert "lstm + inner on tinyshakespeare" in tree.one("h1").text
    assert not tree.all("option", value="1")


def test_counts_alone_make_a_page():
    _, tree = page([fake_run("ngram(order=5)", None)])
    assert sections(tree) == ["asked", "ladder", "surprise", "samples", "starvation", "reproduce"]


def bare(run):
    return dataclasses.replace(
        run,
        curve=[],
        sample="",
        surprise={},
        corpus={},
        versions={},
        machine={},
        command="",
        readings=[],
    )


def test_sections_without_data_are_left_out():
    _, tree = page([bare(run) for run in fake_runs(2)])
    assert sections(tree) == ["asked", "ladder", "reproduce"]
    assert "nothing to rank" in tree.one("p", class_="finding").text


@pytest.mark.parametrize("field", ["curve", "sample", "surprise", "corpus", "machine", "readings"])
def test_any_part_may_be_missing_from_some_runs(field):
    runs = fake_runs(2, ladder=LADDER[:4])
    empty = bare(runs[3])
    runs[3] = dataclasses.replace(runs[3], **{field: getattr(empty, field)})
    _, tree = page(runs)
    assert sections(tree) == [name for name in ALL if name != "instruments"]


@pytest.mark.parametrize("name", [r.name for r in fake_run().readings])
def test_any_reading_may_be_missing(name):
    runs = [
        dataclasses.replace(run, readings=[r for r in run.readings if r.name != name])
        for run in fake_runs(2, ladder=LADDER[:3])
    ]
    assert sections(page(runs)[1])[:2] == ["asked", "ladder"]


def test_corpora_get_parts_of_their_own():
    _, tree = page(fake_runs(1) + fake_runs(2, about=corpus("pepys", id="beef")))
    assert [node.text for node in tree.all("h2")] == ["pepys", "tinyshakespeare"]
    assert {f"ladder{part}" for part in "12"} <= set(sections(tree))
    assert len(tree.all("tr", class_="best")) == 2
    ids = [node.attributes["id"] for node in tree.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))


def test_new_instruments_show_up_unasked(whole):
    text = whole[1].one("section", id="instruments").text
    assert "gate_saturation" in text and "gate forget, layer 0" in text and "logit_rank" in text


def test_what_was_asked_and_what_is_equal_is_said():
    runs = [*fake_runs(2, lr=0.003), fake_run("gru", lr=0.01, context=64, parameters=401_000)]
    text = page(runs)[1].one("section", id="asked").text
    assert "bpe, 2,048 kinds" in text and "1,000 steps" not in text  # budgets differ: told as such
    assert "each model's own, 0.003 to 0.01" in text
    assert "Not equal are the settings context (" in text and "of their median" in text


def test_the_reader_learns_how_to_do_it_again(whole):
    text = whole[1].one("section", id="reproduce").text
    for wanted in (
        "seqstate compare input.txt --budget 5m --seeds 3",
        "c0ffee12",
        "0, 1, 2",
        "torch 2.13.0",
    ):
        assert wanted in text
    assert fake_run().key in text


def test_light_dark_print_and_narrow_screens_are_provided_for(whole):
    text, tree = whole
    assert "prefers-color-scheme: dark" in text and ":root[data-theme=dark]" in text
    assert "@media print" in text and "beforeprint" in text and "@media (max-width" in text
    assert tree.one("meta", name="viewport") and tree.one("button", id="theme")


def test_scripts_and_styles_cannot_end_their_element():
    from seqstate.report.page import _asset

    for name in (*STYLES, *SCRIPTS, "theme.js"):
        assert "</s" not in _asset(name).lower()


def test_thirty_long_runs_make_a_page_of_bounded_size_quickly():
    ladder = [
        (f"lstm(width={100 + i})", "inner", 2.3 + i / 50, 1000 + i, 400_000 + i, 20_000)
        for i in range(30)
    ]
    runs = fake_runs(1, ladder=ladder, points=200, tokens=400)
    began = time.process_time()
    text, tree = page(runs)
    assert time.process_time() - began < 10  # a second or so; ten only if something is quadratic
    assert len(text) < 1_000_000
    assert len(tree.one("div", class_="passage").all("span")) == 400
