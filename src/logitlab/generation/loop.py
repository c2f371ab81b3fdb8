"""The loop: model, chain, draw, end, for many texts at once, each as if it were alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from logitlab.arrays import FloatArray, IntArray, check_array
from logitlab.checks import ParameterError, Seen
from logitlab.constraints import remove
from logitlab.generation.result import Piece
from logitlab.models.model import Model, State
from logitlab.numerics import log_softmax, widened
from logitlab.sampling.logprobs import Logprobs, logprobs_of
from logitlab.sampling.sample import draw_tokens
from logitlab.sampling.sampler import Drawer
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.growing import GrowingContext

if TYPE_CHECKING:
    from logitlab.generation.row import Reading, Row

__all__ = ["Loop"]


class Loop:
    """Rows on their way, at most ``batch_size`` at a time; one that is finished makes room.

    Parameters
    ----------
    model : Model
    rows : sequence of Row
    batch_size : int

    Attributes
    ----------
    drawn, expected : int
        Tokens drawn so far, and how many it can be in the end.
    """

    def __init__(self, model: Model, rows: Sequence[Row], batch_size: int) -> None:
        self.model = model
        self.rows = rows
        self.drawn = 0
        self.expected = sum(row.limit - row.length for row in rows)
        self._batch_size = batch_size
        self._waiting = deque(row for row in rows if row.finish is None)
        self._active: list[Row] = []
        self._drawers: dict[int, Drawer] = {}  # of each request without states

    @property
    def is_done(self) -> bool:
        """Whether no row is left."""
        return not (self._waiting or self._active)

    def step(self) -> list[Piece]:
        """Draw one token for each active row."""
        while self._waiting and len(self._active) < self._batch_size:
            self._active.append(self._waiting.popleft())
        active = self._active
        guided = [row for row in active if row.prepared.guides]
        logits = self._logits(
            [(row.readings[0], row) for row in active] + [(row.readings[1], row) for row in guided]
        )
        groups: dict[int, list[int]] = {}
        for place, row in enumerate(active):
            groups.setdefault(id(row.prepared), []).append(place)
        pieces: list[Piece] = []
        for places in groups.values():
            rows, here, other = active, logits, None
            if len(places) < len(logits):
                rows, here = [active[place] for place in places], logits[places]
            if rows[0].prepared.guides:
                other = logits[[len(active) + guided.index(row) for row in rows]]
            pieces += self._drawn(rows, here, other)
        self.drawn += sum(piece.token is not None for piece in pieces)
        for row in active:
            if row.finish:
                self.expected -= row.limit - row.length
                row.readings, row.matcher = [], None  # what is kept of a text can be large
        self._active = [row for row in active if row.finish is None]
        return sorted(pieces, key=lambda piece: piece.index) if len(pieces) > 1 else pieces

    def _logits(self, asked: Sequence[tuple[Reading, Row]]) -> FloatArray:
        """Return the logits of the next token of each reading, after the row's output."""
        states: list[State] = []
        tokens: list[Sequence[int]] = []
        leaders: dict[bytes, int] = {}  # the texts that begin with a prompt share its reading
        places: list[int] = []
        followers: list[tuple[Reading, State]] = []
        for reading, row in asked:
            if reading.state is not None:
                feed: Sequence[int] = [int(row.output[-1])]
            elif row.length:
                feed = self._replay(reading, row.output)
            else:
                key = reading.prompt.tobytes()
                if key in leaders:
                    places.append(leaders[key])
                    followers.append((reading, states[leaders[key]]))
                    continue
                leaders[key] = len(states)
                reading.state, feed = self.model.start(), reading.prompt.tolist()
            assert reading.state is not None
            places.append(len(states))
            states.append(reading.state)
            tokens.append(feed)
        logits = check_array(self.model.advance(states, tokens), "the model's logits")
        expected = len(states), len(self.model.vocabulary)
        if logits.shape != expected:
            rule = f"of shape {expected}, one row for each text"
            raise ParameterError("the model's logits", rule, Seen(f"shape {logits.shape}"))
        for reading, state in followers:
            reading.state = state.copy()
        return widened(logits[places] if followers else logits)

    def _replay(self, reading: Reading, output: IntArray) -> Sequence[int]:
        """Feed all but the last token as they were fed before, and return that one."""
        reading.state = self.model.start()
        feeds: list[list[int]] = [reading.prompt.tolist(), *([token] for token in output.tolist())]
        for feed in feeds[:-1]:
            self.model.advance([reading.state], [feed])
        return feeds[-1]

    def _drawn(
        self, rows: Sequence[Row], logits: FloatArray, other: FloatArray | None
    ) -> list[Piece]:
        """Draw a token for each of some rows of the same request, with what guidance avoids."""
        prepared = rows[0].prepared
        allowed = logits
        pieces: list[Piece] = []
        if prepared.constraint is not None:
            allowed, places, pieces = _masked(rows, logits)
            if not places:
                return pieces
            if pieces:
                rows, logits, allowed = [rows[i] for i in places], logits[places], allowed[places]
                other = None if other is None else other[places]
        context = None
        if prepared.counts:
            context = GrowingContext(
                [row.prompt for row in rows],
                [row.output for row in rows],
                [row.everything for row in rows],
                [row.counts for row in rows],
                other,
            )
        chain, states = prepared.chain, [row.chain_state for row in rows]
        if chain.stateful:
            chain = chain.at({name: [each[name] for each in states] for name in chain.stateful})
        try:
            tokens = self._choose(rows, logits, allowed, chain, context)
        except ParameterError as error:
            raise error.inside(f"the logits of {self.model.name}") from None
        reports: Sequence[Logprobs | None] = [None] * len(rows)
        if prepared.reported is not None:
            reports = logprobs_of(
                logits if prepared.is_raw else allowed,
                tokens,
                chain if prepared.reported is prepared.chain else prepared.reported.at(),
                context,
                prepared.top_logprobs,
            )
        for place, (row, token) in enumerate(zip(rows, tokens[:, 0].tolist(), strict=True)):
            trace = None
            if prepared.options.trace:
                avoided = None if other is None else other[place]
                before = Context(row.prompt, row.output, avoided)
                trace = prepared.chain.at(states[place]).trace(allowed[place], before)
            shown = row.add(token, reports[place], trace)
            if row.error:
                pieces.append(Piece(row.index, shown, None, None, row.generation()))
                continue
            whole = row.generation() if row.finish else None
            pieces.append(Piece(row.index, shown, token, reports[place], whole))
        return pieces

    def _choose(
        self,
        rows: Sequence[Row],
        logits: FloatArray,
        allowed: FloatArray,
        chain: Chain,
        context: Context | None,
    ) -> IntArray:
        """Return a token for each row, shape (n, 1), and let the rows see it."""
        prepared = rows[0].prepared
        seeds = [row.seed for row in rows]
        places = [(row.sequence, row.length) for row in rows]
        observed, coupling = prepared.observed, prepared.options.coupling
        if not observed:
            drawer = self._drawers.get(id(prepared))
            if drawer is None:
                drawer = Drawer(prepared.resolved, allowed.shape[-1])
                self._drawers[id(prepared)] = drawer
            return drawer.draw_rows(allowed, context, seeds, places, coupling)
        sequence, position = np.array(places, np.int64).T[:, :, None]
        counts = {count for count in observed.values() if count is not None}
        stages = {count: np.empty(position.shape) for count in counts}
        tokens = draw_tokens(
            allowed, chain, context, seeds, sequence, position, coupling, logprobs=stages
        )
        raw = np.empty(position.shape)
        if None in observed.values():
            raw = np.take_along_axis(log_softmax(logits), tokens, axis=-1)
        parts = {name: raw if c is None else stages[c] for name, c in observed.items()}
        for place, row in enumerate(rows):
            row.observe({name: float(part[place, 0]) for name, part in parts.items()})
        return tokens


def _masked(rows: Sequence[Row], logits: FloatArray) -> tuple[FloatArray, list[int], list[Piece]]:
    """Leave the tokens that each row's constraint lets come next.

    Return the logits, the places of the rows that go on, and the last pieces of those that cannot.
    """
    masked = logits.copy()
    places: list[int] = []
    pieces: list[Piece] = []
    for place, (row, line) in enumerate(zip(rows, masked, strict=True)):
        assert row.matcher is not None
        try:
            remove(line, row.matcher.allowed())
            if line.max() == -np.inf:
                rule = "finite for a token that the constraint allows"
                raise ParameterError("logits", rule, Seen("only -inf among them"))
            places.append(place)
        except ParameterError as error:
            pieces.append(Piece(row.index, row.fail(error), None, None, row.generation()))
    return masked, places, pieces
