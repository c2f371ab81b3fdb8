"""What a model is here: the logits of the next token, with a state for every text."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias

from logitlab.arrays import FloatArray
from logitlab.checks import ParameterError, Range, check_integer
from logitlab.vocabulary import Vocabulary

__all__ = ["Message", "Model", "State", "Tool", "check_model"]

Message: TypeAlias = Mapping[str, Any]
Tool: TypeAlias = Mapping[str, Any]


class State:
    """The tokens of one text that a model has read, and whatever it keeps of them.

    A model with a memory of its own, such as keys and values, extends this class.

    Attributes
    ----------
    tokens : list of int
        All tokens so far.

    Examples
    --------
    >>> state = State()
    >>> state.read([5, 6, 7])
    >>> branch = state.copy()
    >>> branch.rewind(1)
    >>> state.tokens, branch.tokens
    ([5, 6, 7], [5])
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def read(self, tokens: Sequence[int]) -> None:
        """Append tokens."""
        self.tokens.extend(tokens)

    def copy(self) -> Self:
        """Return a state of the same text that goes its own way from here.

        Lists and other states in it are copied, too; whatever else there is, is shared.
        """
        twin = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, list | State):
                setattr(twin, name, value.copy())
        return twin

    def rewind(self, length: int) -> None:
        """Forget all but the first ``length`` tokens."""
        rule = Range(0, len(self.tokens), integer=True)
        del self.tokens[check_integer("length", length, rule) :]


class Model(ABC):
    """A language model: token ids to the logits of the next token.

    To bring your own, implement `advance` and set ``vocabulary``; unless they are set as well, a
    model has no end tokens and no limit.

    Attributes
    ----------
    name : str
    vocabulary : Vocabulary
    end_ids : frozenset of int
        Tokens that end a text.
    context_length : int or None
        Most tokens that a text can have, prompt included; None sets no limit.

    Examples
    --------
    >>> import numpy as np
    >>> class Alternating(Model):
    ...     name = "alternating"
    ...     vocabulary = Vocabulary([b"a", b"b"])
    ...     end_ids = frozenset()
    ...     context_length = None
    ...
    ...     def advance(self, states, tokens):
    ...         for state, new in zip(states, tokens):
    ...             state.read(new)
    ...         return np.array([[0.0, 9.0] if s.tokens[-1] == 0 else [9.0, 0.0] for s in states])
    >>> model = Alternating()
    >>> states = [model.start(), model.start()]
    >>> model.advance(states, [[0, 1], [0]]).argmax(axis=-1)
    array([0, 1])
    """

    name: str = "model"
    vocabulary: Vocabulary
    end_ids: frozenset[int] = frozenset()
    context_length: int | None = None

    def start(self) -> State:
        """Return the state of an empty text."""
        return State()

    @abstractmethod
    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> FloatArray:
        """Read tokens, and return the logits of the token after them.

        Parameters
        ----------
        states : sequence of State, length n
            Different texts, each of a length of its own; changed in place.
        tokens : sequence of sequences of int, length n
            At least one new token for each text.

        Returns
        -------
        ndarray of float32 or float64, shape (n, V)
            The caller's to keep. Row i is a function of the tokens of text i alone: its
            neighbours change no bit.
        """

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, as the beginning of a prompt.

        Raises
        ------
        ParameterError
            If the model has no tokenizer.
        """
        raise ParameterError("prompt", f"token ids: {self.name} has no tokenizer", text)

    def chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Return the token ids of a conversation, up to where the answer begins.

        Parameters
        ----------
        messages : sequence of mapping
            Each with a "role" and its "content", as in a request body.
        tools : sequence of mapping
            The functions that may be called, for templates that tell the model of them.

        Returns
        -------
        list of int
            By the model's template. Without one the contents are paragraphs of one text.

        Raises
        ------
        ParameterError
            For messages that are none, or a role that is unknown.
        """
        from logitlab.models.messages import check_messages  # not for the protocol alone

        contents = [message["content"] for message in check_messages(messages)]
        return self.encode("".join(f"{content}\n\n" for content in contents if content))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self.vocabulary)} tokens>"


def check_model(model: object, then: str = "") -> None:
    """Raise `ParameterError` for what is no model.

    Parameters
    ----------
    model : object
    then : str
        What the second argument is, where the two are easily swapped.
    """
    if not isinstance(model, Model):
        hint = f"The model comes first, then the {then}." if then else ""
        raise ParameterError("model", "a Model", model, hint)
