"""Every effect that OpenRouter's page of parameters states, as an experiment that can say no."""

from __future__ import annotations

from collections.abc import Iterator

from logitlab.checks import check_choice
from logitlab.claims.bias import CLAIMS as BIAS
from logitlab.claims.claim import PAGE, SECTIONS, Claim, Finding, Measured, Picture
from logitlab.claims.drawing import CLAIMS as DRAWING
from logitlab.claims.ending import CLAIMS as ENDING
from logitlab.claims.lab import Lab
from logitlab.claims.neutral import CLAIMS as GENERAL
from logitlab.claims.penalties import CLAIMS as PENALTIES
from logitlab.claims.structure import CLAIMS as STRUCTURE
from logitlab.claims.temperature import CLAIMS as TEMPERATURE
from logitlab.claims.truncation import CLAIMS as TRUNCATION

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

_FAMILIES = (GENERAL, TEMPERATURE, TRUNCATION, PENALTIES, DRAWING, ENDING, BIAS, STRUCTURE)

CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (claim for family in _FAMILIES for claim in family),
        key=lambda claim: list(SECTIONS).index(claim.parameter),
    )
)
"""All claims, in the order of the page."""


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
    >>> found = check("top_a")[1]
    >>> found.claim.statement, found.verdict
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
    used = Lab() if lab is None else lab
    asked = [claim for claim in CLAIMS if parameter in (None, claim.parameter)]
    return (claim.run(used) for claim in asked)
