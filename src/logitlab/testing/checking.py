"""`check`: hand rows to somebody's sampler, and judge what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from logitlab.checks import ParameterError
from logitlab.engines.registry import EngineLike
from logitlab.engines.resolve import Request
from logitlab.steps.context import Context
from logitlab.testing.answering import judge_answers
from logitlab.testing.asking import Asking
from logitlab.testing.bounds import check_chain
from logitlab.testing.calling import Spent
from logitlab.testing.drawing import judge_draws

__all__ = ["Checked", "check"]


@dataclass(frozen=True)
class Checked:
    """What a check has seen, of a sampler that passed it.

    Attributes
    ----------
    gives : {"logits", "probabilities", "survivors", "tokens"}
        What the sampler was taken to return.
    rows, calls, draws : int
        How many rows it got, in how many calls, and how many tokens it drew.
    undecided : float
        The share of all tokens that rounding may keep or remove, so that nothing was asked of them.
    error : float
        The chance that a sampler that is right would not have passed.
    is_complete : bool
        Whether there were calls enough for all rows.

    Examples
    --------
    >>> import numpy as np
    >>> from logitlab import testing
    >>> seen = testing.check(lambda row: np.argmax(row), {"temperature": 0}, rows="one-hot")
    >>> seen.gives, seen.rows, seen.is_complete
    ('tokens', 2, True)
    """

    gives: str
    rows: int
    calls: int
    draws: int
    undecided: float
    error: float
    is_complete: bool = True

    def __str__(self) -> str:
        drawn = f", {self.draws} draws (error {self.error:g})" if self.draws else ""
        return (
            f"{self.gives}: {self.rows} rows in {self.calls} calls{drawn}; rounding decides on "
            f"{self.undecided:.2%} of their tokens"
            + ("" if self.is_complete else "; the calls did not do for all rows")
        )


def check(
    sampler: Any,
    like: Request | Sequence[Request],
    *,
    engine: EngineLike = "openrouter",
    rows: Any = None,
    context: Context | None = None,
    gives: str | None = None,
    batch: bool = False,
    arrays: Any = "numpy",
    arithmetic: str = "float32",
    error: float = 1e-6,
    seed: int = 0,
    calls: int = 2000,
) -> Checked:
    r"""Hand rows that break samplers to a sampler, and raise if one of the answers is wrong.

    Parameters
    ----------
    sampler : callable
        Its first parameter is the logits: one row, shape (V,), float32, which it may overwrite. By
        the names of further parameters it asks for more: ``context`` (a `Context`), ``prompt`` and
        ``output`` (its token ids), ``request`` (the one of ``like``), ``seed`` (an integer), and
        ``size`` (how many tokens to draw).
    like : SamplingParams, mapping, Transform, or a list of these
        What it is to do. A sampler that takes a ``request`` may be asked several.
    engine : str or Engine
        By whose rules: `logitlab.engines`.
    rows : str, array_like, or a list of these, optional
        Kinds of rows by name, keys of `KINDS`, or rows of your own. By default all kinds.
    context : Context, optional
        The tokens so far, of every row. By default they are made up where the request counts them.
    gives : {"logits", "probabilities", "survivors", "tokens"}, optional
        What it returns. By default the answer to a first row tells: bools are a mask of survivors,
        an integer is a token, a list of integers is the survivors' ids unless ``size`` of them were
        asked for; numbers that add up to 1 are probabilities, any other logits, in which ``-inf``
        is a removed token.
    batch : bool
        Whether it takes several rows at once, shape (n, V), with an array of n seeds, and a context
        of n texts padded with -1.
    arrays : {"numpy", "torch", "jax", "mlx"} or callable
        What it takes: a library, or a function from a float32 array of numpy to its own array, such
        as one of fewer bits or on a device. What it returns is read whatever it is.
    arithmetic : {"float32", "float64", "bfloat16", "float16"}
        What it computes in: this alone says how much rounding is allowed, see
        `logitlab.testing.rounding`. More precise arithmetic passes, too.
    error : float
        The chance that a right sampler of tokens fails, of all tests together, from 1e-12 to 0.5.
        No chance is involved in other answers.
    seed : int
        Of the rows.
    calls : int
        How often the sampler is called at most, 10 at least, the search for a small row included.

    Returns
    -------
    Checked

    Raises
    ------
    SamplerError
        An `AssertionError` that tells the first mistake in one sentence, and how to reproduce it.
    ParameterError
        For a request or an option that is wrong, or steps whose rounding has no bound here.

    Notes
    -----
    Where rounding in the stated arithmetic can decide whether a token stays, both answers pass.
    Rows whose probabilities are exact leave it nothing to decide, and are among all kinds: there an
    error of one token is found. A probability below the arithmetic's normal numbers may be 0.

    Of n draws :math:`c` fall into a set of tokens whose probability lies in
    :math:`[p_-, p_+]`, whatever rounding does. With :math:`X_p` binomial the sampler is wrong where

    .. math:: P(X_{p_+} \ge c) < a \quad\text{or}\quad P(X_{p_-} \le c) < a,

    and :math:`a` is the error divided by the number of all tests.

    References
    ----------
    N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, SIAM, 2002, for the
    bounds of rounding; C. J. Clopper and E. S. Pearson, Biometrika 26, 1934, for the exact test.

    Examples
    --------
    >>> import numpy as np
    >>> from logitlab import testing
    >>> def nucleus(row):
    ...     order = np.argsort(-row, kind="stable")
    ...     probs = np.exp(row[order] - row.max())
    ...     mass = np.cumsum(probs / probs.sum())
    ...     row[order[mass - probs / probs.sum() > 0.75]] = -np.inf
    ...     return row
    >>> testing.check(nucleus, {"top_p": 0.75}, rows="equal")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    logitlab.testing.telling.SamplerError: keeps token 3, whose mass before it is exactly 0.75.
    ...
    """
    asking = Asking(
        sampler,
        like,
        engine=engine,
        rows=rows,
        context=context,
        gives=gives,
        batch=batch,
        arrays=arrays,
        arithmetic=arithmetic,
        error=error,
        seed=seed,
        calls=calls,
    )
    for chain in asking.chains:
        check_chain(chain)
    is_complete = True
    try:
        for place in range(len(asking.requests)):
            asking.start(place)
            (judge_draws if asking.gives == "tokens" else judge_answers)(asking)
    except Spent:
        is_complete = False
    if not asking.seen:
        name, value = ("rows", rows) if is_complete else ("calls", calls)
        raise ParameterError(name, "enough for one row that the request can act on", value)
    share, chance = asking.undecided / asking.tokens, asking.error if asking.draws else 0.0
    return Checked(
        asking.gives, asking.seen, asking.caller.used, asking.draws, share, chance, is_complete
    )
