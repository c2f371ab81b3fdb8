"""A model's ``generation_config.json``, which replaces the defaults of some servers in silence."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from logitlab.checks import FrozenDict, ParameterError
from logitlab.engines.rules import Note, Option
from logitlab.request.params import PARAMETERS

__all__ = ["KEY", "GenerationConfig", "generation_config"]

KEY = "generation_config"


@dataclass(frozen=True)
class GenerationConfig:
    """What a server reads of the file.

    Parameters
    ----------
    keys : tuple of str
        Parameters whose defaults the file's values replace.
    max_tokens : callable, optional
        From the file's ``max_new_tokens`` to the limit of a request without one; None is none.
    samples : bool
        Whether the file says by ``do_sample`` that anything is sampled at all.
    always : tuple of str
        Keys that act where nothing is sampled, too.
    """

    keys: tuple[str, ...]
    max_tokens: Callable[[int | None], int | None] = field(default=lambda limit: limit)
    samples: bool = False
    always: tuple[str, ...] = ("repetition_penalty",)

    def values(
        self, file: Mapping[str, Any], engine: str, is_sent: bool
    ) -> tuple[dict[str, Any], list[Note]]:
        """Return what replaces defaults, each value in its type, and what there is to tell.

        ``is_sent`` says that the request brings what stands in for the file.

        Raises
        ------
        ParameterError
            For a value of another type, named by its place in the file.
        """
        taken: dict[str, Any] = {}
        notes: list[Note] = []
        is_greedy = self.samples and not file.get("do_sample")
        for key in self.keys:
            # A greedy server does not look at what would only shape what is drawn from.
            if file.get(key) is not None and not (is_greedy and key not in self.always):
                taken[key] = _typed(key, key, file[key])
        limit = file.get("max_new_tokens")
        if limit is not None:
            limit = _typed("max_new_tokens", "max_tokens", limit)
        most = limit if is_sent and self.samples else self.max_tokens(limit)
        if most is not None:
            taken["max_tokens"] = most
        read = {*self.keys, "max_new_tokens", *(["do_sample"] if self.samples else [])}
        if limit is not None and most is None:
            read.remove("max_new_tokens")
        others = [key for key, value in file.items() if key not in read and value is not None]
        if others:
            names = ", ".join(others)
            sentence = f"{KEY}: {engine} reads no {names} of it, or that is not modelled here."
            notes.append(Note(KEY, "ignored", sentence, {key: file[key] for key in others}))
        if is_greedy:
            sentence = f"{KEY}: without do_sample every request is greedy at {engine}."
            notes.append(Note(KEY, "changed", sentence, file.get("do_sample"), False))
        return taken, notes


def _typed(place: str, key: str, value: Any) -> Any:
    """Return a value in the type of a parameter, or raise by its name in the file."""
    try:
        return PARAMETERS[key].typed(value)
    except ParameterError as error:
        raise ParameterError(f"{KEY}[{place!r}]", error.rule, value) from None


def _file(key: str, value: Any) -> Mapping[str, Any] | None:
    """Take the map that the file holds, or its text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ParameterError(key, "a map, as in generation_config.json", value) from None
    if not isinstance(value, Mapping):
        raise ParameterError(key, "a map, as in generation_config.json", value)
    return FrozenDict({str(name): each for name, each in value.items()})


def generation_config(is_sent: bool = False) -> dict[str, Option]:
    """Return the option of an engine that reads the file; some servers take it in a request."""
    return {KEY: Option(None, _file, is_deployed=not is_sent)}
