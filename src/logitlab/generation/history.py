"""What a draw after a text looks at: its tokens, counted as they come, its states, its luck."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from logitlab.arrays import FloatArray, IntArray
from logitlab.numerics import log_softmax
from logitlab.sampling.sample import draw_tokens
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.growing import GrowingContext, Tally
from logitlab.steps.state import State

if TYPE_CHECKING:
    from logitlab.sampling.sampler import Drawer

__all__ = ["History", "at_states", "context_of", "draw_after"]


class History:
    """A text that grows by a token at a time, each step in the time of one token.

    Parameters
    ----------
    prompt : ndarray of int64, shape (P,)
    seed, sequence : int
        What its tokens are drawn with.
    state : mapping of str to float
        Of the chain, at the first token.
    counts : bool
        Whether a step looks at the tokens so far.
    room : int
        For so many tokens at first.

    Attributes
    ----------
    length : int
        How many tokens the output has.
    """

    def __init__(
        self,
        prompt: IntArray,
        seed: int,
        sequence: int,
        state: State,
        counts: bool,
        room: int = 256,
    ) -> None:
        self.prompt = prompt
        self.seed = seed
        self.sequence = sequence
        self.length = 0
        self._output = np.empty(room, np.int64)
        self._states: list[State] = [state]
        self._is_counted = counts
        if counts:
            self.everything, self.counts = Tally(prompt), Tally()

    @property
    def output(self) -> IntArray:
        """The tokens after the prompt, so far."""
        return self._output[: self.length]

    @property
    def chain_state(self) -> State:
        """In which state the next token is drawn."""
        return self._states[-1]

    def append(self, token: int) -> None:
        """Take the next token."""
        if self.length == len(self._output):
            self._output = np.concatenate([self._output, np.empty_like(self._output)])
        self._output[self.length] = token
        self.length += 1
        if self._is_counted:
            self.everything.add(token)
            self.counts.add(token)

    def advance(self, chain: Chain, logprobs: dict[str, float]) -> None:
        """Take the next state of a chain, after a token of these log-probabilities."""
        self._states.append(chain.update(self.chain_state, logprobs))


def context_of(texts: Sequence[History], unconditional: FloatArray | None = None) -> Context:
    """Return what the steps of a chain look at beside the logits, for a row of each text."""
    return GrowingContext(
        [text.prompt for text in texts],
        [text.output for text in texts],
        [text.everything for text in texts],
        [text.counts for text in texts],
        unconditional,
    )


def at_states(chain: Chain, texts: Sequence[History]) -> Chain:
    """Return a chain in the states of some texts, one for each row."""
    if not chain.stateful:
        return chain
    states = [text.chain_state for text in texts]
    return chain.at({name: [each[name] for each in states] for name in chain.stateful})


def draw_after(
    texts: Sequence[History],
    logits: FloatArray,
    allowed: FloatArray,
    drawer: Drawer,
    chain: Chain,
    context: Context | None,
    coupling: str,
    observed: dict[str, int | None],
) -> tuple[IntArray, list[dict[str, float]]]:
    """Return a token after each text, and the log-probabilities that its states look at.

    Parameters
    ----------
    texts : sequence of n History
    logits : ndarray, shape (n, V)
        The model's own.
    allowed : ndarray, shape (n, V)
        Those that are drawn from, without what a constraint removes.
    drawer : Drawer
        What draws where there are no states.
    chain : Chain
        In the states of the texts.
    context : Context or None
    coupling : str
    observed : mapping of str to int or None
        As of `Chain.observed`.

    Returns
    -------
    ndarray of int64, shape (n, 1)
    list of mapping of str to float
        One for each text; empty without states.
    """
    seeds = [text.seed for text in texts]
    places = [(text.sequence, text.length) for text in texts]
    if not observed:
        return drawer.draw_rows(allowed, context, seeds, places, coupling), []
    sequence, position = np.array(places, np.int64).T[:, :, None]
    counts = {count for count in observed.values() if count is not None}
    stages = {count: np.empty(position.shape) for count in counts}
    tokens = draw_tokens(
        allowed, chain, context, seeds, sequence, position, coupling, logprobs=stages
    )
    raw: Any = None
    if None in observed.values():
        raw = np.take_along_axis(log_softmax(logits), tokens, axis=-1)
    parts = {name: raw if c is None else stages[c] for name, c in observed.items()}
    seen = [{name: float(x[place, 0]) for name, x in parts.items()} for place in range(len(texts))]
    return tokens, seen
