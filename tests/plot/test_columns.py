"""The columns of trace and engines hold the numbers of the stages and engines."""

from __future__ import annotations

from itertools import pairwise

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError, plot
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from plot.pictures import logits, rectangles

CHAIN = ll.Chain(ll.Temperature(0.7), ll.TopK(8), ll.TopP(0.8))


def column(ax: Axes, number: int) -> list[tuple[float, float]]:
    """Return place and width of the filled bars of a column without hatches."""
    return [
        (round(bar.get_y() + bar.get_height() / 2, 6), bar.get_width())
        for bar in rectangles(ax)
        if bar.get_x() == number and bar.get_fill() and not bar.get_hatch() and bar.get_width()
    ]


def written(ax: Axes, gid: str) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_gid() == gid]


def test_bars_are_proportional_to_probabilities_on_one_scale() -> None:
    trace = CHAIN.trace(logits(30))
    ax = plot.trace(trace, top=10)
    tokens = [int(label.get_text()[1:]) for label in ax.get_yticklabels()[:10]]
    probs = ll.softmax(trace.logits)[:, tokens]
    scale = 0.62 / probs.max()
    for c in range(4):
        expected = [(i, p * scale) for i, p in enumerate(probs[c]) if p > 0]
        assert column(ax, c) == [pytest.approx(pair) for pair in expected]


def test_feet_are_the_numbers_of_the_trace() -> None:
    trace = CHAIN.trace(logits(30))
    ax = plot.trace(trace)
    assert written(ax, "head") == ["logits", "Temperature(0.7)", "TopK(8)", "TopP(0.8)"]
    assert written(ax, "kept") == [str(n) for n in trace.kept]
    assert written(ax, "entropy") == [f"{h:.2f}" for h in trace.entropy]
    removed = [f"{m:.3f}" if m else "–" for m in trace.mass_removed]
    assert written(ax, "removed") == removed
    assert [t.get_text() for t in ax.get_yticklabels()[-3:]] == ["kept", "removed", "entropy"]


def test_the_likeliest_token_that_a_step_removed_is_hatched_in_its_column() -> None:
    trace = CHAIN.trace(logits(30))
    ax = plot.trace(trace, top=6)
    names = [label.get_text() for label in ax.get_yticklabels()]
    hatched = {
        (int(bar.get_x()), names[round(bar.get_y() + 0.36)])
        for bar in rectangles(ax)
        if bar.get_hatch()
    }
    for c, (before, after) in enumerate(pairwise(trace.logits), 1):
        gone = np.where((after == -np.inf) & (before > -np.inf), before, -np.inf)
        if np.isfinite(gone).any():
            assert (c, f"#{gone.argmax()}") in hatched


def test_outlines_are_the_stage_before() -> None:
    trace = ll.Chain(ll.Temperature(0.5)).trace(np.log([0.6, 0.4]))
    outlines = [bar for bar in rectangles(plot.trace(trace)) if not bar.get_fill()]
    probs = ll.softmax(trace.logits)
    expected = probs[0] * 0.62 / probs.max()
    assert [bar.get_width() for bar in outlines] == pytest.approx(expected)
    assert {bar.get_x() for bar in outlines} == {1}


def test_a_token_of_a_generation_has_its_stages() -> None:
    model = ll.models.NGram.bundled()
    answer = ll.generate(model, "Once", seed=1, max_tokens=3, top_k=4, trace=True)
    assert answer.traces is not None
    ax = plot.trace(answer, model.vocabulary, position=2)
    assert written(ax, "kept") == [str(n) for n in answer.traces[2].kept]
    with pytest.raises(ParameterError, match=r"position must be an integer in \[-3, 2\], got 3"):
        plot.trace(answer, model.vocabulary, position=3)
    plain = ll.generate(model, "Once", seed=1, max_tokens=3)
    with pytest.raises(ParameterError, match="generation must be made with trace=True"):
        plot.trace(plain)
    with pytest.raises(ParameterError, match=r"^position must be left out where there is no gener"):
        plot.trace(answer.traces[2], position=2)


def test_engines_have_columns_colours_and_distances() -> None:
    row = logits(50)
    names = ["openrouter", "vllm", "llama_cpp", "mlx_lm"]
    request = {"temperature": 1.5, "top_p": 0.7}
    compared = ll.compare_engines(row, request, engines=names)
    ax = plot.engines(compared, top=5)
    tokens = [int(label.get_text()[1:]) for label in ax.get_yticklabels()[:5]]
    scale = 0.62 / compared.probs[:, tokens].max()
    for c in range(4):
        assert [width for _, width in column(ax, c)] == pytest.approx(
            [p * scale for p in compared.probs[c, tokens] if p > 0]
        )
    assert written(ax, "head") == ["openrouter", "vllm", "llama_cpp", "mlx_lm"]
    assert written(ax, "kept") == [str(n) for n in compared.kept]
    distances = [f"{compared.distance('openrouter', name):.2f}" for name in names[1:]]
    assert written(ax, "distance") == ["–", *distances]


def test_an_engine_has_one_colour_and_its_variants_share_it() -> None:
    look = plot.style.ground(plot.axes())
    bundled = [name for name, engine in ll.engines.ENGINES.items() if engine.is_bundled]
    colors = {name: to_hex(plot.style.engine_color(name, look)) for name in bundled}
    assert len({colors[name] for name in ll.engines.MAIN}) == len(ll.engines.MAIN)
    for name, color in colors.items():
        assert color == colors[ll.engines.get(name).variant_of or name]


def test_engines_that_refuse_are_named() -> None:
    compared = ll.compare_engines(logits(9), {"top_p": 0}, engines=["openrouter", "vllm"])
    assert plot.engines(compared).get_xlabel() == "refused by vllm"
    refused = ll.compare_engines(logits(9), {"top_p": 0}, engines=["vllm"])
    with pytest.raises(ParameterError, match="compared must be of engines that answer"):
        plot.engines(refused)
    with pytest.raises(ParameterError, match=r"Compare one row"):
        plot.engines(ll.compare_engines(np.zeros((2, 3)), {}))
    with pytest.raises(ParameterError, match=r"compared must be a Comparison"):
        plot.engines(logits(9))  # type: ignore[arg-type]
