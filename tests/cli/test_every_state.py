"""Every state there is, by the commands: trained, stopped and resumed to the bit, written with, measured."""

from __future__ import annotations

import contextlib
import json
import os
import signal

import pytest

from seqstate.core import registry
from seqstate.core.model import Counted, LanguageModel

SMALL = {
    "hamming_rnn": "hamming_rnn(width=16, groups=4)",
    "hmm": "hmm(states=3, width=8)",
    "ngram": "ngram(order=10)",
    "pcfg": "pcfg(nonterminals=2, preterminals=3, width=8, max_length=5)",
    "table_pcfg": "table_pcfg(nonterminals=2, preterminals=3, max_length=5)",
    "low_rank_pcfg": "low_rank_pcfg(nonterminals=3, preterminals=4, rank=2, width=8, max_length=5)",
    "simple_pcfg": "simple_pcfg(nonterminals=3, preterminals=4, width=8, max_length=5)",
}
QUICK = ["--steps", 4, "--batch-size", 2, "--context", 8]
WORDS = ["--tokenizer", "word"]
CHARACTERS = ["--tokenizer", "char"]


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "lines.jsonl"
    names = ("the old man", "a young boy", "the sea", "no word")
    texts = [f"{names[i % 4]} said {names[(i // 4) % 4]} at night" for i in range(40)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def stopping(after: int):
    """A watcher that presses Ctrl-C after so many steps."""

    @contextlib.contextmanager
    def shown(label):
        def watch(progress):
            if progress.step == after:
                os.kill(os.getpid(), signal.SIGINT)

        yield watch

    return shown


@pytest.mark.parametrize("state", registry.names("states"))
def test_a_state_is_trained_stopped_resumed_written_with_and_measured(
    seqstate, lines, tmp_path, monkeypatch, state
):
    part = registry.find("states", state)
    spec = SMALL.get(state) or (state if issubclass(part, LanguageModel) else f"{state}(width=8)")
    train = ["train", lines, "--state", spec, *QUICK, *WORDS]
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    assert seqstate(*train, "--out", straight)[0] == 0
    if not issubclass(part, Counted):
        with monkeypatch.context() as patched:
            patched.setattr("seqstate.cli.display.training", stopping(after=2))
            code, _, err = seqstate(*train, "--out", stopped)
        assert (code, "go on with --resume" in err) == (130, True)
        code, _, err = seqstate(*train, "--out", stopped, "--resume")
        assert code == 0, err
        one, other = (folder / "model.safetensors" for folder in (straight, stopped))
        assert one.read_bytes() == other.read_bytes()
    code, out, err = seqstate("generate", straight, "--prompt", "the old", "--tokens", 6)
    assert code == 0, err
    assert out.startswith("the old")
    code, out, err = seqstate("evaluate", straight, lines, "--json")
    assert code == 0, err
    assert 0 < json.loads(out)["nats_per_token"] < 6


@pytest.mark.parametrize("order", [1, 2, 5, 10])
@pytest.mark.parametrize("tokens", [WORDS, CHARACTERS], ids=" ".join)
def test_counts_of_any_order_of_words_and_characters(seqstate, lines, tmp_path, order, tokens):
    train = [
        "train",
        lines,
        "--state",
        f"ngram(order={order})",
        *tokens,
        "--out",
        tmp_path / "model",
    ]
    code, _, err = seqstate(*train)
    assert code == 0, err
    code, out, err = seqstate("evaluate", tmp_path / "model", lines, "--json")
    assert code == 0, err
    least = {1: 1.0, 2: 0.3, 5: 0.0, 10: 0.0}[order]
    assert least < json.loads(out)["nats_per_token"] < 4
