"""jsonargparse with this project's manners: help that shows defaults plainly, errors of one line."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter


class Formatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the examples of a description as written; shows a default only where there is one."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=100)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        plain = not action.option_strings or action.nargs == 0 or "(default" in text
        if plain or action.default in (None, "", [], argparse.SUPPRESS, "==SUPPRESS=="):
            return text
        if isinstance(action.default, list):
            return text
        return f"{text} (default {str(action.default).replace('%', '%%')})"


class Parser(ArgumentParser):
    """Errors are one line on standard error and exit code 2."""

    def __init__(self, **options) -> None:
        super().__init__(formatter_class=Formatter, allow_abbrev=False, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = " ".join(message.split())
        text = re.sub(
            r"^Parser key \"(\w+)\": ", lambda match: f"--{match[1].replace('_', '-')}: ", text
        )
        text = re.sub(
            r"Expected a <class '(\w+)'>\. Got value: (.*)$",
            lambda match: f"{match[2]!r} is not {_KINDS.get(match[1], match[1])}",
            text,
        )
        text = re.sub(r"^argument command: ", "", text)
        if os.environ.get("RANK", "0") == "0":  # under torchrun all ranks are given the same
            print(f"seqstate: error: {text}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


class Version(argparse.Action):
    """Prints what decides speeds and bits; torch is imported only when this is asked."""

    def __init__(self, option_strings, dest, **options) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=options.get("help"))

    def __call__(self, parser, namespace, values, option_string=None) -> NoReturn:
        import torch

        from seqstate import __version__, native

        print(f"seqstate {__version__}, Python {sys.version.split()[0]}, torch {torch.__version__}")
        print(f"fused losses: {native.path_taken()}; torch threads: {torch.get_num_threads()}")
        sys.exit(0)


_KINDS = {"int": "a whole number", "float": "a number"}
