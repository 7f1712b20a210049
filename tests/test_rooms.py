"""The rooms have doors one way, model <- indexer <- app, and the light modules stay light.

A cycle between rooms is cheap to add and dear to undo, and one careless import costs every `htav search` seconds.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "model": {"model"},
    "indexer": {"indexer", "model", "migrations"},
    "app": {"app", "indexer", "model"},
    "migrations": {"migrations", "indexer"},
}
OURS = set(MAY_IMPORT) | {"tests", "benchmarks"}
HEAVY_FOR_QUERIES = (
    "transformers",
    "torchvision",
    "timm",
    "accelerate",
    "tensorboard",
    "matplotlib",
    "espeakng_loader",
)


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Every import in a module, function bodies included, with relative ones resolved: (line, dotted name)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            yield node.lineno, ".".join([*base, *([node.module] if node.module else [])])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {
            "importlib.import_module",
            "import_module",
            "__import__",
        }:
            if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def breaches(source: str, package: str, room: str) -> list[str]:
    return [
        f"line {line}: {name}"
        for line, name in imported(ast.parse(source), package)
        if name.partition(".")[0] in OURS - MAY_IMPORT[room]
    ]


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_the_rooms_before_it(room: str) -> None:
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in modules(room)
        if (wrong := breaches(path.read_text(), ".".join(path.relative_to(ROOT).parent.parts), room))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("model", "import indexer.catalog"),
        ("model", "def late():\n    from app import main"),
        ("model.data", "from ...indexer import scan"),
        ("model", "import importlib\nimportlib.import_module('app.main')"),
        ("indexer", "from app.main import create_app"),
        ("app", "import tests.helpers"),
    ],
)
def test_the_check_sees_a_door_in_the_wrong_wall(package: str, source: str) -> None:
    assert breaches(source, package, package.partition(".")[0])


def loaded_after(statement: str) -> set[str]:
    """The top-level packages in sys.modules of a new interpreter that ran `statement`."""
    code = f"{statement}\nimport sys\nsys.stdout.write(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["model", "model.errors", "model.media", "model.tokens", "indexer.sandbox", "indexer.decode"]
)
def test_modules_that_must_not_import_torch(module: str) -> None:
    assert "torch" not in loaded_after(f"import {module}")


def test_the_service_imports_nothing_that_only_indexing_and_training_need() -> None:
    assert loaded_after("import app.main").isdisjoint(HEAVY_FOR_QUERIES)


def test_the_command_line_shows_its_help_without_torch() -> None:
    assert "torch" not in loaded_after("import app.cli")


def test_espeak_is_reached_only_by_the_process_of_its_own() -> None:
    """eSpeak NG is GPL-3: only the child process that speaks may load it."""
    users = {
        path.relative_to(ROOT).as_posix()
        for room in MAY_IMPORT
        for path in modules(room)
        for _, name in imported(ast.parse(path.read_text()), room)
        if name.partition(".")[0] == "espeakng_loader"
    }
    assert users <= {"model/data/synthesis/espeak_process.py"}
    importers = {
        path.relative_to(ROOT).as_posix()
        for room in MAY_IMPORT
        for path in modules(room)
        for _, name in imported(ast.parse(path.read_text()), room)
        if name.endswith("espeak_process")
    }
    assert importers == set()
