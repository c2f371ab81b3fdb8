"""Colours: of light and dark grounds, of series, and one for each engine.

Those of series are Okabe and Ito's, which people with any kind of colour vision can tell apart;
what they distinguish is told a second time by a hatch, a marker, a stroke or a word.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import to_rgb

__all__ = ["DARK", "LIGHT", "PALETTE", "REMOVED_HATCH", "Look", "engine_color", "ink_on", "look_on"]

PALETTE = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
}
"""M. Okabe and K. Ito, "Color Universal Design", 2008, https://jfly.uni-koeln.de/color/"""

REMOVED_HATCH = "////"


class Look(NamedTuple):
    """The colours that go with a ground.

    Attributes
    ----------
    ground : str
        The ground itself.
    ink : str
        Text and outlines.
    faint : str
        What should be seen last: grid lines, notes.
    kept, removed : str
        Tokens that a chain leaves, and those that it removes.
    series : tuple of str
        For lines beside each other.
    """

    ground: str
    ink: str
    faint: str
    kept: str
    removed: str
    series: tuple[str, ...]

    @property
    def hatch(self) -> dict[str, Any]:
        """How bars and patches of what is removed look."""
        return {"facecolor": self.ground, "edgecolor": self.removed, "hatch": REMOVED_HATCH}


LIGHT = Look(
    ground="#FFFFFF",
    ink="#222222",
    faint="#6B6B6B",
    kept=PALETTE["blue"],
    removed="#BBBBBB",
    series=tuple(
        PALETTE[name] for name in ("blue", "vermilion", "green", "purple", "orange", "sky")
    ),
)
DARK = Look(
    ground="#0D1117",
    ink="#E6E6E6",
    faint="#9BA3AD",
    kept=PALETTE["sky"],
    removed="#5B626B",
    series=tuple(
        PALETTE[name] for name in ("sky", "orange", "green", "purple", "yellow", "vermilion")
    ),
)

# One colour for each family; a variant has that of the engine it is a variant of. Okabe and Ito's
# yellow is hardly seen on white, and they have no more than seven: the last five were searched for
# among all colours of 16 levels for each channel, so that any two engines differ by more than 10
# (CIEDE2000) to every kind of colour vision, and each by a contrast of 2 from either ground.
_ENGINE_COLORS = {
    "openai": "#6B6B6B",
    "vllm": PALETTE["blue"],
    "sglang": PALETTE["orange"],
    "transformers": PALETTE["purple"],
    "llama": PALETTE["green"],
    "mlx": PALETTE["vermilion"],
    "kobold": PALETTE["sky"],
    "ollama": "#88BB77",
    "aphrodite": "#CCAAAA",
    "exllama": "#8877FF",
    "tabby": "#8877FF",
    "tgi": "#885544",
    "textgen": "#BB2211",
}


def ink_on(color: Any) -> str:
    """Return black or white, whichever has the higher contrast: 4.58 at least (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return "#000000" if np.dot(linear, [0.2126, 0.7152, 0.0722]) > 0.179 else "#FFFFFF"


def look_on(color: Any) -> Look:
    """Return the colours for a ground of that colour."""
    return DARK if ink_on(color) == "#FFFFFF" else LIGHT


def engine_color(name: str, look: Look) -> str:
    """Return the colour of an engine: the same in every picture, ink for ``openrouter``."""
    for family, color in _ENGINE_COLORS.items():
        if name.startswith(family):
            return color
    return look.ink
