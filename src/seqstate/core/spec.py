"""The one textual form of a part: `lstm(width=256)`, parsed without running any code.

The same string is a command-line argument, a JSON field, a report row and a config entry.

    spec     = name [ "(" keyword "=" value { "," keyword "=" value } ")" ]
    value    = Python literal | spec            attention(energy=multi_hamming(groups=4))

A name is a file of the part's folder (`lstm`) or dotted, for a class outside the package
(`mypackage.mymodule.MyState`).
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Spec:
    """A part's name and the constructor keywords that differ from its defaults."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.options:
            return self.name
        inner = ", ".join(f"{key}={value!r}" for key, value in sorted(self.options.items()))
        return f"{self.name}({inner})"

    def __hash__(self) -> int:
        return hash(str(self))

    def replace(self, **options: Any) -> Spec:
        """A copy with these options set."""
        return Spec(self.name, {**self.options, **options})


def parse(text: str | Spec) -> Spec:
    """Parse `name(key=value, ...)`.

    Raises ValueError, in one line that says what was found and what is wanted.
    """
    if isinstance(text, Spec):
        return text
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise _malformed(text) from None
    spec = _from_node(tree, text)
    if not isinstance(spec, Spec):
        raise _malformed(text)
    return spec


def parse_pair(text: str) -> tuple[Spec, Spec | None]:
    """Parse `STATE + ENERGY`, or `STATE` alone for a state that is a distribution already."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise _malformed(text, "STATE + ENERGY, such as 'lstm(width=256) + inner'") from None
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add):
        return parse(ast.unparse(tree.left)), parse(ast.unparse(tree.right))
    return parse(ast.unparse(tree)), None


def _from_node(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Name | ast.Attribute):
        return Spec(_dotted(node, text))
    if isinstance(node, ast.Call):
        if node.args:
            raise ValueError(
                f"{text!r}: options are given by name, as in '{_dotted(node.func, text)}(width=64)'"
            )
        options: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise _malformed(text)
            if keyword.arg in options:
                raise ValueError(f"{text!r}: option {keyword.arg!r} is given twice")
            value = _from_node(keyword.value, text)
            options[keyword.arg] = str(value) if isinstance(value, Spec) else value
        return Spec(_dotted(node.func, text), options)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise _malformed(text) from None


def _dotted(node: ast.expr, text: str) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, text)}.{node.attr}"
    raise _malformed(text)


def _malformed(text: str, wanted: str = "name or name(option=value), such as 'lstm(width=256)'"):
    return ValueError(f"cannot read {text!r}: wanted {wanted}")
