"""Text on a terminal, every token in the colour of its probability."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Collection, Sequence

from logitlab.vocabulary import Vocabulary

__all__ = ["coloured", "has_colours"]

# From hardly likely to certain, on a logarithmic scale: magenta, red, blue, grey. The ground of a
# terminal may be any, and these are four of the six among its 240 fixed colours that have a
# contrast of 4.5 (WCAG 2.2, 1.4.3) on white and on black. The colour-blind can tell them apart,
# too, and the rarest are underlined, the last of them bold.
_COLOURS = ((0.001, "163;4;1"), (0.01, "163;4"), (0.1, "131"), (0.5, "63"), (1.0, "243"))


def has_colours() -> bool:
    """Whether standard output shows colours, and wants to."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def coloured(
    tokens: Sequence[int],
    probabilities: Sequence[float],
    vocabulary: Vocabulary,
    length: int,
    marked: Collection[int] = (),
) -> str:
    """Return the text of tokens, each in the colour of its probability, and what these mean.

    Parameters
    ----------
    tokens, probabilities : sequences of equal length
    vocabulary : Vocabulary
    length : int
        How many characters are shown.
    marked : collection of int
        The places of tokens that stand out: in reversed colours.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    parts, lowest, stands_out, left = [], 1.0, False, length
    for i, (token, probability) in enumerate(zip(tokens, probabilities, strict=True)):
        data = b"" if token in vocabulary.special else vocabulary[token]
        # A character of several tokens is as likely as the least likely of them.
        lowest, stands_out = min(lowest, probability), stands_out or i in marked
        text = decoder.decode(data, final=i == len(tokens) - 1)[:left]
        if text:
            parts.append(_paint(text, lowest, stands_out))
            lowest, stands_out, left = 1.0, False, left - len(text)
    legend = "  ".join(_paint(f"{limit:g}", limit) for limit, _ in _COLOURS)
    return f"{''.join(parts)}\n\nprobability of each token, up to: {legend}"


def _paint(text: str, probability: float, stands_out: bool = False) -> str:
    colour = next(colour for limit, colour in _COLOURS if probability <= limit + 1e-9)
    return f"\x1b[{'7;' if stands_out else ''}38;5;{colour}m{text}\x1b[0m"
