"""How a sampler is called, and how what it returns is read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from copy import deepcopy
from importlib import import_module
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, check_choice
from logitlab.foreign import as_numpy
from logitlab.steps.context import Context
from numpy.typing import NDArray

__all__ = ["KINDS_OF_ANSWERS", "NAMES", "Caller", "Spent", "Unreadable", "stacked"]

NAMES = ("context", "prompt", "output", "request", "seed", "size")
"""What a sampler may ask for, by the names of its parameters."""

KINDS_OF_ANSWERS = ("logits", "probabilities", "survivors", "tokens")

Array = NDArray[Any]


class Spent(Exception):  # noqa: N818 (no error: the check stops and says what it has seen)
    """All calls are used up."""


class Unreadable(Exception):  # noqa: N818 (told as what is wrong with a sampler)
    """An answer that cannot be what a sampler returns."""


def _to_numpy(array: Array) -> Array:
    return array


def _through(module: str, name: str) -> Callable[[Array], Any]:
    """Return a function of another library, which whoever uses it has installed."""

    def convert(array: Array) -> Any:
        return getattr(import_module(module), name)(array)

    return convert


_LIBRARIES: dict[str, Callable[[Array], Any]] = {
    "numpy": _to_numpy,
    "torch": _through("torch", "from_numpy"),
    "jax": _through("jax.numpy", "asarray"),
    "mlx": _through("mlx.core", "array"),
}


class Caller:
    """A sampler and its calling convention.

    Parameters
    ----------
    sampler : callable
    batch : bool
        Whether it takes several rows.
    arrays : {"numpy", "torch", "jax", "mlx"} or callable
        What turns a float32 array of numpy into what it takes.
    calls : int
        How often it is called at most.
    """

    def __init__(self, sampler: Any, batch: bool, arrays: Any, calls: int) -> None:
        if not callable(sampler):
            raise ParameterError("sampler", "a function of logits", sampler)
        if any(map(inspect.iscoroutinefunction, (sampler, getattr(sampler, "__call__", None)))):  # noqa: B004
            hint = "It is async: nobody awaits it."
            raise ParameterError("sampler", "a function that returns its answer", sampler, hint)
        self.sampler, self.batch, self.most = sampler, batch, calls
        self.used = 0
        self.asks = _asked(sampler)
        if not callable(arrays):
            check_choice("arrays", arrays, _LIBRARIES)
            try:
                _LIBRARIES[arrays](np.zeros(1, np.float32))
            except ImportError:
                raise ParameterError("arrays", "of a library that is installed", arrays) from None
            arrays = _LIBRARIES[arrays]
        self._into: Callable[[Array], Any] = arrays
        rule = "a function from an array of numpy to one that the sampler takes"
        try:
            found = arrays(np.zeros(2, np.float32))
        except Exception as error:
            hint = f"For two numbers it raises {type(error).__name__}."
            raise ParameterError("arrays", rule, arrays, hint) from error
        if found is None:
            raise ParameterError("arrays", rule, arrays, "For two numbers it returns None.")

    @property
    def rest(self) -> int:
        """How many calls are left."""
        return self.most - self.used

    @property
    def takes_context(self) -> bool:
        """Whether it is told the tokens so far."""
        return bool(self.asks & {"context", "prompt", "output"})

    def seen(self, row: Array) -> Array:
        """Return a row as the sampler sees it, whose numbers may have fewer bits."""
        return np.asarray(as_numpy(self._into(row.copy()), "rows"), np.float64)

    def __call__(
        self,
        rows: Array,
        contexts: Sequence[Context | None],
        request: Any,
        seeds: Sequence[int],
        size: int = 1,
    ) -> Any:
        """Return the answer to rows of shape (n, V): a list of one each where it takes one row."""
        if self.batch:
            return self._call(rows, stacked(contexts), request, np.array(seeds), size)
        answers = []
        for row, context, seed in zip(rows, contexts, seeds, strict=True):
            answers.append(self._call(row, context, request, seed, size))
        return answers

    def _call(
        self, logits: Array, context: Context | None, request: Any, seed: Any, size: int
    ) -> Any:
        if not self.rest:
            raise Spent
        self.used += 1
        context = context or Context()
        known = {"request": deepcopy(request), "seed": seed, "size": size, "context": context}
        if self.asks & {"prompt", "output"}:
            known["prompt"] = self._into(np.array(context.prompt))
            known["output"] = self._into(np.array(context.output))
        given = {name: known[name] for name in self.asks}
        own = self._into(np.array(logits))
        try:
            return _kept(self.sampler(own, **given))
        except Exception as error:
            text = " ".join(str(error).split()).rstrip(".")
            raise Unreadable(f"raises {type(error).__name__}: {text}") from error


def _kept(answer: Any) -> Any:
    """Return an answer in memory of its own, where the next call may overwrite it."""
    if type(answer) is np.ndarray:
        return answer.copy()
    clone = getattr(answer, "clone", None)  # torch
    return clone() if callable(clone) and hasattr(answer, "data_ptr") else answer


def _asked(sampler: Any) -> set[str]:
    """Return which of `NAMES` a sampler asks for."""
    try:
        parameters = list(inspect.signature(sampler).parameters.values())
    except (TypeError, ValueError):  # compiled code may not say
        return set()
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        parameters = parameters[1:]
    elif not parameters or parameters[0].kind not in places:
        raise ParameterError("sampler", "a function whose first parameter is the logits", sampler)
    else:
        parameters = parameters[1:]
    asked = {each.name for each in parameters if each.name in NAMES}
    for each in parameters:
        needed = each.default is inspect.Parameter.empty and each.kind in (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        )
        if needed and each.name not in NAMES:
            rule = f"a function of logits that asks for no more than {', '.join(NAMES)}"
            raise ParameterError("sampler", rule, each.name)
    return asked


def stacked(contexts: Sequence[Context | None]) -> Context | None:
    """Return the contexts of several rows as one, or None where there are none."""
    if not any(contexts):
        return None
    known = [context or Context() for context in contexts]
    return Context([c.prompt.tolist() for c in known], [c.output.tolist() for c in known])
