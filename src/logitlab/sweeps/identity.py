"""What tells a function or a step from others: in this process, and in a later one."""

from __future__ import annotations

import hashlib
import pickle
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from logitlab.checks import ParameterError

__all__ = ["identified"]


def identified(thing: Any) -> bytes:
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
    >>> identified(power(2)) == identified(power(2)), identified(power(2)) == identified(power(3))
    (True, False)
    """
    digest = hashlib.sha256()
    _add(digest, thing, [])
    return digest.digest()


def _add(digest: Any, thing: Any, above: list[Any]) -> None:
    if any(thing is other for other in above):  # a function that calls itself
        digest.update(b"again")
        return
    above = [*above, thing]
    if isinstance(thing, FunctionType) and not _is_named(thing):
        _add_code(digest, thing.__code__)
        parts: list[Any] = [thing.__defaults__, thing.__kwdefaults__]
        parts += [cell.cell_contents for cell in thing.__closure__ or ()]
        names = sorted(_names(thing.__code__) & thing.__globals__.keys())
        parts += [thing.__globals__[name] for name in names]
        for part in parts:
            _add(digest, part, above)
    elif isinstance(thing, FunctionType | BuiltinFunctionType | np.ufunc):
        name = getattr(thing, "__qualname__", thing.__name__)
        digest.update(f"{getattr(thing, '__module__', '')}.{name}".encode())
    elif isinstance(thing, ModuleType):
        digest.update(thing.__name__.encode())
    elif isinstance(thing, partial):
        _add(digest, [thing.func, thing.args, thing.keywords], above)
    elif isinstance(thing, MethodType):
        _add(digest, thing.__func__, above)
        _add(digest, thing.__self__, above)
    elif isinstance(thing, type):
        digest.update(f"{thing.__module__}.{thing.__qualname__}".encode())
        if not _is_library(thing.__module__):
            for base in thing.__bases__:
                _add(digest, base, above)
            for name, value in sorted(vars(thing).items()):
                if isinstance(value, FunctionType):
                    digest.update(name.encode())
                    _add(digest, value, above)
    elif isinstance(thing, list | tuple):
        digest.update(f"{type(thing).__name__} {len(thing)}".encode())
        for part in thing:
            _add(digest, part, above)
    elif isinstance(thing, dict):
        digest.update(f"dict {len(thing)}".encode())
        for key, value in thing.items():
            _add(digest, key, above)
            _add(digest, value, above)
    elif isinstance(thing, set | frozenset):
        digest.update(b"".join(sorted(identified(part) for part in thing)))
    elif isinstance(thing, str | bytes | int | float | complex | np.ndarray | np.generic | None):
        digest.update(_pickled(thing))
    else:
        _add(digest, type(thing), above)
        has_state = hasattr(thing, "__dict__") or hasattr(type(thing), "__slots__")
        _add(digest, thing.__getstate__() if has_state else _pickled(thing), above)


def _add_code(digest: Any, code: CodeType) -> None:
    digest.update(code.co_code)
    digest.update(repr(code.co_names).encode())
    for const in code.co_consts:
        if isinstance(const, CodeType):
            _add_code(digest, const)
        else:
            _add(digest, const, [])


def _names(code: CodeType) -> set[str]:
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _is_library(module: str | None) -> bool:
    return (module or "").split(".")[0] in {"logitlab", "numpy", "scipy", "builtins"}


def _pickled(thing: Any) -> bytes:
    try:
        return pickle.dumps(thing, protocol=4)
    except Exception as error:  # whatever the object raises when it is pickled
        hint = "What a function of your own holds has to be pickled, to be told from others."
        raise ParameterError("checkpoint", "None for this metric or step", thing, hint) from error


def _is_named(function: FunctionType) -> bool:
    """Return whether the name of a function tells it: no lambda, and of a library."""
    return _is_library(function.__module__) and "<" not in function.__qualname__
