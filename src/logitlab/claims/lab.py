"""What experiments are run on: all that this library does with a request, in one place."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from logitlab import datasets
from logitlab.checks import ParameterError
from logitlab.constraints import constraint_of
from logitlab.datasets import Recording
from logitlab.engines import openrouter
from logitlab.generation.generate import generate_many
from logitlab.generation.result import Generation
from logitlab.models.model import Model, State
from logitlab.models.ngram import NGram
from logitlab.numerics import FloatArray, IntArray
from logitlab.request.params import SamplingParams
from logitlab.sampling.sample import sample
from logitlab.steps.context import Context
from logitlab.wire.chat import chat

__all__ = ["Lab"]

Request = Mapping[str, Any]


class Lab:
    """The library, as experiments see it.

    Whoever wants to see experiments say no overrides a method with something that is broken.

    Examples
    --------
    >>> lab = Lab()
    >>> lab.draw({"temperature": 0}, lab.rows.logits[:2]).tolist()
    [7042, 36613]
    >>> [answer.text for answer in lab.generate("Once upon", {"seed": 7, "max_tokens": 4}, n=2)]
    [' Snow-white:', ' sou from the parson']
    """

    @property
    def rows(self) -> Recording:
        """The recorded logits of a real model."""
        return datasets.load("smollm2")

    @property
    def context(self) -> Context:
        """The prompts of these rows."""
        return Context(prompt=self.rows.prompt_ids)

    @cached_property
    def model(self) -> Model:
        """A model that writes."""
        return NGram.bundled()

    def windowed(self, context_length: int) -> Model:
        """Return the model with room for so many tokens."""
        model = copy.copy(self.model)
        model.context_length = context_length
        return model

    def raised(self, amount: float) -> Model:
        """Return the model with all logits raised: the same probabilities."""
        return _Raised(self.model, amount)

    def params(self, request: Request) -> SamplingParams:
        """Read a request."""
        return SamplingParams.from_request(request)

    def refusal(self, request: Request) -> str:
        """Return why a request is refused; an empty text if it is not."""
        try:
            constraint_of(self.params(request))
        except ParameterError as error:
            return str(error)
        return ""

    def logits(
        self, request: Request, rows: FloatArray, context: Context | None = None
    ) -> FloatArray:
        """Return what a request makes of logits, before a token is drawn."""
        return openrouter(self.params(request))(rows, context)

    def draw(self, request: Request, rows: FloatArray, **places: Any) -> IntArray:
        """Draw tokens; ``places`` are those of `sample`."""
        return sample(rows, self.params(request), **places).tokens

    def generate(
        self, prompt: Any, request: Any, *, model: Model | None = None, **told: Any
    ) -> list[Generation]:
        """Let a model write; ``request`` is one or a list, ``told`` goes to `generate`."""
        answers: Any = generate_many(model or self.model, prompt, request, progress=False, **told)
        return answers if isinstance(answers, list) else [answers]

    def chat(self, request: Request) -> dict[str, Any]:
        """Answer a request body."""
        return chat(request, self.model)

    def room(self, request: Request, text: str) -> list[int]:
        """Return how many tokens may come at each place of a text, and after it.

        The list is empty if the request does not let the text be written and ended.
        """
        constraint = constraint_of(self.params(request))
        tokens = self.model.encode(text)
        if constraint is None:
            return [len(self.model.vocabulary)] * (len(tokens) + 1)
        matcher = constraint.start(self.model.vocabulary, self.model.end_ids)
        counts = []
        for token in tokens:
            allowed = matcher.allowed()
            if not allowed[token]:
                return []
            counts.append(int(allowed.sum()))
            matcher.advance(token)
        return [*counts, int(matcher.allowed().sum())] if matcher.is_complete else []


class _Raised(Model):
    """Another model's logits and a constant."""

    def __init__(self, model: Model, amount: float) -> None:
        self._model, self._amount = model, amount
        self.name, self.vocabulary = f"{model.name} raised by {amount:g}", model.vocabulary
        self.end_ids, self.context_length = model.end_ids, model.context_length

    def start(self) -> State:
        return self._model.start()

    def encode(self, text: str) -> list[int]:
        return self._model.encode(text)

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> FloatArray:
        return self._model.advance(states, tokens) + np.float32(self._amount)
