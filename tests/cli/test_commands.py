"""The commands end to end on a tiny text."""

from __future__ import annotations

import json
import signal
import time

import pytest
from safetensors.torch import load_file

QUICK = ["--tokenizer", "char", "--steps", "12", "--batch-size", "4", "--context", "16"]
COMBINATIONS = [
    (state, energy)
    for state in ("rnn(width=16)", "lstm(width=16)", "attention(width=16, layers=1, heads=2)")
    for energy in ("inner", "multi_hamming(groups=4)", "mos(components=2)")
]


@pytest.mark.parametrize(("state", "energy"), [*COMBINATIONS, ("ngram(order=3)", None)])
def test_every_combination_trains_generates_and_evaluates(seqstate, book, tmp_path, state, energy):
    chosen = ["--energy", energy] if energy else []
    code, out, err = seqstate(
        "train", book, "--state", state, *chosen, *QUICK, "--out", tmp_path / "model"
    )
    assert code == 0, err
    assert "bits per byte" in out
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "run.json"} <= files
    assert "checkpoint.safetensors" not in files
    written = seqstate(
        "generate", tmp_path / "model", "--prompt", "The", "--tokens", 20, "--seed", 3
    )
    again = seqstate("generate", tmp_path / "model", "--prompt", "The", "--tokens", 20, "--seed", 3)
    assert written[0] == 0
    assert written[1].startswith("The")
    assert written == again
    code, out, err = seqstate("evaluate", tmp_path / "model", book, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert {"nats_per_token", "bits_per_byte", "tokens", "stderr"} <= found.keys()
    assert 0 < found["bits_per_byte"] < 8
    assert found["tokens"] == len(book.read_text())


@pytest.mark.parametrize("state", ["hmm(states=4)", "pcfg(nonterminals=2, preterminals=3)"])
def test_latent_states_learn_which_token_opens_a_document(seqstate, tmp_path, state):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(f'{{"text": "{word} ran home."}}\n' for word in ["she", "he", "it"] * 40)
    )
    code, _, err = seqstate(
        "train",
        rows,
        "--tokenizer",
        "char",
        "--state",
        state,
        *QUICK[2:],
        "--out",
        tmp_path / "model",
    )
    assert code == 0, err
    settled = json.loads((tmp_path / "model" / "config.json").read_text())
    names = json.loads((tmp_path / "model" / "tokenizer.json").read_text())["model"]["vocab"]
    assert settled["boundary"] == names["<doc>"]
    assert seqstate("generate", tmp_path / "model", "--tokens", 10)[0] == 0


def test_untied_embeddings_and_a_head_of_another_width(seqstate, book, tmp_path):
    code, _, err = seqstate(
        "train", book, "--state", "lstm(width=16)", "--untied", "--head-width", "8", *QUICK,
        "--out", tmp_path / "model",
    )  # fmt: skip
    assert code == 0, err
    assert seqstate("generate", tmp_path / "model", "--tokens", 5)[0] == 0
    code, _, err = seqstate(
        "train",
        book,
        "--state",
        "lstm(width=16)",
        "--head-width",
        "8",
        *QUICK,
        "--out",
        tmp_path / "no",
    )
    assert code == 2
    assert "tied embeddings need equal widths" in err
    assert not (tmp_path / "no").exists()


def test_killed_at_any_moment_and_resumed_the_weights_are_equal_to_the_bit(process, book, tmp_path):
    options = ["--state", "lstm(width=16)", "--dropout", "0.1", *QUICK[:2], "--steps", "300"]
    options += ["--batch-size", "4", "--context", "16", "--checkpoint-seconds", "0"]
    straight = process("train", book, *options, "--out", tmp_path / "straight")
    assert straight.wait() == 0
    for attempt in range(3):
        run = process("train", book, *options, "--out", tmp_path / "killed", "--resume")
        deadline = time.monotonic() + 60
        seen = tmp_path / "killed" / "checkpoint.safetensors"
        before = seen.stat().st_mtime_ns if seen.exists() else 0
        while time.monotonic() < deadline and run.poll() is None:
            if seen.exists() and seen.stat().st_mtime_ns != before:
                break
            time.sleep(0.005)
        time.sleep(0.03 * attempt)
        run.send_signal(signal.SIGKILL)
        run.communicate()
    last = process("train", book, *options, "--out", tmp_path / "killed", "--resume")
    assert last.wait() == 0
    one, other = (
        load_file(tmp_path / name / "model.safetensors") for name in ("straight", "killed")
    )
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)


def test_ctrl_c_saves_and_says_how_to_go_on(process, book, tmp_path):
    run = process(
        "train", book, "--state", "lstm(width=16)", *QUICK[:2], "--steps", "1000000",
        "--out", tmp_path / "model", "--eval-every", "20",
    )  # fmt: skip
    while not (tmp_path / "model" / "metrics.jsonl").exists():
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.02)
    time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "--resume" in err
    assert "Traceback" not in err
    assert (tmp_path / "model" / "checkpoint.safetensors").exists()


def test_a_finished_run_is_not_overwritten_without_asking(seqstate, book, tmp_path):
    train = ["train", book, "--state", "rnn(width=8)", *QUICK, "--out", tmp_path / "model"]
    assert seqstate(*train)[0] == 0
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    code, _, err = seqstate(*train)
    assert (code, "holds a finished run" in err) == (2, True)
    code, _, err = seqstate(*train, "--resume")
    assert (code, "already finished" in err) == (0, True)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert seqstate(*train, "--seed", 5, "--overwrite")[0] == 0
    assert (tmp_path / "model" / "model.safetensors").read_bytes() != before


def test_a_folder_with_other_things_in_it_is_left_alone(seqstate, book, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.tex").write_text("precious")
    code, _, err = seqstate("train", book, *QUICK, "--out", tmp_path / "model")
    assert (code, "is not empty" in err) == (2, True)


BAD = {
    "an unknown state": (["--state", "ltsm"], "did you mean 'lstm'"),
    "an unknown energy": (["--energy", "iner"], "did you mean 'inner'"),
    "an energy for an n-gram": (
        ["--state", "ngram(order=3)", "--energy", "inner"],
        "takes no energy",
    ),
    "no steps": (["--steps", "0"], "must be above 0"),
    "no tokens": (["--tokens", "0"], "must be above 0"),
    "two budgets": (["--steps", "5", "--epochs", "1"], "give one budget"),
    "a bad time": (["--budget", "soon"], "write 90s, 5m or 1h"),
    "groups that do not divide": (
        ["--energy", "multi_hamming(groups=5)"],
        "is not a multiple of groups",
    ),
    "a bad dropout": (["--dropout", "1.5"], "is not in [0, 1)"),
    "no learning rate": (["--lr", "0"], "is not above 0"),
    "an unknown option": (["--stat", "lstm"], "--stat"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_get_one_clear_line_and_code_2(seqstate, book, tmp_path, case):
    options, said = BAD[case]
    code, out, err = seqstate("train", book, *options, "--out", tmp_path / "model")
    assert code == 2
    assert said in err
    assert err.strip().splitlines()[-1].startswith("seqstate: error:")
    assert "Traceback" not in out + err
    assert not (tmp_path / "model").exists()


def test_bad_text_gets_one_clear_line_and_code_2(seqstate, tmp_path):
    empty, binary, small = tmp_path / "empty.txt", tmp_path / "image.bin", tmp_path / "small.txt"
    empty.write_text("")
    binary.write_bytes(bytes(range(256)) * 20)
    small.write_text("too small")
    latin = tmp_path / "latin.txt"
    latin.write_bytes("caf\xe9 ".encode("latin-1") * 500)
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"body": "hello"}\n' * 50)
    cases = [tmp_path / "missing.txt", empty, binary, small, latin, lines]
    for path in cases:
        code, _, err = seqstate("train", path, "--out", tmp_path / "model")
        assert code == 2, (path, err)
        assert len([line for line in err.splitlines() if "error" in line]) == 1, err
        assert path.stem in err, err
        assert not (tmp_path / "model").exists()


def test_generate_and_evaluate_refuse_what_is_no_model(seqstate, tmp_path, book):
    for command in (["generate", tmp_path], ["evaluate", tmp_path, book]):
        code, _, err = seqstate(*command)
        assert (code, "not a trained model" in err) == (2, True)


def test_samples_in_a_batch_stops_and_streaming(seqstate, book, tmp_path):
    seqstate("train", book, "--state", "ngram(order=4)", *QUICK[:2], "--out", tmp_path / "model")
    code, out, _ = seqstate("generate", tmp_path / "model", "-n", 3, "--tokens", 30, "--json")
    assert code == 0
    texts = json.loads(out)["texts"]
    assert len(texts) == 3
    assert len(set(texts)) > 1
    code, out, _ = seqstate(
        "generate", tmp_path / "model", "--tokens", 400, "--stop", ".", "--seed", 1
    )
    assert code == 0
    assert "." not in out
    assert len(out.strip()) > 3


def test_compare_trains_reuses_adds_and_reports(seqstate, book, tmp_path):
    folder = tmp_path / "ladder"
    common = ["compare", book, *QUICK, "--out", folder, "--parameters", "6000", "--jobs", "1"]
    code, out, err = seqstate(*common, "--models", "ngram(order=3)", "rnn + inner", "lstm + inner")
    assert code == 0, err
    assert "lstm" in out
    assert "parameters" in err
    first = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.json")}
    assert len(first) == 3
    code, out, err = seqstate(
        *common, "--models", "ngram(order=3)", "rnn + inner", "lstm + inner",
        "lstm + multi_hamming(groups=4)", "--seeds", 2, "--json",
    )  # fmt: skip
    assert code == 0, err
    rows = json.loads(out)
    assert len(rows) == 4
    second = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.json")}
    assert len(second) == 7  # three neural models with two seeds each; counting needs one
    assert first.items() <= second.items(), "a finished run was trained again"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "multi_hamming" in page
    code, out, err = seqstate("report", folder, "--out", tmp_path / "page.html")
    assert code == 0, err
    assert (tmp_path / "page.html").exists()
    assert seqstate("report", folder, "--out", tmp_path / "page.html")[0] == 2


def test_compare_runs_in_processes_and_within_a_time(seqstate, book, tmp_path):
    code, out, err = seqstate(
        "compare", book, "--tokenizer", "char", "--budget", "4s", "--jobs", "2", "--parameters", "5000",
        "--models", "rnn + inner", "lstm + inner", "--out", tmp_path / "ladder", "--json",
    )  # fmt: skip
    assert code == 0, err
    rows = json.loads(out)
    assert len(rows) == 2
    plan = json.loads((tmp_path / "ladder" / "plan.json").read_text())
    assert plan["steps"] >= 20


@pytest.mark.parametrize("equal", ["tokens", "time"])
def test_a_comparison_by_time_goes_on_without_training_anything_twice(
    seqstate, book, tmp_path, equal
):
    common = [
        "compare", book, "--tokenizer", "char", "--budget", "3s", "--jobs", "1", "--parameters", "9000",
        "--equal", equal,
        "--models", "ngram(order=3)", "rnn + inner", "lstm + inner", "attention + multi_hamming",
        "--out", tmp_path / "ladder",
    ]  # fmt: skip
    assert seqstate(*common)[0] == 0
    first = {path: path.stat().st_mtime_ns for path in tmp_path.glob("ladder/runs/*/run.json")}
    plan = (tmp_path / "ladder" / "plan.json").read_text()
    configs = [json.loads(path.read_text())["config"] for path in first]
    shared = {config["steps" if equal == "tokens" else "seconds"] for config in configs}
    assert len(shared) == 1
    assert shared != {None}
    assert seqstate(*common)[0] == 0
    again = {path: path.stat().st_mtime_ns for path in tmp_path.glob("ladder/runs/*/run.json")}
    assert again == first
    assert (
        json.loads(plan)["models"]
        == json.loads((tmp_path / "ladder/plan.json").read_text())["models"]
    )


def test_each_model_gets_its_best_rate_and_one_that_diverges_loses(seqstate, book, tmp_path):
    code, out, err = seqstate(
        "compare", book, *QUICK, "--jobs", "1", "--parameters", "5000", "--clip", "0", "--warmup", "0",
        "--weight-decay", "0", "--lr", "1e38", "1e-2", "--models", "rnn + inner", "lstm + inner",
        "--out", tmp_path / "ladder", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert len(json.loads(out)) == 2
    rates = json.loads((tmp_path / "ladder" / "plan.json").read_text())["learning_rates"]
    assert set(rates.values()) == {1e-2}


def test_ctrl_c_stops_a_comparison_that_the_same_command_finishes(
    process, seqstate, book, tmp_path
):
    common = [
        "compare", book, "--tokenizer", "char", "--steps", "400", "--batch-size", "4", "--context", "16",
        "--parameters", "9000", "--jobs", "2", "--models", "rnn + inner", "lstm + inner",
        "--out", tmp_path / "ladder",
    ]  # fmt: skip
    run = process(*common)
    while not list(tmp_path.glob("ladder/runs/*/metrics.jsonl")):
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert seqstate(*common)[0] == 0


def test_a_config_file_gives_options(seqstate, book, tmp_path):
    (tmp_path / "run.yaml").write_text("state: rnn(width=8)\nsteps: 5\ntokenizer: char\n")
    code, out, err = seqstate(
        "train", book, "--config", tmp_path / "run.yaml", "--out", tmp_path / "model"
    )
    assert code == 0, err
    assert "rnn(width=8)" in out


def test_ls_lists_kinds_and_parts(seqstate):
    code, out, _ = seqstate("ls")
    assert code == 0
    assert "multi_hamming" in out
    code, out, _ = seqstate("ls", "lstm")
    assert "forget_bias" in out
    code, _, err = seqstate("ls", "ltsm")
    assert (code, "did you mean 'lstm'" in err) == (2, True)


def test_audit_prints_records_and_refuses(seqstate, book, tmp_path):
    folder, page = tmp_path / "model", tmp_path / "page.html"
    energy = ("--energy", "multi_hamming(groups=4)")
    seqstate("train", book, "--state", "lstm(width=16)", *energy, *QUICK, "--out", folder)
    code, out, err = seqstate("audit", folder, book, "--instruments", "logit_rank", "--json")
    assert code == 0, err
    found = {row["name"]: row["value"] for row in json.loads(out)}
    assert any("rank" in name for name in found)
    code, _, err = seqstate("audit", folder, book, "--instruments", "logit_rank", "--record")
    assert code == 0, err
    recorded = json.loads((folder / "run.json").read_text())["readings"]
    trained = {"bits_per_byte", "match_bit_saturation", "match_bit_temperature"}
    assert {row["name"] for row in recorded} >= found.keys() | trained
    seqstate("report", folder, "--out", page)
    drawn = page.read_text(encoding="utf-8")
    assert all(
        f'id="{name}"' in drawn for name in ("audit", "plot-spectrum", "plot-bit_temperature")
    )
    code, _, err = seqstate("audit", folder, book, "--instruments", "logit_rnak")
    assert (code, "did you mean 'logit_rank'" in err) == (2, True)


def test_audit_takes_a_hugging_face_folder(seqstate, book, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = {chr(code): index for index, code in enumerate(range(32, 127))}
    plain = Tokenizer(models.WordLevel({**letters, "<unk>": len(letters)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>").save_pretrained(
        tmp_path / "hf"
    )
    shape = GPT2Config(vocab_size=len(letters) + 1, n_embd=16, n_layer=1, n_head=2, n_positions=512)
    GPT2LMHeadModel(shape).save_pretrained(tmp_path / "hf")
    code, out, err = seqstate(
        "audit", f"hf:{tmp_path / 'hf'}", book, "--instruments", "logit_rank", "--json"
    )
    assert code == 0, err
    assert any(row["name"].startswith("rank") or "rank" in row["name"] for row in json.loads(out))
