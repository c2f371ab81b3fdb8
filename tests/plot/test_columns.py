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
    removed = zip(written(ax, "removed"), trace.mass_removed, strict=True)
    assert all(
        float(text) == pytest.approx(m, abs=5e-4) if m else text == "–" for text, m in removed
    )
    assert [t.get_text() for t in ax.get_yticklabels()[-3:]] == [
        "tokens kept",
        "share removed",
        "entropy, nats",
    ]


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
    assert written(ax, "kept") == [f"{n:,}" for n in answer.traces[2].kept]
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
    assert written(ax, "head") == ["openrouter", "vllm\n= openrouter", "llama_cpp", "mlx_lm"]
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
    assert plot.engines(compared).get_xlabel().split("\n")[-1] == "refused by vllm"
    refused = ll.compare_engines(logits(9), {"top_p": 0}, engines=["vllm"])
    with pytest.raises(ParameterError, match="compared must be of engines that answer"):
        plot.engines(refused)
    with pytest.raises(ParameterError, match=r"Compare one row"):
        plot.engines(ll.compare_engines(np.zeros((2, 3)), {}))
    with pytest.raises(ParameterError, match=r"compared must be a Comparison"):
        plot.engines(logits(9))  # type: ignore[arg-type]


def titled(ax: Axes) -> str:
    return ax.get_title(loc="left").replace("\n", " ")


def legend_of(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def test_a_trace_says_its_request_and_what_bars_outlines_and_hatches_are() -> None:
    ax = plot.trace(CHAIN.trace(logits(30)))
    kept = int(CHAIN.trace(logits(30)).kept[-1])
    assert titled(ax) == f"temperature 0.7, top_k 8, top_p 0.8: {kept} of 30 tokens left"
    assert legend_of(ax) == ["share of probability", "stage before", "removed by the step"]
    ax = plot.trace(ll.Chain().trace(logits(30)))
    assert titled(ax) == "no parameters: 30 of 30 tokens left"
    assert legend_of(ax) == ["share of probability"]
    mixed = ll.Chain(ll.LogitBias({1: 2.0, 2: 1.0}), ll.Xtc(0.5), ll.MaxSurprise(4.0))
    ax = plot.trace(mixed.trace(logits(30)))
    assert titled(ax).startswith("logit_bias of 2, Xtc(0.5), MaxSurprise(4.0): ")


def test_engines_say_the_request_the_outline_and_what_distance_is_to() -> None:
    request = {"temperature": 1.5, "top_p": 0.7, "seed": 3}
    compared = ll.compare_engines(logits(50), request, engines=["vllm", "mlx_lm"])
    assert compared.request == request
    ax = plot.engines(compared)
    assert titled(ax) == "temperature 1.5, top_p 0.7, seed 3: what 2 engines make of it"
    assert legend_of(ax)[0] == "vllm"
    assert ax.get_xlabel().replace("\n", " ") == (
        "bars: share of probability; distance: the share of it that lies elsewhere than at vllm"
    )
    alone = plot.engines(ll.compare_engines(logits(50), {}, engines="vllm"))
    assert titled(alone) == "no parameters: what vllm makes of it"
    many = dict.fromkeys(("a", "b", "c", "d", "e", "f", "g", "h", "i"), 1)
    long = ll.compare_engines(logits(50), many, engines=["vllm"])
    odd = {"mine": "\n", "user": "x" * 99, "k" * 99: 1, "p_less": False, "logit_bias": {3: 1.0}}
    ax = plot.engines(ll.compare_engines(logits(50), odd, engines=["openrouter"]))
    assert titled(ax) == (
        "mine <U+000A>, user of 99, " + "k" * 31 + "…, p_less False, logit_bias of 1: "
        "what openrouter makes of it"
    )
    assert titled(plot.engines(long)) == (
        "a 1, b 1, c 1, d 1, e 1, f 1, 3 more: what vllm makes of it"
    )


def test_an_engine_that_equals_an_earlier_one_says_which() -> None:
    request = {"temperature": 1.5, "top_p": 0.7}
    compared = ll.compare_engines(logits(30), request, engines=["vllm", "mlx_lm", "llama_cpp"])
    heads = written(plot.engines(compared), "head")
    for i, head in enumerate(heads):
        distances = compared.total_variation[i, :i] < 1e-6
        first = f"\n= {compared.engines[int(distances.argmax())]}" if distances.any() else ""
        assert head == compared.engines[i] + first
    assert heads[2] == "llama_cpp\n= mlx_lm"  # its top_k of 40 leaves all 30 tokens
