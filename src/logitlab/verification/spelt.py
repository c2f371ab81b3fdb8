"""Which tokens an answer consists of, where its report names others than its text has."""

from __future__ import annotations

from collections.abc import Sequence

from logitlab.verification.position import Position, Token

__all__ = ["spelt"]


def spelt(positions: Sequence[Position], text: str) -> list[Position]:
    """Return positions whose tokens are those of the text, which was what was drawn.

    Some servers, such as mlx_lm.server, name the first of the top list in the place of the token
    that was drawn. Where the tokens do not make the text, each is looked for among its top list,
    the longest that lets the rest be spelt; one that is in no list is the rest of the text, if it
    is the last, and else ends what is known.

    Parameters
    ----------
    positions : sequence of Position
        As they are reported.
    text : str
        Of the answer. An empty one, or one with half characters, tells nothing.

    Returns
    -------
    list of Position
        The same, where the tokens make the text or begin it, or it them: servers strip a space at
        its beginning, cut it at stop strings, and leave special tokens out.

    Examples
    --------
    >>> top = {b" Ec": -1.0, b"ardships": -2.0}
    >>> [each.token for each in spelt([Position(b" Ec", top)], "ardships")]
    [b'ardships']
    """
    if not positions or not text or "\ufffd" in text or _agree(positions, text):
        return list(positions)
    text = text.encode("utf-8", "replace").decode()  # JSON may hold half of a surrogate pair
    found = _spelling(positions, text.lstrip())
    return [Position(token, each.top) for token, each in zip(found, positions, strict=False)]


def _agree(positions: Sequence[Position], text: str) -> bool:
    """Whether the text is that of the tokens, as far as both go."""
    said = "".join(_text(each.token) for each in positions if not _is_special(each.token))
    told, text = said.strip(), text.strip()
    if "\ufffd" in said or not told or told == text:
        return True
    if len(positions) == 1:
        # One token is the whole text, unless a stop string has cut it.
        others = {_text(token).strip() for token in positions[0].top}
        return told.startswith(text) and text not in others
    # A report may begin with reasoning, which is no part of the text.
    return text.startswith(told) or text in told


def _spelling(positions: Sequence[Position], text: str) -> list[Token]:
    """Return the tokens that spell a text, the longest first; of the most positions if not all."""
    as_bytes = isinstance(positions[0].token, bytes)
    best: list[Token] = []
    unlisted: list[Token] = []  # whose last token is in no list
    # From a place in the text, and how many tokens lie before it: each is tried once.
    failed: set[tuple[int, int]] = set()
    stack: list[tuple[int, list[Token]]] = [(0, [])]
    while stack:
        place, tokens = stack.pop()
        if len(tokens) > len(best):
            best = tokens
        if len(tokens) == len(positions) or place >= len(text):
            if place >= len(text):
                return tokens
            continue
        if (place, len(tokens)) in failed:
            continue
        failed.add((place, len(tokens)))
        rest = text[place:]
        fitting = []
        for token in positions[len(tokens)].top:
            piece = _text(token).lstrip() if not tokens else _text(token)
            if piece and rest.startswith(piece):
                fitting.append((len(piece), token))
        if not fitting and len(tokens) == len(positions) - 1:
            last: Token = rest.encode() if as_bytes else rest
            unlisted = unlisted or [*tokens, last]
        ordered = sorted(fitting, key=lambda each: each[0])
        stack += [(place + length, [*tokens, token]) for length, token in ordered]
    return unlisted or best


def _is_special(token: Token) -> bool:
    text = _text(token)
    return text.startswith("<") and text.endswith(">")


def _text(token: Token) -> str:
    return token.decode("utf-8", "replace") if isinstance(token, bytes) else token
