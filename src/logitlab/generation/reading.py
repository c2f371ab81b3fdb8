"""A model reads texts: prompts in one go, and then token by token, many texts at a time."""

from __future__ import annotations

from collections.abc import Sequence

from logitlab.arrays import FloatArray, IntArray, check_array
from logitlab.checks import ParameterError, Seen
from logitlab.models.model import Model, State
from logitlab.numerics import widened

__all__ = ["Reading", "next_logits"]


class Reading:
    """What a model has read of a text: a prompt, and the output.

    Attributes
    ----------
    prompt : ndarray of int64, shape (P,)
    state : State or None
        None before the first token, and where it has to be read anew.
    """

    def __init__(self, prompt: IntArray) -> None:
        self.prompt = prompt
        self.state: State | None = None


def next_logits(model: Model, asked: Sequence[tuple[Reading, IntArray]]) -> FloatArray:
    """Return the logits of the next token of each text.

    Every text is read in the same pieces, whoever asks: so its logits are the same bits also where
    a model's depend on the pieces.

    Parameters
    ----------
    model : Model
    asked : sequence of n pairs
        A reading, and all the output after its prompt, of which the last token is new to it.

    Returns
    -------
    ndarray of float32 or float64, shape (n, V)

    Raises
    ------
    ParameterError
        For logits of another shape.
    """
    states: list[State] = []
    tokens: list[Sequence[int]] = []
    leaders: dict[bytes, int] = {}  # the texts that begin with a prompt share its reading
    places: list[int] = []
    followers: list[tuple[Reading, State]] = []
    for reading, output in asked:
        if reading.state is not None:
            feed: Sequence[int] = [int(output[-1])]
        elif len(output):
            feed = _replay(model, reading, output)
        else:
            key = reading.prompt.tobytes()
            if key in leaders:
                places.append(leaders[key])
                followers.append((reading, states[leaders[key]]))
                continue
            leaders[key] = len(states)
            reading.state, feed = model.start(), reading.prompt.tolist()
        assert reading.state is not None
        places.append(len(states))
        states.append(reading.state)
        tokens.append(feed)
    logits = check_array(model.advance(states, tokens), "the model's logits")
    expected = len(states), len(model.vocabulary)
    if logits.shape != expected:
        rule = f"of shape {expected}, one row for each text"
        raise ParameterError("the model's logits", rule, Seen(f"shape {logits.shape}"))
    for reading, state in followers:
        reading.state = state.copy()
    return widened(logits[places] if followers else logits)


def _replay(model: Model, reading: Reading, output: IntArray) -> Sequence[int]:
    """Feed all but the last token as they were fed before, and return that one."""
    reading.state = model.start()
    feeds: list[list[int]] = [reading.prompt.tolist(), *([token] for token in output.tolist())]
    for feed in feeds[:-1]:
        model.advance([reading.state], [feed])
    return feeds[-1]
