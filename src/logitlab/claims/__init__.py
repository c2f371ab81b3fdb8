"""Every effect that OpenRouter's page of parameters states, as an experiment that can say no.

A second family, `BEYOND`, has what papers and authors state about samplers beyond that page.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module

from logitlab.checks import check_choice
from logitlab.claims.claim import PAGE, SECTIONS, Claim, Finding, Measured, Picture, Source
from logitlab.claims.lab import Lab

__all__ = [
    "BEYOND",
    "CLAIMS",
    "PAGE",
    "SECTIONS",
    "Claim",
    "Finding",
    "Lab",
    "Measured",
    "Picture",
    "Source",
    "check",
    "findings",
]

CLAIMS: tuple[Claim, ...]
"""The claims of the page, in its order. Their experiments load when they are first asked for."""

BEYOND: tuple[Claim, ...]
"""The claims of papers and authors about samplers beyond the page, likewise."""

_EXPERIMENTS = ("logits", "truncation", "penalties", "drawing", "ending", "structure")
_EXPERIMENTS_BEYOND = ("cuts", "choices", "shapes", "texts", "steering")


def _claims_of(room: str, names: tuple[str, ...]) -> Iterator[Claim]:
    return (claim for name in names for claim in import_module(f"{room}.{name}").CLAIMS)


@cache
def _page_order() -> tuple[Claim, ...]:
    claims = _claims_of(__name__, _EXPERIMENTS)
    return tuple(sorted(claims, key=lambda claim: list(SECTIONS).index(claim.parameter)))


@cache
def _beyond() -> tuple[Claim, ...]:
    return tuple(_claims_of(f"{__name__}.beyond", _EXPERIMENTS_BEYOND))


def __getattr__(name: str) -> tuple[Claim, ...]:
    if name == "CLAIMS":
        return _page_order()
    if name == "BEYOND":
        return _beyond()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def check(
    parameter: str | None = None, lab: Lab | None = None, *, beyond: bool = False
) -> list[Finding]:
    """Put the statements of the page to the test, or those about samplers beyond it.

    Parameters
    ----------
    parameter : str, optional
        Only the claims about this request key, or the "general" ones. None takes all.
    lab : Lab, optional
        What the experiments are run on; by default this library as it is.
    beyond : bool
        Take what papers and authors state, not the page. A parameter that the page does not have
        is looked for there anyway.

    Returns
    -------
    list of Finding
        In the order of the page, or of the families of samplers. An experiment whose extra is
        missing has ``holds`` None.

    Raises
    ------
    ParameterError
        For a parameter about which nothing is claimed.

    References
    ----------
    OpenRouter, "Parameters", https://openrouter.ai/docs/api/reference/parameters. Each claim beyond
    it has its own ``url``.

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
    >>> finding = check("xtc_probability")[0]
    >>> finding.claim.section, finding.verdict
    ('p-e-w, textgen #6335', 'holds')
    """
    return list(findings(parameter, lab, beyond=beyond))


def findings(
    parameter: str | None = None, lab: Lab | None = None, *, beyond: bool = False
) -> Iterator[Finding]:
    """Yield what `check` returns, one by one.

    Examples
    --------
    >>> next(findings("top_p")).claim.name
    'top_p.smallest_set'
    """
    if parameter is None:
        claims = _beyond() if beyond else _page_order()
    elif parameter in SECTIONS and not beyond:
        claims = tuple(claim for claim in _page_order() if claim.parameter == parameter)
    else:
        keys = dict.fromkeys(claim.parameter for claim in _beyond())
        check_choice("parameter", parameter, list(keys if beyond else {**SECTIONS, **keys}))
        claims = tuple(claim for claim in _beyond() if claim.parameter == parameter)
    where = Lab() if lab is None else lab
    return (claim.run(where) for claim in claims)
