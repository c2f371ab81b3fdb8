"""A token of an answer, and what was reported of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from logitlab.models.tokenizer_bytes import byte_level, piece

__all__ = ["Position", "Token", "positions_of"]

# A token of a report, by its bytes; where nothing is reported, the text that stands for it.
Token = bytes | str

# Servers write -9999 or -1e9 where JSON has no minus infinity.
_IMPOSSIBLE = -1000.0
_NOTHING = 1e-3  # a share that rounding leaves of nothing


@dataclass(frozen=True)
class Position:
    """A token of an answer, and the report of the distribution that it was drawn from.

    Attributes
    ----------
    token : bytes or str
        The token, by its bytes where the server tells them.
    top : dict of token to float
        The reported log-probabilities in nats, without those that stand for minus infinity.
    """

    token: Token
    top: dict[Token, float] = field(default_factory=dict)

    @property
    def ordered(self) -> list[Token]:
        """The tokens of the report, the likeliest first."""
        return sorted(self.top, key=lambda token: -self.top[token])

    def likeliest(self, asked: int | None = None) -> dict[Token, float]:
        """Return the tokens of a report that are the likeliest whatever was drawn, in their order.

        Servers add the token that was drawn to those that are the likeliest, or put it in the place
        of the last of them. So the last says nothing of what is not listed, and of a list of k the
        first k - 1 are taken, where k is what was asked for: how many must not depend on the draw.
        A list that is shorter than that and leaves nothing out is taken as it is.

        Parameters
        ----------
        asked : int, optional
            How many were asked for; as many as are told, if that is not known.

        Examples
        --------
        >>> Position("d", {"d": -7.0, "a": -0.5, "b": -1.5}).likeliest(3)
        {'a': -0.5, 'b': -1.5}
        >>> Position("b", {"a": math.log(0.75), "b": math.log(0.25)}).likeliest(20)
        {'a': -0.2876820724517809, 'b': -1.3862943611198906}
        """
        ordered = self.ordered
        rest = 1 - sum(math.exp(min(each, 0.0)) for each in self.top.values())
        is_all = asked is not None and len(ordered) < asked and rest < _NOTHING
        told = len(ordered) if asked is None else min(asked, len(ordered))
        return {token: self.top[token] for token in ordered[: told - (not is_all)]}


def positions_of(content: Sequence[Mapping[str, Any]]) -> list[Position]:
    """Read ``logprobs.content``.

    A token is its bytes. Where a server does not tell those, some name the token as its tokenizer
    spells it: ``Ġ`` for a space in byte-level BPE, which spells the whole answer, or ``▁``. An
    entry with a negative id pads a list, and is no token.

    Examples
    --------
    >>> top = [{"token": "Ġcare", "logprob": -1.0}, {"token": "ues", "logprob": -2.0}]
    >>> positions_of([{"token": "ues", "logprob": -2.0, "top_logprobs": top}])
    [Position(token=b'ues', top={b' care': -1.0, b'ues': -2.0})]
    """
    content = [entry for entry in content if not _is_padding(entry)]
    entries = [each for entry in content for each in (entry, *_tops(entry))]
    names = [_name(each) for each in entries if each.get("bytes") is None]
    spelling = byte_level if any("Ġ" in name for name in names) else piece

    def token(entry: Mapping[str, Any]) -> Token:
        told = entry.get("bytes")
        return spelling(_name(entry)) if told is None else bytes(told)

    return [
        Position(
            token(entry),
            {
                token(each): float(each["logprob"])
                for each in _tops(entry)
                if each.get("logprob") is not None and each["logprob"] > _IMPOSSIBLE
            },
        )
        for entry in content
    ]


def _tops(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [each for each in entry.get("top_logprobs") or () if not _is_padding(each)]


def _is_padding(entry: Mapping[str, Any]) -> bool:
    """Whether an entry stands for no token: servers fill lists up with -1."""
    return any(type(entry.get(key)) is int and entry[key] < 0 for key in ("id", "token_id"))


def _name(entry: Mapping[str, Any]) -> str:
    """Return a token's name; half of a surrogate pair, which JSON may hold, is a question mark."""
    return str(entry.get("token", "")).encode("utf-8", "replace").decode()
