"""What tells a function or a step from others: in this process, and in a later one."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from logitlab.checks import ParameterError

__all__ = ["digest"]


def digest(thing: Any) -> bytes:
    """Return a digest of a function or an object: equal where it computes the same.

    Of a function of the user's its code counts, with defaults, what it closes over, and the values
    and functions that it takes from its module; of an object its class and its state, which
    ``__getstate__`` may narrow to what matters. Functions of a library are known by name.

    Raises
    ------
    ParameterError
        For what cannot be told from others, because it cannot be pickled.

    Examples
    --------
    >>> def power(n):
    ...     return lambda x: x**n
    >>> digest(power(2)) == digest(power(2)), digest(power(2)) == digest(power(3))
    (True, False)
    """
    sha = hashlib.sha256()
    _add(sha, thing, [])
    return sha.digest()


def _add(sha: Any, thing: Any, above: list[Any]) -> None:
    if any(thing is other for other in above):  # a function that calls itself
        sha.update(b"again")
        return
    name, parts = _content(thing)
    sha.update(name)
    for part in parts:
        _add(sha, part, [*above, thing])


def _content(thing: Any) -> tuple[bytes, Iterable[Any]]:
    """Return the name of a thing, and what it consists of."""
    if isinstance(thing, CodeType):
        return thing.co_code + repr(thing.co_names).encode(), thing.co_consts
    if isinstance(thing, FunctionType) and not _is_named(thing):
        names = sorted(_names(thing.__code__) & thing.__globals__.keys())
        values = [thing.__globals__[name] for name in names]
        closure = [cell.cell_contents for cell in thing.__closure__ or ()]
        return b"", [thing.__code__, thing.__defaults__, thing.__kwdefaults__, *closure, *values]
    if isinstance(thing, FunctionType | BuiltinFunctionType | np.ufunc):
        name = getattr(thing, "__qualname__", thing.__name__)
        return f"{getattr(thing, '__module__', '')}.{name}".encode(), ()
    if isinstance(thing, ModuleType):
        return thing.__name__.encode(), ()
    if isinstance(thing, partial):
        return b"partial", [thing.func, thing.args, thing.keywords]
    if isinstance(thing, MethodType):
        return b"method", [thing.__func__, thing.__self__]
    if isinstance(thing, type):
        methods = [pair for pair in vars(thing).items() if isinstance(pair[1], FunctionType)]
        own = () if _is_library(thing.__module__) else (*thing.__bases__, *sorted(methods))
        return f"{thing.__module__}.{thing.__qualname__}".encode(), own
    if isinstance(thing, list | tuple | dict):
        parts = thing.items() if isinstance(thing, dict) else thing
        return f"{type(thing).__name__} {len(thing)}".encode(), parts
    if isinstance(thing, set | frozenset):
        return b"".join(sorted(map(digest, thing))), ()
    if isinstance(thing, str | bytes | int | float | complex | np.ndarray | np.generic | None):
        return _pickle_of(thing), ()
    has_state = hasattr(thing, "__dict__") or hasattr(type(thing), "__slots__")
    return b"", [type(thing), thing.__getstate__() if has_state else _pickle_of(thing)]


def _names(code: CodeType) -> set[str]:
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _is_library(module: str | None) -> bool:
    return (module or "").split(".")[0] in {"logitlab", "numpy", "scipy", "builtins"}


def _pickle_of(thing: Any) -> bytes:
    try:
        return pickle.dumps(thing, protocol=4)
    except Exception as error:  # whatever the object raises when it is pickled
        hint = "What a function of your own holds has to be pickled, to be told from others."
        raise ParameterError("checkpoint", "None for this metric or step", thing, hint) from error


def _is_named(function: FunctionType) -> bool:
    """Return whether the name of a function tells it: no lambda, and of a library."""
    return _is_library(function.__module__) and "<" not in function.__qualname__
