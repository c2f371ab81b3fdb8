"""Pictures of distributions, traces, engines and generations, with matplotlib.

Every function takes ``ax`` and returns it, or makes new axes that pyplot does not know. Tokens are
labelled so that the eye can tell them apart, and no text is taken for mathematics. What is kept
is blue and what is removed grey and hatched, and each engine has one colour, in every picture;
on a dark ground the ink is light.
"""

from logitlab.plot.columns import engines, trace
from logitlab.plot.distribution import distribution, draws, ranks
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
    "generation",
    "interactive",
    "penalties",
    "ranks",
    "state",
    "sweep",
    "trace",
]
