"""`compare_engines`: the same request on several engines, and where two of them part ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from logitlab import metrics
from logitlab.arrays import FloatArray, IntArray, check_logits
from logitlab.checks import ParameterError, check_flag, suggestion
from logitlab.engines import MAIN
from logitlab.engines.engine import Engine, RequestLike
from logitlab.engines.given import read_request
from logitlab.engines.partings import Parting, partings
from logitlab.engines.registry import EngineLike, get
from logitlab.engines.rules import Note, Translation
from logitlab.engines.spelling import Lexicon, SpellingError, VocabularyLike
from logitlab.numerics import softmax, widened
from logitlab.request.params import SamplingParams, check_structure
from logitlab.request.whole import refuse_answers, refuse_whole
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context, check_context
from logitlab.steps.state import State, check_state
from numpy.typing import ArrayLike, NDArray

__all__ = ["Comparison", "compare_engines"]

SAME = 1e-6  # distributions closer than that differ by rounding alone


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """What several engines make of one request.

    Attributes
    ----------
    engines : tuple of str
        Those that answered, in the order asked for; E of them.
    refused : mapping of str to str
        The others, and why: the engine's own rule, and its text where that says more.
    notes : mapping of str to tuple of Note
        What each engine that answered ignored, changed or filled in.
    chains : mapping of str to Chain
    logits : ndarray, shape (E, ..., V)
        Final logits, removed tokens at ``-inf``.
    source : ndarray, shape (..., V)
        The model's logits.
    context : Context or None
    request : mapping of str to object
        What was asked, as it was read.
    """

    engines: tuple[str, ...]
    refused: Mapping[str, str]
    notes: Mapping[str, tuple[Note, ...]]
    chains: Mapping[str, Chain]
    logits: FloatArray
    source: FloatArray
    context: Context | None
    request: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def probs(self) -> NDArray[np.float64]:
        """Final probabilities: float64, shape (E, ..., V)."""
        return softmax(self.logits)

    @cached_property
    def kept(self) -> IntArray:
        """Number of survivors: int64, shape (E, ...)."""
        return metrics.support_size(self.logits)

    @cached_property
    def entropy(self) -> NDArray[np.float64]:
        """Entropy in nats: float64, shape (E, ...)."""
        return metrics.entropy(self.logits)

    @cached_property
    def total_variation(self) -> NDArray[np.float64]:
        """Total variation distance of every two engines: float64, shape (E, E, ...)."""
        count = len(self.engines)
        distance = np.zeros((count, count, *self.source.shape[:-1]))
        for i, j in combinations(range(count), 2):
            distance[i, j] = metrics.total_variation(self.logits[i], self.logits[j])
            distance[j, i] = distance[i, j]
        return distance

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Engines with the same distribution in all rows, up to rounding."""
        groups: list[list[int]] = []
        for i in range(len(self.engines)):
            alike = (g for g in groups if self.total_variation[g[0], i].max(initial=0) <= SAME)
            group = next(alike, None)
            if group is None:
                groups.append([i])
            else:
                group.append(i)
        return tuple(tuple(self.engines[i] for i in group) for group in groups)

    def distribution(self, engine: str) -> NDArray[np.float64]:
        """Return the final probabilities of one engine: float64, shape (..., V).

        Raises
        ------
        ParameterError
            For an engine that is not in the comparison, or that refused.
        """
        return np.asarray(self.probs[self._index(engine)])

    def distance(self, first: str, second: str) -> NDArray[np.float64]:
        """Return the total variation distance of two engines: float64, shape (...).

        Raises
        ------
        ParameterError
            For an engine that is not in the comparison, or that refused.
        """
        distance: NDArray[np.float64] = self.total_variation[
            self._index(first), self._index(second)
        ]
        return distance

    def partings(self, first: str, second: str) -> tuple[Parting, ...]:
        """Return the stages at which two engines part ways, first things first.

        The program of the first engine is turned into that of the second step by step; each change
        that moves the distribution of any row is a parting. None at all means that they agree.

        Parameters
        ----------
        first, second : str

        Returns
        -------
        tuple of Parting
            Each prints as a sentence.

        Raises
        ------
        ParameterError
            For an engine that is not in the comparison, or that refused.

        Examples
        --------
        >>> from logitlab import SamplingParams, compare_engines
        >>> compared = compare_engines([2.0, 1.0, 0.5, 0.0, -1.0],
        ...     SamplingParams(temperature=2, top_p=0.8, top_k=0, min_p=0))
        >>> print(*compared.partings("vllm", "llama_cpp"))
        they differ at temperature: llama_cpp applies it last
        """
        if (self.distance(first, second) <= SAME).all():
            return ()
        return partings(
            self.source,
            self.context,
            (first, self.chains[first], self.notes[first]),
            (second, self.chains[second], self.notes[second]),
            SAME,
        )

    def _index(self, engine: str) -> int:
        if not isinstance(engine, str) or engine not in self.engines:
            hint = self.refused.get(engine, "") if isinstance(engine, str) else ""
            hint = hint or suggestion(engine, self.engines)
            raise ParameterError("engine", f"one of {', '.join(self.engines)}", engine, hint)
        return self.engines.index(engine)

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.engines)}; refused: {len(self.refused)}>"


def compare_engines(
    logits: ArrayLike,
    request: RequestLike,
    *,
    context: Context | None = None,
    state: State | None = None,
    coins: bool | None = None,
    engines: EngineLike | Iterable[EngineLike] = MAIN,
    vocabulary: VocabularyLike = None,
) -> Comparison:
    """Evaluate the same request as several engines would.

    Parameters
    ----------
    context, vocabulary
        As of `sample`.
    logits : array_like, shape (..., V)
        float16, bfloat16, float32 or float64; 16 bits are taken as float32. Engines compute
        in float32.
    request : SamplingParams or mapping
        A mapping is a request body, whose values may lie outside OpenRouter's ranges.
    state : mapping of str to float or array, optional
        The state of mirostat, at engines that have it; None takes the initial one. ``chains``
        shows which.
    coins : bool, optional
        How the coins of XTC fall, at engines that toss them: True has it act, False not; None takes
        the expectation over both.
    engines : str, Engine, or iterable of these
        By default one of each, without variants: `engines.ENGINES` lists all.

    Returns
    -------
    Comparison
        Engines that refuse the request are in its ``refused``, the others go on.

    Raises
    ------
    ParameterError
        For bad logits or context, an unknown engine, or a value that no engine could read.

    Examples
    --------
    >>> from logitlab import SamplingParams
    >>> compared = compare_engines([2.0, 1.0, 0.0], SamplingParams(top_p=0),
    ...     engines=["vllm", "openrouter"])
    >>> compared.engines, dict(compared.refused)
    (('openrouter',),
     {'vllm': 'top_p must be in (0, 1], got 0.0. vllm refuses the request with these words.'})
    """
    array = widened(check_logits(logits))
    check_context(context, array)
    is_one = isinstance(engines, str | Engine)
    if not is_one and (
        not isinstance(engines, Iterable) or isinstance(engines, bytes | np.ndarray)
    ):
        raise ParameterError("engines", "names of engines, or engines", engines)
    chosen = [get(engines)] if is_one else list(map(get, engines))  # type: ignore[arg-type]
    names = [engine.name for engine in chosen]
    if len(set(names)) < len(names) or not names:
        raise ParameterError("engines", "different names, one at least", names)
    given = read_request(request)
    check_structure(given)
    refuse_whole(given)
    check_state(state, batch=array.shape[:-1])
    if coins is not None:
        check_flag("coins", coins)
    lexicon = Lexicon.of(vocabulary)
    form = request if isinstance(request, SamplingParams) else given
    refused: dict[str, str] = {}
    translations: dict[str, Translation] = {}
    for engine in chosen:
        try:
            read, translations[engine.name] = engine.translated(form, array.shape[-1], lexicon)
        except SpellingError:
            raise  # no engine could read it
        except ParameterError as error:
            refused[engine.name] = str(error)
        else:
            refuse_answers(read)
    chains: dict[str, Chain] = {}
    results: list[FloatArray] = []
    states = set[str]()
    for engine in chosen:
        if engine.name in refused:
            continue
        try:
            chain = engine.chain_of(translations[engine.name])
            states.update(chain.stateful)
            chain = chain.at_any(state).fallen(coins)
            results.append(chain(array, context))
        except ParameterError as error:
            is_ours = error.name == "context" or error.name.startswith("state")
            if is_ours or isinstance(error, SpellingError):
                raise
            refused[engine.name] = str(error)
        else:
            chains[engine.name] = chain
    check_state(state, states)
    stacked = np.array(results) if results else np.empty((0, *array.shape), array.dtype)
    refused = {name: refused[name] for name in names if name in refused}
    notes = {name: translations[name].notes for name in chains}
    return Comparison(tuple(chains), refused, notes, chains, stacked, array, context, dict(given))
