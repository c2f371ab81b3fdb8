"""What a sweep returns: labelled arrays."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, needs
from numpy.typing import NDArray

__all__ = ["Sweep", "SweepPlan"]

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class SweepPlan:
    """How the points of a grid were computed.

    Attributes
    ----------
    shared : int
        Points that shared one ordering of a row, and one pass for each temperature.
    dense : int
        Points whose chain ran by itself.
    reasons : mapping of str to int
        How and why, and how many of them.
    """

    shared: int
    dense: int
    reasons: Mapping[str, int]

    def __str__(self) -> str:
        lines = []
        if self.shared:
            lines.append(f"{self.shared} points share one order of each row")
        for reason, count in self.reasons.items():
            lines.append(f"{count} points {reason}")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """Numbers over a grid of parameters.

    Attributes
    ----------
    axes : dict of str to sequence
        The parameters and their values, in the order of the axes of every array. Behind them
        stands "row", "quantile" or "bin" where the rows were not averaged.
    values : dict of str to ndarray of float64
        One array for each metric.
    units : dict of str to str
        "nats", "tokens", "probability", "rows" or "".
    rows : int
        How many rows there were.
    plan : SweepPlan
        Which points shared their work.
    zipped : dict of str to sequence
        Further parameters along the first axis, where parameters were zipped.
    edges : dict of str to ndarray
        Edges of the bins of each metric, of a histogram.
    low, high : dict of str to ndarray
        Ends of the confidence intervals, of `simulate`.
    seed : int or None
        The seed that was drawn with, of `simulate`.
    """

    axes: dict[str, Any]
    values: dict[str, Float64]
    units: dict[str, str]
    rows: int
    plan: SweepPlan
    zipped: dict[str, Any] = field(default_factory=dict)
    edges: dict[str, Float64] = field(default_factory=dict)
    low: dict[str, Float64] = field(default_factory=dict)
    high: dict[str, Float64] = field(default_factory=dict)
    seed: int | None = None

    def __repr__(self) -> str:
        axes = " x ".join(f"{len(values)} {name}" for name, values in self.axes.items())
        return f"<Sweep of {self.rows} rows: {', '.join(self.values)} over {axes}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all metrics as one array, shape (M, *axes)."""
        if copy is False:
            raise ValueError("the metrics are arrays of their own, so this copies")
        return np.stack(list(self.values.values())).astype(dtype or np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as lists, numbers and strings, as JSON can hold it.

        Infinite and undefined numbers stay Python's own.
        """
        lists = ("values", "edges", "low", "high")
        axes = {name: _listed(values) for name, values in self.axes.items()}
        result: dict[str, Any] = {"axes": axes, "units": dict(self.units), "rows": self.rows}
        for name in lists:
            held = {key: array.tolist() for key, array in getattr(self, name).items()}
            if held:
                result[name] = held
        if self.zipped:
            result["zipped"] = {name: _listed(values) for name, values in self.zipped.items()}
        if self.seed is not None:
            result["seed"] = self.seed
        result["plan"] = str(self.plan)
        return result

    def columns(self) -> dict[str, list[Any]]:
        """Return the long table: one line for each place of the arrays, in C order."""
        lines = list(itertools.product(*map(_listed, self.axes.values())))
        table: dict[str, list[Any]] = {}
        for i, name in enumerate(self.axes):
            table[name] = [line[i] for line in lines]
            if i == 0:
                each = len(lines) // len(self.axes[name])
                for other, values in self.zipped.items():
                    table[other] = [value for value in _listed(values) for _ in range(each)]
        if self.edges:
            bins = table["bin"]
            for name, ends in self.edges.items():
                table[f"{name}_from"] = ends[:-1][bins].tolist()
                table[f"{name}_to"] = ends[1:][bins].tolist()
        for name, array in self.values.items():
            table[name] = array.ravel().tolist()
            for end in ("low", "high"):
                if name in getattr(self, end):
                    table[f"{name}_{end}"] = getattr(self, end)[name].ravel().tolist()
        return table

    def to_csv(self, path: str | PathLike[str] | None = None) -> str:
        r"""Return the long table as CSV, and write it to a file where one is named.

        Numbers are written with all digits that tell them apart.

        Examples
        --------
        >>> from logitlab import sweep
        >>> grid = {"top_k": [1, 2], "temperature": [1.0]}
        >>> print(sweep([[0.0, 0.0]], grid, "perplexity").to_csv())
        top_k,temperature,perplexity
        1,1.0,1.0
        2,1.0,2.0
        """
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        columns = self.columns()
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        text = stream.getvalue()
        if path is not None:
            Path(path).write_text(text, "utf-8")
        return text

    def to_pandas(self) -> Any:
        """Return the long table as a ``pandas.DataFrame``.

        Raises
        ------
        ImportError
            Without pandas.
        """
        return needs("tables", "pandas").DataFrame(self.columns())

    def to_xarray(self) -> Any:
        """Return an ``xarray.Dataset``: the axes are coordinates, the units attributes.

        Raises
        ------
        ImportError
            Without xarray.
        """
        names = tuple(self.axes)
        arrays = {
            name: (names, array, {"units": self.units[name]}) for name, array in self.values.items()
        }
        for end in ("low", "high"):
            for name, array in getattr(self, end).items():
                arrays[f"{name}_{end}"] = (names, array, {"units": self.units[name]})
        coordinates: dict[str, Any] = {
            name: _coordinate(values) for name, values in self.axes.items()
        }
        coordinates |= {
            name: (names[0], _coordinate(values)) for name, values in self.zipped.items()
        }
        for name, ends in self.edges.items():
            coordinates[f"{name}_from"] = ("bin", ends[:-1])
            coordinates[f"{name}_to"] = ("bin", ends[1:])
        return needs("tables", "xarray").Dataset(arrays, coordinates, {"rows": self.rows})

    def at(self, **point: Any) -> dict[str, Any]:
        """Return the numbers of one value of some axes.

        Parameters
        ----------
        **point
            Values of parameters, as they stand in `axes` up to rounding, or of those zipped to the
            first.

        Raises
        ------
        ParameterError
            For a name or a value that no axis has.

        Examples
        --------
        >>> from logitlab import sweep
        >>> found = sweep([[0.0, 0.0]], {"top_k": [1, 2]}, "support")
        >>> found.at(top_k=2)
        {'support': np.float64(2.0)}
        """
        first = next(iter(self.axes))
        known = {name: name for name in self.axes} | dict.fromkeys(self.zipped, first)
        index: dict[str, int | slice] = {name: slice(None) for name in self.axes}
        for name, value in point.items():
            if name not in known:
                raise ParameterError("point", f"of axes among {', '.join(known)}", name)
            index[known[name]] = _place(name, value, (self.axes | self.zipped)[name])
        return {name: array[tuple(index.values())][()] for name, array in self.values.items()}


def _place(name: str, value: Any, values: Any) -> int:
    """Return where a value stands on an axis."""
    listed = _listed(values)
    if value in listed:
        return listed.index(value)
    numbers = [entry for entry in listed if isinstance(entry, int | float)]
    hint = ""
    if isinstance(value, int | float) and numbers:
        nearest = min(numbers, key=lambda entry: abs(entry - value))
        if abs(nearest - value) <= 1e-9 * max(abs(nearest), abs(value)):
            return listed.index(nearest)
        hint = f"The nearest is {nearest!r}."
    raise ParameterError(name, "a value of the axis", value, hint)


def _listed(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _coordinate(values: Any) -> Any:
    """Return values as xarray takes them: numbers and names as they are, others as text."""
    listed = _listed(values)
    plain = all(isinstance(value, int | float | str) for value in listed)
    return listed if plain else list(map(str, listed))
