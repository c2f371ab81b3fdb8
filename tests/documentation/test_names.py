"""A name in backticks that means nothing in the package is found; equations become MathML."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("sphinx", reason="pip install 'logitlab[docs]'")


@pytest.mark.parametrize(
    "name",
    ["top_p", "logitlab.top_p", "Chain.update", "plot.axes", "logitlab.steps", "len", "TopK.ties"],
)
def test_what_exists_is_known(name: str) -> None:
    from names import exists

    assert exists(name)


@pytest.mark.parametrize(
    "name", ["top_pp", "Chain.undo", "plot.ax", "logitlab.stairs", "std::sort"]
)
def test_what_does_not_exist_is_told(name: str) -> None:
    from names import exists

    assert not exists(name)


def test_an_equation_is_mathml() -> None:
    from docutils import nodes

    import mathml

    page: Any = SimpleNamespace(body=[])
    with pytest.raises(nodes.SkipNode):
        mathml._inline(page, nodes.math(text=r"p_i \ge m\, p_{max}"))
    [text] = page.body
    assert text.startswith("<math")
    assert "<mo>≥</mo>" in text
    assert "script" not in text
