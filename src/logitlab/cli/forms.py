"""How the options of request parameters are written: numbers, flags, lists, texts, maps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from logitlab.checks import ParameterError
from logitlab.request.parameter import Parameter

__all__ = [
    "AGAIN",
    "Form",
    "form_of",
    "help_of",
    "number_of",
    "numbers_in",
    "option_of",
    "spaced",
]

AGAIN = "may be given several times"


class Form(NamedTuple):
    """How an option is written.

    Attributes
    ----------
    metavar : str or None
        What its help shows; None is a flag.
    read : callable
        ``read(option, text)`` returns the value; of an option that is given several times
        ``read(option, texts)``.
    repeats : bool
    """

    metavar: str | None
    read: Callable[[str, Any], Any]
    repeats: bool = False


def option_of(key: str) -> str:
    """Return the option of a parameter."""
    return "--" + key.replace("_", "-")


def spaced(text: str) -> str:
    """Return a token's text as it is, where ␣ stands for a space, as in what is printed."""
    return text.replace("␣", " ")


def number_of(text: str) -> Any:
    """Return the number that a text is, or the text itself for the checks to refuse."""
    for number in (int, float):
        try:
            return text if "_" in text else number(text)
        except ValueError:
            continue
    return text


def numbers_in(text: str) -> list[Any]:
    """Return the numbers of ``5,17,5``."""
    return [number_of(part.strip()) for part in text.split(",")]


def _phrase_bias(option: str, texts: list[str]) -> list[Any]:
    """Return pairs of ``5,17=2.5``."""
    pairs = []
    for text in texts:
        ids, equals, amount = text.partition("=")
        if not (ids.strip() and equals and amount.strip()):
            raise ParameterError(option, "IDS=VALUE, token ids and a number", text)
        pairs.append([numbers_in(ids), number_of(amount.strip())])
    return pairs


def _map(option: str, text: str) -> dict[str, Any]:
    """Return the map of ``max_pattern_size=3,min_count=2``, or of JSON."""
    if text.lstrip().startswith("{"):
        try:
            known: dict[str, Any] = json.loads(text)
            return known
        except ValueError:
            raise ParameterError(option, "KEY=VALUE,KEY=VALUE, or JSON", text) from None
    entries: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = (each.strip() for each in part.partition("="))
        if not (key and equals and value) or key in entries:
            raise ParameterError(option, "KEY=VALUE,KEY=VALUE with each key once", text)
        entries[key] = number_of(value)
    return entries


_NUMBER = Form("VALUE", lambda option, text: number_of(text))
_TEXT = Form("TEXT", lambda option, text: text)
_FLAG = Form(None, lambda option, value: value)
_TEXTS = Form("TEXT", lambda option, texts: texts, repeats=True)
_WORDS = Form("TEXT", lambda option, texts: list(map(spaced, texts)), repeats=True)
_IDS = Form("IDS", lambda option, text: numbers_in(text.strip().strip("[]")))
_PAIR = Form("START,FACTOR", lambda option, text: numbers_in(text))
_MAP = Form("KEY=VALUE,…", _map)
_PHRASES = Form("IDS=VALUE", _phrase_bias, repeats=True)

_FORMS = {
    "stop": _TEXTS,
    "bad_words": _WORDS,
    "dry_sequence_breakers": _WORDS,
    "thinking_markers": _WORDS,
    "exponential_decay_length_penalty": _PAIR,
    "sequence_bias": _PHRASES,
}
_BY_KIND = {"array": _IDS, "map": _MAP, "boolean": _FLAG, "string": _TEXT}


def form_of(parameter: Parameter) -> Form:
    """Return how the option of a parameter is written.

    Examples
    --------
    >>> from logitlab.request.params import PARAMETERS
    >>> form_of(PARAMETERS["stop_token_ids"]).read("--stop-token-ids", "5,17")
    [5, 17]
    """
    return _FORMS.get(parameter.key, _BY_KIND.get(parameter.kind, _NUMBER))


def help_of(parameter: Parameter, has_model: bool = False) -> str:
    """Return the help of an option: its rule, what it does, and how it is given.

    Parameters
    ----------
    parameter : Parameter
    has_model : bool
        Whether a model makes the logits, and not only a row of them is there.
    """
    words = [f"{parameter.rule}: {parameter.sentence}" if parameter.rule else parameter.sentence]
    if form_of(parameter) is _WORDS:
        words.append("␣ stands for a space.")
    if form_of(parameter).repeats or parameter.key == "logit_bias":
        words.append(f"{AGAIN.capitalize()}.")
    if parameter.key == "guidance_scale" and not has_model:
        words.append("A row of logits takes 1 alone.")
    return " ".join(words)
