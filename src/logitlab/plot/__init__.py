"""Pictures of distributions, traces, engines, generations and evidence, with matplotlib.

Every function takes ``ax`` and returns it, or makes new axes that pyplot does not know. Tokens are
labelled so that the eye can tell them apart, and no text is taken for mathematics. What is kept
is blue and what is removed grey and hatched, and each engine has one colour, in every picture;
on a dark ground the ink is light.

In a figure without a layout, as of a plain ``plt.subplots(2, 2)``, axes are moved so that titles
and labels stay within their part of the figure. Ask for a layout when the figure is made,
``plt.subplots(2, 2, layout="constrained")``, and not afterwards.
"""

from logitlab.plot.columns import engines, trace
from logitlab.plot.distribution import distribution, draws, ranks
from logitlab.plot.evidence import evidence
from logitlab.plot.generation import generation
from logitlab.plot.interactive import interactive
from logitlab.plot.penalties import penalties
from logitlab.plot.state import state
from logitlab.plot.style import axes
from logitlab.plot.sweep import sweep

__all__ = [
    "axes",
    "distribution",
    "draws",
    "engines",
    "evidence",
    "generation",
    "interactive",
    "penalties",
    "ranks",
    "state",
    "sweep",
    "trace",
]
