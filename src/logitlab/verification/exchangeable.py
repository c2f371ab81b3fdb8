r"""Tests that know nothing of a model: two arms, one text, equal pairs. No request is sent here.

Without log-probabilities a model is an unknown distribution over texts. What can be tested is
whether two kinds of request draw from the *same* unknown distribution, whether one of them draws
*one text*, and whether *equal requests* give equal texts more often than chance lets them.

The first two are e-processes: non-negative, with mean at most 1 under the hypothesis at every
moment, so that by Ville's inequality the chance that one of them ever reaches
:math:`1/\alpha` is at most :math:`\alpha`, whenever one stops and whatever made one go on. [1]_

References
----------
.. [1] A. Ramdas, P. Grünwald, V. Vovk, G. Shafer, "Game-theoretic statistics and safe anytime-valid
   inference", Statistical Science 38 (2023), https://arxiv.org/abs/2210.01948
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np
from logitlab.verification.envelope import FOREIGN

__all__ = ["OneText", "TwoArms", "chance_of_pairs", "clopper_pearson", "share"]

_SHARP = 0.97
_MOST = 0.7
_NEAR = 3  # texts that are nearly as likely
_FIRST = 1 / 8
_OTHERS = 3


def _krichevsky(a: int, b: int) -> float:
    """Return the log-probability of a sequence of a and b, under Krichevsky and Trofimov's mixture.

    It is the Beta(1/2, 1/2) mixture of all Bernoulli sequences:
    ``Γ(a + ½) Γ(b + ½) / (π Γ(a + b + 1))``.
    """
    return math.lgamma(a + 0.5) + math.lgamma(b + 0.5) - math.log(math.pi) - math.lgamma(a + b + 1)


def _likeliest(*counts: int) -> float:
    """Return the log-probability of such a sequence under its own shares, the largest there is."""
    return sum(n * math.log(n / sum(counts)) for n in counts if n)


class TwoArms:
    r"""Evidence that two arms do not draw from one Bernoulli distribution.

    Parameters
    ----------
    sharp : bool
        Whether half of the alternative is that nearly all of the second arm succeeds.

    Attributes
    ----------
    log_e : float
        The largest evidence in nats so far against one common share of successes.

    Notes
    -----
    With a and b successes and failures of each arm,

    .. math:: E = \frac{KT(a_0, b_0)\;\bigl(\tfrac12\,.97^{a_1} .03^{b_1}
              + \tfrac12 KT(a_1, b_1)\bigr)}
              {\max_p\, p^{a_0 + a_1} (1 - p)^{b_0 + b_1}}.

    The numerator is a probability of the sequence, in whatever order the arms come, and the
    denominator is at least its true one: E is at most a martingale that begins at 1. This is
    universal inference [1]_; KT is the mixture of Krichevsky and Trofimov [2]_. The order in
    which the arms are asked may depend on everything that was seen.

    References
    ----------
    .. [1] L. Wasserman, A. Ramdas, S. Balakrishnan, "Universal inference", PNAS 117 (2020)
    .. [2] R. Krichevsky, V. Trofimov, "The performance of universal encoding", IEEE Transactions
       on Information Theory 27 (1981)

    Examples
    --------
    >>> arms = TwoArms()
    >>> for _ in range(12):
    ...     arms.add(0, success=False)
    >>> for _ in range(6):
    ...     arms.add(1, success=True)
    >>> arms.log_e > math.log(1000)
    True
    """

    def __init__(self, *, sharp: bool = True) -> None:
        self.counts = [[0, 0], [0, 0]]
        self.log_e = 0.0
        self._sharp = sharp

    def add(self, arm: int, *, success: bool) -> None:
        """See one more answer of arm 0 or 1."""
        self.counts[arm][not success] += 1
        (a0, b0), (a1, b1) = self.counts
        second = _krichevsky(a1, b1)
        if self._sharp:
            sharp = a1 * math.log(_SHARP) + b1 * math.log(1 - _SHARP)
            second = float(np.logaddexp(sharp, second)) - math.log(2)
        log_e = _krichevsky(a0, b0) + second - _likeliest(a0 + a1, b0 + b1)
        self.log_e = max(self.log_e, log_e)


class OneText:
    r"""Evidence about how much of an arm one text has, of texts that are not known beforehand.

    Parameters
    ----------
    neutral : sequence of str
        Texts of the other arm, which sharpen what is expected if the two are alike.

    Attributes
    ----------
    against_one : float
        The largest evidence in nats so far against "one text, or three that are nearly as likely".
    against_spread : float
        That against "no text has more than 70 %".

    Notes
    -----
    *One text.* A server that is greedy gives one text; where some are nearly as likely, the noise
    of batches exchanges them. So this hypothesis is: three texts B, C and D, with any
    probabilities, and any other with at most .01 in all. For given ones the outcomes are coded as
    B, C, D, another one of the texts seen so far, or another new one. The numerator predicts the
    next outcome from all before: something new with the share of the texts seen once [1]_,
    ν = (s + ½) / (N + 1), and a text seen before with (1 - ν) times its share; of ν, an eighth is
    that of each of the three while it is new. It adds up to one at most, and

    .. math:: E = \min_{B, C, D}\; \frac{\prod \text{predicted}}
                  {\max_q q_B^{n_B} q_C^{n_C} q_D^{n_D}\; .01^{\,n - n_B - n_C - n_D}}

    is at most the e-process of the true ones.

    *Many answers of one request* may go elsewhere as a whole, with probability .01. So a request is
    one outcome: whether at least 3 of its answers are not one of its three most frequent. Under the
    hypothesis that has at most the probability .01 and the binomial chance of 3 in n at .01; it
    gives a factor of a half over that, and the contrary a half. No request is more than 50.

    *Spread.* With A the first text of the arm, which is not counted, the others are A with
    probability p: :math:`.97^a .03^b / \max_{p \le .7} p^a (1 - p)^b`.

    References
    ----------
    .. [1] I. J. Good, "The population frequencies of species", Biometrika 40 (1953)

    Examples
    --------
    >>> arm = OneText(["a", "b", "c", "d", "e", "f"])
    >>> for text in "ghijkl":
    ...     arm.add(text)
    >>> arm.against_one > math.log(1000), arm.against_spread
    (True, 0.0)
    """

    def __init__(self, neutral: Sequence[str] = ()) -> None:
        self._seen = Counter(neutral)
        self._new: set[str] = set()  # texts that came in this arm before any other
        self.texts: list[str] = []
        self._alone: Counter[str] = Counter()  # answers that were the only one of a request
        self._log_requests = 0.0
        self.against_one = self.against_spread = 0.0
        self._log_q = 0.0

    def see(self, text: str) -> None:
        """See one more text of the other arm, which only sharpens what is expected."""
        self._seen[text] += 1

    def add(self, *texts: str) -> None:
        """See one more answer of the arm, or all those of one request."""
        if len(texts) > 1:
            others = len(texts) - sum(n for _, n in Counter(texts).most_common(_NEAR))
            chance = FOREIGN + _at_least(_OTHERS, len(texts), FOREIGN)
            is_scattered = others >= _OTHERS
            self._log_requests += math.log(0.5 / min(chance, 1) if is_scattered else 0.5)
            self._seen.update(texts)
        else:
            self._predict(texts[0])
        self.texts += texts
        self.against_one = max(self.against_one, self._log_one() + self._log_requests)
        a = self.texts.count(self.texts[0]) - 1
        b = len(self.texts) - 1 - a
        under = min(a / (a + b), _MOST) if a + b else _MOST
        spread = a * math.log(_SHARP / under) if a else 0.0
        spread += b * math.log((1 - _SHARP) / (1 - under))
        self.against_spread = max(self.against_spread, spread)

    def _predict(self, text: str) -> None:
        total = sum(self._seen.values())
        known = self._seen[text]
        if not known:
            self._new.add(text)
        if total:
            new = (sum(n == 1 for n in self._seen.values()) + 0.5) / (total + 1)
            self._log_q += math.log((1 - new) * known / total if known else new)
        self._seen[text] += 1
        self._alone[text] += 1

    def _log_one(self) -> float:
        """Return the evidence of answers that came alone, for those texts it is least for."""
        # Among the new texts, and among the others, those that came most often fit best.
        counts = self._alone
        by_count = sorted(counts, key=lambda text: -counts[text])
        new = [text for text in by_count if text in self._new]
        old = [text for text in by_count if text not in self._new]
        best = math.inf
        for near in combinations([*new[:_NEAR], *old[:_NEAR], *[None] * _NEAR], _NEAR):
            own = [counts[text] for text in near if text is not None]
            coded = sum(text in self._new for text in near)
            log_e = self._log_q + coded * math.log(_FIRST)
            log_e += (len(new) - coded) * math.log(1 - _NEAR * _FIRST)
            log_e -= _likeliest(*own) + (counts.total() - sum(own)) * math.log(FOREIGN)
            best = min(best, log_e)
        return best


def chance_of_pairs(pairs: Sequence[tuple[Hashable, Hashable]]) -> float:
    r"""Return the chance of so many equal pairs, if the texts were dealt to the pairs at random.

    Parameters
    ----------
    pairs : sequence of (str, str), or of other things
        Texts of two requests that should be equal; all requests on one prompt.

    Returns
    -------
    float
        :math:`P(M \ge m)` for the number M of equal pairs in a random matching of all 2k texts.

    Notes
    -----
    If what the pairs have in common does nothing, the 2k texts are exchangeable: given which texts
    came, every matching of them is as likely. So this is a p-value, whatever the model. With
    :math:`N_j` the ways to choose j disjoint equal pairs among the texts, the product over texts
    of their counts' matchings,

    .. math:: E\binom{M}{j} = N_j\,\frac{(2k - 2j - 1)!!}{(2k - 1)!!}, \qquad
              P(M = m) = \sum_{j \ge m} (-1)^{j - m} \binom{j}{m} E\binom{M}{j},

    exactly, in fractions. Six equal pairs of six different texts have 1/10,395.

    References
    ----------
    R. A. Fisher, "The Design of Experiments", 1935, section 21 (the permutation test)

    Examples
    --------
    >>> round(1 / chance_of_pairs([(text, text) for text in "abcdef"]))
    10395
    >>> chance_of_pairs([("a", "a"), ("a", "a")])
    1.0
    """
    k = len(pairs)
    counts = Counter(text for pair in pairs for text in pair)
    ways = [1]
    for count in counts.values():
        own = [
            math.factorial(count) // (math.factorial(count - 2 * j) * math.factorial(j) * 2**j)
            for j in range(count // 2 + 1)
        ]
        product = [0] * min(k + 1, len(ways) + len(own) - 1)
        for i, left in enumerate(ways):
            for j, right in enumerate(own):
                product[i + j] += left * right
        ways = product
    whole = _matchings(k)
    moments = [Fraction(n * _matchings(k - j), whole) for j, n in enumerate(ways)]
    equal = sum(first == second for first, second in pairs)
    chance = Fraction(0)
    for m in range(equal, len(moments)):
        for j in range(m, len(moments)):
            chance += (-1) ** (j - m) * math.comb(j, m) * moments[j]
    return float(chance)


def _matchings(k: int) -> int:
    """Return how many ways there are to pair 2k things: (2k - 1)!!."""
    return math.prod(range(1, 2 * k, 2))


def share(successes: int, failures: int, level: float = 0.95) -> tuple[float, float]:
    r"""Return an interval of a probability that holds at all times at once.

    Parameters
    ----------
    successes, failures : int
    level : float

    Returns
    -------
    (float, float)
        All p with :math:`KT(a, b) / (p^a (1 - p)^b) < 1 / (1 - level)`, see `TwoArms`.

    Examples
    --------
    >>> [round(bound, 3) for bound in share(10, 0)]
    [0.623, 1.0]
    """
    most = _krichevsky(successes, failures) + math.log(1 - level)
    n = successes + failures

    def within(p: float) -> bool:
        log_p = successes * math.log(p) if successes else 0.0
        return log_p + (failures * math.log1p(-p) if failures else 0.0) > most

    middle = successes / n if n else 0.5
    return (
        _edge(within, middle, 0.0) if successes else 0.0,
        _edge(within, middle, 1.0) if failures else 1.0,
    )


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a probability, for a number of trials fixed beforehand.

    References
    ----------
    C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case
    of the binomial", Biometrika 26 (1934)

    Examples
    --------
    >>> [round(bound, 3) for bound in clopper_pearson(8, 10)]
    [0.444, 0.975]
    """
    tail = (1 - level) / 2

    def below(p: float) -> float:
        return _binomial(trials, p, range(successes + 1))

    def above(p: float) -> float:
        return _at_least(successes, trials, p)

    middle = successes / trials if trials else 0.5
    low = _edge(lambda p: above(p) > tail, middle, 0.0) if successes else 0.0
    high = _edge(lambda p: below(p) > tail, middle, 1.0) if successes < trials else 1.0
    return low, high


def _at_least(k: int, n: int, p: float) -> float:
    return _binomial(n, p, range(k, n + 1))


def _binomial(n: int, p: float, ks: range) -> float:
    return math.fsum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in ks)


def _edge(within: Callable[[float], bool], inside: float, outside: float) -> float:
    """Return where a condition that holds at `inside` ends on the way to `outside`."""
    for _ in range(60):
        middle = (inside + outside) / 2
        if within(middle):
            inside = middle
        else:
            outside = middle
    return outside
