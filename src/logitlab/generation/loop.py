"""The loop: model, chain, draw, end, for many texts at once, each as if it were alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from logitlab.arrays import FloatArray, IntArray, check_array
from logitlab.checks import ParameterError, Seen
from logitlab.constraints import ToolCall, Tools, remove
from logitlab.generation.endings import Repetition
from logitlab.generation.preparation import Prepared, unspelled
from logitlab.generation.result import Finish, Generation, Piece
from logitlab.generation.stop import StoppedText
from logitlab.models.model import Model, State
from logitlab.numerics import log_softmax, widened
from logitlab.sampling.reports import Logprobs, logprobs
from logitlab.sampling.sample import draw_tokens
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context, GrowingContext, Tally
from logitlab.steps.state import State as ChainState
from logitlab.steps.trace import Trace
from numpy.typing import NDArray

__all__ = ["Loop", "Row"]


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


class Row:
    """A text in the making.

    Parameters
    ----------
    index : int
        Its place among the answers.
    model : Model
    prepared : Prepared
        Its request.
    prompt : ndarray of int64, shape (P,)
    seed, sequence : int
    earlier : Generation, optional
        What there is already of it.
    """

    def __init__(
        self,
        index: int,
        model: Model,
        prepared: Prepared,
        prompt: IntArray,
        seed: int,
        sequence: int,
        earlier: Generation | None = None,
    ) -> None:
        self.index = index
        self.prepared = prepared
        self.prompt = prompt
        self.seed = seed
        self.sequence = sequence
        self.readings = [Reading(prompt)]
        if prepared.guides:
            negative = prepared.negative_prompt
            self.readings.append(Reading(prompt[-1:] if negative is None else negative))
        longest = max(len(reading.prompt) for reading in self.readings)
        room = None if model.context_length is None else model.context_length - longest
        limits = [limit for limit in (prepared.max_tokens, room) if limit is not None]
        if not limits:
            rule = f"given for {model.name}, whose context has no end"
            raise ParameterError("max_tokens", rule, None)
        self.limit = min(limits)
        self.finish: Finish | None = None
        self.error: ParameterError | None = None
        self._model = model
        self._output = np.empty(min(self.limit, 256), np.int64)
        self._count = 0
        if prepared.counts:
            self.everything, self.counts = Tally(prompt), Tally()
        endings = prepared.endings
        self._text = StoppedText(prepared.stop, endings.keeps_stop)
        self.matcher = None
        marks = unspelled(prepared.constraint, model.vocabulary)
        self._unspelled = marks | model.end_ids | endings.silent
        if prepared.constraint is not None:
            self.matcher = prepared.constraint.start(model.vocabulary, endings.end_ids)
        self._reports: list[Logprobs] = []
        self._traces: list[Trace] = []
        self._states: list[ChainState] = [prepared.chain.known(prepared.options.state)]
        self._observed: list[dict[str, float]] = []
        if earlier is not None:
            for token in earlier.tokens.tolist():
                self.add(token)
            if earlier.logprobs is not None:
                self._reports.append(earlier.logprobs)
            self._traces.extend(earlier.traces or ())
            if earlier.states is not None:
                self._states = [*_entries_of(earlier.states)]
                self._observed = _entries_of(earlier.observed or {})

    @property
    def output(self) -> IntArray:
        """The tokens drawn so far."""
        return self._output[: self._count]

    @property
    def chain_state(self) -> ChainState:
        """In which state the next token is drawn."""
        return self._states[-1]

    def observe(self, logprobs: dict[str, float]) -> None:
        """Take the next state, after a token of these log-probabilities."""
        self._states.append(self.prepared.chain.update(self.chain_state, logprobs))
        self._observed.append(logprobs)

    def add(self, token: int, report: Logprobs | None = None, trace: Trace | None = None) -> str:
        """Append a drawn token, see whether it is the last, and return what can be shown."""
        endings = self.prepared.endings
        ended = token in endings.stop_ids or (token in endings.end_ids and not endings.ignores_end)
        if self.matcher is not None and not ended:
            try:
                self.matcher.advance(token)
            except ParameterError as error:
                return self.fail(error)
        if self._count == len(self._output):
            self._output = np.concatenate([self._output, np.empty_like(self._output)])
        self._output[self._count] = token
        self._count += 1
        if self.prepared.counts:
            self.everything.add(token)
            self.counts.add(token)
        if report is not None:
            self._reports.append(report)
        if trace is not None:
            self._traces.append(trace)
        data = b"" if token in self._unspelled else self._model.vocabulary[token]
        shown = self._text.add(data, looks=self._count > endings.min_tokens)
        repeated = endings.repetition(self.output)
        is_over = self._text.settled or ended or repeated is not None
        if is_over or self._count == self.limit:
            shown += self._text.add(b"", final=True)
            self.finish = self._finished(token if ended else None, repeated, not is_over)
        return shown

    def fail(self, error: ParameterError) -> str:
        """End the text, which cannot be continued, and return what can be shown."""
        self.error = error
        sentence = f"The text could not go on after token {self._count} under its constraint: "
        whole = self._is_whole()
        self.finish = Finish("error", "constraint", f"{sentence}{error}", complete=whole)
        return self._text.add(b"", final=True)

    def _is_whole(self) -> bool:
        """Say whether the text is one of its constraint's, as far as that can be told."""
        try:
            return self.matcher is None or self.matcher.is_complete
        except ParameterError:
            return False

    def _finished(self, end: int | None, repeated: Repetition | None, is_cut: bool) -> Finish:
        if self._text.match is not None:
            start, stop = self._text.match
            sentence = f"The stop string {stop!r} was found at character {start}."
            constraint = self.prepared.constraint
            whole = constraint is None or constraint.allows(self._text.shown)
            if not whole:
                sentence += " The text is not complete under its constraint."
            return Finish("stop", "stop string", sentence, stop, is_cut, whole)
        if end is not None:
            label = self._model.vocabulary.label(end)
            if end in self.prepared.endings.stop_ids:
                sentence = f"The stop token {label} was drawn, token {self._count} of the output."
                return Finish("stop", "stop token", sentence, complete=self._is_whole())
            sentence = f"The model ended the text with {label}, its token {self._count}."
            return Finish("stop", "end token", sentence)
        whole = self._is_whole()
        if repeated is not None:
            size, times = repeated
            same = "the same token" if size == 1 else f"the same {size} tokens"
            sentence = f"It ended in {times} times {same}."
            return Finish("repetition", "repetition", sentence, complete=whole)
        if self.prepared.max_tokens == self.limit:
            sentence = f"max_tokens {self.limit} was reached."
            return Finish("length", "max_tokens", sentence, is_cut=is_cut, complete=whole)
        sentence = f"The context of {self._model.context_length} tokens is full."
        return Finish("length", "context", sentence, complete=whole)

    def generation(self) -> Generation:
        """Return what there is: finished, or else interrupted."""
        options = self.prepared.options
        finish = self.finish
        if finish is None:
            self._text.add(b"", final=True)
            sentence = f"Interrupted after token {self._count}: resume goes on from there."
            whole = self._is_whole()
            finish = Finish("interrupted", "interrupted", sentence, complete=whole)
        report = None
        if self.prepared.reported is not None:
            report = _joined(self._reports, self.prepared.top_logprobs)
        text = self._text.shown
        content: str | None = text
        calls: list[ToolCall] = []
        if isinstance(self.prepared.constraint, Tools):
            content, calls = self.prepared.constraint.parse(text)
            if finish.cause == "end token" and calls:
                finish = replace(finish, reason="tool_calls")
        return Generation(
            text=text,
            content=content,
            tool_calls=tuple(calls),
            tokens=self.output.copy(),
            prompt=self.prompt,
            finish=finish,
            seed=self.seed,
            sequence=self.sequence,
            logprobs=report,
            traces=tuple(self._traces) if options.trace else None,
            notes=self.prepared.notes,
            model=self._model.name,
            params=self.prepared.request,
            options=options,
            chain=self.prepared.chain,
            states=_columns_of(self._states[: self._count + 1]),
            observed=_columns_of(self._observed[: self._count]),
        )


def _entries_of(columns: Mapping[str, NDArray[np.float64]]) -> list[dict[str, float]]:
    """Return arrays by name as a map for each of their places."""
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _columns_of(entries: Sequence[ChainState]) -> dict[str, NDArray[np.float64]] | None:
    """Return maps with the same keys as one array for each; None where there are no keys."""
    names = entries[0].keys() if entries else ()
    return {name: np.array([entry[name] for entry in entries]) for name in names} or None


def _joined(reports: Sequence[Logprobs], top: int) -> Logprobs:
    """Return the reports of all tokens as one."""
    none = Logprobs(np.empty(0), np.empty((0, top), np.int64), np.empty((0, top)))
    parts = [none, *reports]
    return Logprobs(
        np.concatenate([np.atleast_1d(part.logprobs) for part in parts]),
        np.concatenate([np.atleast_2d(part.top_tokens) for part in parts]),
        np.concatenate([np.atleast_2d(part.top_logprobs) for part in parts]),
    )


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
        self.expected = sum(row.limit - len(row.output) for row in rows)
        self._batch_size = batch_size
        self._waiting = deque(row for row in rows if row.finish is None)
        self._active: list[Row] = []

    @property
    def is_done(self) -> bool:
        """Whether no row is left."""
        return not (self._waiting or self._active)

    def step(self) -> list[Piece]:
        """Draw one token for each active row."""
        while self._waiting and len(self._active) < self._batch_size:
            self._active.append(self._waiting.popleft())
        asked = [(row.readings[0], row.output) for row in self._active]
        guided = {
            place: len(asked) + i
            for i, place in enumerate(
                place for place, row in enumerate(self._active) if row.prepared.guides
            )
        }
        asked += [(self._active[place].readings[1], self._active[place].output) for place in guided]
        logits = self._logits(asked)
        pieces: list[Piece] = []
        groups: dict[int, list[int]] = {}
        for place, row in enumerate(self._active):
            groups.setdefault(id(row.prepared), []).append(place)
        for places in groups.values():
            rows = [self._active[place] for place in places]
            here = logits if len(rows) == len(logits) else logits[places]
            other = logits[[guided[place] for place in places]] if rows[0].prepared.guides else None
            pieces += self._drawn(rows, here, other)
        self.drawn += sum(piece.token is not None for piece in pieces)
        self.expected -= sum(row.limit - len(row.output) for row in self._active if row.finish)
        for row in self._active:
            if row.finish:
                row.readings, row.matcher = [], None  # what is kept of a text can be large
        self._active = [row for row in self._active if row.finish is None]
        return sorted(pieces, key=lambda piece: piece.index)

    def _logits(self, asked: Sequence[tuple[Reading, IntArray]]) -> FloatArray:
        """Return the logits of the next token of each reading, after its output."""
        states: list[State] = []
        tokens: list[Sequence[int]] = []
        leaders: dict[bytes, int] = {}  # the texts that begin with a prompt share its reading
        places: list[int] = []
        followers: list[tuple[Reading, State]] = []
        for reading, output in asked:
            if reading.state is not None:
                feed: Sequence[int] = [int(output[-1])]
            elif len(output):
                feed = self._replay(reading, output)
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
        return widened(logits if places == list(range(len(states))) else logits[places])

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
        report = None
        if prepared.reported is not None:
            report = logprobs(
                logits if prepared.is_raw else allowed,
                tokens,
                chain if prepared.reported is prepared.chain else prepared.reported,
                context=context,
                mode="processed",
                top_logprobs=prepared.top_logprobs,
            )
        for place, (row, token) in enumerate(zip(rows, tokens.tolist(), strict=True)):
            own = report and report.at(place)
            trace = None
            if prepared.options.trace:
                avoided = None if other is None else other[place]
                before = Context(row.prompt, row.output, avoided)
                trace = prepared.chain.at(states[place]).trace(allowed[place], before)
            shown = row.add(token, own, trace)
            if row.error:
                pieces.append(Piece(row.index, shown, None, None, row.generation()))
                continue
            whole = row.generation() if row.finish else None
            pieces.append(Piece(row.index, shown, token, own, whole))
        return pieces

    def _choose(
        self,
        rows: Sequence[Row],
        logits: FloatArray,
        allowed: FloatArray,
        chain: Chain,
        context: Context | None,
    ) -> IntArray:
        prepared = rows[0].prepared
        sequence = np.array([[row.sequence] for row in rows])
        position = np.array([[len(row.output)] for row in rows])
        observed = prepared.chain.observed
        counts = {count for count in observed.values() if count is not None}
        stages = {count: np.empty(position.shape) for count in counts}
        tokens = draw_tokens(
            allowed,
            chain,
            context,
            [row.seed for row in rows],
            sequence,
            position,
            prepared.options.coupling,
            logprobs=stages,
        )
        if observed:
            raw = np.empty(position.shape)
            if None in observed.values():
                raw = np.take_along_axis(log_softmax(logits), tokens, axis=-1)
            parts = {name: raw if c is None else stages[c] for name, c in observed.items()}
            for place, row in enumerate(rows):
                row.observe({name: float(part[place, 0]) for name, part in parts.items()})
        return tokens[:, 0]


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
