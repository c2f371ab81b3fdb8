"""Log-probabilities on the wire: of which tokens, and how each is written."""

from __future__ import annotations

import codecs
import math
from collections import deque
from collections.abc import Iterable
from typing import Any

from logitlab.constraints import Constraint
from logitlab.generation.preparation import unspelled
from logitlab.models.model import Model
from logitlab.sampling.logprobs import Logprobs

__all__ = ["NO_LOGPROB", "Reports"]

NO_LOGPROB = -9999.0  # JSON has no -inf: OpenAI's documented placeholder


class Reports:
    r"""What is reported of each token of a text, until the text can be seen.

    A token belongs to the text iff its first byte does: a character's other bytes come with it,
    and tokens that leave nothing in the text, such as the end, are not reported.

    Parameters
    ----------
    model : Model
        Whose tokens they are.
    constraint : Constraint or None
        Of the text: special tokens that mark tool calls are text.
    silent : iterable of int
        Other tokens that leave nothing in the text.

    Examples
    --------
    >>> import numpy as np
    >>> from logitlab import Vocabulary, models
    >>> class Any(models.Model):
    ...     vocabulary = Vocabulary([b"Hi ", b"\xf0\x9f", b"<end>"], special=[2])
    ...     end_ids = frozenset([2])
    ...     def advance(self, states, tokens): ...
    >>> reports = Reports(Any(), None)
    >>> for token in (0, 1, 2):
    ...     reports.add(token, Logprobs(np.array(-1.0), np.array([], int), np.array([])))
    >>> [entry["bytes"] for entry in reports.take(len("Hi \N{REPLACEMENT CHARACTER}"))]
    [[72, 105, 32], [240, 159]]
    """

    def __init__(
        self, model: Model, constraint: Constraint | None, silent: Iterable[int] = ()
    ) -> None:
        self._vocabulary = model.vocabulary
        self._silent = unspelled(constraint, model.vocabulary) | model.end_ids | {*silent}
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0  # that are complete
        self._entries: deque[tuple[int, dict[str, Any]]] = deque()

    def add(self, token: int, logprobs: Logprobs) -> None:
        """Take a token and its log-probabilities."""
        data = b"" if token in self._silent else self._vocabulary[token]
        if not data:
            return
        tops = zip(logprobs.top_tokens.tolist(), logprobs.top_logprobs.tolist(), strict=True)
        entry = self._entry(token, float(logprobs.logprobs))
        entry["top_logprobs"] = [self._entry(other, value) for other, value in tops]
        # Its first byte is in the last complete character, unless it waits for others.
        self._characters += len(self._decoder.decode(data[:1]))
        waits = bool(self._decoder.getstate()[0])
        self._entries.append((self._characters - (not waits), entry))
        self._characters += len(self._decoder.decode(data[1:]))

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        data = self._vocabulary[token]
        return {
            "token": data.decode("utf-8", "replace"),
            "logprob": logprob if logprob > -math.inf else NO_LOGPROB,
            "bytes": list(data),
        }

    def take(self, characters: int) -> list[dict[str, Any]]:
        """Return what is reported of the tokens that begin within so many characters."""
        count = sum(place < characters for place, _ in self._entries)
        return [self._entries.popleft()[1] for _ in range(count)]
