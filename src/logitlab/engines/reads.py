"""Which parameters an engine's chain is built from: found by building it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from logitlab.checks import ParameterError
from logitlab.engines.rules import Values
from logitlab.steps.chain import Chain

__all__ = ["names_read"]


class _Recorder(Values):
    """Values that note which of them are read."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(**values)
        self.__dict__["_read"] = set()

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_"):
            if name not in object.__getattribute__(self, "__dict__"):
                raise ParameterError("engine", "built from parameters", name, "No such parameter.")
            object.__getattribute__(self, "__dict__")["_read"].add(name)
        return object.__getattribute__(self, name)


def names_read(build: Callable[[Values], Any], *values: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of those values that an engine's chains are built from.

    Raises
    ------
    ParameterError
        If that is no chain, or it is built from what is no parameter.
    """
    recorders = [_Recorder(each) for each in values]
    for recorder in recorders:
        chain = build(recorder)
        if not isinstance(chain, Chain):
            raise ParameterError("engine", "a function that returns a Chain", chain)
    return frozenset().union(*(vars(recorder)["_read"] for recorder in recorders))
