"""A request that draws: `sampler` resolves it once for many calls, `sample` for one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from logitlab import kernels
from logitlab.arrays import FloatArray, IntArray, check_array, given_back, per_row
from logitlab.checks import MOST_DRAWS, ParameterError, Range, check_choice, check_integer
from logitlab.draw import COUPLINGS, SeedLike, resolve_seed, uniforms
from logitlab.engines.registry import ENGINES, EngineLike
from logitlab.engines.resolve import Request, Resolved, resolve
from logitlab.engines.rules import Note
from logitlab.engines.spelling import VocabularyLike
from logitlab.request.params import SamplingParams
from logitlab.request.values import copied
from logitlab.sampling.fast_path import Plan, plan_of
from logitlab.sampling.ready import Ready
from logitlab.sampling.sample import draw_tokens
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context, check_context
from logitlab.steps.state import State
from numpy.typing import ArrayLike, NDArray

__all__ = ["Drawer", "Draws", "Sampler", "sample", "sampler"]

_SIZES = Range(0, integer=True)
_POSITIONS = Range(0, 2**32 - 1, integer=True)
_THREADS = Range(1, integer=True)
_MOST_WIDTHS = 16  # for which a sampler keeps what it has worked out

_UNCHANGING = (SamplingParams, Chain, type(None))


@dataclass(frozen=True, eq=False)
class Draws:
    """Drawn tokens and the seed that draws them again.

    Attributes
    ----------
    tokens : ndarray of int64, shape (...) or (..., size)
    seed : int
        The seed used, also where none was given.
    state : mapping or None
        The state in which they were drawn, where a step has one.
    notes : tuple of Note
        What the engine ignored, changed or filled in.
    """

    tokens: IntArray
    seed: int
    state: State | None = None
    notes: tuple[Note, ...] = ()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.tokens, dtype=dtype, copy=copy)


class Drawer:
    """What draws from rows of one width: a request resolved for it, and what follows from that.

    Parameters
    ----------
    resolved : Resolved
    size : int
        The width of the rows.
    chain : Chain, optional
        What draws instead of the request's own: one side of its coins.
    """

    def __init__(self, resolved: Resolved, size: int, chain: Chain | None = None) -> None:
        self.resolved = resolved
        self.size = size
        self._ready: dict[np.dtype[Any], Ready | None] = {}
        self._branches: dict[tuple[bool, ...], Drawer] = {}
        self.chain = resolved.chain if chain is None else chain
        self.notes, self.seed = resolved.notes, resolved.seed

    def draw(
        self,
        logits: NDArray[Any],
        context: Context | None,
        state: State | None,
        seed: SeedLike,
        size: int | None,
        coupling: str,
        sequence: ArrayLike | None,
        position: ArrayLike,
        threads: int,
    ) -> tuple[IntArray, int]:
        """Return the tokens that `sample` draws, and the seed that was used.

        ``logits`` are an array as `check_array` returns it, and everything else is checked here.
        """
        if seed is None:
            seed = self.seed
        if (
            # One draw from one row, of arguments that need no more checks than this.
            logits.ndim == 1
            and size is None
            and state is None
            and type(position) is int
            and 0 <= position < 2**32
            and (sequence is None or (type(sequence) is int and 0 <= sequence < 2**63))
            and type(coupling) is str
            and coupling in COUPLINGS
            and type(threads) is int
            and threads > 0
            and not self.chain.stateful
        ):
            used = seed if type(seed) is int else resolve_seed(seed)
            place = sequence or 0, position
            drawn = self.draw_rows(logits, context, (used,), (place,), coupling, threads)
            return drawn[0, 0], used
        return self._draw_any(
            logits, context, state, seed, size, coupling, sequence, position, threads
        )

    def draw_rows(
        self,
        logits: NDArray[Any],
        context: Context | None,
        seeds: Sequence[int],
        places: Sequence[tuple[int, int]],
        coupling: str,
        threads: int = 1,
    ) -> IntArray:
        """Draw a token from each row of a request without states, shape (n, 1).

        Parameters
        ----------
        logits : ndarray, shape (V,) or (n, V)
            Their numbers are checked here, and the context.
        context : Context or None
        seeds : sequence of n int
        places : sequence of n pairs of int
            Sequence and position.
        coupling, threads
            As of `sample`, checked.
        """
        if self.chain.coins and logits.ndim == 1:
            branch = self._branch(seeds, *places[0])
            if branch is not None:
                return branch.draw_rows(logits, context, seeds, places, coupling, threads)
        if coupling == "inverse" and kernels.rows is not None:
            flags, ready = logits.flags, self._ready_for(logits.dtype)
            if ready is not None and flags.c_contiguous and flags.aligned:
                try:
                    if context is not None:
                        check_context(context, logits)
                    rows = logits if logits.ndim > 1 else logits[None]
                    drawn, states = ready.draw(rows, context, seeds, places)
                    if not any(states.tolist()):
                        return drawn
                except ParameterError:
                    pass  # is found again below, with where it is
        # Seldom: what is left of a batch is not drawn alone, for errors tell which row it is.
        sequence, position = np.array(places, np.int64).T[:, :, None]
        return draw_tokens(
            logits, self.chain, context, seeds, sequence, position, coupling, threads
        )

    def _branch(self, seeds: Sequence[int], sequence: int, position: int) -> Drawer | None:
        """Return what draws as the coins of a row fall; None where they are one for each row."""
        acts = []
        for which, coin in zip(self.chain.numbers, self.chain.coins, strict=True):
            if type(coin.value) is not float:
                return None
            acts.append(bool(uniforms(seeds, sequence, position, which) < coin.value))
        known = self._branches.get(tuple(acts))
        if known is None:
            branch = self.chain.branch(acts)
            known = self._branches[tuple(acts)] = Drawer(self.resolved, self.size, branch)
        return known

    def _ready_for(self, dtype: np.dtype[Any]) -> Ready | None:
        if dtype not in self._ready:
            self._ready[dtype] = Ready.of(self.chain, self.size, dtype)
        return self._ready[dtype]

    def _draw_any(
        self,
        array: FloatArray,
        context: Context | None,
        state: State | None,
        seed: SeedLike,
        size: int | None,
        coupling: str,
        sequence: ArrayLike | None,
        position: ArrayLike,
        threads: int,
    ) -> tuple[IntArray, int]:
        """Return what `draw` does, whatever the batch, size or places."""
        batch, chain = array.shape[:-1], self.chain
        if state is not None or chain.stateful:
            chain = chain.at(state, batch)
        check_choice("coupling", coupling, COUPLINGS)
        threads = check_integer("threads", threads, _THREADS)
        count = 1 if size is None else check_integer("size", size, _SIZES)
        number = math.prod(batch)
        if count * number > MOST_DRAWS:
            rule = f"at most {MOST_DRAWS // number} for {number} rows"
            raise ParameterError("size", rule, size, "Draw the rest with a later position.")
        rows: Any = np.arange(number)[:, None]
        if sequence is not None:
            rows = _column("sequence", _SIZES.check("sequence", sequence), batch)
        first = _column("position", _POSITIONS.check("position", position), batch)
        sequences, places = np.empty((2, number, count), np.int64)
        sequences[...] = rows
        np.add(first, np.arange(count), out=places)
        if places.size and places.max() >= 2**32:
            raise ParameterError("position", "below 2**32 for every draw", int(places.max()))
        used = resolve_seed(seed)
        tokens = draw_tokens(array, chain, context, [used], sequences, places, coupling, threads)
        return tokens.reshape(batch if size is None else (*batch, count))[()], used


def _column(name: str, array: NDArray[Any], batch: tuple[int, ...]) -> NDArray[Any]:
    """Return a value, shape (), or one for each row, shape (n, 1)."""
    array = per_row(name, array, batch)
    return array.reshape(-1, 1) if array.ndim else array


class Sampler(Resolved):
    """A request that is resolved, and called with rows of logits; `sampler` makes it.

    It stands for its request wherever one is taken: `greedy`, `survivors`, `logprobs`, `sample`
    and the others do not read it again, and another engine beside it changes nothing. It never
    changes, so several threads may share it, and is pickled as the request that it was made of.

    Attributes
    ----------
    engine, chain, given, notes
        As of every resolved request; see `plan` for how the chain is run.

    Examples
    --------
    >>> sampler({"temperature": 0.8, "top_k": 2})
    Sampler(Chain(Temperature(0.8), TopK(2)), engine='openrouter')
    """

    def __init__(
        self, request: Request, engine: EngineLike = "openrouter", vocabulary: VocabularyLike = None
    ) -> None:
        resolved = resolve(request, engine, vocabulary=vocabulary)
        vars(self).update(vars(resolved))
        # A map may change after this.
        self._request = copied(request) if isinstance(request, Mapping) else request
        self._vocabulary = vocabulary
        self._drawers: dict[int, Drawer] = {}

    def __repr__(self) -> str:
        parts = [repr(self.chain)]
        if not self.is_chain:
            parts.append(f"engine={self.engine.name!r}")
        if self.seed is not None:
            parts.append(f"seed={self.seed}")
        return f"Sampler({', '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Sampler, (self._request, self.engine, self._vocabulary)

    @property
    def plan(self) -> Plan:
        """How the fast path runs the chain."""
        return plan_of(self.chain.at())

    def at_size(self, size: int | None) -> Resolved:
        """Return it resolved for a vocabulary of a size: an engine may have rules about that."""
        return self if size is None else self._drawer(size).resolved

    def _drawer(self, size: int) -> Drawer:
        known = self._drawers.get(size)
        if known is None:
            options: dict[str, Any] = {"size": size, "vocabulary": self._vocabulary}
            resolved = resolve(self._request, self.engine, **options)
            if len(self._drawers) == _MOST_WIDTHS:
                self._drawers.clear()
            known = self._drawers[size] = Drawer(resolved, size)
        return known

    def __call__(
        self,
        logits: ArrayLike,
        *,
        context: Context | None = None,
        state: State | None = None,
        seed: SeedLike = None,
        size: int | None = None,
        coupling: Literal["inverse", "gumbel"] = "inverse",
        sequence: ArrayLike | None = None,
        position: ArrayLike = 0,
        threads: int = 1,
    ) -> IntArray:
        """Draw tokens: the arguments, errors and tokens are those of `sample`.

        Returns
        -------
        ndarray of int64, shape (...) or (..., size)
        """
        array = check_array(logits)
        drawer = self._drawers.get(array.shape[-1]) or self._drawer(array.shape[-1])
        tokens, _ = drawer.draw(
            array, context, state, seed, size, coupling, sequence, position, threads
        )
        return tokens if array is logits else given_back(tokens, logits)


def sampler(
    request: Request = None,
    *,
    engine: EngineLike = "openrouter",
    vocabulary: VocabularyLike = None,
) -> Sampler:
    """Return a request that draws: it is resolved once, and then called with rows.

    Parameters
    ----------
    request, engine, vocabulary
        As of `sample`.

    Returns
    -------
    Sampler
        Called with logits, and with what else `sample` takes beside a request, it returns
        ``sample(logits, request, …).tokens``. An engine's rules about the size of the vocabulary
        are checked with the first row of each.

    Raises
    ------
    ParameterError
        For whatever is wrong with the request, or what the engine refuses.

    Examples
    --------
    >>> draw = sampler({"temperature": 0.8, "top_k": 2, "seed": 7})
    >>> row = np.log([0.5, 0.25, 0.25])
    >>> [int(draw(row, position=position)) for position in range(8)]
    [1, 0, 1, 0, 0, 1, 0, 0]
    >>> draw(row, size=8)
    array([1, 0, 1, 0, 0, 1, 0, 0])
    """
    if isinstance(request, Sampler):
        resolve(request, engine, vocabulary=vocabulary)  # says what does not exist
        return request
    return Sampler(request, engine, vocabulary)


def sample(
    logits: ArrayLike,
    request: Request = None,
    *,
    engine: EngineLike = "openrouter",
    context: Context | None = None,
    state: State | None = None,
    seed: SeedLike = None,
    size: int | None = None,
    coupling: Literal["inverse", "gumbel"] = "inverse",
    sequence: ArrayLike | None = None,
    position: ArrayLike = 0,
    threads: int = 1,
    vocabulary: VocabularyLike = None,
) -> Draws:
    """Draw tokens from the distribution that a request makes of logits.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, bfloat16, float32 or float64; 16 bits are taken as float32.
    request : SamplingParams, mapping, Transform or None
        Parameters, or a chain; None is an empty request.
    engine : str or Engine
        Whose chain the parameters mean. Tokens are drawn with logitlab's own numbers:
        `Engine.draw` repeats those of an engine.
    context : Context, optional
        The tokens so far; needed if there is a penalty.
    state : mapping of str to float or array, optional
        The state of mirostat, ``{"mirostat": mu}``, or adaptive-p. None takes the initial one.
    seed : int, numpy.random.Generator or None
        Any integer; a generator gives its next one. None takes the request's seed, or else a
        fresh one, which the result reports.
    size : int, optional
        Draws per row; they take the positions ``position``, ``position + 1`` and so on.
    coupling : {"inverse", "gumbel"}
        "inverse" compares the cumulative probability by increasing token id with one uniform.
        "gumbel" gives every token noise of its own, so that at equal seed the token changes
        between two requests only where it must; it costs one number for each survivor.
    sequence : array_like of int, optional
        Which random sequence each row uses, broadcasting to the batch shape; by default the rows
        are numbered 0, 1, 2 … in C order. Name the sequence to draw a row outside its batch.
    position : array_like of int
        Which number of the sequence, broadcasting to the batch shape.
    threads : int
        Rows are spread over so many threads, which changes no token, and seldom pays.
    vocabulary : Model or Vocabulary, optional
        What spells the texts of a request, such as ``bad_words``, in token ids.

    Returns
    -------
    Draws
        ``tokens`` of shape (...), or (..., size), and the ``seed``. Each token is a pure function
        of (its row of logits, request, seed, sequence, position).

    Raises
    ------
    ParameterError
        For bad logits, parameters, seed, size or places.

    Examples
    --------
    >>> draws = sample(np.log([0.5, 0.25, 0.25]), {"top_k": 2}, seed=7, size=8)
    >>> draws.tokens
    array([1, 0, 1, 0, 0, 1, 0, 0])
    >>> int(sample(np.log([0.5, 0.25, 0.25]), {"top_k": 2}, seed=7, position=7).tokens)
    0
    """
    array = check_array(logits)
    drawer = _drawer_of(request, engine, array.shape[-1], vocabulary)
    tokens, used = drawer.draw(
        array, context, state, seed, size, coupling, sequence, position, threads
    )
    if array is not logits:
        tokens = given_back(tokens, logits)
    chain = drawer.chain
    return Draws(tokens, used, chain.known(state) if chain.stateful else None, drawer.notes)


_last: tuple[Request, str, Drawer] | None = None


def _drawer_of(
    request: Request, engine: EngineLike, size: int, vocabulary: VocabularyLike
) -> Drawer:
    """Return what draws for a request: that of the call before where it is the very same request.

    So a loop over rows resolves it once. Only what cannot change is known again.
    """
    global _last
    last = _last
    if (
        last is not None
        and last[0] is request
        and last[1] is engine
        and last[2].size == size
        and vocabulary is None
        and ENGINES.get(last[1]) is last[2].resolved.engine
    ):
        return last[2]
    drawer = Drawer(resolve(request, engine, size=size, vocabulary=vocabulary), size)
    if vocabulary is None and type(engine) is str and type(request) in _UNCHANGING:
        _last = request, engine, drawer
    return drawer
