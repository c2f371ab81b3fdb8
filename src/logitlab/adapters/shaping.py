"""A request that is made ready once, and then shapes the rows of texts that others write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from logitlab.arrays import FloatArray, IntArray, check_logits
from logitlab.checks import ParameterError, Seen, check_choice
from logitlab.draw import COUPLINGS, SeedLike, resolve_seed
from logitlab.engines.registry import EngineLike
from logitlab.engines.resolve import Request, Resolved, resolve
from logitlab.engines.rules import Note
from logitlab.engines.spelling import Lexicon, VocabularyLike
from logitlab.generation.history import History, at_states, context_of, draw_after
from logitlab.generation.options import VERBOSITY_BIAS
from logitlab.generation.preparation import check_steps
from logitlab.numerics import log_softmax, widened
from logitlab.request.params import PARAMETERS
from logitlab.request.values import copied
from logitlab.request.whole import refuse_answers, refuse_whole
from logitlab.sampling.sampler import Drawer
from logitlab.steps.chain import Chain
from logitlab.steps.guidance import Guidance
from logitlab.steps.state import State, check_state

__all__ = ["Shaping", "Text"]

Observe = Callable[[int], "dict[str, float] | None"]
"""From the token that came to the log-probabilities that states look at, if it could come."""

_CANNOT = {
    "ending": "what shapes logits ends no text",
    "report": "what shapes logits reports nothing",
    "structure": "what shapes logits sees no text",
    "prompt": "what shapes logits reads no prompt",
}
# Verbosity acts on logits; of these others only values come this far that ask for nothing.
_HEEDED = ("verbosity", "response_format", "structured_outputs", "tool_choice")


class Text(History):
    """A text that another library writes.

    Attributes
    ----------
    observe : callable or None
        What the states look at once the next token is known.
    """

    observe: Observe | None = None

    def grow(self, token: int, chain: Chain) -> None:
        """Take the token that came, and the next state of a chain."""
        seen = self.observe(token) if self.observe else None
        if seen is not None:  # otherwise it is nothing that was drawn: a finished row is padded
            self.advance(chain, seen)
        self.observe = None
        self.append(token)


class Shaping:
    """A request that shapes rows of logits, or draws from them.

    Parameters
    ----------
    request : SamplingParams, mapping, Transform or None
    library : str
        Whose rows they are.
    engine, coupling, state, vocabulary
        As of `generate`, and of `sample`.
    seed : int, numpy.random.Generator or None
        With one, or one in the request, it draws.

    Attributes
    ----------
    seed : int or None
    notes : tuple of Note
        What the engine ignored, changed or filled in, and what is left to the library.
    """

    def __init__(
        self,
        request: Request,
        library: str,
        *,
        engine: EngineLike = "openrouter",
        seed: SeedLike = None,
        coupling: str = "inverse",
        state: State | None = None,
        vocabulary: VocabularyLike = None,
    ) -> None:
        # A caller's own map may change after this.
        self._request = copied(request) if isinstance(request, Mapping) else request
        self._engine, self._vocabulary, self._library = engine, vocabulary, library
        lexicon = Lexicon.of(vocabulary)
        self._tokens = None if lexicon is None else len(lexicon.vocabulary)
        self._width = self._tokens
        self._resolved = self._resolve(self._tokens)
        chain = self._resolved.chain
        for step in chain:
            if isinstance(step, Guidance) and not step.is_neutral:
                rule = f"absent where {library} runs the model"
                raise ParameterError(step.key, rule, step.value, "It asks the model twice.")
        check_steps(chain)
        for key, number in check_state(state).items():
            if np.ndim(number):
                raise ParameterError("state", "a map with one number for each step", {key: number})
        chain.at(state)  # says what is wrong with it
        self._state = state
        check_choice("coupling", coupling, COUPLINGS)
        seed = self._resolved.seed if seed is None else seed
        self.seed = None if seed is None else resolve_seed(seed)
        if self.seed is None and coupling != "inverse":
            rule = "'inverse' without a seed"
            raise ParameterError("coupling", rule, coupling, f"{library} draws.")
        self._coupling = coupling
        self._prepare()

    @property
    def chain(self) -> Chain:
        """What is done to the logits."""
        return self._resolved.chain

    def _resolve(self, size: int | None) -> Resolved:
        lexicon = Lexicon.of(self._vocabulary)
        ending = None
        if lexicon is not None and lexicon.end_ids:  # verbosity has something to act on
            ending = {"low": VERBOSITY_BIAS, "high": -VERBOSITY_BIAS}
        resolved = resolve(
            self._request, self._engine, size=size, ending=ending, vocabulary=self._vocabulary
        )
        if ending:
            given = resolved.given
            refuse_whole({key: given[key] for key in given if key != "verbosity"})
            refuse_answers(given)
        return resolved

    def _prepare(self) -> None:
        chain = self.chain
        self._counts = any(step.needs_context for step in chain)
        self._observed = chain.observed
        self._drawer: Drawer | None = None
        self.notes = (*self._resolved.notes, *self._left())

    def _left(self) -> Iterator[Note]:
        """Yield a note for each parameter that the library has to heed itself."""
        noted = {note.key for note in self._resolved.notes if note.effect == "ignored"}
        for key, value in self._resolved.given.items():
            role = PARAMETERS[key].role if key in PARAMETERS else ""
            if role not in _CANNOT or key in {*_HEEDED, *noted}:
                continue
            if value != PARAMETERS[key].default:
                sentence = f"{key} is left to {self._library}: {_CANNOT[role]}."
                yield Note(key, "ignored", sentence, value)

    def fit(self, width: int) -> None:
        """Look at the rules that depend on how many columns rows have."""
        if width == self._width:
            return
        if self._tokens is None:
            self._resolved = self._resolve(width)
            self._prepare()
        elif width < self._tokens:
            rule = f"of at least the {self._tokens} tokens of the vocabulary"
            raise ParameterError("logits", rule, Seen(f"{width} columns"))
        self._width = width

    def text(self, prompt: IntArray, sequence: int) -> Text:
        """Return what is known of a text before its first token: prompt, sequence, states."""
        state = self.chain.known(self._state)
        return Text(prompt, self.seed or 0, sequence, state, self._counts)

    def rows(self, texts: Sequence[Text], logits: FloatArray) -> FloatArray:
        """Return what becomes of a row of logits after each text.

        Parameters
        ----------
        texts : sequence of n Text
        logits : ndarray of floats, shape (n, V)
            Of the width that was told to `fit`; the caller may change them after this.

        Returns
        -------
        ndarray of float32 or float64, shape (n, V)
            New rows, in float32 where the input has 16 bits. Where it draws, the drawn token has
            the log-probability 0, and all others are removed. So is, where a vocabulary is known,
            whatever stands beyond its tokens.
        """
        width = logits.shape[-1]
        rows = check_logits(widened(np.ascontiguousarray(logits[:, : self._tokens])))
        context = context_of(texts) if self._counts else None
        chain = at_states(self.chain, texts)
        if self.seed is None:
            result = chain(rows, context)
            if self._observed:
                stages: dict[str, FloatArray] = {}
                for name, count in self._observed.items():
                    if count is None or count == len(chain):  # whoever has them may change them
                        stages[name] = (rows if count is None else result).copy()
                    else:
                        stages[name] = chain[:count](rows, context)
                for place, text in enumerate(texts):
                    text.observe = _of_stages({n: stage[place] for n, stage in stages.items()})
        else:
            if self._drawer is None:
                self._drawer = Drawer(self._resolved, rows.shape[1])
            tokens, seen = draw_after(
                texts, rows, rows, self._drawer, chain, context, self._coupling, self._observed
            )
            for text, token, logprobs in zip(texts, tokens[:, 0].tolist(), seen, strict=False):
                text.observe = _of_drawn(token, logprobs)
            result = np.full(rows.shape, -np.inf, rows.dtype)
            np.put_along_axis(result, tokens, 0, axis=1)
        if result.shape[1] < width:
            beyond = np.full((len(result), width - result.shape[1]), -np.inf, result.dtype)
            result = np.concatenate([result, beyond], axis=1)
        return result


def _of_stages(stages: Mapping[str, FloatArray]) -> Observe:
    """Return what finds the log-probabilities of a token in rows, one for each name."""

    def observe(token: int) -> dict[str, float] | None:
        if any(token >= len(row) for row in stages.values()):
            return None
        seen = {name: float(log_softmax(row)[token]) for name, row in stages.items()}
        return None if -np.inf in seen.values() else seen

    return observe


def _of_drawn(token: int, logprobs: dict[str, float]) -> Observe:
    return lambda came: logprobs if came == token else None
