"""The picture under the sliders shows what the request gives."""

from __future__ import annotations

import io
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError, plot
from logitlab.plot.interactive import Live
from PIL import Image

from plot.pictures import logits

ROW = logits(40)


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_the_summary_is_that_of_the_chain() -> None:
    live = Live(ROW, top=5)
    request = {"temperature": 0.7, "top_p": 0.8}
    live.draw(request)
    final = ll.engines.openrouter(request)(ROW)
    kept, removed = int(ll.support_size(final)), f"{ll.mass_removed(ROW, final):.3f}"
    assert live.summary.startswith(f"{kept} of 40 tokens kept, {removed} of the")


def test_bars_grow_with_the_probability() -> None:
    live = Live(np.array([3.0, 0.0, 0.0]), top=3)
    look = plot.style.ground(plot.axes())
    blue = np.array([int(look.kept[i : i + 2], 16) for i in (1, 3, 5)])

    def length(temperature: float) -> int:
        solid = (pixels(live.draw({"temperature": temperature})) == blue).all(axis=-1)
        return int(solid.sum(axis=1).max())

    # The model's own bar is 0.909 long, so that the axis ends at 1 for all of them.
    hot, warm, greedy = length(2), length(1), length(0)
    probs = [float(ll.softmax(np.array([3.0, 0, 0]) / t)[0]) for t in (2, 1)]
    assert hot / greedy == pytest.approx(probs[0], abs=0.02)
    assert warm / greedy == pytest.approx(probs[1], abs=0.02)


def test_the_axis_ends_near_the_longest_bar() -> None:
    live = Live(logits(1000) / 4, top=5)
    for temperature, least in ((1.0, 0.3), (0.05, 0.3), (0.0, 0.8)):
        live.draw({"temperature": temperature})
        longest = max(float(bar.get_width()) for bar in live._bars)
        shown = max(longest, live._longest)
        low, high = live._ax.get_xlim()
        assert low == 0
        assert least * high < shown < high


def test_a_request_is_drawn_alike_whatever_was_drawn_before() -> None:
    live = Live(ROW, top=5)
    first = live.draw({"top_k": 3})
    live.draw({"temperature": 2})
    assert live.draw({"top_k": 3}) == first


def test_the_vocabulary_is_that_of_the_row() -> None:
    with pytest.raises(ParameterError, match=r"^vocabulary must be of 40 tokens"):
        Live(ROW, ll.Vocabulary([b"a"] * 41))


def test_sliders_redraw_the_picture() -> None:
    pytest.importorskip("ipywidgets")
    context = ll.Context(prompt=[0, 1])
    box = plot.interactive(ROW, context=context, top=4, temperature=0.5)
    live = Live(ROW, context=context, top=4)
    assert list(box.sliders)[-3:] == ["frequency_penalty", "presence_penalty", "repetition_penalty"]
    assert bytes(box.image.value) == live.draw({"temperature": 0.5})
    box.sliders["presence_penalty"].value = 2.0
    assert bytes(box.image.value) == live.draw({"temperature": 0.5, "presence_penalty": 2.0})


def test_a_slider_reaches_as_far_as_its_engine() -> None:
    pytest.importorskip("ipywidgets")
    box = plot.interactive(ROW, engine="llama_cpp", temperature=100, top_p=1.5)
    assert (box.sliders["temperature"].max, box.sliders["top_p"].max) == (100, 1.5)
    assert plot.interactive(ROW, engine="vllm", top_k=-1).sliders["top_k"].min == -1


def test_where_no_kernel_runs_the_picture_stays() -> None:
    pytest.importorskip("ipywidgets")
    box = plot.interactive(ROW, top=4)
    bundle = box._repr_mimebundle_()
    assert bundle["image/png"] == bytes(box.image.value)
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_what_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipywidgets")
    with pytest.raises(ParameterError, match="parameter must be one of temperature"):
        plot.interactive(ROW, seed=1)
    with pytest.raises(ParameterError, match=r"top_p must be in \[0.0, 1.0\], got 1.3"):
        plot.interactive(ROW, top_p=1.3)
    with pytest.raises(ParameterError, match="top_k must be an integer, got 'x'"):
        plot.interactive(ROW, top_k="x")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"top_p must be in \(0, 1\], got 0.0. vllm refuses"):
        plot.interactive(ROW, engine="vllm", top_p=0)
    monkeypatch.setitem(__import__("sys").modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"pip install 'logitlab\[notebooks\]'"):
        plot.interactive(ROW)
