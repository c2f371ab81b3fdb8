"""Evidence over requests: what is drawn is the history, up to the line that refutes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from logitlab import ParameterError, Verification, plot
from logitlab.verification.finding import Finding
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

BOUND = math.log(1000)


def course(**steps: float) -> tuple[tuple[int, dict[str, float]], ...]:
    return tuple((n, {name: n * step for name, step in steps.items()}) for n in range(1, 11))


def result(**courses: dict[str, float]) -> Verification:
    found = {
        key: Finding("honoured", "proven", 0.001, history=course(**steps))
        for key, steps in courses.items()
    }
    return Verification({**found, "n": Finding("refused", "observed")})


def curves(ax: Axes) -> list[Line2D]:
    """Return the lines of hypotheses: not those of a panel, marks, and samples beside it."""
    lines = [line for line in ax.lines if line.get_transform() == ax.transData]
    return [line for line in lines if len(np.asarray(line.get_xdata())) > 2]


def nats(line: Line2D) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the evidence that a line of the first panel stands for."""
    share = (0.95 - np.asarray(line.get_ydata(), np.float64)) / 0.9
    return np.asarray(share * (1.25 * BOUND + 2) - 2)


def test_lines_are_the_history_and_end_where_they_refute() -> None:
    ax = plot.evidence(result(top_k={"honoured": -0.1, "ignored": 2.0, "clamped": 0.5}))
    ignored, honoured, clamped = curves(ax)  # what is refuted first, then the likeliest
    np.testing.assert_allclose(nats(ignored), [0, 2, 4, 6, BOUND])
    np.testing.assert_allclose(np.asarray(ignored.get_xdata()), [0, 1, 2, 3, 4])
    np.testing.assert_allclose(nats(honoured), -0.1 * np.arange(11))
    np.testing.assert_allclose(nats(clamped), 0.5 * np.arange(11))
    assert honoured.get_color() != clamped.get_color() != ignored.get_color()
    names = ["not refuted:", "honoured", "clamped", "× ignored"]
    assert [text.get_text() for text in ax.texts] == names
    assert ax.get_title(loc="left") == (
        "evidence against each explanation: refuted (×) at 6.9 nats, dotted, error 0.001"
    )


def test_each_parameter_with_evidence_has_a_panel_and_one_may_be_chosen() -> None:
    found = result(top_k={"honoured": -1.0}, top_p={"ignored": -1.0}, seed={"ignored": 3.0})
    names = [text.get_text() for text in plot.evidence(found).get_yticklabels()]
    assert names == ["top_k\nhonoured", "top_p\nhonoured", "seed\nhonoured"]
    ax = plot.evidence(found, "seed")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["seed\nhonoured"]
    assert [text.get_text() for text in ax.texts] == ["all are refuted", "× ignored"]
    assert len(plot.evidence(found, limit=2).get_yticklabels()) == 2


def test_many_that_are_left_are_counted() -> None:
    many = {f"rule {n}": -0.01 * n for n in range(9)}
    ax = plot.evidence(result(top_k=many))
    assert [text.get_text() for text in ax.texts] == [
        "not refuted:", "rule 8", "rule 7", "and 7 more"
    ]  # fmt: skip
    assert len(curves(ax)) == 9
    gone = {"clamped to at most 0.123456789012345": 9.0, "ignored": 3.0, "honoured": -9.0}
    ax = plot.evidence(result(top_k={**gone, "clamped to 5": -8.0}))
    names = ["not refuted:", "honoured", "clamped to 5", "× ignored and 1 more"]
    assert [text.get_text() for text in ax.texts] == names
    gone.pop("ignored")
    ax = plot.evidence(result(top_k={**gone, "clamped to at most 0.123456789012346": 9.0}))
    assert ax.texts[-1].get_text() == "× clamped to at most 0… and 1 more"


def test_what_is_named_lies_over_what_is_counted() -> None:
    same = {f"clamped {n}": -1.0 for n in range(9)}
    widths = [
        line.get_linewidth()
        for line in curves(plot.evidence(result(top_k={"honoured": -1.0} | same)))
    ]
    assert widths[-1] > widths[0]
    assert widths == sorted(widths)


def test_what_cannot_be_drawn_is_told() -> None:
    with pytest.raises(ParameterError, match="result must be a Verification, as by verify, got 5"):
        plot.evidence(5)  # type: ignore[arg-type]
    found = result(top_k={"honoured": -1.0}).parameters["top_k"]
    for part, hint in ((found, r" Give the whole of which it is a part\."), ({"top_k": found}, "")):
        with pytest.raises(ParameterError, match=rf"as by verify, got .*\.{hint}$"):
            plot.evidence(part)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="an examination with evidence, got <Verification of"):
        plot.evidence(Verification({"n": Finding("refused", "observed")}))
    whole = result(top_k={"honoured": -1.0})
    with pytest.raises(ParameterError, match=r"parameter must be one of 'top_k', got 'top_p'"):
        plot.evidence(whole, "top_p")
    for limit in (0, True, 2.5):
        with pytest.raises(ParameterError, match="limit must be an integer >= 1"):
            plot.evidence(whole, limit=limit)  # type: ignore[arg-type]
