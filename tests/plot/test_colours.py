"""Colours can be told apart by every eye, on both grounds, and an engine keeps its own."""

from __future__ import annotations

import re
from itertools import combinations

import logitlab as ll
import numpy as np
import pytest
from logitlab import plot
from logitlab.cli.colours import coloured
from logitlab.plot.colours import DARK, LIGHT, Look, engine_color
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from plot.pictures import logits, rectangles
from plot.seeing import apart, contrast, difference, lab

LOOKS = pytest.mark.parametrize("look", [LIGHT, DARK], ids=["light", "dark"])
NAMES = ["openrouter", "vllm", "llama_cpp", "mlx_lm"]
REQUEST = {"temperature": 1.5, "top_p": 0.7}


def test_the_measure_is_that_of_its_authors() -> None:
    # Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula", 2005, table 1.
    pairs = [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ]
    for one, other, expected in pairs:
        assert difference(np.array(one), np.array(other)) == pytest.approx(expected, abs=1e-4)
    assert lab("white") == pytest.approx([100, 0, 0], abs=0.01)


@LOOKS
def test_every_eye_tells_engines_and_series_apart(look: Look) -> None:
    colors = [engine_color(name, look) for name in ll.engines.MAIN]
    for one, other in combinations(colors, 2):
        assert apart(one, other) > 10, (one, other)
    for one, other in combinations(look.series, 2):
        assert apart(one, other) > 10, (one, other)
    for color in (*colors, *look.series):
        assert contrast(color, look.ground) >= 2
    for color in (look.ink, look.faint):
        assert contrast(color, look.ground) >= 4.5


def lines_of(ax: Axes) -> list[str]:
    return [to_hex(line.get_color()) for line in ax.lines]


@pytest.mark.parametrize("dark", [False, True])
def test_an_engine_has_one_colour_in_every_picture(dark: bool) -> None:
    rows = np.stack([logits(40), logits(40) / 2])
    look = DARK if dark else LIGHT
    expected = [engine_color(name, look).lower() for name in NAMES]
    compared = ll.compare_engines(rows[0], REQUEST, engines=NAMES)
    ax = plot.engines(compared, top=3, ax=plot.axes(dark=dark))
    filled = [bar for bar in rectangles(ax) if bar.get_fill() and not bar.get_hatch()]
    columns = {int(bar.get_x()): to_hex(bar.get_facecolor()) for bar in filled}
    assert [columns[c] for c in range(4)] == expected
    grid = {"engine": NAMES, "temperature": [0.5, 1.0, 1.5]}
    result = ll.sweep(rows, grid, "entropy", request={"top_p": 0.7})
    assert lines_of(plot.sweep(result, ax=plot.axes(dark=dark))) == expected
    alone = ll.sweep(rows, {"engine": NAMES}, "entropy", request=REQUEST)
    ax = plot.sweep(alone, ax=plot.axes(dark=dark))
    [stems] = [each for each in ax.collections if isinstance(each, LineCollection)]
    assert [to_hex(color) for color in np.asarray(stems.get_colors())] == expected


def test_curves_that_are_equal_say_so_and_others_do_not() -> None:
    rows = np.stack([logits(40), logits(40) / 2])
    grid = {"engine": NAMES, "temperature": [0.5, 1.0, 1.5]}
    legend = plot.sweep(ll.sweep(rows, grid, "entropy", request={"top_p": 0.7})).get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "openrouter",
        "vllm = openrouter",
        "llama_cpp",
        "mlx_lm = llama_cpp",  # both cut first, and divide by the temperature last
    ]
    twice = {"temperature": [0.5, 1.0], "top_k": [0, 40, 5]}  # 0 and V keep all
    legend = plot.sweep(ll.sweep(rows, twice, "entropy")).get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["top_k 0", "top_k 40 = top_k 0", "top_k 5"]


_LEVELS = [0, 95, 135, 175, 215, 255]


def xterm(number: int) -> tuple[float, float, float]:
    """Return a colour of xterm's fixed 240, of which the first 216 are a cube and the rest grey."""
    if number >= 232:
        return ((8 + 10 * (number - 232)) / 255,) * 3
    red, green, blue = (_LEVELS[(number - 16) // base % 6] / 255 for base in (36, 6, 1))
    return red, green, blue


def test_colours_of_a_terminal_are_legible_on_white_and_on_black() -> None:
    vocabulary = ll.Vocabulary([b"a", b"b", b"c", b"d", b"e"])
    text = coloured(range(5), [0.0005, 0.005, 0.05, 0.3, 0.9], vocabulary, 5)
    marks = dict(re.findall(r"\x1b\[38;5;([\d;]+)m([a-e])\x1b", text))
    assert list(marks.values()) == list("abcde")  # five levels, all different
    for mark in marks:
        color = xterm(int(mark.split(";")[0]))
        assert contrast(color, "white") >= 4.5
        assert contrast(color, "black") >= 4.5
    for one, other in combinations(marks, 2):
        first, second = (xterm(int(mark.split(";")[0])) for mark in (one, other))
        is_marked = one.split(";")[1:] != other.split(";")[1:]  # underlined, or bold
        assert is_marked or apart(first, second) > 7
