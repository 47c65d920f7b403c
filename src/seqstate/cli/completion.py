"""Completes commands, options, files, and the names of states, energies, instruments and claims.

  source <(seqstate completion bash)           a line for ~/.bashrc
  seqstate completion zsh > ~/.zfunc/_seqstate    with ~/.zfunc in fpath before compinit
  seqstate completion fish > ~/.config/fish/completions/seqstate.fish

The script is printed whole, so that a key press starts no Python; print it again after an update.
"""

from __future__ import annotations

USAGE = "SHELL"
SHELLS = ("bash", "zsh", "fish")
FILES, FOLDERS = ("TEXT", "FILE"), ("DIR", "MODEL")  # what these metavars stand for
PARTS = {  # destination of an option or argument -> the kinds of parts it may name
    "state": ("states",),
    "energy": ("energies",),
    "models": ("states",),
    "instruments": ("instruments",),
    "name": ("claims",),
}
WORDS = {
    "tokenizer": ("byte", "char", "word", "bpe"),
    "errors": ("strict", "replace", "ignore", "backslashreplace"),
}


def add_arguments(parser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def run(options) -> int:
    import shtab

    from seqstate.cli import build_parser

    parser = build_parser()
    for command in parser._subcommands_action.choices.values():
        for action in command._actions:
            tell(action)
    print(shtab.complete(parser, options.shell))
    return 0


def tell(action) -> None:
    """Say what an argument takes, in the way shtab asks; the parser is not used for parsing after this."""
    import shtab

    from seqstate.core import registry

    if action.choices:
        return
    spec = (
        action.metavar == "MODEL" and action.option_strings
    )  # STATE + ENERGY; else a model's folder
    if action.metavar in FOLDERS and not spec:
        action.complete = shtab.DIRECTORY
    elif action.metavar in FILES or action.dest == "config":
        action.complete = shtab.FILE
    elif action.dest in PARTS:
        action.choices = [name for kind in PARTS[action.dest] for name in registry.names(kind)]
    elif action.dest in WORDS:
        action.choices = list(WORDS[action.dest])
    elif action.dest == "what":
        every = [name for kind in registry.KINDS for name in registry.names(kind)]
        action.choices = list(dict.fromkeys([*registry.KINDS, *every]))
