"""The house: floors, sizes, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import logitlab
import pytest

HOUSE = Path(logitlab.__file__).parent

# A room imports only from lower floors; the first holds the loose files, and what is compiled.
LOOSE = {
    "checks",
    "foreign",
    "numerics",
    "arrays",
    "draw",
    "metrics",
    "vocabulary",
    "datasets",
    "progress",
    "version",
}
FLOORS = [
    LOOSE | {"kernels"},
    {"request"},
    {"steps", "constraints", "models"},
    {"engines"},
    {"sampling"},
    {"generation", "sweeps"},
    {"wire", "plot", "adapters", "testing"},
    {"claims", "verification", "server"},
    {"cli"},
    {"__main__"},
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def modules() -> dict[str, Path]:
    files = HOUSE.rglob("*.py")
    dotted = {".".join(file.relative_to(HOUSE).with_suffix("").parts): file for file in files}
    return {name.removesuffix("__init__").rstrip("."): file for name, file in dotted.items()}


MODULES = modules()
ROOMS = sorted({name.split(".")[0] for name in MODULES} - {"", *LOOSE})


def imports(name: str, tree: ast.AST | None = None) -> set[str]:
    """Return the modules of the house that a module imports, wherever it says so."""
    found = set()
    for node in ast.walk(tree or ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "logitlab":
            inside = (node.module or "").removeprefix("logitlab").lstrip(".")
            names = {f"{inside}.{alias.name}".lstrip(".") for alias in node.names}
            found |= {name if name in MODULES else inside for name in names}
        if isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("logitlab").lstrip(".")
                for alias in node.names
                if alias.name.split(".")[0] == "logitlab"
            }
    return found - {name}


def test_the_rooms_are_those_of_the_plan_and_nothing_lies_about() -> None:
    assert {name.split(".")[0] for name in MODULES} - {""} <= set(FLOOR)
    assert {file.stem for file in HOUSE.glob("*.py")} <= LOOSE | {"__init__", "__main__"}


@pytest.mark.parametrize("name", sorted(set(MODULES) - {""}))
def test_a_room_imports_only_from_lower_floors(name: str) -> None:
    room = name.split(".")[0]
    for other in imports(name):
        its = other.split(".")[0]
        assert its == room or (its and FLOOR[its] <= FLOOR[room]), f"{name} imports {other}"
        if its != room and FLOOR[its] == FLOOR[room] and FLOOR[room]:
            raise AssertionError(f"{name} imports {other}, of the same floor")


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_no_room_has_a_circle_inside(room: str) -> None:
    inside = {
        name for name in MODULES if name.split(".")[0] == room or (not room and name in LOOSE)
    }
    left = {name: imports(name) & inside for name in inside}
    while free := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in free}
    assert not left, f"these import each other: {sorted(left)}"


def at_import(name: str) -> set[str]:
    """Return what of the house a module imports while it is imported."""

    def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for node in body:
            if isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from statements(node.body + node.orelse)
            elif not isinstance(node, ast.If | ast.FunctionDef | ast.ClassDef):
                yield node

    tree = ast.parse(MODULES[name].read_text("utf-8"))
    tree.body = list(statements(tree.body))
    return imports(name, tree)


def test_the_longest_chain_of_imports_is_short() -> None:
    @cache
    def chain(name: str) -> list[str]:
        below = at_import(name) - {""}
        return [name, *max((chain(other) for other in below), key=len, default=[])]

    longest = max((chain(name) for name in MODULES if name), key=len)
    assert len(longest) <= 16, " -> ".join(longest)


EVERY = "[importlib.import_module(f'logitlab.{name}') for name in {names!r} if name != '__main__']"


def run(code: str) -> str:
    names = sorted(set(MODULES) - {""})
    return subprocess.check_output(
        [sys.executable, "-c", code.replace("EVERY", EVERY.replace("{names!r}", repr(names)))],
        text=True,
    ).strip()


def test_every_module_imports_where_processes_do_not_exist() -> None:
    run("import importlib, sys; sys.modules['_multiprocessing'] = None; EVERY")


def test_promised_names_stay_what_they_are_whatever_is_imported() -> None:
    told = run(
        "import importlib, types, logitlab\n"
        "before = {name: getattr(logitlab, name) for name in dir(logitlab)}\n"
        "EVERY\n"
        "after = {name: getattr(logitlab, name) for name in dir(logitlab)}\n"
        "assert before.keys() == after.keys() == set(logitlab.__all__)\n"
        "assert all(before[name] is after[name] for name in before)\n"
        "print(*(n for n in before if isinstance(before[n], types.ModuleType)))"
    )
    assert told.split() == [
        *("adapters", "claims", "constraints", "datasets", "engines", "models", "plot", "sweeps"),
        "testing",
    ]
    assert {"generate", "generate_many", "sweep", "distribution", "trace", "Xtc"} <= {
        *dir(logitlab)
    }
    assert not {"Any", "TYPE_CHECKING", "import_module"} & {*dir(logitlab)}


def test_a_room_works_without_anything_else_having_loaded_it() -> None:
    names = ["constraints.Regex", "models.NGram", "engines.vllm", "claims.check", "plot.trace",
             "adapters.plain", "sweeps.Quantiles", "testing.check", "datasets.load",
             "cli.main"]  # fmt: skip
    told = run(
        "import operator, os, logitlab\n"
        f"for name in {names!r}:\n"
        "    if child := os.fork():  # each in a process that has loaded logitlab, and no more\n"
        "        assert os.waitpid(child, 0)[1] == 0, name\n"
        "    else:\n"
        "        operator.attrgetter(name)(logitlab)\n"
        "        os._exit(0)\n"
        "print(name)"
    )
    assert told == names[-1]


def test_no_file_is_too_long() -> None:
    for name, file in MODULES.items():
        assert len(file.read_text("utf-8").splitlines()) <= 500, name


def test_importing_loads_numpy_only() -> None:
    code = (
        "import sys, logitlab\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "foreign = loaded - set(sys.stdlib_module_names) - {'logitlab', 'numpy', '__main__'}\n"
        "print(sorted(name for name in foreign if not name.startswith(('_', 'sitecustomize'))))\n"
    )
    result = subprocess.run([sys.executable, "-S", "-c", _paths() + code], capture_output=True)
    assert result.stdout.decode().strip() == "[]", result.stderr.decode()


def test_importing_loads_only_what_sampling_needs() -> None:
    """Generation, constraints, models and the wire load when they are asked for."""
    code = "import sys, logitlab; print(*(name for name in sys.modules if 'logitlab.' in name))"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert "logitlab.sampling.sample" in loaded
    late = (
        "adapters",
        "claims",
        "generation",
        "constraints",
        "wire",
        "models.",
        "cli",
        "sweeps",
        "testing",
    )
    models = {"logitlab.models.model"}  # the protocol, for whoever brings a model
    for name in loaded - models:
        assert not name.removeprefix("logitlab.").startswith(late), name
    names = ("generate", "chat", "transport", "Generation")
    assert all(callable(getattr(logitlab, name)) for name in names)


def test_every_public_name_is_documented() -> None:
    for name in set(logitlab.__all__) - {"PARAMETERS"}:  # a dict, described below it
        text = getattr(logitlab, name).__doc__
        assert text, name
        assert not text.startswith(f"{name}("), f"{name} has only the automatic docstring"


def _paths() -> str:
    # -S leaves out site hooks of the environment, whatever they import, so the paths go along.
    return f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n"
