"""The house: floors, sizes, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import logitlab
import pytest

HOUSE = Path(logitlab.__file__).parent

# A module imports only from lower floors.
FLOORS = [
    {"checks", "version"},
    {"numerics", "vocabulary", "libstdcxx"},
    {"rules"},
    {"params", "metrics", "draw", "datasets", "stop", "progress"},
    {"context", "models.model", "models.bpe", "models.kneser_ney"},
    {"models.inputs", "models.texts", "models.tokenizer_bytes"},
    {"models.chat_template", "models.gguf_file", "models.ngram"},
    {"models.gguf_tokenizer", "models.llama"},
    {"models.gguf", "models.huggingface", "models.llama_cpp"},
    {"models.recorded", "models.recorder"},
    {"models", "constraints.constraint", "constraints.patterns", "constraints.endless"},
    {"constraints.schema", "constraints.calls"},
    {"constraints.kinds"},
    {"constraints.tools"},
    {"constraints.request"},
    {"constraints"},
    {"chain"},
    {
        "transforms.temperature",
        "transforms.truncation",
        "transforms.penalties",
        "transforms.bias",
        "transforms.normalisation",
    },
    {"scan", "sorted_chain"},
    {"candidates"},
    {"engines.declare", "engines.draws"},
    {"engines.translation"},
    {"engines.engine"},
    {
        "engines.documented",
        "engines.huggingface",
        "engines.llama_cpp",
        "engines.mlx_lm",
        "engines.sglang",
        "engines.vllm",
    },
    {"engines"},
    {"engines.differences", "parting"},
    {"sampling", "compare"},
    {"generation", "prompts"},
    {"preparation"},
    {"loop"},
    {"generating"},
    {"wire"},
    {"clients"},
    {
        "sweeps.chunks",
        "sweeps.grid",
        "sweeps.identity",
        "sweeps.measures",
        "sweeps.programs",
        "sweeps.result",
    },
    {"sweeps.dense", "sweeps.reductions", "sweeps.shared"},
    {"sweeps.checkpoint", "sweeps.work"},
    {"sweeps.executing"},
    {"sweeps.sweeping"},
    {"sweeps.simulating"},
    {"sweeps"},
    {"claims.lab", "claims.truth"},
    {"claims.claim"},
    {"claims.bias", "claims.drawing", "claims.ending", "claims.neutral", "claims.structure"},
    {"claims.penalties", "claims.temperature", "claims.truncation"},
    {"claims"},
    {"plot.labels", "plot.style"},
    {"plot.source"},
    {
        "plot.columns",
        "plot.distribution",
        "plot.generation",
        "plot.interactive",
        "plot.penalties",
        "plot.swept",
    },
    {"plot.sweep"},
    {"plot"},
    {"claims.report"},
    {"cli.arguments"},
    {"cli.text"},
    {"cli.trace"},
    {"cli.chat", "cli.claims", "cli.engines", "cli.sweep"},
    {"cli.generate"},
    {"cli"},
    {"__main__"},
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
FRONT_DOORS = {"", "transforms"}


def modules() -> dict[str, Path]:
    files = HOUSE.rglob("*.py")
    dotted = {".".join(file.relative_to(HOUSE).with_suffix("").parts): file for file in files}
    return {name.removesuffix("__init__").rstrip("."): file for name, file in dotted.items()}


def imports(file: Path) -> set[str]:
    """Return the modules of the house that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "logitlab":
            inside = (node.module or "").removeprefix("logitlab").lstrip(".")
            found |= {inside} if inside else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("logitlab")]
            found |= {name.removeprefix("logitlab").lstrip(".") or "__init__" for name in names}
    return found


def test_every_module_has_a_floor() -> None:
    assert set(modules()) == set(FLOOR) | FRONT_DOORS


@pytest.mark.parametrize("name", FLOOR)
def test_modules_import_only_from_lower_floors(name: str) -> None:
    for other in imports(modules()[name]):
        assert FLOOR[other] < FLOOR[name], f"{name} imports {other}"


def test_no_file_is_too_long() -> None:
    for name, file in modules().items():
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
    assert "logitlab.sampling" in loaded
    late = (
        "claims",
        "generating",
        "generation",
        "loop",
        "constraints",
        "wire",
        "clients",
        "models.",
        "cli",
        "sweeps",
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
