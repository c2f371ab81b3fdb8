"""A small language model of counts, made in a second, and one of the Brothers Grimm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Self

import numpy as np
from logitlab import datasets
from logitlab.arrays import FloatArray
from logitlab.checks import ParameterError, Range, check_integer
from logitlab.models.inputs import check_tokens
from logitlab.models.model import Model, State
from logitlab.models.ngram.bpe import BPE, check_texts
from logitlab.models.ngram.kneser_ney import KneserNey

__all__ = ["NGram"]


class NGram(Model):
    """The next token by how often it came after the last few, in some texts.

    Each text stands between two end tokens, so the model knows how texts begin, and ends them.
    A history begins with one, whether the caller gives it or not. Logits are natural logarithms
    of probabilities, and no token has probability 0. See `KneserNey` for the equation.

    Parameters
    ----------
    tokenizer : BPE
    texts : str or iterable of str
        What to count; with at least one character in all.
    order : int
        How many tokens are looked at together, the next one included, 1 to 32.
    discount : float
        Which part of the discounts of Chen & Goodman is taken, in (0, 1]. 1 is best at texts that
        were not counted; with less the model keeps closer to those that were, and reads better.
    context_length : int
        Most tokens of one text.
    name : str

    Raises
    ------
    ParameterError
        For bad texts or numbers.

    Examples
    --------
    >>> model = NGram.fit("a rose is a rose is a rose", order=3)
    >>> logits = model.advance([model.start()], [model.encode("a rose is")])
    >>> model.vocabulary.decode([logits[0].argmax()])
    ' a'
    """

    def __init__(
        self,
        tokenizer: BPE,
        texts: str | Iterable[str],
        *,
        order: int = 5,
        discount: float = 1.0,
        context_length: int = 4096,
        name: str = "ngram",
    ) -> None:
        if not isinstance(tokenizer, BPE):
            raise ParameterError("tokenizer", "a BPE", tokenizer)
        self.name = name
        self.tokenizer = tokenizer
        self.order = check_integer("order", order, Range(1, 32, integer=True))
        rule = Range(1, integer=True)
        self.context_length: int = check_integer("context_length", context_length, rule)
        part = Range(0, 1).check("discount", discount)
        if part.ndim or not part > 0:
            raise ParameterError("discount", "a number in (0, 1]", discount)
        self.vocabulary = tokenizer.vocabulary
        self.end_ids = frozenset([tokenizer.end])
        end = [tokenizer.end]
        sequences = [end + tokenizer.encode(text) + end for text in check_texts(texts)]
        self._next = KneserNey(sequences, len(self.vocabulary), self.order, float(part))

    @classmethod
    def fit(
        cls,
        texts: str | Iterable[str],
        *,
        order: int = 5,
        vocabulary_size: int = 4096,
        discount: float = 1.0,
        context_length: int = 4096,
        name: str = "ngram",
    ) -> Self:
        """Learn tokens from texts, and count them.

        Parameters
        ----------
        texts : str or iterable of str
        order, discount, context_length, name
            As above.
        vocabulary_size : int
            Most tokens, at least 257; see `BPE.train`.

        Examples
        --------
        >>> NGram.fit("to be or not to be", vocabulary_size=260)
        <NGram ngram: 260 tokens>
        """
        size = check_integer("vocabulary_size", vocabulary_size, Range(257, integer=True))
        texts = check_texts(texts)
        return cls(
            BPE.train(texts, size),
            texts,
            order=order,
            discount=discount,
            context_length=context_length,
            name=name,
        )

    @staticmethod
    @cache
    def bundled() -> NGram:
        """Return the model of the Grimms' fairy tales, made once a process.

        The same as ``NGram.fit(datasets.texts("grimm"), discount=0.75)``, sooner.

        Examples
        --------
        >>> NGram.bundled()
        <NGram grimm: 4096 tokens>
        """
        tokenizer = BPE(datasets.merges("grimm"))
        return NGram(tokenizer, datasets.texts("grimm"), discount=0.75, name="grimm")

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> FloatArray:
        """Read tokens, and return the log-probabilities of the token after them, in float64.

        Raises
        ------
        ParameterError
            For tokens that are none, or not as many texts as states, or texts beyond
            ``context_length``; then no state has changed.
        """
        ids = check_tokens(states, tokens, len(self.vocabulary), self.context_length)
        result = np.empty((len(states), len(self.vocabulary)))
        for row, state, new in zip(result, states, ids, strict=True):
            state.read(new)
            # Every text comes after an end token; what is too long ago is not looked at.
            self._next.logprobs([self.tokenizer.end, *state.tokens[-self.order :]], out=row)
        return result

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text; of an empty one the end token, from which all start."""
        return self.tokenizer.encode(text) or [self.tokenizer.end]
