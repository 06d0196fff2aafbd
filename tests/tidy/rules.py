"""The layout's rules as functions: each takes the root of a tree and says what breaks the rule."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.tidy.reach import PACKAGES, Reach, reach_of

#: Names that say nothing: a file of that name collects whatever has no place yet.
FORBIDDEN_NAMES = frozenset(
    {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}
)

#: `dolmen --help` answers at once, so whatever it loads may not load these.
SLOW_TO_LOAD = frozenset({"aiohttp", "fsspec", "lmdb", "rich"})

FOLDERS = (*PACKAGES, "tests", "scripts", "benchmarks")


@dataclass(frozen=True)
class Import:
    """One imported name: `from os import path` imports `os.path`."""

    name: str
    line: int
    deferred: bool  #: inside a function, or for the type checker alone


@dataclass(frozen=True)
class Function:
    """The size of one function; the parameters are without `self` and `cls`."""

    place: str
    name: str
    lines: int
    parameters: int


def python_files(root: Path, *folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def import_problems(root: Path) -> list[str]:
    """Imports that the table of `reach.py` does not have, and files it has no place for."""
    problems = []
    for path in python_files(root, *PACKAGES, "benchmarks"):
        relative = PurePosixPath(path.relative_to(root))
        reach = reach_of(relative)
        if reach is None:
            problems.append(f"{relative} is in no place that the layout knows")
            continue
        problems += [
            f"{relative}:{found.line} may not import {found.name}"
            for found in imports_of(path)
            if not _is_within(found, reach)
        ]
    return problems


def _is_within(found: Import, reach: Reach) -> bool:
    if found.name == "dolmen.__version__":
        return True
    top = found.name.split(".")[0]
    if top in (*PACKAGES, "benchmarks", "tests"):
        return any(_is_part_of(found.name, package) for package in reach.ours)
    if found.deferred and top in reach.libraries_in_functions:
        return True
    allowed = reach.standard | reach.libraries
    return any(_is_part_of(found.name, module) for module in allowed)


def _is_part_of(name: str, module: str) -> bool:
    return f"{name}.".startswith(f"{module}.")


def imports_of(path: Path) -> Iterator[Import]:
    """Every import in the file, those inside functions and under conditions included."""
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text()), False)]
    while pending:
        node, deferred = pending.pop()
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield Import(f"{module}.{alias.name}", node.lineno, deferred)
        deferred |= _defers(node)
        pending += [(child, deferred) for child in ast.iter_child_nodes(node)]


def _defers(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def slow_start_problems(root: Path) -> list[str]:
    """What any file of the command line loads itself, and what importing `dolmen.cli` leads to."""
    problems = {
        f"{path.relative_to(root)} loads {found.name} when it is imported"
        for path in python_files(root, "dolmen/cli")
        for found in _loads(path)
        if found.name.split(".")[0] in SLOW_TO_LOAD
    }
    reached = {"dolmen.cli": "dolmen.cli"}
    pending = list(reached)
    while pending:
        module = pending.pop()
        path = _file_of(module, root)
        for found in _loads(path) if path else ():
            if found.name.split(".")[0] in SLOW_TO_LOAD:
                problems.add(f"importing dolmen.cli loads {found.name}: {reached[module]}")
            for loaded in sorted(_loaded_by(found.name) - reached.keys()):
                reached[loaded] = f"{reached[module]} → {loaded}"
                pending.append(loaded)
    return sorted(problems)


def _loads(path: Path) -> list[Import]:
    return [found for found in imports_of(path) if not found.deferred]


def _loaded_by(name: str) -> set[str]:
    """Our modules that importing `name` runs: it and the packages around it."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return set()
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


def _file_of(module: str, root: Path) -> Path | None:
    path = root.joinpath(*module.split("."))
    return next(
        (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None
    )


def problems_in_tests(root: Path) -> list[str]:
    """Tests that patch instead of using a port, and cores that a test runs on an event loop."""
    problems = []
    for path in python_files(root, "tests"):
        relative = path.relative_to(root)
        of_core = relative.parts[1] == "unit" and "core" in relative.parts
        problems += [
            f"{relative}:{found.line} may not import {found.name}"
            for found in imports_of(path)
            if found.name.startswith("unittest.mock") or (of_core and found.name == "asyncio")
        ]
    return problems


def name_problems(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)} has a name that says nothing"
        for path in python_files(root, *FOLDERS)
        if FORBIDDEN_NAMES & set(path.relative_to(root).with_suffix("").parts)
    ]


def file_lengths(root: Path) -> dict[str, int]:
    return {
        str(path.relative_to(root)): len(path.read_text().splitlines())
        for path in python_files(root, *FOLDERS)
    }


def functions(root: Path, *folders: str) -> list[Function]:
    return [
        Function(
            place=f"{path.relative_to(root)}:{node.lineno}",
            name=node.name,
            lines=(node.end_lineno or node.lineno) - node.lineno + 1,
            parameters=_parameters(node.args),
        )
        for path in python_files(root, *folders)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def _parameters(arguments: ast.arguments) -> int:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    starred = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    return sum(argument.arg not in ("self", "cls") for argument in [*named, *starred])
