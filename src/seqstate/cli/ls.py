"""Every part is a file of its folder, and its first line is what is shown here.

seqstate ls                     everything
seqstate ls energies            one kind
seqstate ls lstm                one part: its options and its source
"""

from __future__ import annotations

from seqstate.core import registry

USAGE = "[KIND or PART]"


def add_arguments(parser) -> None:
    parser.add_argument(
        "what", nargs="?", default="", help="a kind (states, energies, ...) or a part's name"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")


def run(options) -> int:
    import json

    wanted = options.what
    if wanted and wanted not in registry.KINDS:
        kinds = [kind for kind in registry.KINDS if wanted in registry.names(kind)]
        if not kinds:
            known = [*registry.KINDS, *(n for kind in registry.KINDS for n in registry.names(kind))]
            import difflib

            near = difflib.get_close_matches(wanted, known, n=1)
            hint = (
                f", did you mean {near[0]!r}?"
                if near
                else f"; kinds are {', '.join(registry.KINDS)}"
            )
            raise ValueError(f"no kind and no part is called {wanted!r}{hint}")
        if options.json:
            entries = [registry.entry(kind, wanted) for kind in kinds]
            print(json.dumps(entries, indent=1, ensure_ascii=False))
        else:
            print("\n\n".join(registry.describe(kind, wanted) for kind in kinds))
        return 0
    shown = {
        kind: {name: registry.summary(kind, name) for name in registry.names(kind)}
        for kind in registry.KINDS
        if wanted in ("", kind)
    }
    if options.json:
        print(json.dumps(shown, indent=1, ensure_ascii=False))
    elif options.markdown:
        print(markdown(shown))
    else:
        _print(shown)
    return 0


def markdown(shown: dict[str, dict[str, str]]) -> str:
    """Tables of parts, as the README has them."""
    tables = []
    for kind, parts in shown.items():
        rows = "\n".join(f"| `{name}` | {line} |" for name, line in parts.items())
        if parts:
            tables.append(f"| {registry.KINDS[kind]} | |\n|---|---|\n{rows}")
    return "\n\n".join(tables)


def _print(shown: dict[str, dict[str, str]]) -> None:
    import shutil
    import textwrap

    width = max((len(name) for parts in shown.values() for name in parts), default=0)
    columns = max(60, shutil.get_terminal_size().columns)
    for kind, parts in shown.items():
        if not parts:
            continue
        print(kind)
        for name, line in parts.items():
            wrapped = textwrap.wrap(line, columns - width - 5) or [""]
            print(f"  {name:<{width}}  {wrapped[0]}")
            for rest in wrapped[1:]:
                print(" " * (width + 4) + rest)
        print()
