r"""What a chain leaves of the reported tokens, whatever the tokens beyond them are.

A server reports the K likeliest tokens; of the others it is known that they have R together, and
none more than the last of the K. The library's own chain runs on five completed rows:

concentrated
    as many tokens as likely as the last of the K as fit into R, and one of what remains. It
    majorises every other completion, so it has the least mass above temperature 1, and the most
    below.
plausible
    Zipf's law: the guess that bets rest on.
flat
    Equal tokens, as many as there is room for.
none, brimful
    as if R were 0: what is left of many tiny tokens below temperature 1, or after a top_k that
    ends among them; and as if the concentrated tokens were all equal, which is a little too much.
    They count only where a cut looks at a rest of which something was lost before.

What is kept of the K is a prefix. Its length, and the share of the rest, depend on the completion
only through the mass of the rest, and monotonically; so all completions lie between these,
but for three things, which `Left` widens for: one token at the edge of a nucleus that ends in the
rest; a vocabulary of more tokens than the flat row has, above temperature 1; and cuts that look at
the mass of such a rest. For these the flat row is `widest`: of all rests of V tokens equal ones
have the most mass at a temperature T above 1, for :math:`p^{1/T}` is concave, and it is that of N
equal tokens of :math:`(V / N)^T R / V` each. Where these would be likelier than the last of the K,
anything from the shortest prefix on is possible. Of the rest itself no row is a bound where a step
looks at the size of its tokens, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from logitlab.steps.chain import Chain
from logitlab.steps.step import Transform
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP, TopA
from logitlab.steps.truncation import TopK, TopP
from numpy.typing import NDArray

__all__ = ["FLAT", "MOST_BEYOND", "NONE", "ROWS", "Left", "Rest", "completions", "left", "widest"]

CONCENTRATED, PLAUSIBLE, FLAT, NONE, BRIMFUL = range(5)
ROWS = 5
COPIES = 16  # of the plausible row with noise
MOST_BEYOND = 2000  # tokens that a concentrated rest may need
_BEYOND = 60  # tokens by which a row grows
_WIDE = 1200  # tokens that stand for a whole vocabulary
_ZIPF = 1.1


@dataclass(frozen=True)
class Rest:
    """What of the rest of a row a chain can lose, or cannot know.

    Attributes
    ----------
    vanishes : bool
        The rest may have lost its mass when a cut looks at it.
    opens : float
        The temperature above 1 by which it may have more mass than any completed row when a cut
        looks at it; infinity if another cut came between, and 0 if it may not.
    shrinks : bool
        What is left of it may be anything down to nothing.
    is_sized : bool
        How much of it is kept depends on the size of its tokens as well.
    """

    vanishes: bool = False
    opens: float = 0.0
    shrinks: bool = False
    is_sized: bool = False

    @classmethod
    def of(cls, steps: Sequence[tuple[str, float]], reported: int, last: float) -> Rest:
        """Read steps in their order.

        Parameters
        ----------
        steps : sequence of (str, float)
            Keys of steps with their values; any other key is a step of which nothing is known.
        reported : int
            K.
        last : float
            How likely the last of the K is, relative to the first.
        """
        gone = vanishes = shrinks = is_sized = False
        opened = opens = 0.0
        for key, value in steps:
            if gone:
                break
            if key == "temperature":
                last = last ** (1 / value) if value else 0.0
                gone = value == 0
                shrinks |= value < 1
                opened = max(opened, value if value > 1 else 0.0)
            elif key == "top_k" and value > 0:
                gone = value <= reported
                shrinks |= not gone
            elif key == "min_p" and value > 0:
                gone = last < value * (1 - 1e-9)
                shrinks |= not gone
            elif key in ("top_p", "top_a"):
                if value < 1 if key == "top_p" else value > 0:
                    vanishes |= shrinks
                    opens = max(opens, opened)
                    is_sized |= key == "top_a"
                    shrinks |= key == "top_a"
            elif key not in ("top_k", "min_p"):
                vanishes = shrinks = True
                opens = opened = math.inf
            if opens and key in ("top_k", "min_p") and value > 0:
                is_sized = True
            if opened and key != "temperature":
                opened = math.inf  # which tokens have the most mass depends on more than that
        return cls(vanishes, opens, shrinks, is_sized)

    @classmethod
    def after(cls, chain: Chain, reported: int, last: float) -> Rest:
        """Read a chain."""
        return cls.of([_named(step) for step in chain], reported, last)


def _named(step: Transform) -> tuple[str, float]:
    kinds = ((Temperature, "temperature"), (TopK, "top_k"), (TopP, "top_p"), (MinP, "min_p"))
    for kind, key in (*kinds, (TopA, "top_a")):
        if isinstance(step, kind):
            return key, float(np.asarray(step.value))
    return type(step).__name__, math.nan


def completions(
    logprobs: NDArray[np.float64], rest: float, sigma: float = 0.0
) -> NDArray[np.float64]:
    """Return the five completed rows, and copies of the plausible one with noise if there is any.

    Parameters
    ----------
    logprobs : ndarray, shape (K,)
        The largest first.
    rest : float
        R.
    sigma : float
        The scatter of a logit from request to request.

    Returns
    -------
    ndarray, shape (5 or 21, K + at least 60)
    """
    last = math.exp(logprobs[-1])
    full = min(math.floor(rest / last), MOST_BEYOND)
    beyond = _BEYOND * math.ceil((full + 1) / _BEYOND)
    concentrated = np.zeros(beyond)
    concentrated[:full] = last
    concentrated[full] = min(max(rest - full * last, 0.0), last)
    zipf = 1 / np.arange(5, beyond + 5) ** _ZIPF
    plausible = np.minimum(zipf * rest / zipf.sum(), last)
    plausible = np.minimum(plausible * rest / plausible.sum(), last)
    brimful = np.where(np.arange(beyond) <= full, last, 0)
    flat = np.full(beyond, rest / beyond)
    tails = np.stack([concentrated, plausible, flat, np.zeros(beyond), brimful])
    with np.errstate(divide="ignore"):
        beside = np.log(tails)
    rows = np.concatenate([np.broadcast_to(logprobs, (ROWS, len(logprobs))), beside], axis=-1)
    if sigma:
        rng = np.random.default_rng(len(logprobs))
        noise = sigma * rng.standard_normal((COPIES, rows.shape[-1]))
        rows = np.concatenate([rows, rows[PLAUSIBLE] + noise])
    return rows


def widest(
    logprobs: NDArray[np.float64], rest: float, opens: NDArray[np.float64], vocabulary: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return rows whose rest has at temperatures above 1 the most mass that there can be.

    Parameters
    ----------
    logprobs : ndarray, shape (K,)
    rest : float
    opens : ndarray, shape (N,)
        The temperatures; 0 where nothing has to be done.
    vocabulary : int

    Returns
    -------
    ndarray, shape (N, 1, K + 1200)
    ndarray of bool, shape (N,)
        Whether there is such a row.
    """
    is_open = (opens > 0) & np.isfinite(opens)
    heat = np.where(is_open, opens, 1.0)
    each = math.log(rest / vocabulary) + heat * math.log(vocabulary / _WIDE)
    beyond = np.broadcast_to(np.minimum(each, logprobs[-1])[:, None, None], (len(opens), 1, _WIDE))
    tokens = np.broadcast_to(logprobs, (len(opens), 1, len(logprobs)))
    return np.concatenate([tokens, beyond], axis=-1), is_open & (each <= logprobs[-1])


@dataclass(frozen=True)
class Left:
    """What N chains leave of K tokens.

    Attributes
    ----------
    weight : ndarray, shape (N, K)
        The weights of the tokens after the chain where they are kept, relative to the first.
    least, most : ndarray of int, shape (N,)
        Between how many are kept.
    low, high : ndarray, shape (N,)
        Between which the share of the rest is.
    central : ndarray, shape (N, K + 1)
        The plausible distribution; with noise, its mean.
    other : ndarray, shape (N, K + 1)
        Probabilities that are possible beside these: those of chains that keep no prefix, and what
        noise moves over a cut, with three standard errors of the mean.
    """

    weight: NDArray[np.float64]
    least: NDArray[np.intp]
    most: NDArray[np.intp]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    central: NDArray[np.float64]
    other: NDArray[np.float64]

    @classmethod
    def stacked(cls, parts: Sequence[Left]) -> Left:
        """Return what several lists of chains leave, one after the other."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def rows(self, rows: NDArray[np.intp]) -> Left:
        """Return what some of the chains leave."""
        return Left(*(array[rows] for array in vars(self).values()))


def left(
    final: NDArray[np.float64],
    rows: NDArray[np.float64],
    reported: int,
    temperature: NDArray[np.float64],
    rests: Sequence[Rest],
    is_widest: NDArray[np.bool_],
    vocabulary: int,
) -> Left:
    """Read what chains made of completed rows.

    Parameters
    ----------
    final : ndarray, shape (N, 5 or 21, W)
        The rows after each of N chains.
    rows : ndarray, shape (5 or 21, W)
        The rows before.
    reported : int
        K.
    temperature : ndarray, shape (N,)
    rests : sequence of Rest
    is_widest : ndarray of bool, shape (N,)
        Whether the flat row was the `widest`.
    vocabulary : int
        The most tokens that the vocabulary may have.
    """
    weight = np.exp(final - final.max(axis=-1, keepdims=True))
    tokens, beyond = weight[..., :reported], weight[..., reported:]
    share = np.concatenate([tokens, beyond.sum(axis=-1, keepdims=True)], axis=-1)
    share /= share.sum(axis=-1, keepdims=True)
    kept = tokens[:, :ROWS] > 0
    count = kept.sum(axis=-1)
    is_prefix = (kept == (np.arange(reported) < count[..., None])).all(axis=(1, 2))
    is_prefix &= (count > 0).all(axis=-1)
    vanishes, opens, shrinks, is_sized = np.array(
        [(rest.vanishes, rest.opens > 0, rest.shrinks, rest.is_sized) for rest in rests]
    ).T
    opens &= ~is_widest

    relative = (tokens[:, :ROWS] / np.maximum(tokens[:, :ROWS, :1], 1e-300)).max(axis=1)
    if opens.any():
        # More tokens may be kept than in any completed row.
        gaps = (rows[PLAUSIBLE, :reported] - rows[PLAUSIBLE, 0]) / np.maximum(
            temperature[opens, None], 1e-9
        )
        relative[opens] = np.maximum(relative[opens], np.exp(gaps))
    relative[~is_prefix] = 1
    least = count[:, :NONE].min(axis=-1)
    least = np.where(vanishes, np.minimum(least, count[:, NONE]), least)
    most = np.where(vanishes, count.max(axis=-1), count[:, :NONE].max(axis=-1))
    most = np.where(opens, reported, most)

    is_uncut = ((beyond[:, :NONE] > 0) == np.isfinite(rows[:NONE, reported:])).all(axis=(1, 2))
    is_bounded = is_uncut | is_widest | (temperature <= 1)
    low, high = _shares(
        share[:, :ROWS, -1], relative, is_uncut, is_bounded, temperature, rows, vocabulary
    )
    # What is smaller than the last of the K is cut wherever that is, by the lowest threshold too.
    high = np.where(opens | (is_widest & is_sized & (most == reported)), 1, high)
    low = np.where(shrinks | opens | (least < reported), 0, low)

    central = share[:, PLAUSIBLE].copy()
    other = np.where(is_prefix[:, None], 0, share[:, :ROWS].max(axis=1))
    if final.shape[1] > ROWS:
        copies = share[:, ROWS:]
        central = copies.mean(axis=1)
        error = copies.std(axis=1) / math.sqrt(copies.shape[1])
        other = np.maximum(other, np.minimum(1, central + 3 * error))
    # Above temperature 1 the rest may weigh far more than its plausible tokens do.
    is_wide = is_uncut & (temperature > 1)
    middle = np.where(is_wide, (low + high + central[:, -1]) / 3, central[:, -1])
    ahead = np.maximum(central[:, :-1].sum(axis=-1, keepdims=True), 1e-300)
    central[:, :-1] *= np.where(is_wide[:, None], (1 - middle[:, None]) / ahead, 1)
    central[:, -1] = middle
    return Left(relative, np.maximum(least, 1), np.maximum(most, 1), low, high, central, other)


def _shares(
    share: NDArray[np.float64],
    relative: NDArray[np.float64],
    is_uncut: NDArray[np.bool_],
    is_bounded: NDArray[np.bool_],
    temperature: NDArray[np.float64],
    rows: NDArray[np.float64],
    vocabulary: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return between which values the share of the rest is, if nothing shrinks or opens it."""
    reported, all_kept = relative.shape[1], relative.sum(axis=-1)
    rest = float(np.exp(rows[FLAT, reported:]).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        mass = share / (1 - share) * all_kept[:, None]
        # As many tokens as there may be, each as likely as the next.
        each = (math.log(rest / vocabulary) - rows[FLAT, 0]) / temperature
        widest = vocabulary * np.exp(np.minimum(each, 0))
    edge = relative[:, -1]  # no token of the rest weighs more
    most = np.where(
        is_uncut, np.where(temperature > 1, widest, mass[:, CONCENTRATED]), mass.max(axis=-1) + edge
    )
    least = np.where(
        is_uncut, mass[:, CONCENTRATED], np.maximum(mass[:, :NONE].min(axis=-1) - edge, 0)
    )
    high = np.where(is_bounded, most / (all_kept + most), 1)
    is_gone = (share[:, :NONE] == 0).all(axis=-1)
    return np.where(is_gone, 0, least / (all_kept + least)), np.where(is_gone, 0, high)
