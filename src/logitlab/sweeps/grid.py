"""The grid: named parameters with their values, and the chain of each of its points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from logitlab.checks import (
    MOST_POINTS,
    ParameterError,
    Seen,
    check_flag,
    plain_array,
    suggestion,
)
from logitlab.engines.engine import Engine
from logitlab.engines.given import read_request
from logitlab.engines.registry import get
from logitlab.engines.resolve import Request, Resolved, resolve
from logitlab.engines.rules import Note
from logitlab.engines.spelling import Lexicon
from logitlab.foreign import is_array
from logitlab.request.params import DISTRIBUTION
from logitlab.steps.chain import Chain
from logitlab.steps.state import State, check_state
from logitlab.steps.step import Transform

__all__ = ["Grid", "Recipe", "at_state", "chains_of", "grid_of", "values_of"]

_TEXTS = str | bytes | bytearray
_FEW = f"of at most {MOST_POINTS} points"

Recipe: TypeAlias = "str | Engine | Callable[[dict[str, Any]], Transform]"

ENGINE = "engine"  # an axis of its own: which engine


@dataclass(frozen=True)
class Grid:
    """Parameters and their values.

    Attributes
    ----------
    values : dict of str to tuple
        The values of each parameter, in order.
    zipped : bool
        Whether the first values make a point, the second values another and so on; otherwise every
        combination is one, the last parameter running fastest.
    """

    values: dict[str, tuple[Any, ...]]
    zipped: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each axis has; zipped parameters share the one axis."""
        sizes = tuple(map(len, self.values.values()))
        return sizes[:1] if self.zipped else sizes

    def __len__(self) -> int:
        return math.prod(self.shape)

    def points(self) -> list[dict[str, Any]]:
        """Return the parameters of every point, in C order."""
        columns = self.values.values()
        points = zip(*columns, strict=True) if self.zipped else itertools.product(*columns)
        return [dict(zip(self.values, point, strict=True)) for point in points]

    def axes(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the axes, and the parameters that are zipped to the first of them."""
        axes: dict[str, Any] = {
            name: np.array(values) if all(isinstance(v, int | float) for v in values) else [*values]
            for name, values in self.values.items()
        }
        first = next(iter(axes))
        return ({first: axes.pop(first)}, axes) if self.zipped else (axes, {})


def grid_of(grid: Mapping[str, Any], zipped: bool = False) -> Grid:
    """Return a checked `Grid` of a mapping from names to sequences."""
    check_flag("zipped", zipped)
    if not isinstance(grid, Mapping) or not grid:
        hint = "Write {'temperature': [0.5, 1.0], 'top_p': [0.9, 1.0]}."
        raise ParameterError("grid", "a map from parameters to sequences of values", grid, hint)
    values: dict[str, tuple[Any, ...]] = {}
    for key, column in grid.items():
        if not isinstance(key, str):
            raise ParameterError("grid", "a map whose keys are names of parameters", key)
        if is_array(column):
            column = plain_array(key, column, "a sequence of at least one value")
        count = column.size if isinstance(column, np.ndarray) else 0
        if isinstance(column, Sequence):
            count = len(column)
        if count > MOST_POINTS:
            raise ParameterError("grid", _FEW, Seen(f"{count} of {key}"))
        entries = column.tolist() if isinstance(column, np.ndarray) else column
        is_sequence = isinstance(entries, Sequence) and not isinstance(entries, _TEXTS)
        if not is_sequence or not len(entries):
            raise ParameterError(key, "a sequence of at least one value", column)
        values[key] = tuple(v.item() if isinstance(v, np.generic) else v for v in entries)
    first, *others = values
    for key in others if zipped else ():
        if len(values[key]) != len(values[first]):
            rule = f"as many values as {first} has, {len(values[first])}, where they are zipped"
            raise ParameterError(key, rule, len(values[key]))
    made = Grid(values, zipped)
    if len(made) > MOST_POINTS:
        raise ParameterError("grid", _FEW, Seen(f"{len(made)}"))
    return made


def _check_different(grid: Grid) -> None:
    """Raise `ParameterError` for a value of a parameter, or a zipped point, that is there twice."""
    columns: dict[str, Any] = {"grid": zip(*grid.values.values(), strict=True)}
    for key, column in (columns if grid.zipped else grid.values).items():
        seen: set[Any] = set()
        for value in column:
            if (known := _identity(value)) in seen:
                raise ParameterError(key, "free of values that are given twice", value)
            seen.add(known)


def _identity(value: Any) -> Any:
    """Return what is equal for equal values of a parameter."""
    if isinstance(value, Engine):
        return value.name
    if isinstance(value, tuple):
        return tuple(map(_identity, value))
    return value if isinstance(value, Hashable) else repr(value)


def values_of(request: Request) -> Mapping[str, Any]:
    """Return what a request of any form says by key, or raise `ParameterError`."""
    if isinstance(request, Transform) or (isinstance(request, Resolved) and request.is_chain):
        hint = "A grid changes parameters: give `engine` a function from a point to a chain."
        raise ParameterError("request", "SamplingParams, a map or None", request, hint)
    if isinstance(request, Resolved):
        return request.given
    return {} if request is None else read_request(request)


def chains_of(
    grid: Grid,
    engine: Recipe,
    request: Request,
    size: int | None,
    lexicon: Lexicon | None = None,
) -> tuple[list[Chain], tuple[Note, ...]]:
    """Return the chain of every point, for a vocabulary of so many tokens, and all that is told.

    Of an unknown vocabulary, None, no rule is checked that needs its size.

    Raises
    ------
    ParameterError
        For a parameter or a value that is refused, or is there twice.
    """
    values = values_of(request)
    engine = request.engine if isinstance(request, Resolved) else engine
    if ENGINE in grid.values and engine != "openrouter":
        raise ParameterError("engine", "absent where the grid has engines", engine)
    for choice in grid.values.get(ENGINE, (engine,)):
        _check_names(grid, values, _recipe(choice))
    every = [_resolved(values, point, engine, size, lexicon) for point in grid.points()]
    _check_different(grid)
    notes = {note.sentence: note for resolved in every for note in resolved.notes}
    return [resolved.chain for resolved in every], tuple(notes.values())


def _recipe(engine: Any) -> Engine | Callable[[dict[str, Any]], Transform]:
    is_recipe = callable(engine) and not isinstance(engine, Engine | Transform)
    return engine if is_recipe else get(engine)


def _check_names(grid: Grid, request: Mapping[str, Any], recipe: Any) -> None:
    """Raise for a parameter of the grid that could change nothing, or that the request has, too."""
    aliases = recipe.aliases if isinstance(recipe, Engine) else {}
    changed = {aliases.get(key, key) for key in grid.values}
    for key, value in request.items():
        if aliases.get(key, key) in changed:
            raise ParameterError("request", f"free of {key}, which the grid has", value)
    names = (*DISTRIBUTION, *recipe.own_keys, ENGINE) if isinstance(recipe, Engine) else grid.values
    for key in grid.values:
        if key not in names:
            rule = f"a map whose keys are among {', '.join(names)}"
            raise ParameterError("grid", rule, key, suggestion(key, names))


def _resolved(
    values: Mapping[str, Any],
    point: dict[str, Any],
    engine: Recipe,
    size: int | None,
    lexicon: Lexicon | None,
) -> Resolved:
    recipe = _recipe(point.pop(ENGINE, engine))
    request = {**values, **point}
    if isinstance(recipe, Engine):
        return resolve(request, recipe, size=size, vocabulary=lexicon)
    return resolve(recipe(request))


def at_state(
    grid: Grid, chains: Sequence[Chain], state: State | None
) -> tuple[list[Chain], dict[str, Any] | None]:
    """Return the chains in a state, and which it is, or None where no chain has one.

    Raises
    ------
    ParameterError
        For a key of the state that no chain has.
    """
    names = list(dict.fromkeys(name for chain in chains for name in chain.stateful))
    values: dict[str, Any] = dict(check_state(state, names))
    for name in names:
        firsts = [chain.init().get(name, math.nan) for chain in chains]
        points = np.stack(np.broadcast_arrays(*firsts))
        is_same = bool((points == points[0]).all())
        first = points[0].tolist() if is_same else points.reshape(*grid.shape, *points.shape[1:])
        values.setdefault(name, first)
    return [chain.at_any(state) for chain in chains], values or None
