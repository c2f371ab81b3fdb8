"""What steps accept that name tokens: lists of ids, sequences of them, biases on sequences."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.checks import FrozenDict, ParameterError, Range

__all__ = ["SequenceMap", "TokenList", "TokenSequences", "check_ids"]


@dataclass(frozen=True)
class TokenList:
    """Lists of token ids.

    Parameters
    ----------
    absent : bool
        Whether None, which is no list, is one of them.

    Examples
    --------
    >>> TokenList().check("suppress_tokens", [5, 17])
    (5, 17)
    """

    absent: bool = False

    integer: ClassVar[bool] = True

    def check(self, name: str, value: Any) -> tuple[int, ...] | None:
        """Return the ids as a tuple, or raise `ParameterError`."""
        return None if value is None and self.absent else _ids(name, "an array of token ids", value)


@dataclass(frozen=True)
class TokenSequences:
    """Lists of sequences of token ids, none of them empty; an id alone is one, too.

    Examples
    --------
    >>> TokenSequences().check("bad_words", [[5], [5, 17]])
    ((5,), (5, 17))
    """

    integer: ClassVar[bool] = True

    def check(self, name: str, value: Any) -> tuple[tuple[int, ...], ...]:
        """Return the sequences as tuples, or raise `ParameterError`."""
        rule = "an array of arrays of token ids"
        if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str | bytes):
            raise ParameterError(name, rule, value)
        return tuple(
            _sequence(name, rule, (each,) if isinstance(each, int | np.integer) else each)
            for each in value
        )


@dataclass(frozen=True)
class SequenceMap:
    """Maps from sequences of token ids, none of them empty, to numbers, or to arrays of them.

    Parameters
    ----------
    values : Range
        ``-inf`` is one of them, too.

    Examples
    --------
    >>> SequenceMap(Range()).check("sequence_bias", {(5, 17): 1.5})
    {(5, 17): 1.5}
    """

    values: Range

    integer: ClassVar[bool] = False

    def check(self, name: str, value: Any) -> FrozenDict:
        """Return a read-only map of tuples to numbers and read-only arrays."""
        rule = "a map from sequences of token ids to numbers"
        if not isinstance(value, Mapping):
            raise ParameterError(name, rule, value)
        entries: dict[tuple[int, ...], Any] = {}
        for ids, amount in value.items():
            known = _sequence(name, rule, ids)
            if isinstance(amount, float) and amount == -np.inf:
                entries[known] = amount
                continue
            array = self.values.check(f"{name}[{ids!r}]", amount)
            entries[known] = array if array.ndim else array.item()
        return FrozenDict(entries)


def _ids(name: str, rule: str, value: Any) -> tuple[int, ...]:
    """Return token ids as a tuple, or raise `ParameterError`."""
    if not isinstance(value, Collection | np.ndarray) or isinstance(value, str | bytes | Mapping):
        raise ParameterError(name, rule, value)
    for token in value:
        is_id = isinstance(token, int | np.integer) and not isinstance(token, bool)
        if not is_id or not 0 <= token < 2**63:
            raise ParameterError(name, rule, value)
    return tuple(map(int, value))


def _sequence(name: str, rule: str, value: Any) -> tuple[int, ...]:
    """Return token ids as a tuple that is not empty, or raise `ParameterError`."""
    ids = _ids(name, rule, value)
    if not ids:
        raise ParameterError(name, f"{rule}, none of them empty", value)
    return ids


def check_ids(name: str, ids: Iterable[int], size: int) -> None:
    """Raise `ParameterError` for a token id that is outside of a vocabulary."""
    for token in ids:
        if token >= size:
            raise ParameterError(name, f"of token ids in [0, {size - 1}]", token)
