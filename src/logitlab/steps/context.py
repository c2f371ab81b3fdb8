"""What steps look at beside the logits: the tokens so far, of every row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray, check_logits
from logitlab.checks import (
    ParameterError,
    Range,
    Seen,
    check_choice,
    check_integer,
    plain_array,
    shown,
)
from logitlab.foreign import is_array
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "SCOPES",
    "Context",
    "TokenCounts",
    "check_context",
    "needed_context",
]

SCOPES = ("all", "output", "prompt", "lagged")


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Context:
    """The tokens so far: what penalties count; and what guidance moves away from.

    Parameters
    ----------
    prompt, output : array_like of int, shape (..., L), or nested lists of unequal lengths
        Token ids. The leading axes broadcast against the batch shape of the logits, so one prompt
        serves all rows. -1 is padding, anywhere, and counts for nothing.
    unconditional : array_like, shape (..., V), optional
        The model's logits after a negative prompt, or none, and the same output. The leading axes
        broadcast, too.

    Examples
    --------
    >>> Context(prompt=[[5, 6], [7]], output=[8])
    Context(prompt=[[5, 6], [7, -1]], output=[8])
    """

    prompt: IntArray
    output: IntArray
    unconditional: FloatArray | None = None

    def __init__(
        self,
        prompt: ArrayLike = (),
        output: ArrayLike = (),
        unconditional: ArrayLike | None = None,
    ) -> None:
        for name, value in (("prompt", prompt), ("output", output)):
            array = plain_array(name, _padded(name, value), "token ids")
            if array.ndim == 0:
                raise ParameterError(name, "a sequence of token ids", value)
            object.__setattr__(self, name, Range(-1, integer=True).check(name, array))
        if unconditional is not None:
            logits = check_logits(unconditional, "unconditional").copy()
            logits.flags.writeable = False
            object.__setattr__(self, "unconditional", logits)

    def __repr__(self) -> str:
        parts = [f"{name}={shown(getattr(self, name))}" for name in ("prompt", "output")]
        if self.unconditional is not None:
            parts.append(f"unconditional={shown(self.unconditional)}")
        return f"Context({', '.join(parts)})"

    def __getstate__(self) -> dict[str, Any]:
        known = {"prompt": self.prompt, "output": self.output}
        return (
            known if self.unconditional is None else known | {"unconditional": self.unconditional}
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[Any, ...]:
        parts = (self.prompt, self.output, self.unconditional)
        return tuple(None if part is None else (part.shape, part.tobytes()) for part in parts)

    def for_rows(self, batch: tuple[int, ...], rows: IntArray | slice) -> Context:
        """Return the context of some rows of a flattened batch."""
        parts = []
        for part in (self.prompt, self.output, self.unconditional):
            if part is not None:
                every = np.broadcast_to(part, (*batch, part.shape[-1]))
                parts.append(every.reshape(math.prod(batch), part.shape[-1])[rows])
        return Context(*parts)

    def counts(
        self,
        batch: tuple[int, ...],
        vocabulary_size: int,
        scope: str = "all",
        last_n: int | None = None,
        fill: int | None = None,
        skip: int = 0,
        decay: int = 0,
    ) -> TokenCounts:
        """Count the tokens of every row.

        Parameters
        ----------
        batch : tuple of int
            Batch shape of the logits.
        vocabulary_size : int
            V; every token id must be below it.
        scope : {"all", "output", "prompt", "lagged"}
            Which tokens count; "lagged" are the last of the prompt and all of the output but the
            newest, and nothing while there is no output.
        last_n : int, optional
            Only the last n of them count, padding left out; None counts all.
        fill : int, optional
            The token that counts for each of ``last_n`` places that is still empty.
        skip : int
            How many tokens at the beginning of the prompt do not count.
        decay : int
            How many tokens before the window count, too, each by 1 / decay less than the next one.

        Returns
        -------
        TokenCounts
        """
        check_choice("scope", scope, SCOPES)
        request = (batch, vocabulary_size, scope, last_n, fill, skip, decay)
        if request not in self._counted:
            self._counted[request] = self._count(*request)
        return self._counted[request]

    @cached_property
    def _counted(self) -> dict[tuple[Any, ...], TokenCounts]:
        # Several penalties of a chain count the same tokens.
        return {}

    def _count(
        self,
        batch: tuple[int, ...],
        vocabulary_size: int,
        scope: str,
        last_n: int | None,
        fill: int | None,
        skip: int,
        decay: int,
    ) -> TokenCounts:
        rows = math.prod(batch)
        prompt, output = (
            ids.reshape(rows, ids.shape[-1])
            for ids in (self.tokens(name, batch, vocabulary_size) for name in ("prompt", "output"))
        )
        in_prompt: BoolArray = prompt >= 0
        in_output: BoolArray = output >= 0
        if skip:
            in_prompt = in_prompt & (np.cumsum(in_prompt, axis=1) > skip)
        if scope == "lagged":
            any_output = in_output.any(axis=1, keepdims=True)
            in_prompt = any_output & in_prompt & (_from_the_end(in_prompt) == 1)
            in_output = in_output & (_from_the_end(in_output) > 1)
        elif scope != "all":
            in_prompt, in_output = in_prompt & (scope == "prompt"), in_output & (scope == "output")
        counted = np.concatenate([in_prompt, in_output], axis=1)
        tokens = np.concatenate([prompt, output], axis=1)
        distance = _from_the_end(counted)
        if last_n is not None:
            counted &= distance <= last_n + decay
        row, place = np.nonzero(counted)
        keys = row * vocabulary_size + tokens[row, place]
        times: NDArray[Any] = np.ones(len(keys), np.int64)
        if decay and last_n is not None:
            times = 1 - np.maximum(distance[row, place] - last_n, 0) / decay
        if fill is not None and last_n is not None:
            known = check_integer("fill", fill, Range(0, vocabulary_size - 1, integer=True))
            empty = np.maximum(last_n - counted.sum(axis=1), 0)
            keys = np.concatenate([keys, np.flatnonzero(empty) * vocabulary_size + known])
            times = np.concatenate([times, empty[empty > 0]])
        keys, kind = np.unique(keys, return_inverse=True)
        count = np.zeros(len(keys), times.dtype)
        np.add.at(count, kind, times)
        newest = None
        if decay:
            newest = np.zeros(len(keys))
            np.maximum.at(newest, kind, times)
        return TokenCounts(*np.divmod(keys, vocabulary_size), count, newest)

    def texts(
        self,
        batch: tuple[int, ...],
        vocabulary_size: int,
        scope: str = "all",
        last_n: int | None = None,
    ) -> list[IntArray]:
        """Return the tokens of every row of the flattened batch, in order, without padding.

        Parameters
        ----------
        batch : tuple of int
        vocabulary_size : int
            V; every token id must be below it.
        scope : {"all", "output", "prompt"}
            Whether prompt and output, or one of them.
        last_n : int, optional
            Only the last n of them; None returns all.

        Examples
        --------
        >>> Context(prompt=[[5, 6], [7, -1]], output=[8]).texts((2,), 10)
        [array([5, 6, 8]), array([7, 8])]
        """
        names = ("prompt", "output") if scope == "all" else (scope,)
        rows = math.prod(batch)
        parts = [self.tokens(name, batch, vocabulary_size) for name in names]
        whole = np.concatenate([ids.reshape(rows, ids.shape[-1]) for ids in parts], axis=1)
        texts = [ids[ids >= 0] for ids in whole]
        return texts if last_n is None else [ids[max(0, len(ids) - last_n) :] for ids in texts]

    def tokens(self, name: str, batch: tuple[int, ...], vocabulary_size: int) -> IntArray:
        """Return the "prompt" or "output" of every row, shape ``(*batch, L)``."""
        ids: IntArray = getattr(self, name)
        if ids.size and ids.max() >= vocabulary_size:
            rule = f"token ids in [0, {vocabulary_size - 1}], or -1 for padding"
            raise ParameterError(name, rule, int(ids.max()))
        try:
            return np.broadcast_to(ids, (*batch, ids.shape[-1]))
        except ValueError:
            rule = f"token ids whose leading axes broadcast to the batch shape {batch}"
            raise ParameterError(name, rule, Seen(f"shape {ids.shape}")) from None

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise `ParameterError` unless it fits logits of a shape."""
        for name in ("prompt", "output"):
            self.tokens(name, shape[:-1], shape[-1])
        self.avoided(shape)

    def avoided(self, shape: tuple[int, ...]) -> FloatArray | None:
        """Return the unconditional logits of every row, if there are any."""
        logits = self.unconditional
        if logits is None or logits.shape == shape:
            return logits
        try:
            if logits.shape[-1] == shape[-1]:
                return np.broadcast_to(logits, shape)
        except ValueError:
            pass
        rule = f"logits that broadcast to the shape {shape}"
        raise ParameterError("unconditional", rule, Seen(f"shape {logits.shape}"))


def _from_the_end(counted: BoolArray) -> IntArray:
    """Return the place of each counted token from the end: 1 for the last."""
    places: IntArray = np.cumsum(counted[:, ::-1], axis=-1, dtype=np.int64)[:, ::-1]
    return places


def check_context(context: object, logits: FloatArray) -> None:
    """Raise `ParameterError` unless a context, if there is any, fits the logits."""
    if context is None:
        return
    if not isinstance(context, Context):
        raise ParameterError("context", "a Context or None", context)
    known = context.__dict__.setdefault("_fits", set())  # it never changes, and loops ask again
    if logits.shape not in known:
        context.check(logits.shape)
        known.add(logits.shape)


def needed_context(key: str, context: object) -> Context:
    """Return the context of a step that needs one, or raise `ParameterError`."""
    if not isinstance(context, Context):
        hint = "Pass Context(prompt=…, output=…); an empty Context() counts nothing."
        raise ParameterError("context", f"a Context for {key}", context, hint)
    return context


@dataclass(frozen=True)
class TokenCounts:
    """How often tokens occur: only those that do, sorted by row and token.

    Attributes
    ----------
    row, token, count : ndarray of int64, shape (n,)
        ``token[i]`` occurs ``count[i]`` times in row ``row[i]`` of the flattened batch; where the
        window decays, the sum of what each time counts, a float.
    newest : ndarray of float64, shape (n,), or None
        What the last time counts, where the window decays.
    """

    row: IntArray
    token: IntArray
    count: NDArray[Any]
    newest: NDArray[np.float64] | None = None


def _padded(name: str, value: Any) -> Any:
    """Return nested sequences of unequal lengths as one array, padded with -1 at the end."""
    if isinstance(value, str | bytes):
        raise ParameterError(name, "token ids", value, "Turn text into ids first.")
    if is_array(value) and type(value) is not np.ndarray:
        lists = getattr(value, "to_pylist", None) or getattr(value, "to_list", None)
        if lists is not None:  # a column of pyarrow, polars or pandas, perhaps of lists
            value = lists()
    if not isinstance(value, Sequence):
        return value
    if not any(isinstance(item, Sequence) or is_array(item) for item in value):
        return plain_array(name, value, "token ids") if len(value) else np.empty(0, np.int64)
    rows = [plain_array(name, _padded(name, item), "token ids") for item in value]
    # What is empty has no dtype of its own: torch and numpy call it a float.
    rows = [row if row.size else row.astype(np.int64) for row in rows]
    if not any(row.ndim for row in rows):
        return np.stack(rows)
    if len({row.ndim for row in rows}) > 1 or any(row.ndim == 0 for row in rows):
        raise ParameterError(name, "token ids nested equally deep", value)
    shape = np.max([row.shape for row in rows], axis=0)
    return np.stack(
        [
            np.pad(row, [(0, n - m) for n, m in zip(shape, row.shape, strict=True)],
                   constant_values=-1)
            for row in rows
        ]
    )  # fmt: skip
