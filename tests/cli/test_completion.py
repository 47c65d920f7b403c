"""The completion scripts: bash is asked as a terminal asks it, the other shells' scripts are read."""

from __future__ import annotations

import subprocess
import sys
from contextlib import redirect_stdout

import pytest

from seqstate.cli import COMMANDS, build_parser, completion, main
from seqstate.core import registry

ASK = """
source "$1"; shift
complete -p seqstate > /dev/null || exit 1
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_shtab_seqstate
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    """What bash offers for a command line whose last word is being typed."""
    script = tmp_path_factory.mktemp("completion") / "seqstate.bash"
    with open(script, "w") as file, redirect_stdout(file):
        assert main(["completion", "bash"]) == 0

    def ask(*words, folder=None):
        command = ["bash", "--norc", "-c", ASK, "bash", script, "seqstate", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return ask


def test_every_command_is_offered(bash):
    assert bash("") == list(COMMANDS)
    assert bash("exp") == ["export"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["train", "--chec"], ["--checkpoint-seconds"]),
        (["train", "book.txt", "--state", "lst"], ["lstm"]),
        (["train", "--energy", "coded"], ["coded_hamming"]),
        (["compare", "book.txt", "--models", "gru", "lst"], ["lstm"]),
        (["inspect", "model", "--instruments", "gates", "qk"], ["qk_lengths"]),
        (["claim", "large"], ["large_vocabularies"]),
        (["ls", "hard_"], ["hard_attention"]),
        (["ls", "ener"], ["energies", "energy_beats_inner"]),
        (["train", "--objective", "m"], ["masked"]),
        (["fuse", "model", "--weights", "g"], ["global"]),
        (["completion", "f"], ["fish"]),
    ],
)
def test_options_and_names_of_parts_are_offered(bash, words, offered):
    assert bash(*words) == offered


def test_files_where_text_is_wanted_and_folders_where_a_model_is(bash, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine.txt").touch()
    assert set(bash("evaluate", "mine", "mi", folder=tmp_path)) == {"mine", "mine.txt"}
    assert bash("evaluate", "mi", folder=tmp_path) == ["mine"]
    assert bash("fuse", "other", "mi", folder=tmp_path) == ["mine"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_script_knows_every_command_and_every_state(seqstate, shell):
    code, out, err = seqstate("completion", shell)
    assert code == 0, err
    assert all(
        name in out for name in [*COMMANDS, *registry.names("states"), "--checkpoint-seconds"]
    )


def test_an_unknown_shell_is_refused_in_one_line(seqstate):
    code, _, err = seqstate("completion", "tcsh")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "bash" in err


def test_every_name_the_completion_knows_is_an_argument_of_some_command():
    actions = [
        action
        for command in build_parser()._subcommands_action.choices.values()
        for action in command._actions
    ]
    known = {action.dest for action in actions} | {action.metavar for action in actions}
    told = {*completion.PARTS, *completion.WORDS, *completion.FILES, *completion.FOLDERS, "what"}
    assert told <= known


def test_the_script_is_printed_without_heavy_imports():
    code = (
        "import sys; from seqstate.cli import main; main(['completion', 'bash']); "
        "print(sorted({'torch', 'numpy', 'transformers', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
