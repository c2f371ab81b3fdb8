"""What experiments are run on: all that this library does with a request, in one place."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from logitlab import datasets
from logitlab.arrays import FloatArray, IntArray
from logitlab.checks import ParameterError
from logitlab.datasets import Recording
from logitlab.models.model import Model, State
from logitlab.request.params import SamplingParams
from logitlab.steps.context import Context

if TYPE_CHECKING:
    from logitlab.constraints import Constraint
    from logitlab.engines.compare import Comparison
    from logitlab.generation.result import Generation

__all__ = ["Lab"]

Request = Mapping[str, Any]


class Lab:
    """The library, as experiments see it.

    Whoever wants to see experiments say no overrides a method with something that is broken.

    Examples
    --------
    >>> lab = Lab()
    >>> lab.draw(lab.rows.logits[:2], {"temperature": 0}).tolist()
    [7042, 36613]
    >>> [answer.text for answer in lab.generate("Once upon", {"seed": 7, "max_tokens": 4}, n=2)]
    [' Snow-white:', ' sou from the parson']
    """

    @property
    def rows(self) -> Recording:
        """The recorded logits of a real model."""
        return datasets.load("smollm2")

    @property
    def tied_rows(self) -> Recording:
        """The same rows as a model reports them that computes in bfloat16."""
        return datasets.load("smollm2", dtype="bfloat16")

    @property
    def context(self) -> Context:
        """The prompts of these rows."""
        return Context(prompt=self.rows.prompt_ids)

    @cached_property
    def model(self) -> Model:
        """A model that writes."""
        from logitlab.models.ngram import NGram

        return NGram.bundled()

    @property
    def forgetful(self) -> Model:
        """A model that knows one token back, so that its cold texts go in circles."""
        return _bigram()

    def windowed(self, context_length: int) -> Model:
        """Return the model with room for so many tokens."""
        model = copy.copy(self.model)
        model.context_length = context_length
        return model

    def raised(self, amount: float) -> Model:
        """Return the model with all logits raised: the same probabilities."""
        return _RaisedModel(self.model, amount)

    def params(self, request: Request) -> SamplingParams:
        """Read a request."""
        return SamplingParams.from_request(request)

    def refusal(self, request: Request) -> str:
        """Return why a request is refused; an empty text if it is not."""
        try:
            self._constraint(request)
        except ParameterError as error:
            return str(error)
        return ""

    def logits(
        self, rows: FloatArray, request: Request, context: Context | None = None
    ) -> FloatArray:
        """Return what a request makes of logits, before a token is drawn."""
        from logitlab.engines import openrouter

        return openrouter(self.params(request))(rows, context)

    def draw(self, rows: FloatArray, request: Request, **places: Any) -> IntArray:
        """Draw tokens; ``places`` are those of `sample`."""
        from logitlab.sampling.sampler import sample

        return sample(rows, self.params(request), **places).tokens

    def compare(self, row: FloatArray, request: Request) -> Comparison:
        """Return what every engine makes of a row."""
        from logitlab.engines.compare import compare_engines

        return compare_engines(row, dict(request))

    def generate(
        self, prompt: Any, request: Any, *, model: Model | None = None, **options: Any
    ) -> list[Generation]:
        """Let a model write; ``request`` is one or a list, ``options`` go to `generate_many`."""
        from logitlab.generation.generate import generate_many

        return generate_many(model or self.model, prompt, request, progress=False, **options)

    def tokens(self, prompt: Any, request: Any, **options: Any) -> list[list[int]]:
        """Return the tokens of what `generate` writes."""
        return [answer.tokens.tolist() for answer in self.generate(prompt, request, **options)]

    def chat(self, request: Request) -> dict[str, Any]:
        """Answer a request body."""
        from logitlab.wire.chat import chat

        return chat(self.model, request)

    def room(self, text: str, request: Request) -> list[int]:
        """Return how many tokens may come at each place of a text, and after it.

        The list is empty if the request does not let the text be written and ended.
        """
        constraint = self._constraint(request)
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

    def _constraint(self, request: Request) -> Constraint | None:
        from logitlab.constraints import constraint_of

        return constraint_of(self.params(request))


@cache
def _bigram() -> Model:
    from logitlab.models.ngram import NGram

    tokenizer = NGram.bundled().tokenizer
    return NGram(tokenizer, datasets.texts("grimm"), order=2, discount=0.75, name="bigram")


class _RaisedModel(Model):
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
