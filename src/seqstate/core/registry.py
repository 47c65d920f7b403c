"""The folder is the registry: `energies/rbf.py` is the energy called `rbf`.

A part's file starts with its catalogue entry (the first line of its docstring) and defines one class
whose name is the file's name without underscores, whatever its capitals (`mos.py`: `MoS`).
Listing reads files as text and imports nothing.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
from pathlib import Path
from typing import Any

from seqstate.core.spec import Spec, parse

ROOT = Path(__file__).resolve().parent.parent
KINDS = {  # folder -> what one of its files is called
    "states": "state",
    "energies": "energy",
    "screens": "screen",
    "tasks": "task",
    "instruments": "instrument",
    "claims": "claim",
}


def names(kind: str) -> list[str]:
    """The names of all parts in a folder (`states`, `energies`, ...), sorted."""
    files = (ROOT / kind).glob("*.py")
    return sorted(file.stem for file in files if not file.stem.startswith("_"))


def summary(kind: str, name: str) -> str:
    """The catalogue entry of a part: the first line of its file, read as text."""
    source = (ROOT / kind / f"{name}.py").read_text(encoding="utf-8")
    document = ast.get_docstring(ast.parse(source)) or ""
    return document.partition("\n")[0]


def describe(kind: str, name: str) -> str:
    """A part's whole entry: its file's docstring, constructor and options, read as text."""
    found = entry(kind, name)
    shown = [f"{option}={value}" if value else option for option, value in found["options"].items()]
    lines = [f"{found['kind']} {name}", found["about"], found["class"]]
    if found["options"]:
        lines.append(f"{name}({', '.join(shown)})")
    return "\n\n".join(line for line in lines if line)


def entry(kind: str, name: str) -> dict[str, Any]:
    """What a part's file says, read as text: kind, name, about (of the file), class (of the class), options.

    options: the constructor's keywords with their defaults as written ("" where one must be given).
    """
    tree = ast.parse((ROOT / kind / f"{name}.py").read_text(encoding="utf-8"))
    found: dict[str, Any] = {"kind": KINDS[kind], "name": name}
    found |= {"about": ast.get_docstring(tree) or "", "class": "", "options": {}}
    wanted = name.replace("_", "")
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name.lower() == wanted:
            found["class"] = ast.get_docstring(node) or ""
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    pairs = zip(method.args.kwonlyargs, method.args.kw_defaults, strict=True)
                    found["options"] = {
                        argument.arg: ast.unparse(default) if default else ""
                        for argument, default in pairs
                    }
    return found


def find(kind: str, name: str) -> type:
    """The class called `name` in a folder, or a dotted class outside the package.

    Raises ValueError that suggests the nearest name.
    """
    if "." in name:
        return _outside(name, KINDS[kind])
    if name not in names(kind):
        near = difflib.get_close_matches(name, names(kind), n=1)
        hint = f", did you mean {near[0]!r}?" if near else f"; there are {', '.join(names(kind))}"
        raise ValueError(f"unknown {KINDS[kind]} {name!r}{hint}")
    module = importlib.import_module(f"seqstate.{kind}.{name}")
    return _class_of(module, name)


def build(kind: str, spec: str | Spec, **given: Any) -> Any:
    """Construct the part a spec names; `given` are keywords the caller supplies (width, vocab_size).

    Raises ValueError for an unknown part or option, and passes on what the part itself refuses.
    """
    spec = parse(spec)
    part = find(kind, spec.name)
    check_options(part, spec)
    return part(**{**given, **spec.options})


def check_options(part: type, spec: Spec) -> None:
    """Raise ValueError if `spec` gives an option the part's constructor does not have."""
    known = options(part)
    for option in spec.options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f", did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}"
            raise ValueError(f"{spec.name} has no option {option!r}{hint}")


def options(part: type) -> dict[str, Any]:
    """The constructor keywords of a part and their defaults (inspect.Parameter.empty if none)."""
    parameters = list(inspect.signature(part).parameters.values())
    return {parameter.name: parameter.default for parameter in parameters}


def lazy(kind: str, attribute: str) -> type:
    """Serve `from seqstate.energies import MultiHamming` without importing the folder's other files."""
    wanted = attribute.lower()
    for name in (
        names(kind) if wanted != attribute else []
    ):  # a lower-case name is the module itself
        if name.replace("_", "") == wanted:
            return find(kind, name)
    raise AttributeError(f"module 'seqstate.{kind}' has no attribute {attribute!r}")


def _class_of(module: Any, name: str) -> type:
    wanted = name.replace("_", "")
    for value in vars(module).values():
        if (
            isinstance(value, type)
            and value.__name__.lower() == wanted
            and value.__module__ == module.__name__
        ):
            return value
    raise ValueError(f"{module.__name__} defines no class called like its file ({wanted})")


def _outside(dotted: str, kind: str) -> type:
    module_name, _, attribute = dotted.rpartition(".")
    try:
        part = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot load the {kind} {dotted!r}: {error}") from None
    if not isinstance(part, type):
        raise ValueError(f"the {kind} {dotted!r} is not a class")
    return part
