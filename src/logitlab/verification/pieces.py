"""How a server splits a text into tokens, where it has a route that tells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["ROUTES", "asked_for", "pieces_of"]

ROUTES = ("/tokenize", "{root}/tokenize")
"""Where llama.cpp's and vLLM's servers have it, and where others do: below the base URL."""


def asked_for(text: str, model: str | None) -> dict[str, Any]:
    """Return a request that llama.cpp's server, vLLM's and ours read alike: each its own keys."""
    named = {} if model is None else {"model": model}
    llama = {"content": text, "add_special": False, "with_pieces": True}
    vllm = {"prompt": text, "add_special_tokens": False, "return_token_strs": True}
    return named | llama | vllm


def pieces_of(document: Mapping[str, Any], text: str) -> list[bytes] | None:
    """Return the tokens of a text, or None where they do not spell it.

    Parameters
    ----------
    document : mapping
        With ``tokens`` that have a ``piece`` each, a text or a list of bytes, as llama.cpp's server
        answers; or with ``token_strs``, as vLLM's, in which ``Ġ`` and ``▁`` stand for a space. A
        negative id pads the list, and is no token.
    text : str

    Examples
    --------
    >>> pieces_of({"tokens": [{"id": 5, "piece": "The"}, {"id": 9, "piece": [32, 120]}]}, "The x")
    [b'The', b' x']
    >>> pieces_of({"tokens": [5, 9], "token_strs": ["The", "Ġx"]}, "The x")
    [b'The', b' x']
    >>> pieces_of({"tokens": [5, 9]}, "The x")
    """
    entries = document.get("tokens")
    entries = entries if isinstance(entries, list) else []
    told: Any = document.get("token_strs")
    if isinstance(told, list) and len(told) == len(entries):
        told = [each for each, entry in zip(told, entries, strict=True) if not _is_padding(entry)]
    if told is None:
        told = [each for each in entries if not _is_padding(each)]
        told = [each.get("piece") if isinstance(each, Mapping) else None for each in told]
    spellings: tuple[Callable[[str], str], ...] = (
        lambda piece: piece,
        lambda piece: piece.replace("Ġ", " ").replace("Ċ", "\n").replace("▁", " "),
    )
    for spelling in spellings:
        pieces = [_piece(each, spelling) for each in told] if isinstance(told, list) else []
        whole = [piece for piece in pieces if piece is not None]
        if whole and len(whole) == len(pieces) and b"".join(whole) == text.encode():
            return whole
    return None


def _is_padding(entry: Any) -> bool:
    """Whether an entry, an id or a mapping with one, stands for no token."""
    number = entry.get("id") if isinstance(entry, Mapping) else entry
    return type(number) is int and number < 0


def _piece(told: Any, spelling: Callable[[str], str]) -> bytes | None:
    if isinstance(told, str):
        return spelling(told).encode("utf-8", "replace")
    is_bytes = isinstance(told, list) and all(type(b) is int and 0 <= b < 256 for b in told)
    return bytes(told) if is_bytes else None
