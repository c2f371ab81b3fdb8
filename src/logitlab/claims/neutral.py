"""Claims of every parameter: absent ones take their defaults, and a neutral value does nothing."""

from __future__ import annotations

from typing import Any

from logitlab.claims.claim import GENERAL, Family, Measured
from logitlab.claims.lab import Lab
from logitlab.claims.truth import changed_bits
from logitlab.engines.compare import compare_engines
from logitlab.request.params import PARAMETERS

__all__ = ["CLAIMS", "add_neutral"]

CLAIMS = Family()


def add_neutral(family: Family, parameter: str, value: float, statement: str) -> None:
    """Declare that a value of a parameter changes not one bit of one logit."""

    @family.about(parameter, "neutral", statement)
    def _neutral(lab: Lab) -> Measured:
        rows = lab.rows.logits
        changed = changed_bits(lab.logits({parameter: value}, rows, lab.context), rows)
        absent = changed_bits(lab.logits({}, rows, lab.context), rows)
        return Measured(
            changed == absent == 0,
            f"{parameter} {value:g} changes {{changed}} of {{logits}} real logits by a bit, and an "
            "absent one {absent}.",
            {"changed": changed, "absent": absent, "logits": rows.size},
        )


@CLAIMS.about(
    GENERAL, "defaults",
    "A parameter that the request leaves out has the default that the page lists.",
)  # fmt: skip
def _defaults(lab: Lab) -> Measured:
    rows, context = lab.rows.logits, lab.context
    documented: dict[str, Any] = {
        key: known.default
        for key, known in PARAMETERS.items()
        if known.role == "distribution" and known.default is not None
    }
    changed = changed_bits(lab.logits({}, rows, context), lab.logits(documented, rows, context))
    removed = rows.size - int((lab.logits({}, rows, context) > float("-inf")).sum())
    compared = compare_engines(rows[3], {})
    fewer = int((compared.kept < rows.shape[1]).sum())
    return Measured(
        changed == removed == 0,
        "An empty request and one that spells out all defaults differ in {changed} bits and remove "
        "{removed} tokens. (Of {engines} engines {fewer} truncate by themselves: they have "
        "defaults of their own.)",
        {"changed": changed, "removed": removed, "engines": len(compared.engines), "fewer": fewer},
    )


@CLAIMS.about(
    GENERAL, "passed_through",
    "Parameters that only one provider knows are passed on as they are.",
)  # fmt: skip
def _passed_through(lab: Lab) -> Measured:
    own: dict[str, Any] = {
        "safe_prompt": True,
        "raw_mode": {"depth": [1, None, "x"]},
        "mirostat": 2,
    }
    request = {"temperature": 0.5, **own}
    params = lab.params(request)
    same = sum(params.to_request().get(key) == value for key, value in own.items())
    rows = lab.rows.logits[:4]
    changed = changed_bits(lab.logits(request, rows), lab.logits({"temperature": 0.5}, rows))
    return Measured(
        same == len(own) and changed == 0,
        "{same} of {keys} foreign keys come out of the request as they went in, and they change "
        "{changed} bits of the logits.",
        {"same": same, "keys": len(own), "changed": changed},
    )
