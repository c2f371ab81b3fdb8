"""The places of an answer: what was reported of each, what was drawn, and what stood before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from logitlab.verification.answer import Position, Token
from numpy.typing import NDArray

__all__ = ["MOST", "Floats", "Place", "is_plain", "places", "spelling"]


Floats = NDArray[np.float64]
MOST = 20  # tokens of a report that are looked at


@dataclass(frozen=True)
class Place:
    """One place of an answer.

    The report of a place is of the very row that its token was drawn from, so that it is exact,
    however noisy the server is, and a draw given what was drawn before is a draw from it: what
    follows from it is a martingale along the answer.

    Attributes
    ----------
    tokens : tuple of bytes or str
        Those of the report, the most likely first, without those that never are in a report when
        they are drawn: the ends of texts, other special tokens, and halves of characters; and
        without the last, which may be there because it was drawn, see `Position.likeliest`. To
        leave them out is to condition on another token being drawn.
    logprobs : ndarray of float64, shape (K,)
        As they are reported.
    drawn : int or None
        Which of them was drawn; None for any other.
    before : tuple of bytes or str
        The tokens of the answer so far.
    """

    tokens: tuple[Token, ...]
    logprobs: Floats
    drawn: int | None
    before: tuple[Token, ...]

    @property
    def shares(self) -> Floats:
        """The probabilities of the tokens among themselves."""
        weights = np.exp(self.logprobs - self.logprobs.max())
        shares: Floats = weights / weights.sum()
        return shares


def places(positions: Sequence[Position], most: int = MOST, *, whole: bool = False) -> list[Place]:
    """Return the places of an answer that have a report of two tokens at least, and of one more.

    Parameters
    ----------
    positions : sequence of Position
        Of one choice, from its beginning.
    most : int
        How many tokens of a report are looked at: a draw is judged among these.
    whole : bool
        Whether the last of a report is taken, too, where no draw is judged.

    Returns
    -------
    list of Place

    Examples
    --------
    >>> top = {b"b": -2.0, b"a": -0.2, b"<|im_end|>": -9.0, b"c": -9.5}
    >>> [place] = places([Position(b"b", top)])
    >>> place.tokens, place.drawn, place.before
    ((b'a', b'b'), 1, ())
    """
    found, before = [], list[Token]()
    for position in positions:
        told = position.ordered if whole else list(position.likeliest())
        ordered = [token for token in told if is_plain(token)][:most]
        if len(ordered) > 1:
            logprobs = np.array([position.top[token] for token in ordered])
            drawn = ordered.index(position.token) if position.token in ordered else None
            found.append(Place(tuple(ordered), logprobs, drawn, tuple(before)))
        before.append(position.token)
    return found


def is_plain(token: Token) -> bool:
    """Whether a token is text: neither special nor empty, nor a part of a character."""
    text = spelling(token)
    special = len(text) > 2 and text.startswith("<") and text.endswith(">")
    return bool(text) and "\ufffd" not in text and not special


def spelling(token: Token) -> str:
    """Return a token as text."""
    return token.decode("utf-8", "replace") if isinstance(token, bytes) else token
