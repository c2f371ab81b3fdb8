"""The state of mirostat or adaptive-p over a text, beside what was drawn."""

from __future__ import annotations

import logitlab.plot.style as style
import numpy as np
from logitlab.checks import ParameterError, check_choice
from logitlab.generation.result import Generation
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

__all__ = ["state"]


def state(answer: Generation, *, step: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw what a step with a state aimed at, token by token, and what each token was.

    Of mirostat mu, tau and the surprise of every token in bits; of adaptive-p its aim, its target
    and the probability of every token. A line is the mean so far, which comes near to the target.

    Parameters
    ----------
    answer : Generation
        Of a request with ``mirostat`` or ``adaptive_target``.
    step : str, optional
        Which step, "mirostat" or "adaptive_p", where there are several.
    ax : matplotlib.axes.Axes, optional
        As of `plot.distribution`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For a generation of no such step, or of no token.

    Examples
    --------
    >>> import logitlab as ll
    >>> model = ll.models.NGram.bundled()
    >>> answer = ll.generate(model, "Once", {"mirostat": 2}, seed=7, max_tokens=50)
    >>> ax = ll.plot.state(answer)
    >>> ax.get_title(loc="left")
    'mirostat: the mean surprise of 12 tokens is 3.35, the target τ is 5'
    """
    if not isinstance(answer, Generation):
        raise ParameterError("answer", "a Generation, as by generate", answer)
    steps = {each.name: each for each in answer.chain.stateful.values()}
    if not steps or answer.states is None or answer.observed is None:
        hint = "Ask for mirostat or adaptive_target."
        raise ParameterError("answer", "of a step with a state, and of tokens", answer, hint)
    if step is not None:
        check_choice("step", step, steps)
    name = next(iter(steps)) if step is None else step
    before = {key: numbers[:-1] for key, numbers in answer.states.items()}
    course = steps[name].course(before, answer.observed[name])
    count = len(course.seen)
    ax, look = style.canvas(ax, 8, 3.6)
    x = np.arange(1, count + 1)
    means = np.cumsum(course.seen) / x
    color, second = look.series[:2]
    marker = "" if count > 1 else "_"
    [dots] = ax.plot(x, course.seen, ls="", marker="o", ms=3.5, color=look.faint, alpha=0.7)
    [limit] = ax.plot(x, course.limit, color=color, linewidth=1.8, marker=marker)
    [mean] = ax.plot(x, means, color=second, linewidth=1.8, ls="--", marker=marker)
    goal = ax.axhline(course.target, color=look.ink, linewidth=1, ls=":")
    ax.set(xlabel="token", ylabel=course.quantity, xlim=(0.5, count + 0.5))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    quantity, word = course.quantity.split(",")[0], course.target_word
    target = word if word == "target" else f"target {word}"
    title = f"{name}: the mean {quantity} of {count} token{'s' * (count != 1)} is {means[-1]:.2f}"
    title += f", the {target} is {course.target:g}"
    names = ["each token", f"{course.word}, moved by every token", "mean so far", target]
    style.legend(ax, title, [dots, limit, mean, goal], names)
    return ax
