"""What a caller got wrong, said one way: `ParameterError` and the rules behind it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, TypeAlias

import numpy as np
from logitlab.foreign import as_numpy, is_array
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "MOST_DRAWS",
    "MOST_NUMBERS",
    "MOST_POINTS",
    "MOST_TEXTS",
    "MOST_WORKERS",
    "Check",
    "FrozenDict",
    "ParameterError",
    "Range",
    "TokenMap",
    "brief",
    "check_choice",
    "check_flag",
    "check_integer",
    "check_number",
    "check_path",
    "check_token",
    "check_type",
    "counted",
    "cut",
    "nearest",
    "needs",
    "plain_array",
    "shown",
    "suggestion",
    "with_article",
]


MOST_TEXTS = 1 << 16
"""Answers that one call of `generate`, `generate_many` or `stream` writes at most."""

MOST_DRAWS = 1 << 26
"""Tokens that a call of `sample`, or `simulate` in a chunk, draws: rows times ``size``."""

MOST_POINTS = 10**6
"""Points of a grid."""

MOST_NUMBERS = 1 << 28
"""Numbers that a sweep keeps: metrics, points, and what is kept of the rows, multiplied."""

MOST_WORKERS = 1024
"""Processes that the command line starts."""


class ParameterError(ValueError):
    """A parameter that breaks its rule.

    The message is always ``<name> must be <rule>, got <value>.``, followed by at most one
    sentence that says what to do and by the step of the chain it happened in.

    Parameters
    ----------
    name : str
        The key as the caller wrote it, for example ``"top_p"``.
    rule : str
        What the value must be, for example ``"in [0, 1]"``.
    value : object
        What was given.
    hint : str, optional
        One sentence that helps.
    where : str, optional
        The step of a chain, for example ``"step 2, TopP(0.9)"``.

    Examples
    --------
    >>> print(ParameterError("top_p", "in [0, 1]", 1.3))
    top_p must be in [0, 1], got 1.3.
    """

    def __init__(
        self, name: str, rule: str, value: object, hint: str = "", where: str = ""
    ) -> None:
        # All five go to Exception.args, so that the error survives pickling between processes.
        super().__init__(name, rule, value, hint, where)
        self.name = name
        self.rule = rule
        self.value = value
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        return self.message(brief)

    def message(self, show: Callable[[object], str]) -> str:
        """Return the message, with the value in the words of whoever reads it."""
        message = f"{self.name} must be {self.rule}, got {show(self.value)}."
        if self.hint:
            message += f" {self.hint}"
        if self.where:
            message += f" (In {self.where}.)"
        return message

    def inside(self, where: str) -> ParameterError:
        """Return the same error, told of the step it happened in."""
        return ParameterError(self.name, self.rule, self.value, self.hint, where)


def brief(value: object) -> str:
    """``repr`` of a value, short enough for one line."""
    if isinstance(value, np.ndarray):
        if value.size > 8:
            return f"an array of shape {value.shape} and dtype {value.dtype}"
        return repr(value.tolist())
    if isinstance(value, np.generic):
        return repr(value.item())
    if is_array(value):
        kind = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"
        try:
            shape: Any = value.shape  # type: ignore[attr-defined]
            return f"{with_article(kind)} of shape {tuple(shape)}"
        except Exception:  # it has none, or, as torch's nested tensors, none that it could tell
            return with_article(kind)
    if isinstance(value, int) and abs(value) >= 10**40:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # too long for Python to print, or nested too deeply
        text = with_article(type(value).__name__)
    return cut(text)


def cut(text: str) -> str:
    """Return a text, or its beginning where it is too long for one line."""
    if len(text) <= 120:
        return text
    space = text.rfind(" ", 80, 118)  # no word is cut where that can be helped
    return text[: space + 1 if space > 0 else 117] + "..."


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1, "request"), counted(1200, "request")
    ('1 request', '1,200 requests')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def with_article(noun: str) -> str:
    """Return a noun with its article, by its first letter.

    Examples
    --------
    >>> with_article("list"), with_article("int")
    ('a list', 'an int')
    """
    return f"{'an' if noun[:1].lower() in [*'aeiou'] else 'a'} {noun}"


def shown(value: Any) -> str:
    """Show a parameter: short arrays as lists, long ones by shape."""
    if isinstance(value, np.ndarray):
        return repr(value.tolist()) if value.size <= 16 else f"<array of shape {value.shape}>"
    return repr(value)


class Seen(str):
    """What was found in an array, in words; printed without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


Check: TypeAlias = Callable[[str, Any], Any]
"""Takes a name and a value; returns that in canonical form, or raises `ParameterError`."""


@dataclass(frozen=True)
class Range:
    """A closed interval of numbers that tests itself and prints itself.

    Parameters
    ----------
    low, high : float
        The ends, both included; infinite ends are open.
    integer : bool
        Whether only integers belong to it.

    Examples
    --------
    >>> Range(0, 1).check("top_p", 0.9)
    array(0.9)
    >>> Range(0, 1).check("top_p", [0.9, 1.3])
    Traceback (most recent call last):
    logitlab.checks.ParameterError: top_p must be in [0, 1], got 1.3. It is element (1,).
    """

    low: float = -np.inf
    high: float = np.inf
    integer: bool = False

    def __str__(self) -> str:
        if self.low == -np.inf:
            return "finite" if self.high == np.inf else f"<= {self.high}"
        if self.high == np.inf:
            return f">= {self.low}"
        return f"in [{self.low}, {self.high}]"

    def rule(self) -> str:
        """Return the range as a noun: ``a number in [0, 1]``, ``an integer >= 0``."""
        if self.low == -np.inf and self.high == np.inf:
            return "an integer" if self.integer else "a finite number"
        return f"an integer {self}" if self.integer else f"a number {self}"

    def words(self) -> str:
        """Return the range as a page of parameters writes it: ``0 to 2``, ``1 or above``."""
        if self.high < np.inf:
            return (
                f"up to {self.high:g}" if self.low == -np.inf else f"{self.low:g} to {self.high:g}"
            )
        return "any" if self.low == -np.inf else f"{self.low:g} or above"

    def check(self, name: str, value: ArrayLike) -> NDArray[Any]:
        """Return an array of ``value``: float64 or int64, of any shape.

        Raises
        ------
        ParameterError
            If ``value`` holds anything but numbers (integers, if ``integer``) of this range;
            booleans, strings and NaN are none.
        """
        kind, reach = (int, 2**63) if self.integer else (float, np.inf)
        if type(value) is kind and -reach < value < reach and self.low <= value <= self.high:
            return np.array(value)  # the common case, and the cheap one
        array = plain_array(name, value, self.rule())
        if self.integer and array.dtype.kind in "uO":
            # numpy holds integers of 64 bits and more as unsigned, or as objects.
            numbers = array.flat if array.dtype.kind == "O" else [array.max(initial=0)]
            for number in numbers:
                if isinstance(number, int | np.integer) and number >= 2**63:
                    raise ParameterError(name, "below 2**63", number)
        # An empty list has no dtype of its own: numpy calls it float64.
        if array.dtype.kind not in ("iu" if self.integer else "iuf") and array.size:
            raise ParameterError(name, self.rule(), value)
        array = np.array(array, dtype=np.int64 if self.integer else np.float64)
        wrong = ~(np.isfinite(array) & (array >= self.low) & (array <= self.high))
        if wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            rule = self.rule() if self.integer else str(self)
            raise ParameterError(
                name, rule, array[index], f"It is element {index}." if index else ""
            )
        array.flags.writeable = False
        return array


class FrozenDict(dict[Any, Any]):
    """A dict that cannot be changed, so that what was validated stays valid."""

    def _refuse(self, *_: object, **__: object) -> Any:
        raise TypeError("this map is read-only: make new parameters instead.")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)


@dataclass(frozen=True)
class TokenMap:
    """Maps from token ids to numbers of a range, or to arrays of them.

    Parameters
    ----------
    values : Range
    bans : bool
        Whether ``-inf`` is one of them.
    """

    values: Range
    bans: bool = False

    @property
    def integer(self) -> bool:
        """Whether the numbers are integers."""
        return self.values.integer

    def check(self, name: str, value: Any) -> FrozenDict:
        """Return a read-only map of ids to numbers and read-only arrays.

        Raises
        ------
        ParameterError
            For what is no map, a key that is no token id, or a number outside of the range.
        """
        if not isinstance(value, Mapping):
            raise ParameterError(name, "a map from token ids to numbers", value)
        entries: dict[int, Any] = {}
        for token, amount in value.items():
            if self.bans and isinstance(amount, float | np.floating) and amount == -np.inf:
                entries[check_token(name, token)] = float(amount)
                continue
            array = self.values.check(f"{name}[{token!r}]", amount)
            entries[check_token(name, token)] = array if array.ndim else array.item()
        return FrozenDict(entries)


def check_token(name: str, token: object, size: int | None = None) -> int:
    """Return a token id that is the key of a map, or raise `ParameterError`."""
    if type(token) is not int and is_array(token) and not getattr(token, "shape", True):
        token = plain_array(name, token, "a map whose keys are token ids")[()]
    if isinstance(token, bool | np.bool_) or not isinstance(token, int | np.integer) or token < 0:
        raise ParameterError(name, "a map whose keys are token ids >= 0", token)
    if size is not None and token >= size:
        raise ParameterError(name, f"a map whose keys are token ids in [0, {size - 1}]", token)
    return int(token)


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise `ParameterError` unless ``value`` is one of the named ``choices``."""
    if not isinstance(value, str) or value not in choices:
        names = ", ".join(repr(choice) for choice in choices)
        raise ParameterError(name, f"one of {names}", value, suggestion(value, choices))


def suggestion(value: object, names: Collection[str]) -> str:
    """Return a sentence that asks for the name that was probably meant, or nothing."""
    meant = (nearest(value, names) or longer(value, names)) if isinstance(value, str) else None
    return f"Did you mean {meant}?" if meant else ""


def longer(name: str, names: Iterable[str]) -> str | None:
    """Return the first of some names that begins with another, of four characters at least."""
    return next((each for each in names if len(name) > 3 and each.startswith(name)), None)


def nearest(name: str, names: Iterable[str], edits: int = 2) -> str | None:
    """Return the one of some names that another was probably meant to be, or None.

    One letter may be wrong, missing, too many, or in the place of its neighbour, ``edits`` of them
    in names of eight letters and more; capitals, hyphens and underscores do not count. A name that
    goes on with a word of its own, such as ``seed_x``, is another name.

    Examples
    --------
    >>> nearest("temprature", ["temperature", "top_p"]), nearest("topP", ["temperature", "top_p"])
    ('temperature', 'top_p')
    >>> nearest("user", ["temperature", "top_p"])
    """
    best, least = None, edits + 1
    for other in names:
        if name.startswith(f"{other}_") or name.endswith(f"_{other}"):
            continue
        if _letters(name) == _letters(other):
            return other
        longest = max(len(name), len(other))
        allowed = edits if longest >= 8 else int(longest >= 4)
        if abs(len(name) - len(other)) <= allowed:
            count = _edits(name.lower(), other.lower())
            if count <= allowed and count < least:
                best, least = other, count
    return best


def _letters(name: str) -> str:
    return re.sub(r"[-_ .]", "", name.lower())


def _edits(one: str, other: str) -> int:
    """Return how many letters differ: changed, missing, too many, or swapped with a neighbour."""
    before, line = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, a in enumerate(one):
        earlier, before, line = before, line, [i + 1]
        for j, b in enumerate(other):
            fewest = min(before[j] + (a != b), before[j + 1] + 1, line[j] + 1)
            if i and j and (a, one[i - 1]) == (other[j - 1], b):
                fewest = min(fewest, earlier[j - 1] + 1)
            line.append(fewest)
    return line[-1]


def check_path(name: str, path: Any) -> Path:
    """Return a path that can name a file, or raise `ParameterError`."""
    try:
        if b"\0" not in os.fsencode(path):
            return Path(os.fsdecode(path))
    except (TypeError, UnicodeEncodeError):
        pass
    raise ParameterError(name, "the path of a file", path)


def check_flag(name: str, value: object) -> None:
    """Raise `ParameterError` unless ``value`` is a boolean."""
    if not isinstance(value, bool | np.bool_):
        raise ParameterError(name, "True or False", value)


def check_integer(name: str, value: Any, rule: Range) -> int:
    """Return one Python int of the range, or raise `ParameterError`."""
    if type(value) is not int and is_array(value) and not getattr(value, "shape", True):
        value = plain_array(name, value, rule.rule())[()]
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise ParameterError(name, rule.rule(), value)
    if not rule.low <= int(value) <= rule.high:
        raise ParameterError(name, rule.rule(), value)
    return int(value)


def check_number(name: str, value: Any, rule: Range = Range()) -> float:
    """Return one Python float of the range, or raise `ParameterError`."""
    array = rule.check(name, value)
    if array.ndim:
        raise ParameterError(name, f"one {rule.rule().removeprefix('a ')}", value)
    return float(array)


def plain_array(
    name: str, value: Any, rule: str, seen: object = None, fill: str = "value"
) -> NDArray[Any]:
    """Return what a caller gave as an array, of any dtype, or raise `ParameterError`.

    Parameters
    ----------
    name, rule : str
        As of `ParameterError`, for what is no array.
    value : array_like
        A masked array is refused, because its mask would be lost, and ``np.matrix``, whose rows
        are no vectors; so is a list with one of these in it.
    seen : object, optional
        What to show of what is no array, in place of the value.
    fill : str
        What a masked place becomes in the message.
    """
    is_list = isinstance(value, list | tuple)
    try:
        array = as_numpy(value, name, lambda array: _refuse_kind(name, array, fill))
    except ParameterError:
        raise
    except Exception as error:  # a ragged list, or whatever a foreign object raises
        said = " ".join(str(error).split())[:200].rstrip(".")
        if is_list and not isinstance(error, ValueError):
            seen = Seen("a list")
        hint = "" if is_list and seen != "a list" else f"{said}."
        raise ParameterError(name, rule, seen or value, hint) from None
    return np.asarray(array)


def _refuse_kind(name: str, array: NDArray[Any], fill: str) -> None:
    """Raise for an array that would mean something else as a plain one."""
    if type(array) is np.ndarray:
        return
    seen = Seen(f"{type(array).__name__} of shape {array.shape}")
    if hasattr(array, "mask") and array.dtype.names is None:
        hint = f"Its mask would be lost: write np.where(mask, {fill}, x)."
        raise ParameterError(name, "an array without a mask", seen, hint)
    if isinstance(array, np.matrix):
        raise ParameterError(name, "an array and no matrix", seen, "Write np.asarray(x).")


def check_type(name: str, value: Any, kind: type | UnionType, rule: str) -> Any:
    """Return a value of some type, or raise `ParameterError`."""
    if not isinstance(value, kind):
        raise ParameterError(name, rule, value)
    return value


def needs(extra: str, module: str) -> Any:
    """Return a module of another package, or say how to install it.

    Raises
    ------
    ImportError
        If the package is not there, with the command that installs it.

    Examples
    --------
    >>> needs("gguf", "no_such_package")
    Traceback (most recent call last):
    ImportError: no_such_package is not installed: pip install 'logitlab[gguf]'
    """
    package = module.split(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        command = f"pip install 'logitlab[{extra}]'"
        raise ImportError(f"{package} is not installed: {command}", name=package) from None
