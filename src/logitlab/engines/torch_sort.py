"""Where torch sorts: introsort decides on equal tokens on a CPU, token ids on CUDA.

``torch.sort`` promises no order of equal entries. On a CPU it is libstdc++'s ``std::sort``, on CUDA
a stable radix sort (read, not run). Which of the two a server has is no part of a request, and so
an option of the engine.
"""

from __future__ import annotations

from typing import Any

from logitlab.checks import check_choice
from logitlab.engines.rules import Option, Values
from logitlab.steps.truncation import TopP

__all__ = ["DEVICE", "ascending_top_p", "descending_ties", "last_ties"]


def _device(key: str, value: Any) -> str:
    check_choice(key, value, ("cpu", "cuda"))
    return str(value)


DEVICE = {"device": Option("cpu", _device, is_deployed=True)}
"""The option of engines that sort in torch: on which device."""


def ascending_top_p(p: Values) -> TopP:
    """Return top-p of a row that torch sorted ascending: what is last in the sort stays."""
    ties = "introsort" if p.device == "cpu" else "highest"
    return TopP(p.top_p, ties=ties, sums="ascending")


def descending_ties(p: Values) -> str:
    """Return the rule for ties where torch sorted descending: what is first in the sort stays."""
    return "introsort" if p.device == "cpu" else "lowest"


def last_ties(p: Values) -> str:
    """Return the rule for ties where torch sorted descending: what is last in the sort stays."""
    return "introsort" if p.device == "cpu" else "highest"
