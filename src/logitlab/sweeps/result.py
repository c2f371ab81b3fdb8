"""What a sweep returns: labelled arrays."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, check_path, needs
from logitlab.engines.rules import Note
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
        reasons = {"share one order of each row": self.shared, **self.reasons}
        return "\n".join(f"{count} points {reason}" for reason, count in reasons.items() if count)


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
    state : dict of str to float or ndarray, or None
        In which state the chains were, by the name of the step; None where no chain has one. What
        was not given is the initial state: a number, or an array over the grid where points
        differ, NaN where the chain of a point has no such step.
    notes : tuple of Note
        What the engines make of the points' values, and of the request's, each sentence once.
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
    state: dict[str, Any] | None = None
    notes: tuple[Note, ...] = ()

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
        result: dict[str, Any] = {
            "axes": {name: _entries(values) for name, values in self.axes.items()},
            "units": dict(self.units),
            "rows": self.rows,
        }
        for name in ("values", "edges", "low", "high", "zipped"):
            arrays = {key: _entries(array) for key, array in getattr(self, name).items()}
            if arrays:
                result[name] = arrays
        if self.seed is not None:
            result["seed"] = self.seed
        if self.state is not None:
            result["state"] = {key: np.asarray(mu).tolist() for key, mu in self.state.items()}
        return result | {"plan": str(self.plan), "notes": [note.sentence for note in self.notes]}

    def columns(self) -> dict[str, list[Any]]:
        """Return the long table: one line for each place of the arrays, in C order."""
        first, *rest = self.axes
        sizes = [len(values) for values in self.axes.values()]
        along = {first: 0, **dict.fromkeys(self.zipped, 0)}
        along |= {name: i for i, name in enumerate(rest, start=1)}
        places = np.indices(sizes).reshape(len(sizes), -1).tolist()
        table = {
            name: [entries[place] for place in places[i]]
            for name, i in along.items()
            for entries in [_entries((self.axes | self.zipped)[name])]
        }
        for name, ends in self.edges.items():
            table[f"{name}_from"] = ends[:-1][table["bin"]].tolist()
            table[f"{name}_to"] = ends[1:][table["bin"]].tolist()
        for name, array in self.values.items():
            table[name] = array.ravel().tolist()
            for end, arrays in (("low", self.low), ("high", self.high)):
                if name in arrays:
                    table[f"{name}_{end}"] = arrays[name].ravel().tolist()
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
        file = None if path is None else check_path("path", path)
        if file is not None and (file.is_dir() or not file.parent.is_dir()):
            raise ParameterError("path", "a file in an existing folder", path)
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        columns = self.columns()
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        text = stream.getvalue()
        if file is not None:
            file.write_text(text, "utf-8")
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
            name + end: (names, array, {"units": self.units[name]})
            for end, part in (("", self.values), ("_low", self.low), ("_high", self.high))
            for name, array in part.items()
        }
        coordinates: dict[str, Any] = {
            name: (name if name in names else names[0], _coordinate(values))
            for name, values in (self.axes | self.zipped).items()
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
        >>> result = sweep([[0.0, 0.0]], {"top_k": [1, 2]}, "support")
        >>> result.at(top_k=2)
        {'support': np.float64(2.0)}
        """
        first, *_ = self.axes
        along = {name: name for name in self.axes} | dict.fromkeys(self.zipped, first)
        index: dict[str, int | slice] = dict.fromkeys(self.axes, slice(None))
        for name, value in point.items():
            if name not in along:
                raise ParameterError("point", f"of axes among {', '.join(along)}", name)
            index[along[name]] = _index_of(name, value, (self.axes | self.zipped)[name])
        return {name: array[tuple(index.values())][()] for name, array in self.values.items()}


def _index_of(name: str, value: Any, values: Any) -> int:
    """Return where a value stands on an axis."""
    entries = _entries(values)
    if value in entries:
        return entries.index(value)
    numbers = [entry for entry in entries if isinstance(entry, int | float)]
    hint = ""
    if isinstance(value, int | float) and numbers:
        nearest = min(numbers, key=lambda entry: abs(entry - value))
        if abs(nearest - value) <= 1e-9 * max(abs(nearest), abs(value)):
            return entries.index(nearest)
        hint = f"The nearest is {nearest!r}."
    raise ParameterError(name, "a value of the axis", value, hint)


def _entries(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _coordinate(values: Any) -> list[Any]:
    """Return values as xarray takes them: numbers and names as they are, others as text."""
    entries = _entries(values)
    is_plain = all(isinstance(value, int | float | str) for value in entries)
    return entries if is_plain else list(map(str, entries))
