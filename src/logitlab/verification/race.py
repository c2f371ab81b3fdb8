r"""The race: hypotheses with envelopes, refuted at a stated error whenever one looks.

A request r, chosen from the past, has an answer y in some categories. A hypothesis h allows a set
of distributions :math:`N_h(r)`. It brings a central one :math:`q_h`, and an envelope
:math:`u_h(y) \ge \sup_{q \in N_h(r)} q(y)`. With weights :math:`w_g > 0` that sum to 1,

.. math:: E_h(n) = \frac{1}{1 - w_h} \sum_{g \ne h} w_g \prod_{r \le n} e_{gh}(y_r), \qquad
          e_{gh}(y) = \frac{q_g(y)}{\min(u_h(y),\ c\, q_g(y))},

where :math:`c \ge 1` is such that :math:`\sum_y \min(u_h(y), c\, q_g(y)) = 1`: what h allows at
most makes more than 1 in all, and what it gives to one category it lacks at another. That minimum
is the distribution which is hardest to tell from g of all that have the envelope of h. If the
envelope makes less than 1 where g bets at all, c is infinite.

If h is true, y is drawn from some :math:`q' \in N_h(r)`. Let B be the categories where
:math:`u_h < c\, q_g`, on which :math:`q_g / u_h > 1 / c`. Then the factor has the mean

.. math:: \sum_{y \notin B} \frac{q'(y)}{c} + \sum_{y \in B} q'(y) \frac{q_g(y)}{u_h(y)}
          \le \frac{1}{c} + \sum_{y \in B} u_h(y) \Bigl(\frac{q_g(y)}{u_h(y)} - \frac{1}{c}\Bigr)
          = \sum_y q_g(y) \le 1.

So each product is a supermartingale that starts at 1, whatever the requests were chosen by, and so
is :math:`E_h`. If g is true no factor grows faster, and none shrinks: where an answer tells nothing
of h, it costs nothing. By Ville's inequality

.. math:: P_h(\sup_n E_h(n) \ge 1 / \alpha) \le \alpha.

The hypotheses whose :math:`E_h` never reached :math:`1 / \alpha` contain the true one with
probability :math:`1 - \alpha`, for all n at once: anybody may stop at any time, and for any reason.

One more g, the catch-all, knows nothing: for each cell (a prompt with its parameters) it is the
Dirichlet predictive :math:`(n_y + 2 p(y)) / (n + 2)` around a reference p, against :math:`u_h` as
it is. If no hypothesis is true, it refutes them all, and the answer is "none of these".

Sources: Ville, *Étude critique de la notion de collectif* (1939), for the inequality; Wald,
*Sequential tests of statistical hypotheses* (1945), of which this is the form for many composite
hypotheses; Wasserman, Ramdas and Balakrishnan, *Universal inference* (PNAS 2020), for a numerator
that is any predictor against the best of the null; Grünwald, de Heide and Koolen, *Safe testing*
(2019), and Larsson, Ramdas and Ruf, *The numeraire e-variable and reverse information projection*
(2024), for the factor, which is the numeraire; Ramdas, Grünwald, Vovk and Shafer, *Game-theoretic
statistics and safe anytime-valid inference* (2023), for e-processes and the growth rate by which
requests are chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from logitlab.checks import ParameterError
from numpy.typing import NDArray

__all__ = ["Cell", "Drawn", "Race", "growths", "least_factors"]

Action = TypeVar("Action", bound=Hashable)

_DOUBTFUL = 0.05  # the weight of the catch-all
_FAR = 3.0
_TINY = 1e-300
_BELOW = 1 - 1e-12  # what rounding may have added to a sum
_HUGE = 1e250  # more than anybody needs to win
_LIKELY = 0.01  # what may be supposed right where the leader has no rival in reach
_LEAST_GROWTH = 1e-4  # nats a request, below which an action is no use


class Cell(NamedTuple):
    """What every hypothesis expects of one request.

    Attributes
    ----------
    central : ndarray, shape (H, C)
        The distribution of the categories that each hypothesis bets on; rows sum to at most 1.
    envelope : ndarray, shape (H, C)
        For each category the most that any distribution of the hypothesis gives it.
    reference : ndarray, shape (C,)
        Around which the catch-all learns.
    chance : ndarray, shape (H,), optional
        How likely an answer is in the categories at all; an answer outside tells nothing. It only
        guides the choice of requests.
    """

    central: NDArray[np.float64]
    envelope: NDArray[np.float64]
    reference: NDArray[np.float64]
    chance: NDArray[np.float64] | None = None


class Drawn(NamedTuple):
    """An answer: its category, None if it tells nothing, and a cell that fits it better."""

    category: int | None
    cell: Cell | None = None


def least_factors(
    central: NDArray[np.float64], envelope: NDArray[np.float64]
) -> NDArray[np.float64]:
    r"""Return the least that bets may make, :math:`1 / c` of the module's equation.

    Parameters
    ----------
    central : ndarray, shape (..., C)
        Bets, which make at most 1.
    envelope : ndarray, shape (..., C)
        Against which they are, in a shape that broadcasts.

    Returns
    -------
    ndarray, shape (...)
        In [0, 1]; 0 where the envelope makes less than 1.

    Examples
    --------
    >>> least_factors(np.array([0.5, 0.4, 0.1]), np.array([0.9, 0.7, 0.01])).round(3)
    np.float64(0.909)

    Of the first two the envelope is too wide: .99 is left for both, 1.1 times the bets.
    """
    shape = np.broadcast_shapes(central.shape, envelope.shape)
    factor = np.ones(shape[:-1])
    # The sum of the minima is concave in c: Newton's steps from 1 come to its root from below.
    for _ in range(shape[-1] + 1):
        is_free = central < envelope * factor[..., None]
        free = np.where(is_free, central, 0).sum(axis=-1)
        missing = 1 - np.where(is_free, 0, envelope).sum(axis=-1)
        lower = np.where(missing > 0, free / np.maximum(missing, _TINY), factor)
        if (lower >= factor).all():
            break
        factor = np.minimum(lower, factor)
    return factor * _BELOW


def growths(central: NDArray[np.float64], envelope: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return :math:`\sum_y q_g(y) \log e_{gh}(y)` of rows g against rows h.

    Parameters
    ----------
    central, envelope : ndarray, shape (H, C)

    Returns
    -------
    ndarray, shape (H, H)

    Examples
    --------
    >>> coin = np.array([[0.5, 0.5], [0.9, 0.1]])
    >>> growths(coin, coin).round(2).tolist()
    [[0.0, 0.51], [0.37, 0.0]]
    """
    return np.stack([_gains(bet, envelope) for bet in central])


def _gains(bet: NDArray[np.float64], envelope: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what one bet gains a request against each row, shape (H,); see `growths`."""
    bet, envelope = bet[bet > 0], envelope[:, bet > 0]
    least = least_factors(bet, envelope)
    factor = np.maximum(bet / np.maximum(envelope, _TINY), least[:, None])
    found: NDArray[np.float64] = np.log(np.maximum(factor, _TINY)) @ bet
    return found


class Race:
    r"""Hypotheses in a race; what is refuted, what is left, and which request to send next.

    A hypothesis may be a union of others, its rows, each with its own bets and envelopes, as of the
    same rule before different backgrounds. It is refuted when each of its rows is.

    Parameters
    ----------
    answers : mapping of str to str
        The hypotheses, each with the answer it stands for. A race is over when one answer is left.
    alpha : float
        The probability that the true hypothesis is ever refuted is at most this.
    prior : mapping of str to float, optional
        Weights of hypotheses, 1 where nothing is said. They change how soon, never how surely.
    rows : sequence of (str, float), optional
        The rows of the arrays that are given to `update`: the hypothesis that each belongs to, and
        its part of the weight. Where the parts of a hypothesis make less than 1 the rest is lost,
        as of rows that were dropped by what answers told which count again here; they are divided
        by what they make if that is more. One each, in the order of `answers`, if not given.

    Attributes
    ----------
    answers : dict of str to str
        May be set anew, to go on until finer differences are decided: evidence is of hypotheses.
    requests : int
        Answers so far, those that told nothing included.
    history : list of (int, dict)
        The evidence against each hypothesis in nats, :math:`\log E_h`, after each request.

    Examples
    --------
    >>> race = Race({"fair": "fair", "biased": "biased"}, alpha=0.01)
    >>> coin = np.array([[0.5, 0.5], [0.9, 0.1]])
    >>> for _ in range(12):
    ...     race.update("toss", coin, coin, 0, np.array([0.5, 0.5]))
    >>> race.alive, race.left
    (['biased'], ['biased'])
    """

    def __init__(
        self,
        answers: Mapping[str, str],
        alpha: float = 1e-3,
        prior: Mapping[str, float] | None = None,
        rows: Sequence[tuple[str, float]] | None = None,
    ) -> None:
        if not answers:
            raise ParameterError("answers", "of at least one hypothesis", answers)
        if not 0 < alpha < 1:
            raise ParameterError("alpha", "in (0, 1)", alpha)
        self.answers = dict(answers)
        self.names = list(answers)
        self.alpha = alpha
        self.requests = 0
        self.history: list[tuple[int, dict[str, float]]] = []
        given = [(name, 1.0) for name in self.names] if rows is None else list(rows)
        if {name for name, _ in given} != set(self.names):
            raise ParameterError("rows", f"of the hypotheses {self.names}", rows)
        self._name = np.array([self.names.index(name) for name, _ in given], np.intp)
        parts = np.array([part for _, part in given])
        whole = np.maximum(np.bincount(self._name, parts), 1)
        weights = np.array([(prior or {}).get(name, 1.0) for name in self.names])
        if not ((weights > 0).all() and (parts > 0).all()):
            raise ParameterError("prior", "positive", prior)
        weights = (weights / weights.sum())[self._name] * parts / whole[self._name]
        self._weight = np.log(weights * (1 - _DOUBTFUL))
        self._central = np.zeros(len(parts))
        # What each bet, the last being that of the catch-all, has made against each row.
        stakes = np.append(np.exp(self._weight), _DOUBTFUL)
        self._won = np.tile(stakes[:, None], (1, len(parts)))
        np.fill_diagonal(self._won, 0)
        self._is_impossible = np.zeros(len(parts), bool)
        self._leasts: dict[Hashable, tuple[Any, NDArray[np.float64], NDArray[np.intp]]] = {}
        self._most = np.zeros(len(parts))
        self._counts: dict[Hashable, NDArray[np.float64]] = {}
        self._retired = np.full(len(self.names), np.inf)  # the least evidence of rows gone
        self._growths: dict[tuple[Hashable, int], NDArray[np.float64]] = {}

    def update(
        self,
        cell: Hashable,
        central: NDArray[np.float64],
        envelope: NDArray[np.float64],
        category: int | None,
        reference: NDArray[np.float64],
        *,
        every: bool = False,
    ) -> None:
        """Take in an answer.

        Parameters
        ----------
        cell : hashable
            Which request it was: the catch-all learns each by itself.
        central, envelope : ndarray, shape (H, C)
            A row for each of `rows` that is not retired.
        category : int or None
            Of the answer; None if it is in none of the categories, and tells nothing.
        reference : ndarray, shape (C,)
        every : bool
            Whether the arrays have but the category that the answer is in, and nothing of what a
            hypothesis lacks elsewhere: factors are quotients of bets and envelopes.
        """
        self.requests += 1
        if category is not None:
            counts = self._counts.setdefault(cell, np.zeros(len(reference)))
            chance = (counts[category] + 2 * reference[category]) / (counts.sum() + 2)
            bets, most = central[:, category], envelope[:, category]
            with np.errstate(divide="ignore"):
                self._central = self._central + np.log(bets)
            self._is_impossible |= most == 0
            most = np.where(most == 0, 1, most)
            won = bets[:, None] / most
            if not every:
                np.maximum(won, self._least(cell, central, envelope), out=won)
            self._won[:-1] *= won
            self._won[-1] *= chance / most
            np.minimum(self._won, _HUGE, out=self._won)
            counts[category] += 1
        evidence = self._log_e()
        self._most = np.maximum(self._most, evidence)
        self.history.append((self.requests, self._by_name(evidence)))

    def retire(self) -> NDArray[np.bool_]:
        """Drop the rows that are refuted, and return which of them stay.

        Their bets are lost, which only makes evidence smaller.
        """
        stay = self._most < self.limit
        gone = ~stay
        np.minimum.at(self._retired, self._name[gone], self._most[gone])
        for name in ("_name", "_weight", "_central", "_is_impossible", "_most"):
            setattr(self, name, getattr(self, name)[stay])
        self._won = self._won[np.append(stay, True)][:, stay]
        self._growths.clear()
        if not stay.all():
            self._leasts = {}
        return stay

    def know(self, like: Race) -> None:
        """Take over what is known of requests from a race of the same rows."""
        self._leasts = like._leasts

    def _least(
        self, cell: Hashable, central: NDArray[np.float64], envelope: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the least that each bet makes against each row at a request."""
        known = self._leasts.get(cell)
        if known is None or known[0] is not central:
            # Rows that do the same with what was sent are worked out once.
            pairs, row = np.unique(np.hstack([central, envelope]), axis=0, return_inverse=True)
            bets, most = np.hsplit(pairs, 2)
            least = np.stack([least_factors(bet, most) for bet in bets])
            known = self._leasts[cell] = central, least, row.ravel()
        _, least, row = known
        return least[np.ix_(row, row)]

    def _log_e(self) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):
            won = np.log(self._won.sum(axis=0)) - np.log1p(-np.exp(self._weight))
        # What a hypothesis rules out altogether refutes it, even if nobody bet on it.
        return np.where(self._is_impossible, np.inf, won)

    def _by_name(self, evidence: NDArray[np.float64]) -> dict[str, float]:
        least = self._retired.copy()
        np.minimum.at(least, self._name, evidence)
        return dict(zip(self.names, least.tolist(), strict=True))

    @property
    def log_e(self) -> dict[str, float]:
        """The evidence against each hypothesis now, in nats."""
        return self._by_name(self._log_e())

    @property
    def most(self) -> dict[str, float]:
        """The most that the evidence against each hypothesis has been, in nats."""
        return self._by_name(self._most)

    @property
    def limit(self) -> float:
        r"""The evidence that refutes, :math:`\log 1 / \alpha`."""
        return -math.log(self.alpha)

    @property
    def alive(self) -> list[str]:
        """The hypotheses that are not refuted, in their order."""
        return [name for name, most in self.most.items() if most < self.limit]

    @property
    def left(self) -> list[str]:
        """The answers of those, sorted; none if no hypothesis fits."""
        return sorted({self.answers[name] for name in self.alive})

    @property
    def posterior(self) -> dict[str, float]:
        """The weight of each hypothesis after its bets. It guides requests, and proves nothing."""
        bets = self._weight + self._central
        top = bets.max(initial=-np.inf)
        share = np.exp(bets - top) if np.isfinite(top) else np.exp(self._weight)
        found = np.bincount(self._name, share, len(self.names))
        return dict(zip(self.names, (found / max(found.sum(), 1e-300)).tolist(), strict=True))

    @property
    def leader(self) -> str:
        """The likeliest of the hypotheses that are left, or of all if none is."""
        posterior = self.posterior
        return max(self.alive or self.names, key=lambda name: posterior[name])

    def _row(self, leader: str | None) -> int:
        counts = self._most < self.limit
        if leader is not None:
            counts = self._name == self.names.index(leader)
        return int(np.where(counts, self._weight + self._central, -np.inf).argmax())

    def plan(
        self, table: Mapping[Action, Cell], leader: str | None = None
    ) -> dict[str, tuple[Action, float]]:
        r"""Return, for each rival of the leader, the request that refutes it soonest.

        The evidence against a rival g grows by :math:`\sum_y q_h(y) \log e_{hg}(y)` nats a request
        if the leader h is right.

        Parameters
        ----------
        table : mapping of action to Cell
        leader : str, optional
            Another hypothesis to suppose right.

        Returns
        -------
        dict of str to (action, float)
            Every hypothesis that is left and has another answer than the leader, with the action
            and a forecast of how many such requests it takes; infinity if none would do. Of its
            rows the one that takes most counts.
        """
        alive = self._most < self.limit
        if not table or not alive.any():
            return {}
        row = self._row(leader)
        own = self.answers[self.names[self._name[row]]]
        others = np.array([self.answers[name] != own for name in self.names])
        rivals = np.flatnonzero(alive & others[self._name])
        if not len(rivals):
            return {}
        growth = np.array([self._growth(action, cell, row) for action, cell in table.items()])
        growth = growth[:, rivals]
        best = growth.argmax(axis=0)
        rate = growth[best, np.arange(len(rivals))]
        missing = np.maximum(self.limit - self._log_e()[rivals], 0.5)
        with np.errstate(divide="ignore"):
            more = np.where(rate > _LEAST_GROWTH, missing / np.maximum(rate, 1e-300), np.inf)
        actions, found = list(table), dict[str, tuple[Action, float]]()
        for place in np.argsort(more, kind="stable"):
            name = self.names[self._name[rivals[place]]]
            found[name] = (actions[best[place]], float(more[place]))
        return found

    def _growth(self, action: Hashable, cell: Cell, leader: int) -> NDArray[np.float64]:
        key = (action, leader)
        if key not in self._growths:
            gain = _gains(cell.central[leader], cell.envelope)
            self._growths[key] = gain if cell.chance is None else gain * cell.chance[leader]
        return self._growths[key]

    def forecast(self, table: Mapping[Action, Cell], leader: str | None = None) -> dict[str, float]:
        """Return how many requests more would refute each rival of the leader; see `plan`."""
        plan = self.plan(table, leader)
        return {name: math.ceil(n) if n < 1e6 else math.inf for name, (_, n) in plan.items()}

    def _near(self, table: Mapping[Action, Cell], most: float) -> dict[str, tuple[Action, float]]:
        """Return the rivals in reach of the likeliest hypothesis that has some; see `plan`."""
        posterior, tried = self.posterior, set[str]()
        for name in sorted(self.alive, key=lambda name: -posterior[name]):
            if self.answers[name] in tried or (tried and posterior[name] < _LIKELY):
                continue
            tried.add(self.answers[name])
            plan = self.plan(table, name)
            near = {rival: entry for rival, entry in plan.items() if entry[1] <= most}
            if near:
                return near
        return {}

    def run(
        self,
        table: Mapping[Action, Cell],
        ask: Callable[[Action], Drawn | int | None],
        budget: int,
        far: float = _FAR,
    ) -> dict[str, float]:
        """Send requests until one answer is left, or the others are out of reach.

        The next request is the best against the nearest rival, and every other time the best
        against the farthest within reach. A rival is out of reach if its forecast is more than
        three times what is left of the budget. Where all are, the leader may be a wrong one: then
        the next likeliest of another answer is supposed right in its place.

        Parameters
        ----------
        table : mapping of action to Cell
        ask : callable
            Sends the request of an action: its category, or a `Drawn`; None if it was refused, and
            the action is not tried again.
        budget : int
            The most requests.
        far : float
            A rival is out of reach if its forecast is more than this times what is left of them.

        Returns
        -------
        dict of str to float
            The rivals that are left, each with a forecast as of `forecast`.
        """
        possible, spent = dict(table), 0
        while spent < budget:
            near = self._near(possible, far * (budget - spent))
            if not near:
                break
            choose = min if spent % 2 else max
            action = choose(near.values(), key=lambda entry: entry[1])[0]
            answer = ask(action)
            spent += 1
            if answer is None:
                del possible[action]
                continue
            drawn = answer if isinstance(answer, Drawn) else Drawn(answer)
            cell = drawn.cell or possible[action]
            self.update(action, cell.central, cell.envelope, drawn.category, cell.reference)
        return self.forecast(possible)
