"""Small models whose every property is known: for the tests of whatever uses models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from logitlab import Chain, Generation, Temperature, TopK, Vocabulary, engines
from logitlab.models import Model, State


@engines.engine
def halved(p: Any) -> Chain:
    return Chain(Temperature(p.temperature / 2), TopK(p.top_k))


END = 0
# Letters, spaces, and characters of two to four bytes, whole and in parts.
PIECES = [
    b"<end>", b"a", b"b", b"ab", b"ba", b" ", b"\n", "é".encode(), "日".encode(), "🙂".encode(),
    b"\xc3", b"\xa9", b"\xe6", b"\x97", b"\xa5", b"\xf0\x9f", b"\x99", b"\x82", b"a b", b"<note>",
]  # fmt: skip
NOTE = 19


class Bigrams(Model):
    """Logits that are the sum of a random row for each of the last two tokens."""

    name = "bigrams"
    end_ids = frozenset([END])

    def __init__(
        self, seed: int = 0, context_length: int | None = 64, end: float = -2.0, spread: float = 2.0
    ) -> None:
        self.vocabulary = Vocabulary(PIECES, special=[END, NOTE])
        self.context_length = context_length
        size = len(PIECES)
        rng = np.random.default_rng(seed)
        self.table = rng.normal(0, spread, (2, size + 1, size)).astype(np.float32)
        self.table[:, :, END] = end
        self.calls: list[list[int]] = []  # how many tokens each text got

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
        self.calls.append([len(new) for new in tokens])
        for state, new in zip(states, tokens, strict=True):
            state.read(new)
        last = [([-1, *state.tokens])[-2:] for state in states]
        return np.stack([self.table[0, b] + self.table[1, a] for a, b in last])

    def encode(self, text: str) -> list[int]:
        return [self.vocabulary.find(character) for character in text]


class Hazard(Model):
    """Ends with the same probability at every step; all other tokens are equally likely."""

    name = "hazard"
    end_ids = frozenset([END])
    context_length = None

    def __init__(self, hazard: float, size: int = 4) -> None:
        self.vocabulary = Vocabulary([b"<end>", *(b"%d" % i for i in range(1, size))], [END])
        rest = (1 - hazard) / (size - 1)
        self.logits = np.log(np.array([hazard] + [rest] * (size - 1)))

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
        for state, new in zip(states, tokens, strict=True):
            state.read(new)
        return np.tile(self.logits, (len(states), 1))


FULL: dict[str, Any] = {
    "logit_bias": {3: 0.5}, "repetition_penalty": 1.2, "frequency_penalty": 0.2,
    "presence_penalty": 0.1, "temperature": 1.3, "top_k": 12, "top_p": 0.95, "min_p": 0.01,
    "top_a": 0.01, "logprobs": True, "top_logprobs": 3,
}  # fmt: skip


def same(one: Generation, other: Generation) -> bool:
    """Whether two generations are equal bit for bit."""
    parts = [(one.text, one.finish, one.seed, one.sequence) == (
        other.text, other.finish, other.seed, other.sequence
    ), np.array_equal(one.tokens, other.tokens)]  # fmt: skip
    if one.logprobs is not None and other.logprobs is not None:
        for name in ("logprobs", "top_tokens", "top_logprobs"):
            a, b = getattr(one.logprobs, name), getattr(other.logprobs, name)
            parts.append(a.shape == b.shape and a.tobytes() == b.tobytes())
    return all(parts) and (one.logprobs is None) == (other.logprobs is None)
