"""How the words of a command line are read: each option once, and slips with what was meant."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from logitlab.checks import longer, nearest, suggestion

__all__ = ["Parser"]


class _Once:
    """An option that is given once at most; ``given`` of the arguments holds those that are."""

    dest: str

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        given: frozenset[str] = getattr(namespace, "given", frozenset())
        if option is not None and self.dest in given:
            raise argparse.ArgumentError(self, "given twice")  # type: ignore[arg-type]
        namespace.given = given | ({self.dest} if option else set())
        super().__call__(parser, namespace, values, option)  # type: ignore[misc]


class _Store(_Once, argparse._StoreAction):
    """An option with a value."""


class _Flag(_Once, argparse._StoreTrueAction):
    """An option without a value."""


class Parser(argparse.ArgumentParser):
    """A parser whose options are given once, and that asks for what was probably meant."""

    def __init__(self, **words: Any) -> None:
        super().__init__(allow_abbrev=False, **words)
        for name, action in ((None, _Store), ("store", _Store), ("store_true", _Flag)):
            self.register("action", name, action)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read the words, all of which are to be known."""
        arguments, rest = super().parse_known_args(args, namespace)
        if rest:
            slips = [word.partition("=")[0] for word in rest if word.startswith("--")]
            hint = next(
                (f"Did you mean {meant}?" for meant in map(self._meant, slips) if meant), ""
            )
            self.error(f"unrecognized arguments: {' '.join(rest)}. {hint}".rstrip(" ."))
        return arguments, rest

    def error(self, message: str) -> NoReturn:
        """Leave with what is wrong; a usage of dozens of options would hide it."""
        usage = self.format_usage()
        if usage.count("\n") > 8:
            usage = f"usage: {self.prog} [options], which {self.prog} --help lists\n"
        self.exit(2, f"{usage}{self.prog}: error: {message}\n")

    def _meant(self, slip: str) -> str | None:
        """Return the option that a word probably stands for: ``--temp`` for ``--temperature``."""
        known = [name for name in self._option_string_actions if name.startswith("--")]
        if slip in known:
            return None
        return nearest(slip, known) or longer(slip, known)

    def _check_value(self, action: Any, value: Any) -> None:
        choices: Sequence[str] | None = action.choices
        if choices is not None and value not in choices:
            names = ", ".join(map(repr, choices))
            hint = suggestion(value, choices)
            raise argparse.ArgumentError(action, f"must be one of {names}, got {value!r}. {hint}")
