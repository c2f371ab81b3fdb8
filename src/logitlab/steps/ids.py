"""What steps accept that name tokens: lists of ids, sequences of them, biases on sequences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.checks import FrozenDict, ParameterError, Range, plain_array

__all__ = ["SequenceMap", "TokenIds", "TokenSequences", "check_ids"]


@dataclass(frozen=True)
class TokenIds:
    """Sequences of token ids.

    Parameters
    ----------
    absent : bool
        Whether None is one of them.
    """

    absent: bool = False

    integer: ClassVar[bool] = True

    def check(self, name: str, value: Any) -> tuple[int, ...] | None:
        """Return a tuple of ids, or raise `ParameterError`."""
        return None if value is None and self.absent else self.known(name, value)

    def known(self, name: str, value: Any) -> tuple[int, ...]:
        """Do `check` for what is not absent."""
        array = plain_array(name, value, "a sequence of token ids")
        if array.ndim != 1:
            raise ParameterError(name, "a sequence of token ids", value)
        return tuple(Range(0, integer=True).check(name, array).tolist())


class TokenSequences:
    """Sequences of sequences of token ids, none of these empty; an id alone is one, too."""

    integer: ClassVar[bool] = True

    def check(self, name: str, value: Any) -> tuple[tuple[int, ...], ...]:
        """Return a tuple of tuples of ids, or raise `ParameterError`."""
        rule = "a sequence of sequences of token ids, none of them empty"
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise ParameterError(name, rule, value)
        sequences = tuple(
            TokenIds().known(name, (one,) if isinstance(one, int | np.integer) else one)
            for one in value
        )
        if () in sequences:
            raise ParameterError(name, rule, value)
        return sequences


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
            known = TokenIds().known(name, ids)
            if not known:
                raise ParameterError(name, f"{rule}, none of them empty", value)
            if isinstance(amount, float) and amount == -np.inf:
                entries[known] = amount
                continue
            array = self.values.check(f"{name}[{ids!r}]", amount)
            entries[known] = array if array.ndim else array.item()
        return FrozenDict(entries)


def check_ids(name: str, ids: Iterable[int], size: int) -> None:
    """Raise `ParameterError` for a token id that is outside of a vocabulary."""
    for token in ids:
        if token >= size:
            raise ParameterError(name, f"of token ids in [0, {size - 1}]", token)
