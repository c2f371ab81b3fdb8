"""What simulated providers run: recorded rows of a real model, and tales after them.

The first token after a prompt has a row of SmolLM2, cut to the 2,000 tokens of a vocabulary that
serves prompts and answers alike. What follows is a Kneser-Ney model of the Brothers Grimm in the
same tokens, mixed with what the text has said before, since language models repeat themselves
more than counts do.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from logitlab import Vocabulary, datasets
from logitlab.models import Model, State
from logitlab.models.model import Message, Tool
from logitlab.models.ngram.bpe import BPE
from logitlab.models.ngram.kneser_ney import KneserNey
from numpy.typing import NDArray

__all__ = ["PROMPTS", "SIZE", "Noisy", "Subject", "subject"]

PIECES = 700
SIZE = 2000
REPEATS = 0.1  # the share of what the text has said before (Kuhn & De Mori 1990)
TALES = 20
KNOWN = (0, 1, 2, 3, 6, 7, 9, 11, 12, 13, 17, 18, 19)  # rows without half characters

_RECORDED = datasets.load("smollm2")

PROMPTS = tuple(_RECORDED.prompts[row] for row in KNOWN)
"""Those that were recorded: each has the row of its own."""


class Written(State):
    """A text, and where its prompt ends."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt: tuple[int, ...] = ()


class Subject(Model):
    """Two thousand tokens, a row for every prompt, and tales.

    A prompt that was recorded has its own row; any other has one of these, chosen by its text, with
    logits that are stretched, shifted and mixed with its own words, so that no two are alike.
    """

    name = "subject"
    context_length = 4096

    def __init__(self) -> None:
        tokenizer = BPE.train(datasets.texts("grimm"), PIECES)
        pieces = [bytes(tokenizer.vocabulary[token]) for token in range(PIECES)]
        rows = _RECORDED.logits[list(KNOWN)]
        known = dict.fromkeys(pieces)
        for ids in _RECORDED.prompt_ids:
            known |= dict.fromkeys(bytes(_RECORDED.vocabulary[int(token)]) for token in ids)
        # The most likely tokens of every row, one of each in turn.
        for best in np.argsort(-rows, axis=1).T.ravel().tolist():
            known.setdefault(bytes(_RECORDED.vocabulary[best]))
            if len(known) == SIZE:
                break
        tokens = list(known)
        self.end_ids = frozenset([tokenizer.end])
        self.vocabulary = Vocabulary(tokens, special=[tokenizer.end])
        self._ids = {piece: token for token, piece in enumerate(tokens) if piece}
        self._ids.pop(tokens[tokenizer.end], None)
        self._longest = max(map(len, self._ids))
        places = {bytes(_RECORDED.vocabulary[i]): i for i in range(len(_RECORDED.vocabulary))}
        least = rows.min()
        self._rows = np.full((len(rows), SIZE), least, np.float32)
        for token, piece in enumerate(tokens):
            if piece in places and token not in self.end_ids:
                self._rows[:, token] = rows[:, places[piece]]
        self._known = {tuple(self.encode(prompt)): row for row, prompt in enumerate(PROMPTS)}
        end = [tokenizer.end]
        tales = [end + self.encode(tale) + end for tale in datasets.texts("grimm")[:TALES]]
        self._tales = KneserNey(tales, SIZE, 4, 0.75)
        self._first: dict[tuple[int, ...], NDArray[np.float32]] = {}

    def encode(self, text: str) -> list[int]:
        """Return the longest pieces, from the left."""
        data, ids, place = text.encode(), list[int](), 0
        while place < len(data):
            for length in range(min(self._longest, len(data) - place), 0, -1):
                token = self._ids.get(data[place : place + length])
                if token is not None:
                    ids.append(token)
                    place += length
                    break
            else:
                raise AssertionError(data[place:])
        return ids

    def chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Return the contents, a paragraph each: one message is a prompt as it is."""
        return self.encode("\n\n".join(each["content"] for each in messages if each["content"]))

    def start(self) -> State:
        return Written()

    def advance(self, states: Sequence[Any], tokens: Sequence[Sequence[int]]) -> Any:
        rows = np.empty((len(states), SIZE), np.float32)
        for i, (state, new) in enumerate(zip(states, tokens, strict=True)):
            if not state.tokens:
                state.prompt = tuple(new)
            state.read(new)
            if len(state.tokens) == len(state.prompt):
                rows[i] = self.first(state.prompt)
            else:
                rows[i] = self._mixed(self._tales.logprobs(state.tokens), state.tokens)
        return rows

    def first(self, prompt: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the row after a prompt."""
        if prompt not in self._first:
            if prompt in self._known:
                self._first[prompt] = self._rows[self._known[prompt]]
            else:
                digest = zlib.crc32(np.array(prompt, np.int64).tobytes())
                rng = np.random.default_rng(digest)
                row = self._rows[digest % len(self._rows)] * rng.uniform(0.7, 1.2)
                row = row + rng.normal(0, 0.35, SIZE)
                row -= row.max()
                row -= np.log(np.exp(row).sum())
                self._first[prompt] = self._mixed(row, prompt).astype(np.float32)
        return self._first[prompt]

    def _mixed(self, logprobs: NDArray[Any], said: Sequence[int]) -> NDArray[Any]:
        """Return log-probabilities with a share of what has been said."""
        counts = np.bincount([t for t in said if t not in self.end_ids], minlength=SIZE)
        with np.errstate(divide="ignore"):
            repeated = np.log(counts) + np.log(REPEATS / max(counts.sum(), 1))
        mixed: NDArray[Any] = np.logaddexp(logprobs + np.log1p(-REPEATS), repeated)
        return mixed


class Noisy(Model):
    """A model whose logits scatter, as those of a batched server do: fresh noise for every pass."""

    def __init__(self, model: Model, noise: float, seed: int) -> None:
        self._model, self._noise = model, noise
        self._rng = np.random.default_rng(seed)
        self.name, self.vocabulary = model.name, model.vocabulary
        self.end_ids, self.context_length = model.end_ids, model.context_length

    def start(self) -> State:
        return self._model.start()

    def encode(self, text: str) -> list[int]:
        return self._model.encode(text)

    def chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        return self._model.chat(messages, tools)

    def advance(self, states: Sequence[Any], tokens: Sequence[Sequence[int]]) -> Any:
        rows = self._model.advance(states, tokens)
        noise = self._rng.normal(0, self._noise, rows.shape)
        return (rows + noise).astype(np.float32)


@cache
def subject() -> Subject:
    """Return the one model of a process: it takes a second to make."""
    return Subject()
