"""The command line: each command is a file here that parses, calls the library and prints.

Heavy imports stay inside the commands, so that `seqstate --help` answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = {  # name -> one line of help, in the order a newcomer meets them
    "compare": "train several state + energy at equal budgets; leave a table and a report",
    "train": "train one model on your text and save it as a folder",
    "generate": "let a trained model write",
    "evaluate": "measure how well a trained model predicts a text",
    "parse": "draw the trees a trained grammar gives to sentences",
    "claim": "a question of the essay: its criterion, its runs, its verdict",
    "fuse": "mix trained models into one that predicts better than each of them",
    "audit": "what an output layer can and cannot say: rank, unreachable words, lost gradient",
    "inspect": "read every instrument off a model: gates, graph, state, output layer",
    "export": "write a trained model for other programs: ARPA, ONNX, safetensors, Hugging Face",
    "report": "make the HTML report of finished runs again, without training",
    "ls": "list the parts: states, energies and the rest, one line each",
    "completion": "print a script that completes commands, options and names in your shell",
}

DESCRIPTION = """\
Sequence generators as a hidden state plus an energy: what a model remembers of the past, and how that
memory scores the next word. Every state under every energy, trained on your text, measured and drawn.

  seqstate compare                              the ladder on your Python's own documentation
  seqstate compare book.txt --budget 10m        ... on your text
  seqstate train book.txt --state "lstm(width=256)" --energy "multi_hamming(groups=16)" --out model
  seqstate generate model --prompt "Once"
"""


def build_parser():
    """The whole parser; a command's options live in its file."""
    from seqstate.cli.parser import Parser, Version

    parser = Parser(prog="seqstate", description=DESCRIPTION, usage="seqstate COMMAND [options]")
    parser.add_argument("--version", action=Version, help="versions, kernels and threads")
    commands = parser.add_subcommands(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )
    for name, line in COMMANDS.items():
        module = importlib.import_module(f"seqstate.cli.{name}")
        about = f"{line[0].upper()}{line[1:]}.\n\n{module.__doc__ or ''}"
        sub = Parser(description=about, usage=f"seqstate {name} {module.USAGE} [options]")
        sub.add_argument("--config", action="config", help="read options from a YAML file")
        module.add_arguments(sub)
        commands.add_subcommand(name, sub, help=line)
        sub.prog = f"seqstate {name}"  # add_subcommand makes one from the usage line
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    module = importlib.import_module(f"seqstate.cli.{parsed.command}")
    from seqstate.cli import display

    try:
        with display.warning_lines():
            return module.run(parsed[parsed.command]) or 0
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _fail(error, 2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except RuntimeError as error:
        from seqstate.errors import Diverged, Interrupted, Lost

        if isinstance(error, Interrupted):
            print(f"seqstate: {error}", file=sys.stderr)
            return 130
        if isinstance(error, Diverged | Lost):
            return _fail(error, 1)
        raise


def _fail(error: BaseException, code: int) -> int:
    print(f"seqstate: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
