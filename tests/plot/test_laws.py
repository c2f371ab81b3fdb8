"""Laws for every picture: it returns its axes, touches nothing else, and stays legible."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import combinations

import logitlab as ll
import matplotlib as mpl
import numpy as np
import pytest
from logitlab.plot.style import figure_of
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from plot.pictures import PICTURES, logits, rectangles, vocabulary, words
from plot.seeing import contrast, luminance

every_picture = pytest.mark.parametrize("name", PICTURES)


def draw(name: str, size: int = 12, **how: object) -> Axes:
    return PICTURES[name](logits(size), vocabulary(size), **how)


def laid_out(ax: Axes) -> Axes:
    """Lay out all texts; a glyph that no font has is a warning, and so an error."""
    figure_of(ax).draw_without_rendering()
    return ax


@every_picture
def test_draws_into_the_axes_it_was_given_and_changes_nothing_else(name: str) -> None:
    from matplotlib import pyplot as plt

    left, right = ll.plot.axes(12, 3).figure.subplots(1, 2)
    settings, figures = dict(mpl.rcParams), plt.get_fignums()
    assert draw(name, ax=left) is left
    assert not right.has_data()
    assert draw(name).figure is not left.figure
    assert dict(mpl.rcParams) == settings
    assert plt.get_fignums() == figures == []


@pytest.mark.parametrize("size", [701, 100])
@pytest.mark.parametrize(
    "name", ["distribution", "trace", "engines", "draws", "lines", "penalties"]
)
def test_a_vocabulary_of_another_size_is_refused(name: str, size: int) -> None:
    rule = f"vocabulary must be of 700 tokens, as many as the logits, got {size}."
    with pytest.raises(ll.ParameterError, match=f"^{re.escape(rule)}$"):
        PICTURES[name](logits(700), vocabulary(size))
    assert PICTURES[name](logits(700), vocabulary(640))  # rows of models are padded


def test_a_vocabulary_of_another_size_is_refused_where_no_token_is_named() -> None:
    with pytest.raises(ll.ParameterError, match=r"^vocabulary must be of 700 tokens"):
        ll.plot.sweep(logits(700), {"top_p": [0.5, 1]}, show="entropy", vocabulary=vocabulary(9))


def test_works_without_a_display_and_without_pyplot() -> None:
    code = (
        "import sys, logitlab as ll\n"
        "png = ll.plot.distribution([1.0, 0.0])._repr_png_()\n"
        "assert png.startswith(b'\\x89PNG'), png[:8]\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    environment = {"PATH": "", "MPLBACKEND": "", "PYTHONPATH": ":".join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 50])
@every_picture
def test_stays_legible_whatever_the_tokens_are(name: str, size: int) -> None:
    ax = laid_out(draw(name, size))
    check_inside(ax)
    check_apart(ax)
    for text in words(ax):
        assert text.get_text() not in ("$", "$a_b$") or not text.get_parse_math()


@every_picture
def test_fits_into_half_a_page(name: str) -> None:
    check_inside(laid_out(draw(name, ax=ll.plot.axes(4.5, 3))))


@pytest.mark.slow
@pytest.mark.parametrize("names", [list(PICTURES)[i : i + 4] for i in range(0, len(PICTURES), 4)])
def test_keeps_to_its_quarter_of_a_plain_figure(names: list[str]) -> None:
    figure = Figure(figsize=(8, 6))
    assert figure.get_layout_engine() is None
    grid = [ax for row in figure.subplots(2, 2) for ax in row]
    size = figure.bbox.size
    # The middles of the gaps that matplotlib leaves: 0.125 to 0.9 across, 0.11 to 0.88 upwards.
    across, up = (0.125 + 0.9) / 2 * size[0], (0.11 + 0.88) / 2 * size[1]
    for place, name in enumerate(names):
        left = [ax.get_position().bounds for ax in grid[place + 1 :]]
        draw(name, ax=grid[place])
        assert [ax.get_position().bounds for ax in grid[place + 1 :]] == left
    figure.draw_without_rendering()
    texts = words(grid[0])
    for place, name in enumerate(names):
        own = [text for text in texts if text.axes in (grid[place], *grid[place].child_axes)]
        assert own, name
        for text in own:
            box = Text.get_window_extent(text)
            low = (0 if place % 2 == 0 else across, up if place < 2 else 0)
            high = (across if place % 2 == 0 else size[0], size[1] if place < 2 else up)
            assert low[0] - 1 <= box.x0 <= box.x1 <= high[0] + 1, (name, text)
            assert low[1] - 1 <= box.y0 <= box.y1 <= high[1] + 1, (name, text)
    check_apart(grid[0])


NUMBER = re.compile(r"−?(\d{1,3}(,\d{3})*(\.\d+)?|(\d(\.\d+)?×)?10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)")


@every_picture
def test_ticks_are_decimals_that_differ(name: str) -> None:
    ax = laid_out(draw(name))
    for part in (ax, *ax.child_axes):
        for axis in (part.xaxis, part.yaxis):
            low, high = sorted(axis.get_view_interval())
            shown = [tick.label1.get_text() for tick in axis.get_major_ticks()
                     if low <= tick.get_loc() <= high]  # fmt: skip
            assert len(set(shown)) == len(shown)
            if isinstance(axis.get_major_formatter(), FuncFormatter):
                continue  # names
            for text in shown:
                assert NUMBER.fullmatch(text), text


@every_picture
def test_draws_a_row_of_which_one_token_is_left(name: str) -> None:
    row = np.full(24, -np.inf)
    row[3] = 1.0
    check_apart(laid_out(PICTURES[name](row, vocabulary(24))))


@every_picture
def test_ink_stands_out_from_the_ground(name: str) -> None:
    for dark in (False, True):
        ax = draw(name, ax=ll.plot.axes(dark=dark))
        boxes = iter(rectangles(ax))
        for text in words(ax):
            # Tokens of a text stand each on a ground of its own.
            own = text.get_gid() in ("token", "scale")
            ground = next(boxes).get_facecolor() if own else ax.get_facecolor()
            # WCAG 2.2, 1.4.3: 4.5 for text.
            assert contrast(text.get_color(), ground) >= 4.5, text


def check_apart(ax: Axes) -> None:
    # Of an annotation the text alone, without the line that leads to it.
    boxes = [(text, Text.get_window_extent(text)) for text in words(ax)]
    for (one, a), (other, b) in combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        tall = min(a.y1, b.y1) - max(a.y0, b.y0)
        # Boxes have room above and below the letters; a quarter of a line is no overlap.
        assert wide <= 1 or tall <= min(a.height, b.height) / 4, (one, other)


def check_inside(ax: Axes) -> None:
    page = ax.figure.bbox
    for text in words(ax):
        box = Text.get_window_extent(text)
        assert page.x0 - 1 <= box.x0 <= box.x1 <= page.x1 + 1, text
        assert page.y0 - 1 <= box.y0 <= box.y1 <= page.y1 + 1, text


@pytest.mark.parametrize("name", ["distribution", "ranks", "band"])
def test_what_stands_around_the_axes_stands_out_from_the_figure(name: str) -> None:
    ax = ll.plot.axes(dark=True)
    ax.set_facecolor("white")
    draw(name, ax=ax)
    for text in (ax.title, ax.xaxis.label, *ax.get_xticklabels()):
        assert luminance(text.get_color()) > 0.5


@every_picture
def test_other_axes_are_refused(name: str) -> None:
    for ax in (ll.plot.axes().figure, ll.plot.axes().figure.add_subplot(projection="polar")):
        with pytest.raises(ll.ParameterError, match="ax must be Axes with two straight axes"):
            draw(name, ax=ax)
