"""What every adapter is: a request, and the texts that it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from logitlab.adapters.shaping import Shaping, Text
from logitlab.adapters.texts import Texts
from logitlab.arrays import FloatArray, IntArray
from logitlab.checks import ParameterError, Range, Seen, check_integer, plain_array
from logitlab.draw import SeedLike
from logitlab.engines.registry import EngineLike
from logitlab.engines.resolve import Request
from logitlab.engines.rules import Note
from logitlab.engines.spelling import VocabularyLike
from logitlab.steps.chain import Chain
from logitlab.steps.state import State

__all__ = ["Adapter", "check_sequence"]

_SEQUENCES = Range(0, (1 << 62) - 1, integer=True)


class Adapter:
    """A request that shapes the logits of another library's loop, row by row.

    Called with the tokens so far and the logits of the next one, it returns what the request's
    chain makes of the logits, bit for bit; with a seed, logits that leave nothing but the token
    that `generate` draws. The first call tells what the prompt is. A call with one more token goes
    on, the very same call is the same, and any other begins anew, with fresh states: so one adapter
    serves one loop after another.

    Attributes
    ----------
    chain : Chain
        What is done to the logits.
    seed : int or None
        With which it draws; None where the library does.
    notes : tuple of Note
        What the engine ignored, changed or filled in, and what of the request is left to the
        library: a row of logits can neither end a text nor report anything.
    """

    library = "the caller"
    ids_name, logits_name = "ids", "row"

    def __init__(
        self,
        request: Request = None,
        *,
        engine: EngineLike = "openrouter",
        seed: SeedLike = None,
        sequence: int | Sequence[int] = 0,
        coupling: str = "inverse",
        state: State | None = None,
        vocabulary: VocabularyLike = None,
    ) -> None:
        self._shaping = Shaping(
            request,
            self.library,
            engine=engine,
            seed=seed,
            coupling=coupling,
            state=state,
            vocabulary=vocabulary,
        )
        self._sequence = check_sequence(sequence, self._shaping)
        self._texts = Texts(self.ids_name, self._start, forks=self.seed is None)

    @property
    def chain(self) -> Chain:
        """What is done to the logits."""
        return self._shaping.chain

    @property
    def seed(self) -> int | None:
        """With which seed it draws; None where the library does."""
        return self._shaping.seed

    @property
    def notes(self) -> tuple[Note, ...]:
        """What happens to the request on its way, and what of it is left to the library."""
        return self._shaping.notes

    def __repr__(self) -> str:
        seed = "" if self.seed is None else f", seed={self.seed}"
        return f"<{type(self).__name__} {self.chain!r}{seed}>"

    def restart(self) -> None:
        """Forget all texts: the next call begins with a prompt, whatever it is."""
        self._texts.restart()

    def rows_after(self, ids: Any, logits: FloatArray) -> FloatArray:
        """Return what becomes of rows after the tokens so far.

        Parameters
        ----------
        ids : array_like of int, shape (n, L)
        logits : ndarray of floats, shape (n, V)
        """
        if logits.ndim != 2 or not logits.shape[1]:
            rule = "of shape (n, V) with V at least 1"
            raise ParameterError(self.logits_name, rule, Seen(f"shape {logits.shape}"))
        known = self._read_ids(ids, logits.shape)
        self._shaping.fit(logits.shape[1])
        texts = self._texts.follow(known, self.chain)
        try:
            return self._shaping.rows(texts, logits)
        except ParameterError as error:
            raise error.inside(f"the rows of {self.library}") from None

    def row_after(self, ids: Any, row: FloatArray) -> FloatArray:
        """Do `rows_after` for a single text: ids of shape (L,), and a row of shape (V,)."""
        known = plain_array(self.ids_name, ids, "token ids of shape (L,)")
        if known.ndim != 1:
            rule = "token ids of shape (L,) beside one row"
            raise ParameterError(self.ids_name, rule, Seen(f"shape {known.shape}"))
        result: FloatArray = self.rows_after(known[None], row[None])[0]
        return result

    def _read_ids(self, ids: Any, shape: tuple[int, ...]) -> IntArray:
        """Return a copy of token ids, or raise: a library may write on in its own."""
        name, rule = self.ids_name, f"token ids of shape ({shape[0]}, L), a row for each of logits"
        array = plain_array(name, ids, rule)
        if array.ndim != 2 or len(array) != shape[0]:
            raise ParameterError(name, rule, Seen(f"shape {array.shape}"))
        if array.dtype.kind not in "iu" and array.size:
            raise ParameterError(name, "token ids", Seen(array.dtype.name))
        known = np.array(array, np.int64)
        if known.size and not 0 <= known.min() <= known.max() < shape[1]:
            wrong = known[(known < 0) | (known >= shape[1])][0]
            raise ParameterError(name, f"token ids in [0, {shape[1] - 1}]", int(wrong))
        return known

    def _start(self, ids: IntArray) -> list[Text]:
        first = self._sequence
        if isinstance(first, int):
            numbers: Sequence[int] = range(first, first + len(ids))
        elif len(first) == len(ids):
            numbers = first
        else:
            rule = f"one number, or one for each of {len(ids)} rows"
            raise ParameterError("sequence", rule, Seen(f"{len(first)}"))
        pairs = zip(self._prompts(ids), numbers, strict=True)
        return [self._shaping.text(prompt, number) for prompt, number in pairs]

    def _prompts(self, ids: IntArray) -> list[IntArray]:
        """Return the tokens of each row that count."""
        return list(ids)


def check_sequence(sequence: Any, shaping: Shaping) -> int | list[int]:
    """Return which random sequences are used, or raise `ParameterError`."""
    if shaping.seed is None and type(sequence) is int and sequence == 0:
        return 0
    if shaping.seed is None:
        raise ParameterError("sequence", "absent without a seed", sequence)
    if isinstance(sequence, Sequence | np.ndarray) and not isinstance(sequence, str):
        return [check_integer(f"sequence[{i}]", n, _SEQUENCES) for i, n in enumerate(sequence)]
    return check_integer("sequence", sequence, _SEQUENCES)
