"""What `generate` can be told beside a request: its keywords, in one place."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

import numpy as np
from logitlab.checks import (
    ParameterError,
    Range,
    Seen,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    suggestion,
)
from logitlab.constraints import Constraint
from logitlab.draw import COUPLINGS, SeedLike
from logitlab.engines.registry import EngineLike, get
from logitlab.engines.resolve import REPORTS
from logitlab.request.params import PARAMETERS
from logitlab.request.values import copied
from logitlab.steps.state import State, check_state

__all__ = ["VERBOSITY_BIAS", "Options", "shows_options"]

VERBOSITY_BIAS = math.log(1.5)
"""What "low" adds to the logit of every token that ends a text, and "high" takes away."""

_SEQUENCES = Range(0, (1 << 62) - 1, integer=True)
_BATCHES = Range(1, integer=True)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keywords of `generate`, `stream` and `generate_many`, checked.

    Parameters
    ----------
    engine : str or Engine
        Whose chain the request means, and over which tokens its penalties count. Tokens are drawn
        with logitlab's own numbers: `Engine.draw` repeats those of an engine.
    seed : int, numpy.random.Generator or None
        None takes that of the request, or else a fresh one for each request, which the result
        reports.
    sequence : int
        Which random sequence of the seed is used: the number of a single answer out of ``n``.
    coupling : {"inverse", "gumbel"}
        How a token is drawn, see `sample`.
    logprobs_mode : {"engine", "raw", "processed"}
        Whose log-probabilities are reported: what the engine reports (at OpenRouter the model's
        own), the model's own, or those of the distribution that is drawn from.
    verbosity_bias : float
        verbosity "low" adds so much to the logit of every token that ends a text, "high" takes it
        away. By default ln 1.5: the odds of ending are multiplied by 1.5, or divided.
    trace : bool
        Keep every stage of every token's distribution, after the constraint.
    constraint : Constraint or None
        Which texts may be written, such as ``constraints.Regex("[0-9]+")``; where the request has
        no ``response_format`` and no tools.
    state : mapping of str to float, optional
        The state of mirostat or adaptive-p at the first token; None takes the initial one.
    batch_size : int
        How many answers are written at a time.
    progress : bool, optional
        Show a progress bar after a second; None does where standard error is a terminal.
    parameters : mapping
        The request parameters among the keywords, which come before the request's own.

    Raises
    ------
    ParameterError
        For whatever is wrong with them.
    """

    engine: EngineLike = "openrouter"
    seed: SeedLike = None
    sequence: int = 0
    coupling: Literal["inverse", "gumbel"] = "inverse"
    logprobs_mode: Literal["engine", "raw", "processed"] = "engine"
    verbosity_bias: float = VERBOSITY_BIAS
    trace: bool = False
    constraint: Constraint | None = None
    state: State | None = None
    batch_size: int = 64
    progress: bool | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "engine", get(self.engine))
        sequence = check_integer("sequence", self.sequence, _SEQUENCES)
        object.__setattr__(self, "sequence", sequence)
        check_choice("coupling", self.coupling, COUPLINGS)
        check_choice("logprobs_mode", self.logprobs_mode, REPORTS)
        bias = check_number("verbosity_bias", self.verbosity_bias)
        object.__setattr__(self, "verbosity_bias", bias)
        check_flag("trace", self.trace)
        if self.constraint is not None and not isinstance(self.constraint, Constraint):
            raise ParameterError("constraint", "a Constraint or None", self.constraint)
        state = {}
        for key, mu in check_state(self.state).items():
            if np.ndim(mu):
                raise ParameterError("state", "a map with one number for each step", {key: mu})
            state[key] = float(mu)
        batch_size = check_integer("batch_size", self.batch_size, _BATCHES)
        object.__setattr__(self, "batch_size", batch_size)
        if self.progress is not None:
            check_flag("progress", self.progress)
        for key, value in self.parameters.items():
            if key not in PARAMETERS and key not in self.engine.own_keys:  # type: ignore[union-attr]
                known = (*_NAMES, *PARAMETERS, *self.engine.own_keys)  # type: ignore[union-attr]
                seen, hint = Seen(f"{key}={value!r}"), suggestion(key, known)
                raise ParameterError("keywords", "request parameters", seen, hint)
        # The caller's own may change before the text is resumed.
        object.__setattr__(self, "parameters", copied(self.parameters))
        object.__setattr__(self, "state", None if self.state is None else state)

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> Options:
        """Return the options that keywords are, the others being parameters of the request."""
        own = {key: value for key, value in keywords.items() if key in _NAMES}
        others = {key: value for key, value in keywords.items() if key not in _NAMES}
        return cls(**own, parameters=others)


_NAMES = {entry.name for entry in fields(Options)} - {"parameters"}

F = TypeVar("F", bound=Callable[..., Any])


def shows_options(function: F) -> F:
    """Let a function's signature show the options among its keywords."""
    signature = inspect.signature(function)
    *first, keywords = signature.parameters.values()
    shown = inspect.signature(Options).parameters.values()
    own = {parameter.name for parameter in first}
    options = [each for each in shown if each.name not in {"parameters", *own}]
    replaced = signature.replace(parameters=[*first, *options, keywords])
    function.__signature__ = replaced  # type: ignore[attr-defined]
    return function
