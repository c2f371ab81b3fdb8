"""The loop: model, chain, draw, end, for many texts at once, each as if it were alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from logitlab.arrays import FloatArray, IntArray
from logitlab.checks import ParameterError, Seen
from logitlab.constraints import remove
from logitlab.generation.history import at_states, context_of, draw_after
from logitlab.generation.observing import observed
from logitlab.generation.reading import next_logits
from logitlab.generation.result import Piece
from logitlab.models.model import Model
from logitlab.sampling.logprobs import Logprobs, logprobs_of
from logitlab.sampling.sampler import Drawer
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context

if TYPE_CHECKING:
    from logitlab.generation.preparation import Prepared
    from logitlab.generation.row import Row

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
        # Of each request without states, as long as there is one.
        self._drawers: WeakKeyDictionary[Prepared, Drawer] = WeakKeyDictionary()

    @property
    def is_done(self) -> bool:
        """Whether no row is left."""
        return not (self._waiting or self._active)

    def step(self) -> list[Piece]:
        """Draw one token for each active row."""
        while self._waiting and len(self._active) < self._batch_size:
            self._active.append(self._waiting.popleft())
        active = self._active
        pieces = self.draw(active)
        self.drawn += sum(piece.token is not None for piece in pieces)
        for row in active:
            if row.finish:
                self.expected -= row.limit - row.length
        self._active = [row for row in active if row.finish is None]
        return pieces

    def draw(
        self, rows: Sequence[Row], broken: list[tuple[Row, Exception]] | None = None
    ) -> list[Piece]:
        """Draw one token for each of some rows, whoever chose them, in the order of their index.

        Parameters
        ----------
        rows : sequence of Row
            None of them finished. Which rows come together may change from token to token.
        broken : list, optional
            Where it is given, what goes wrong with a row is appended to it, and the others go on
            as if that row had not been there; without it an error is raised.
        """
        if broken is None:
            return self._drawn_together(rows, None)
        try:
            return self._drawn_together(rows, broken)
        except Exception:  # the model's: which row it was is found out by asking each alone
            pieces: list[Piece] = []
            for row in rows:
                for reading in row.readings:
                    reading.state = None  # it may have been left half way: it is read anew
                try:
                    pieces += self._drawn_together([row], broken)
                except Exception as error:
                    broken.append((row, error))
            return pieces

    def _drawn_together(
        self, active: Sequence[Row], broken: list[tuple[Row, Exception]] | None
    ) -> list[Piece]:
        """Read all rows at once, and draw for those of each request; raise what the model does."""
        guided = [row for row in active if row.prepared.guides]
        asked = [(row.readings[0], row.output) for row in active]
        asked += [(row.readings[1], row.output) for row in guided]
        logits = next_logits(self.model, asked)
        groups: dict[tuple[int, int], list[int]] = {}
        for place, row in enumerate(active):
            alone = -1 if row.forced is None else place
            groups.setdefault((id(row.prepared), alone), []).append(place)
        pieces: list[Piece] = []
        for places in groups.values():
            rows, here, other = active, logits, None
            if len(places) < len(logits):
                rows, here = [active[place] for place in places], logits[places]
            if rows[0].prepared.guides:
                other = logits[[len(active) + guided.index(row) for row in rows]]
            try:
                pieces += self._drawn(rows, here, other)
            except Exception as error:
                if broken is None:
                    raise
                broken += [(row, error) for row in rows]
        for row in active:
            if row.finish:
                row.readings, row.matcher = [], None  # what is kept of a text can be large
        return sorted(pieces, key=lambda piece: piece.index) if len(pieces) > 1 else pieces

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
            context = context_of(rows, other)
        chain, states = at_states(prepared.chain, rows), [row.chain_state for row in rows]
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
        if rows[0].forced is not None:
            return _forced(rows[0], logits, allowed, chain, context)
        drawer = self._drawers.get(prepared)
        if drawer is None:
            drawer = self._drawers[prepared] = Drawer(prepared.resolved, allowed.shape[-1])
        coupling, observed = prepared.options.coupling, prepared.observed
        tokens, seen = draw_after(rows, logits, allowed, drawer, chain, context, coupling, observed)
        if seen:
            for row, logprobs in zip(rows, seen, strict=True):
                row.observe(logprobs)
        return tokens


def _forced(
    row: Row, logits: FloatArray, allowed: FloatArray, chain: Chain, context: Context | None
) -> IntArray:
    """Return the token that is to come next whatever its probability, shape (1, 1)."""
    assert row.forced is not None
    tokens = row.forced[row.length : row.length + 1, None]
    numbers = observed(row.prepared, row.seed, row.place, logits, allowed, tokens, chain, context)
    if numbers is not None:
        row.observe(numbers)
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
