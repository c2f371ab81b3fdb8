"""All engines by name: the decorator `engine` registers one, `get` finds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from logitlab.checks import ParameterError, check_choice
from logitlab.engines.rules import Values
from logitlab.steps.chain import Chain

if TYPE_CHECKING:
    from logitlab.engines.engine import Engine

__all__ = ["ENGINES", "EngineLike", "engine", "get"]

EngineLike: TypeAlias = "str | Engine"

ENGINES: dict[str, Engine] = {}
"""All engines and their variants by name, in the order in which they were declared."""

Build: TypeAlias = Callable[[Values], Chain]


@overload
def engine(build: Build) -> Engine: ...
@overload
def engine(**declarations: Any) -> Callable[[Build], Engine]: ...
def engine(build: Any = None, **declarations: Any) -> Any:
    """Make and register an `Engine` of a function from values to a chain, named by the function.

    Parameters
    ----------
    build : callable
        Takes values, one attribute for each parameter that shapes the distribution, and returns a
        chain. What it does not read, the engine does not have.
    **declarations
        Any of the other attributes of `Engine`.

    Returns
    -------
    Engine
        Known by its name wherever an engine is asked for, but not among those that
        `compare_engines` compares unless they are named.

    Raises
    ------
    ParameterError
        For a name that another engine has, or what builds no chain of parameters.

    Examples
    --------
    >>> from logitlab import Chain, Temperature, TopK, engines, sample
    >>> @engines.engine
    ... def cool(p):
    ...     return Chain(Temperature(p.temperature / 2), TopK(p.top_k))
    >>> cool({"temperature": 1, "top_k": 5})
    Chain(Temperature(0.5), TopK(5))
    >>> print(cool.translate({"top_p": 0.9}))
    top_p is ignored by cool: its chain does not read it.
    >>> int(sample([0.0, 9.0], {"temperature": 0.1}, engine="cool", seed=7).tokens)
    1
    >>> engines.ENGINES.pop("cool")  # it stays known until it is taken out
    <Engine cool: >
    """
    from logitlab.engines.engine import Engine  # which needs all that an engine is made of

    if build is None:
        return lambda build: engine(build, **declarations)
    if not hasattr(build, "__name__"):
        raise ParameterError("engine", "a function that returns a Chain", build)
    made = Engine(build.__name__, build, **declarations)
    for name in ("__doc__", "__module__", "__qualname__"):
        object.__setattr__(made, name, getattr(build, name))
    known = ENGINES.get(made.name)
    if known is not None and known.is_bundled:
        raise ParameterError("engine", "a function with a name of its own", made.name)
    ENGINES[made.name] = made
    return made


def get(engine: EngineLike) -> Engine:
    """Return an engine by its name; an engine is its own.

    Raises
    ------
    ParameterError
        For a name that is none of `ENGINES`.

    Examples
    --------
    >>> from logitlab import engines
    >>> engines.get("mlx_lm")
    <Engine mlx_lm: mlx-lm 0.32.2>
    """
    from logitlab.engines.engine import Engine

    if isinstance(engine, Engine):
        return engine
    check_choice("engine", engine, ENGINES)
    return ENGINES[engine]
