"""How servers read JSON: numbers that come as texts, flags or fractions, and biases in any form.

A schema reads what is not in the type of its parameter. What the server refuses raises
`ValueError` with the server's own text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from logitlab.checks import ParameterError, brief, shown
from logitlab.engines.given import Given
from logitlab.engines.rules import Note, brief_number, refusal
from logitlab.engines.spelling import Encode
from logitlab.request.whole import READ

__all__ = [
    "LLAMA_SERVER",
    "MLX_SERVER",
    "OLLAMA_OPTIONS",
    "OLLAMA_SERVER",
    "PLAIN",
    "SGLANG_SERVER",
    "TABBY_SERVER",
    "TEXTGEN_SERVER",
    "TRANSFORMERS_SERVE",
    "VLLM_SERVER",
    "Schema",
    "json_integer",
    "low_bits",
]

Read: TypeAlias = Callable[[str, Any], Any]


@dataclass(frozen=True)
class Schema:
    """How a server reads values that are not in the types of their parameters.

    Parameters
    ----------
    number, integer, flag : callable, optional
        ``read(key, value)`` returns the value in its type; without one nothing else is read.
    bias : callable, optional
        ``read(value, encode)`` returns a map from ids to amounts, and what it left out.
    nulls : mapping of str to str
        Keys that may not be null, and the server's text.
    answers : str
        What becomes of a request that it refuses, before the server's text.
    limit_says : str
        The server's text about a ``max_tokens`` below 1, with ``{}`` for the value.
    is_unlimited : callable
        Whether a ``max_tokens`` sets no limit.
    """

    number: Read | None = None
    integer: Read | None = None
    flag: Read | None = None
    bias: Callable[[Any, Encode | None], tuple[dict[int, Any], str]] | None = None
    nulls: Mapping[str, str] = field(default_factory=dict)
    answers: str = "refuses the request"
    limit_says: str = ""
    is_unlimited: Callable[[int], bool] = lambda limit: False

    def read(
        self,
        given: Given,
        engine: str,
        has: Callable[[str], bool],
        encode: Encode | None = None,
    ) -> Given:
        """Return what is given, each parameter that an engine has in its type.

        Raises
        ------
        ParameterError
            For what this server does not read.
        """
        for key in sorted(given.nulls & self.nulls.keys()):
            raise refusal(key, "absent, or not null", None, engine, self.nulls[key], self.answers)
        result, notes = Given(given), list(given.notes)
        result.nulls = given.nulls
        for key, error in given.unread.items():
            value = given[key]
            if not has(key) and self != PLAIN:
                continue
            if key == "max_tokens" and self.is_unlimited(value):
                sentence = f"{key} {shown(value)} means no limit to {engine}."
                notes.append(Note(key, "off", sentence, value))
                del result[key]
                continue
            used, left_out = self._read(key, value, engine, error, encode)
            result[key] = READ[key].typed(used)
            if left_out:
                notes.append(Note(key, "changed", f"{key}: {left_out} by {engine}.", value, used))
            elif key != "logit_bias" and (used != value or isinstance(value, bool)):
                read = f"{key} {_sent(value)} is read as {_sent(used)}"
                sentence = f"{read} by {engine}."
                notes.append(Note(key, "changed", sentence, value, used))
        result.notes = tuple(notes)
        return result

    def _read(
        self, key: str, value: Any, engine: str, error: ParameterError, encode: Encode | None
    ) -> tuple[Any, str]:
        """Return a value in its type, and what of it was left out."""
        reads = {"float": self.number, "integer": self.integer, "boolean": self.flag}
        read = reads.get(READ[key].kind)
        if (self.bias if key == "logit_bias" else read) is None:
            raise error
        try:
            if read is not None:
                number = read(key, value)
                if key == "max_tokens" and number < 1 and self.limit_says:
                    raise ValueError(self.limit_says.format(number))
                return number, ""
            return self.bias(value, encode)  # type: ignore[misc]
        except OverflowError:  # an integer beyond all floats
            raise error from None
        except ValueError as wrong:
            if isinstance(wrong, ParameterError):
                raise
            raise refusal(key, error.rule, value, engine, str(wrong), self.answers) from None


def _sent(value: Any) -> str:
    return brief_number(value) if isinstance(value, bool) else shown(value)


PLAIN = Schema()
"""Nothing but a parameter's own type: OpenRouter's page, and functions in Python."""


_INTEGER = re.compile(r"\s*[+-]?\d+(_\d+)*(\.0+)?\s*", re.ASCII)


def _whole(key: str, value: Any) -> int:
    """Read as pydantic reads an integer."""
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            says = "Input should be a valid integer, unable to parse string as an integer"
            raise ValueError(says)
        return int(value.partition(".")[0])
    if value != math.floor(value):
        raise ValueError("Input should be a valid integer, got a number with a fractional part")
    if isinstance(value, float) and abs(value) >= 2**63:
        raise ValueError("Unable to parse input string as an integer, exceeded maximum size")
    return int(value)


_FLAGS = {"1": True, "true": True, "t": True, "yes": True, "y": True, "on": True}
_FLAGS |= {"0": False, "false": False, "f": False, "no": False, "n": False, "off": False}


def _lax_flag(key: str, value: Any) -> bool:
    """Read as pydantic reads a flag."""
    text = str(int(value)) if value in (0, 1) else str(value).lower()
    if text not in _FLAGS:
        raise ValueError("Input should be a valid boolean, unable to interpret input")
    return _FLAGS[text]


def _lax_bias(key_error: str) -> Callable[[Any, Encode | None], tuple[dict[int, Any], str]]:
    """Return what reads numbers as pydantic does, under Python's integers."""

    def read(value: Any, encode: Encode | None) -> tuple[dict[int, Any], str]:
        if not isinstance(value, Mapping):
            raise ValueError("Input should be a valid dictionary")
        entries: dict[int, Any] = {}
        for token, amount in value.items():
            try:
                known = int(token)
            except (TypeError, ValueError):
                raise ValueError(key_error.format(token)) from None
            try:
                entries[known] = amount if type(amount) is int else float(amount)
            except (TypeError, ValueError):
                says = "Input should be a valid number"
                is_text = isinstance(amount, str)
                says += ", unable to parse string as a number" if is_text else ""
                raise ValueError(says) from None
        return entries, ""

    return read


_VLLM_KEY = "logit_bias contains key(s) that cannot be converted to integer token IDs: [{!r}]"
_NO_NUMBER = ("frequency_penalty", "presence_penalty")
_NO_FLAG = ("logprobs", "parallel_tool_calls", "stream")

_PYDANTIC = Schema(lambda key, value: float(value), _whole, _lax_flag, _lax_bias(_VLLM_KEY))

VLLM_SERVER = replace(_PYDANTIC, limit_says="max_tokens must be at least 1, got {}.")
"""pydantic as it is: ``"0.5"``, true and 4.0 are numbers, 2.7 is no integer."""

SGLANG_SERVER = replace(
    _PYDANTIC,
    bias=_lax_bias("invalid literal for int() with base 10: {!r}"),
    nulls=dict.fromkeys(_NO_NUMBER, "Input should be a valid number")
    | dict.fromkeys(_NO_FLAG, "Input should be a valid boolean")
    | {"n": "Input should be a valid integer"},
)
"""The same, but for some keys that may not be null."""


def low_bits(value: int, signed: bool = True) -> int:
    """Return the lowest 32 bits of an integer; beyond 64 bits it is a float in C++, and then 0."""
    bits = value % 2**32 if -(2**63) <= value < 2**64 else 0
    return bits - 2**32 if signed and bits >= 2**31 else bits


TEXTGEN_SERVER = replace(_PYDANTIC, bias=_lax_bias("invalid literal for int() with base 10: {!r}"))
"""The same, with a bias whose keys become integers later."""

TABBY_SERVER = _PYDANTIC
"""pydantic as it is, too."""


def _json_number(key: str, value: Any) -> float:
    """Read as nlohmann::json does."""
    if isinstance(value, str):
        says = f"Field '{key}': [json.exception.type_error.302] type must be number, but is string"
        raise ValueError(says)
    return float(value)


def json_integer(key: str, value: Any) -> int:
    """Read as nlohmann::json does: the fraction is cut, what is too large becomes 0."""
    number = _json_number(key, value)
    whole = int(number) if abs(number) < 2**63 else 0
    if key == "max_tokens":
        return max(whole, 1)
    return min(max(whole, 0), 2) if key == "mirostat" else whole


def _json_flag(key: str, value: Any) -> bool:
    """Read ``logprobs``, which is a number there; other flags are flags."""
    if key == "logprobs":
        return _json_number(key, value) != 0
    kind = "string" if isinstance(value, str) else "number"
    says = f"Field '{key}': [json.exception.type_error.302] type must be boolean, but is {kind}"
    raise ValueError(says)


def _json_bias(value: Any, encode: Encode | None) -> tuple[dict[int, float], str]:
    """Read as llama-server does: pairs or a map, ``false`` bans, texts are tokenised."""
    is_map = isinstance(value, Mapping)
    entries: list[Any] = [value]
    if isinstance(value, Mapping):
        entries = list(value.items())
    elif isinstance(value, list | tuple):
        entries = list(value)
    result: dict[int, float] = {}
    ignored: list[Any] = []
    for entry in entries:
        is_pair = isinstance(entry, list | tuple) and len(entry) == 2
        amount: Any = entry[1] if is_pair else None
        if not is_pair or not (amount is False or _is_json_number(amount)):
            ignored.append(entry)
            continue
        tokens = _json_tokens(entry[0], encode, named=is_map)
        if not tokens:
            ignored.append(entry)
        for token in tokens:
            # What names a token twice is added twice.
            added = -math.inf if amount is False else float(amount)
            result[token] = result.get(token, 0.0) + added
    if not ignored:
        return result, ""
    first = dict([ignored[0]]) if is_map else ignored[0]
    others = f" and {len(ignored) - 1} more are" if len(ignored) > 1 else " is"
    return result, f"{brief(first)}{others} ignored"


def _is_json_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json_tokens(token: Any, encode: Encode | None, named: bool) -> Sequence[int]:
    """Return the tokens that the key of a bias means; none where it is no key."""
    if isinstance(token, str):
        number = token.lstrip(" \t\n\v\f\r")
        digits = number[1:] if number[:1] in ("+", "-") else number
        if named and (not token or (digits.isascii() and digits.isdigit())):
            token = min(max(int(number or 0), -(2**63)), 2**63 - 1)  # strtol
        elif encode is not None:
            return encode(token)
        else:
            hint = "Its server tokenises other keys: give the ids, or generate with a model."
            rule = "a map whose keys are token ids where no tokenizer is at hand"
            raise ParameterError("logit_bias", rule, token, hint)
    if isinstance(token, bool) or not isinstance(token, int) or not -(2**63) <= token < 2**64:
        return ()
    known = low_bits(token)  # llama_token has 32 bits
    return (known,) if known >= 0 else ()


LLAMA_SERVER = Schema(
    _json_number,
    json_integer,
    _json_flag,
    _json_bias,
    is_unlimited=lambda limit: not isinstance(limit, str) and limit <= -1,
)
"""nlohmann::json: true is 1, and where an integer is wanted, 2.7 is 2."""


def _typed(kinds: str) -> Read:
    """Return what reads as ``isinstance`` does, to which a flag is an integer."""

    def read(key: str, value: Any) -> Any:
        # An integer is here for its range alone.
        if not isinstance(value, bool) and not (kinds == "int" and isinstance(value, int)):
            raise ValueError(f"{key} must be of type {kinds}")
        return int(value)

    return read


def _mlx_bias(value: Any, encode: Encode | None) -> tuple[dict[int, float], str]:
    if not isinstance(value, Mapping):
        raise ValueError("logit_bias must be of type dict")
    try:
        return {int(token): float(amount) for token, amount in value.items()}, ""
    except TypeError as error:
        raise ValueError(f"{error}, and the connection is dropped") from None
    except ValueError:
        raise ValueError("logit_bias must be a dict of int to float") from None


_FLOAT = "('float', 'int')"
_PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
_MLX_NULLS = {
    key: f"{key} must be of type {_FLOAT}" for key in ("temperature", "top_p", "min_p", *_PENALTIES)
}
_MLX_NULLS |= {key: f"{key} must be of type int" for key in ("top_k", "max_tokens", "top_logprobs")}
_MLX_NULLS |= {key: f"{key} must be of type bool" for key in ("logprobs", "stream")}

MLX_SERVER = Schema(
    _typed(_FLOAT),
    _typed("int"),
    _typed("bool"),
    _mlx_bias,
    _MLX_NULLS,
    limit_says="max_tokens must be at least 1",
)
"""``isinstance``: true is 1, 4.0 is no integer, and null is no absent value."""


def _python_integer(key: str, value: Any) -> int:
    return int(value)


def _python_bias(value: Any, encode: Encode | None) -> tuple[dict[int, Any], str]:
    if not isinstance(value, Mapping):
        raise ValueError(f"'{type(value).__name__}' object has no attribute 'items'")
    entries = {int(token): amount for token, amount in value.items()}
    if not all(isinstance(amount, int | float) for amount in entries.values()):
        raise ValueError("`sequence_bias` has to be a dict with floats as values")
    return {token: int(x) if x is True or x is False else x for token, x in entries.items()}, ""


TRANSFORMERS_SERVE = Schema(
    lambda key, value: float(value),
    _python_integer,
    lambda key, value: bool(value),
    _python_bias,
    answers="answers 500 without a text, and logs",
    limit_says="`max_new_tokens` must be greater than 0, but is {}.",
)
"""``float(…)`` and ``int(…)`` of whatever was sent; what they refuse, the server's log tells."""


def _go_option(kind: str) -> Read:
    """Return what reads an option of Ollama, where every number of JSON is a float64."""

    def read(key: str, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f'option "{key}" must be of type {kind}')
        return int(value) if kind == "integer" else float(value)

    return read


def _go_field(kind: str) -> Read:
    """Return what reads a field as Go's ``encoding/json`` does: nothing but its own type."""

    def read(key: str, value: Any) -> Any:
        if kind == "int" and type(value) is int:  # it is here for its range alone
            return value
        found = "string" if isinstance(value, str) else f"number {value}"
        found = "bool" if isinstance(value, bool) else found
        says = f"json: cannot unmarshal {found} into Go struct field "
        raise ValueError(f"{says}ChatCompletionRequest.{key} of type {kind}")

    return read


OLLAMA_OPTIONS = Schema(_go_option("float32"), _go_option("integer"), _go_field("bool"))
"""Options of Ollama's own API: a fraction is cut where an integer is wanted."""

OLLAMA_SERVER = Schema(_go_field("float64"), _go_field("int"), _go_field("bool"))
"""Ollama's endpoint after OpenAI's: Go's own types."""
