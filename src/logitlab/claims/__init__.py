"""Every effect that OpenRouter's page of parameters states, as an experiment that can say no."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module

from logitlab.checks import check_choice
from logitlab.claims.claim import PAGE, SECTIONS, Claim, Finding, Measured, Picture
from logitlab.claims.lab import Lab

__all__ = [
    "CLAIMS",
    "PAGE",
    "SECTIONS",
    "Claim",
    "Finding",
    "Lab",
    "Measured",
    "Picture",
    "check",
    "findings",
]

CLAIMS: tuple[Claim, ...]
"""All claims, in the order of the page. Their experiments load when they are first asked for."""

_EXPERIMENTS = ("logits", "truncation", "penalties", "drawing", "ending", "structure")


@cache
def _page_order() -> tuple[Claim, ...]:
    families = (import_module(f"logitlab.claims.{name}").CLAIMS for name in _EXPERIMENTS)
    claims = (claim for family in families for claim in family)
    return tuple(sorted(claims, key=lambda claim: list(SECTIONS).index(claim.parameter)))


def __getattr__(name: str) -> tuple[Claim, ...]:
    if name == "CLAIMS":
        return _page_order()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def check(parameter: str | None = None, lab: Lab | None = None) -> list[Finding]:
    """Put the statements of the page to the test.

    Parameters
    ----------
    parameter : str, optional
        Only the claims about this request key, or the "general" ones. None takes all.
    lab : Lab, optional
        What the experiments are run on; by default this library as it is.

    Returns
    -------
    list of Finding
        In the order of the page. An experiment whose extra is missing has ``holds`` None.

    Raises
    ------
    ParameterError
        For a parameter that the page does not have.

    References
    ----------
    OpenRouter, "Parameters", https://openrouter.ai/docs/api/reference/parameters

    Examples
    --------
    >>> for finding in check("min_p"):
    ...     print(finding.claim.name, finding.verdict)
    min_p.tenth holds
    min_p.confidence holds
    min_p.neutral holds
    >>> finding = check("top_a")[1]
    >>> finding.claim.statement, finding.verdict
    ('A lower value narrows the choice to fewer tokens.',
     'wrong: a lower value keeps more tokens, and 0 keeps all')
    """
    return list(findings(parameter, lab))


def findings(parameter: str | None = None, lab: Lab | None = None) -> Iterator[Finding]:
    """Yield what `check` returns, one by one.

    Examples
    --------
    >>> next(findings("top_p")).claim.name
    'top_p.smallest_set'
    """
    if parameter is not None:
        check_choice("parameter", parameter, list(SECTIONS))
    where = Lab() if lab is None else lab
    return (claim.run(where) for claim in _page_order() if parameter in (None, claim.parameter))
