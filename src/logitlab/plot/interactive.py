"""Sliders for the parameters, and a picture that follows them: for notebooks."""

from __future__ import annotations

import io
from typing import Any

import logitlab.plot.style as style
import numpy as np
from logitlab.checks import ParameterError, needs
from logitlab.engines.engine import Engine
from logitlab.engines.registry import get
from logitlab.numerics import softmax
from logitlab.plot.labels import check_vocabulary, labels, missing_fonts
from logitlab.plot.source import Stages, row_of, top_of
from logitlab.plot.ticks import decimals, share
from logitlab.request.params import PARAMETERS
from logitlab.steps.context import Context
from logitlab.vocabulary import Vocabulary
from matplotlib.backends.backend_agg import FigureCanvasAgg

__all__ = ["Live", "interactive"]

# How far a slider goes at a time, and its ends where they are not those of the parameter.
_SLIDERS = {"temperature": 0.05, "top_k": 1, "top_p": 0.01, "min_p": 0.01, "top_a": 0.01}
_PENALTIES = {"frequency_penalty": 0.1, "presence_penalty": 0.1, "repetition_penalty": 0.05}
_ENDS = {"top_k": (0, 100), "repetition_penalty": (0.1, 2.0)}
# Where the axis may end, times a power of ten: near the longest bar, and yet it seldom jumps.
_LIMITS = (1.0, 2.0, 3.0, 5.0, 7.5, 10.0)
_BESIDE = 1.13  # of it is for the numbers behind the bars


class Live:
    r"""A picture of one distribution that is redrawn in a fraction of the usual time.

    The tokens, their labels and the model's own probabilities stay; a change draws the bars, their
    numbers and the summary anew, on a copy of what stays. The axis ends near the longest bar, at
    one of few places, each of which is drawn once.

    Parameters
    ----------
    logits : array_like of shape (V,)
    vocabulary : Vocabulary, optional
    engine : str or Engine
    context : Context, optional
    top : int

    Examples
    --------
    >>> live = Live([2.0, 1.0, 0.0], top=3)
    >>> live.draw({"temperature": 0})[:4]
    b'\x89PNG'
    >>> live.summary
    '1 of 3 tokens kept, 0.335 of the probability removed, entropy 0.00 nats'
    """

    def __init__(
        self,
        logits: Any,
        vocabulary: Vocabulary | None = None,
        *,
        engine: str | Engine = "openrouter",
        context: Context | None = None,
        top: int = 15,
    ) -> None:
        self.row, self._engine, self._context = row_of(logits), get(engine), context
        check_vocabulary(vocabulary, len(self.row))
        probs = softmax(self.row)
        self._tokens = top_of(probs[None], top)
        count = len(self._tokens)
        ax = style.axes(7, 1.0 + 0.24 * count)
        self._look = look = style.ground(ax)
        style.token_ticks(ax, labels(self._tokens, vocabulary))
        ax.barh(range(count), probs[self._tokens], 0.8, color=look.kept, alpha=0.3)
        moving: dict[str, Any] = {"animated": True}
        self._bars = ax.barh(range(count), probs[self._tokens], 0.42, color=look.kept, **moving)
        self._numbers = [ax.text(0, i, "", va="center", fontsize=8, **moving) for i in range(count)]
        for number in self._numbers:
            number.set_in_layout(False)  # it may stand where the last axis, longer, had room
        ax.set_xlabel("probability (pale: the model's own)")
        style.note(ax, missing_fonts(self._tokens, vocabulary))
        decimals(ax.xaxis)
        self._title = ax.set_title(" ", loc="left", fontsize=9.5, color=look.ink, **moving)
        self._ax, self._longest = ax, float(probs.max())
        self._grounds: dict[float, Any] = {}
        self.summary = ""
        canvas: Any = FigureCanvasAgg(style.figure_of(ax))
        self._canvas = canvas
        ax.set_xlim(0, _BESIDE)
        self._canvas.draw()
        style.figure_of(ax).set_layout_engine("none")  # laid out once: the axes stay where they are

    def _lay_out(self, longest: float) -> None:
        """Let the axis end behind a bar so long, and put down what stays."""
        unit = 10.0 ** np.floor(np.log10(longest))
        limit = next((one * unit for one in _LIMITS if one * unit >= longest), 1.0)
        self._ax.set_xlim(0, limit * _BESIDE)
        if limit not in self._grounds:
            self._canvas.draw()
            self._grounds[limit] = self._canvas.copy_from_bbox(self._ax.figure.bbox)
        self._canvas.restore_region(self._grounds[limit])

    def draw(self, request: dict[str, Any]) -> bytes:
        """Return the picture for a request, as PNG.

        Raises
        ------
        ParameterError
            For what the engine refuses.
        """
        final = self._engine(request, vocabulary_size=len(self.row))(self.row, self._context)
        probs, kept = softmax(final)[self._tokens], final[self._tokens] > -np.inf
        self._lay_out(max(self._longest, float(probs.max())))
        space = 0.01 * self._ax.get_xlim()[1]
        for bar, number, p, left in zip(self._bars, self._numbers, probs, kept, strict=True):
            bar.set_width(p)
            number.set(text=share(float(p)) if left else "removed", x=p + space)
            number.set_color(self._look.ink if left else self._look.faint)
        self.summary = Stages(("before", "after"), np.stack([self.row, final])).summary
        self._title.set_text(self.summary)
        for artist in (*self._bars, *self._numbers, self._title):
            artist.draw(self._canvas.get_renderer())
        return _png(np.asarray(self._canvas.buffer_rgba()))


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    from PIL import Image  # matplotlib depends on it

    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def interactive(
    logits: Any,
    vocabulary: Vocabulary | None = None,
    *,
    engine: str | Engine = "openrouter",
    context: Context | None = None,
    top: int = 15,
    **values: float,
) -> Any:
    """Show sliders for the parameters, above a distribution that follows them.

    Needs ``pip install 'logitlab[notebooks]'`` and a notebook. Where no kernel runs, the picture
    stays as it was drawn last before it was saved.

    Parameters
    ----------
    logits : array_like of shape (V,)
    vocabulary : Vocabulary, optional
        As of `plot.distribution`.
    engine : str or Engine
        Whose chain it is.
    context : Context, optional
        The tokens so far; with it there are sliders for the penalties, too.
    top : int
        How many tokens, 1 to 200: the model's most likely ones.
    **values : float
        Where sliders stand at first; the others are neutral. A slider reaches as far as a value
        that the engine takes.

    Returns
    -------
    ipywidgets.VBox
        The sliders, by parameter in its ``sliders``, and the picture.

    Raises
    ------
    ParameterError
        For bad logits, a vocabulary of another size, or a value for a parameter without a slider.
    ImportError
        If ipywidgets is not installed, with the command that installs it.

    Examples
    --------
    >>> import logitlab as ll
    >>> rows = ll.datasets.load("smollm2")
    >>> box = interactive(rows.logits[3], rows.vocabulary, top_p=0.9)  # doctest: +SKIP
    >>> box.sliders["top_p"].value  # doctest: +SKIP
    0.9
    """
    widgets = needs("notebooks", "ipywidgets")
    live = Live(logits, vocabulary, engine=engine, context=context, top=top)
    ranges = {}
    for key, step in (_SLIDERS | (_PENALTIES if context is not None else {})).items():
        known = PARAMETERS[key]
        assert known.range is not None
        ends = _ENDS.get(key, (known.range.low, known.range.high))
        ranges[key] = *map(type(step), ends), step, known.default
    for name in values:
        if name not in ranges:
            raise ParameterError("parameter", f"one of {', '.join(ranges)}", name)
    whose, sliders = get(engine), {}
    for name, (low, high, step, neutral) in ranges.items():
        value = neutral
        if name in values:
            value = PARAMETERS[name].typed(values[name])
            if not whose.is_page:  # its own rules say what it takes, not the page's range
                whose.translate({name: value}, vocabulary_size=len(live.row))
                low, high = min(low, value), max(high, value)
        if not low <= value <= high:
            raise ParameterError(name, f"in [{low}, {high}]", value)
        kind = widgets.IntSlider if isinstance(step, int) else widgets.FloatSlider
        sliders[name] = kind(
            value=value,
            min=low,
            max=high,
            step=step,
            description=name,
            style={"description_width": "9em"},
        )
    image, problem = widgets.Image(format="png"), widgets.Label()

    def follow(_: object = None) -> None:
        try:
            image.value = live.draw({name: slider.value for name, slider in sliders.items()})
            problem.value = ""
        except ParameterError as error:
            problem.value = str(error)

    for slider in sliders.values():
        slider.observe(follow, "value")
    follow()

    class Sliders(widgets.VBox):  # type: ignore[misc, name-defined]
        """The sliders and the picture; a picture alone where widgets cannot be shown."""

        def _repr_mimebundle_(self, **how: Any) -> Any:
            bundle = super()._repr_mimebundle_(**how)
            if isinstance(bundle, dict):
                bundle["image/png"] = bytes(image.value)
            return bundle

    box = Sliders([*sliders.values(), problem, image])
    box.sliders, box.image = sliders, image
    return box
