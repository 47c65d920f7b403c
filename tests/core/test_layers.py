"""Imports go one way: core <- parts <- train, run <- cli; a part never imports another part."""

import ast
from pathlib import Path

import seqstate

ROOT = Path(seqstate.__file__).parent
PARTS = ("states", "energies", "screens", "tasks", "instruments")
LIBRARIES = ("torch", "numpy", "plotly", "jinja2", "rich", "duckdb", "tokenizers", "transformers")


def imported(path: Path, *, at_top: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if at_top else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(folder: str):
    return sorted((ROOT / folder).rglob("*.py"))


def inside(found: set[str], *prefixes: str) -> set[str]:
    wanted = [f"seqstate.{prefix}" for prefix in prefixes]
    return {name for name in found if any(name == w or name.startswith(w + ".") for w in wanted)}


def test_contracts_import_only_contracts():
    for path in files("core"):
        found = {name for name in imported(path) if name.split(".")[0] == "seqstate"}
        assert found == inside(found, "core") | (found & {"seqstate"}), path


def test_a_part_imports_no_other_part_and_nothing_above_it():
    above = (
        "train",
        "run",
        "compare",
        "cli",
        "report",
        "trained",
        "api",
        "hub",
        "evaluate",
        "generate",
    )
    for kind in PARTS:
        for path in files(kind):
            found = imported(path)
            assert not inside(found, *above), (path, inside(found, *above))
            for other in PARTS:
                for name in inside(found, other):
                    private = any(piece.startswith("_") for piece in name.split("."))
                    assert (other == kind and private) or name == f"seqstate.{kind}", (path, name)


def test_reports_need_no_torch():
    for path in files("report"):
        found = imported(path)
        assert not {name for name in found if name.split(".")[0] in ("torch", "transformers")}, path
        assert inside(found, "core", "report") >= inside(found, "train", "run", "model"), path


def test_text_and_the_command_line_import_heavy_things_only_when_needed():
    for path in files("text"):
        assert not {name for name in imported(path) if name.split(".")[0] == "torch"}, path
    for path in files("cli"):
        found = {name.split(".")[0] for name in imported(path, at_top=True)}
        assert not found & set(LIBRARIES), (path, found & set(LIBRARIES))


def test_only_the_front_doors_know_of_hugging_face():
    """The package's names, the commands, and what is not imported until it is used."""
    for path in sorted(ROOT.rglob("*.py")):
        front = path.parent == ROOT / "cli" or path == ROOT / "__init__.py"
        if not front and ROOT / "hub" not in path.parents:
            assert not inside(imported(path), "hub"), path
