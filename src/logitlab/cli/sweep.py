"""``logitlab sweep``: a grid of parameters over rows of logits, as a table and a figure."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from logitlab.checks import MOST_POINTS, MOST_WORKERS, ParameterError, Range, Seen, check_number
from logitlab.cli.arguments import (
    COUNT,
    add_command,
    add_dtype,
    add_options,
    add_state,
    bundled_rows,
    ids_of,
    number_of,
    option_of,
    request_of,
    state_of,
    uncounted,
    whole,
)
from logitlab.cli.forms import AGAIN, help_of
from logitlab.cli.outputs import check_outputs
from logitlab.engines.rules import Note
from logitlab.models.recording.files import ENDINGS, open_logits
from logitlab.models.recording.texts import beside
from logitlab.request.params import DISTRIBUTION, PARAMETERS
from logitlab.steps.context import Context
from logitlab.sweeps import Sweep, simulate, sweep
from logitlab.sweeps.grid import chains_of, grid_of
from logitlab.sweeps.measures import MEASURES
from logitlab.sweeps.reductions import REDUCTIONS

__all__ = ["add"]

# One number for each point; texts, lists and maps are those of the library.
_AXES = tuple(key for key in DISTRIBUTION if PARAMETERS[key].range or key == "mirostat")


class _Axis(argparse.Action):
    """Keeps the axes in the order in which they are written."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        axes = getattr(namespace, self.dest) or []
        if any(option == name for name, _ in axes):
            raise argparse.ArgumentError(self, "given twice: write its values with commas")
        setattr(namespace, self.dest, [*axes, (option, values)])


def add(commands: Any) -> None:
    """Add the command ``sweep``: metrics over a grid of parameters."""
    parser = add_command(
        commands,
        "sweep",
        _sweep,
        help="a grid of parameters over rows of logits",
        description="Measure every combination of parameters on rows of logits. VALUES are numbers "
        "and ranges: 0.5,0.9,1 or 0:2:0.1 (from, to, step).",
    )
    parser.add_argument(
        "rows",
        nargs="?",
        metavar="ROWS",
        help=f"a file of logits, shape (n, V): {', '.join(ENDINGS)}; the bundled rows by default",
    )
    add_dtype(parser)
    add_options(
        parser,
        ("--array", "NAME", "which array of the file, if it has several"),
        ("--prompt-ids", "IDS", "the prompt's tokens before every row of your own: 5,17,5"),
        ("--output-ids", "IDS", "the output's tokens after the prompt's, before every row"),
    )
    grid = parser.add_argument_group("grid")
    for key in _AXES:
        grid.add_argument(
            option_of(key),
            dest="axes",
            metavar="VALUES",
            action=_Axis,
            help=help_of(PARAMETERS[key]),
        )
    grid.add_argument(
        "--logit-bias",
        metavar="ID=VALUE",
        action="append",
        dest="logit_bias",
        help=f"the same at every point; {AGAIN}",
    )
    grid.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help=f"a request key of an engine's own, the same at every point; {AGAIN}",
    )
    add_options(
        grid,
        ("--zip", None, "first values together, then second ones, instead of all combinations"),
        ("--engine", "NAMES", "whose chain it is; several names make an axis", "openrouter"),
    )
    add_state(grid)
    measures = parser.add_argument_group("what is measured")
    add_options(measures, ("--metrics", "NAMES", ", ".join(MEASURES)))
    measures.add_argument(
        "--reduce", choices=REDUCTIONS, default="mean", help="what is kept of the rows (mean)"
    )
    add_options(
        measures,
        ("--draws", "N", "estimate by so many draws a row, with intervals"),
        ("--seed", "N", "of the draws"),
    )
    add_options(
        parser.add_argument_group("work"),
        ("--workers", "N", "processes (1)", "1"),
        ("--chunk", "N", "rows sent away together (256)", "256"),
        ("--checkpoint", "FILE", "to go on from if this is cut off"),
        ("--quiet", None, "show no bar"),
    )
    add_options(
        parser.add_argument_group("output"),
        ("--out", "FILE", "write the table as CSV; printed by default"),
        ("--plot", "FILE", "draw a figure: .png, .svg or .pdf"),
    )


def _sweep(arguments: argparse.Namespace) -> str:
    workers = whole("--workers", arguments.workers, Range(1, MOST_WORKERS, integer=True))
    plot = None if arguments.plot is None else import_module("logitlab.plot")
    _check_outputs(arguments)
    with nullcontext() if workers == 1 else _pool(workers) as executor:
        try:
            result = _result(arguments, executor)
        except RuntimeError as error:
            raise ParameterError("ROWS", "worked on", Seen("a failure"), f"{error}.") from error
    for note in result.notes:
        if note.effect not in ("default", "beyond"):  # the rest would surprise
            print(note.sentence, file=sys.stderr)
    table = result.to_csv(arguments.out)
    if arguments.plot is not None:
        _figure(plot, result).savefig(arguments.plot)
    if arguments.out is None:
        return table.rstrip("\n")
    figure = [f"figure: {arguments.plot}"] if arguments.plot else []
    return "\n".join([repr(result), str(result.plan), f"table: {arguments.out}", *figure])


def _pool(workers: int) -> Any:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Processes begin afresh, so that they hold no lock of this one.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Raise for an output that could not be written in the end, before anything is computed."""
    outputs = {f"--{name}": getattr(arguments, name) for name in ("out", "plot", "checkpoint")}
    inputs: dict[str, str | None] = {"ROWS": arguments.rows}
    if str(arguments.rows).endswith(".npy"):
        inputs["the texts of ROWS"] = str(beside(Path(arguments.rows)))
    check_outputs(outputs, inputs)
    if arguments.plot is not None:
        from matplotlib.backend_bases import FigureCanvasBase

        kinds = sorted(FigureCanvasBase.get_supported_filetypes())
        if Path(arguments.plot).suffix[1:].lower() not in kinds:
            rule = f"a file that ends in one of {', '.join('.' + kind for kind in kinds)}"
            raise ParameterError("--plot", rule, arguments.plot)
        if len(arguments.axes or ()) + ("," in arguments.engine) > 2 and not arguments.zip:
            raise ParameterError("--plot", "absent for more than two axes", arguments.plot)


def _figure(plot: Any, result: Sweep) -> Any:
    """Return a figure with a picture of each metric, one below the other."""
    from matplotlib.figure import Figure

    count = len(result.values)
    figure = Figure(figsize=(7.5, 4 * count), dpi=150, layout="constrained")
    axes = figure.subplots(count, squeeze=False)[:, 0]
    for ax, name in zip(axes, result.values, strict=True):
        plot.sweep(result, show=name, ax=ax)
    return figure


def _result(arguments: argparse.Namespace, executor: Any) -> Sweep:
    engines = [name.strip() for name in arguments.engine.split(",")]
    grid: dict[str, Any] = {"engine": engines} if len(engines) > 1 else {}
    for option, text in arguments.axes or ():
        grid[option[2:].replace("-", "_")] = _values(option, text)
    if not grid:
        raise ParameterError("--temperature", "given, or another parameter of the grid", None)
    request = argparse.Namespace(logit_bias=arguments.logit_bias, set=arguments.set)
    rows, context = _rows_and_context(arguments)
    options: dict[str, Any] = {
        "engine": arguments.engine if len(engines) == 1 else "openrouter",
        "request": request_of(request),
        "context": context,
        "state": state_of(arguments),
        "zipped": arguments.zip,
        "executor": executor,
        "chunk": whole("--chunk", arguments.chunk, COUNT),
        "checkpoint": arguments.checkpoint,
        "progress": False if arguments.quiet else None,
    }
    if arguments.metrics is not None:
        options["metrics"] = [name.strip() for name in arguments.metrics.split(",")]
    seed = arguments.seed
    if arguments.draws is None:
        if seed is not None:
            raise ParameterError("--seed", "given together with --draws", seed)
        return _told(sweep(rows, grid, reduce=arguments.reduce, **options), grid, options)
    if arguments.reduce != "mean":
        raise ParameterError("--reduce", "mean where tokens are drawn", arguments.reduce)
    draws = whole("--draws", arguments.draws, Range(2, integer=True))
    seed = None if seed is None else whole("--seed", seed, Range(integer=True))
    return _told(simulate(rows, grid, draws=draws, seed=seed, **options), grid, options)


def _told(result: Sweep, grid: dict[str, Any], options: dict[str, Any]) -> Sweep:
    """Return the result with notes of the engines that count an output of no tokens."""
    if not any(key.endswith("_penalty") for key in (*grid, *options["request"])):
        return result
    engine, points = options["engine"], grid_of(grid, options["zipped"])
    chains = chains_of(points, engine, options["request"], None)[0]
    steps: dict[str, list[Any]] = {}
    for point, chain in zip(points.points(), chains, strict=True):
        steps.setdefault(point.get("engine", engine), []).extend(chain)
    told: list[Note] = []
    for name, of_all in steps.items():
        told += uncounted(name, of_all, options["context"])
    return replace(result, notes=(*result.notes, *told))


def _rows_and_context(arguments: argparse.Namespace) -> tuple[Any, Context | None]:
    """Return the rows and the tokens before them."""
    output = ids_of(arguments.output_ids, "--output-ids")
    if arguments.rows is None:
        for option in ("--array", "--prompt-ids"):
            value = getattr(arguments, option[2:].replace("-", "_"))
            if value is not None:
                raise ParameterError(option, "given together with ROWS", value)
        recording = bundled_rows(arguments.dtype)
        prompts = [ids.tolist() for ids in recording.prompt_ids]
        return recording.logits, Context(prompts, output)
    if arguments.dtype is not None:
        hint = "A file has its own dtype."
        raise ParameterError("--dtype", "absent where ROWS is given", arguments.dtype, hint)
    rows = open_logits(arguments.rows, arguments.array, path_key="rows", name_key="--array")
    if arguments.prompt_ids is None and arguments.output_ids is None:
        return rows, None
    return rows, Context(ids_of(arguments.prompt_ids, "--prompt-ids"), output)


def _values(name: str, text: str) -> list[Any]:
    """Return the numbers of ``0.5,0.9`` and ``0:2:0.1``, ends included."""
    values: list[Any] = []
    for part in text.split(","):
        ends = [number_of(end) for end in part.split(":")]
        if len(ends) == 1:
            values += ends
            continue
        if len(ends) != 3:
            raise ParameterError(name, "numbers, or ranges like 0:2:0.1", text)
        low, high, step = (check_number(name, end) for end in ends)
        if step <= 0 or high < low:
            raise ParameterError(name, "ranges from low to high in steps above 0", part)
        if (high - low) / step >= MOST_POINTS:
            raise ParameterError(name, f"ranges of at most {MOST_POINTS} values", part)
        count = int((high - low) / step + 1e-9) + 1
        if all(isinstance(end, int) for end in ends):
            values += range(ends[0], ends[0] + count * ends[2], ends[2])
        else:
            values += [round(low + i * step, 12) for i in range(count)]
    return values
