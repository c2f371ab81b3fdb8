"""The grid: named parameters with their values, and the chain of each of its points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from logitlab.checks import ParameterError, check_flag
from logitlab.engines.engine import Engine, get, read_request
from logitlab.engines.resolve import resolve
from logitlab.request.params import DISTRIBUTION
from logitlab.steps.chain import Chain, State
from logitlab.steps.step import Transform

__all__ = ["EngineLike", "Grid", "chains_of", "grid_of"]

EngineLike: TypeAlias = "str | Engine | Callable[[dict[str, Any]], Transform]"

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
        each = zip(*self.values.values()) if self.zipped else itertools.product(  # noqa: B905
            *self.values.values()
        )  # fmt: skip
        return [dict(zip(self.values, point, strict=True)) for point in each]


def grid_of(grid: Mapping[str, Any], zipped: bool = False) -> Grid:
    """Return a checked `Grid` of a mapping from names to sequences."""
    check_flag("zipped", zipped)
    if not isinstance(grid, Mapping) or not grid:
        hint = "Write {'temperature': [0.5, 1.0], 'top_p': [0.9, 1.0]}."
        raise ParameterError("grid", "a map from parameters to sequences of values", grid, hint)
    values = {}
    for key, given in grid.items():
        if not isinstance(key, str):
            raise ParameterError("grid", "a map whose keys are names of parameters", key)
        listed = given.tolist() if isinstance(given, np.ndarray) else given
        if not isinstance(listed, Sequence | range) or isinstance(listed, str) or not len(listed):
            raise ParameterError(key, "a sequence of at least one value", given)
        values[key] = tuple(v.item() if isinstance(v, np.generic) else v for v in listed)
    if zipped and len(set(map(len, values.values()))) > 1:
        first = next(iter(values))
        key = next(key for key in values if len(values[key]) != len(values[first]))
        rule = f"as many values as {first} has, {len(values[first])}, where they are zipped"
        raise ParameterError(key, rule, len(values[key]))
    return Grid(values, zipped)


def chains_of(
    grid: Grid, engine: EngineLike, request: Any, size: int, state: State | None = None
) -> list[Chain]:
    """Return the chain of every point of a grid, for a vocabulary of so many tokens."""
    base = {} if request is None else read_request(request)
    for key in base.keys() & grid.values.keys():
        raise ParameterError("request", f"free of {key}, which the grid has", base[key])
    for choice in grid.values.get(ENGINE, (engine,)):
        _check_names(grid, _engine(choice))
    return [_chain(base | point, engine, size).at_any(state) for point in grid.points()]


def _engine(engine: EngineLike) -> Engine | Callable[[dict[str, Any]], Transform]:
    if callable(engine) and not isinstance(engine, Engine):
        return engine
    return get(engine)


def _check_names(grid: Grid, engine: Engine | Callable[[dict[str, Any]], Transform]) -> None:
    """Raise for a parameter of the grid that could change nothing."""
    if not isinstance(engine, Engine):
        return
    known = (*DISTRIBUTION, *engine.own_keys, ENGINE)
    for key in grid.values:
        if key not in known:
            rule = f"a map whose keys are among {', '.join(known)}"
            raise ParameterError("grid", rule, key)


def _chain(request: dict[str, Any], engine: EngineLike, size: int) -> Chain:
    recipe = _engine(request.pop(ENGINE, engine))
    if isinstance(recipe, Engine):
        return resolve(request, recipe, size=size).chain
    return resolve(recipe(request)).chain
