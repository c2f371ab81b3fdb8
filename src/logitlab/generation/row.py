"""A text in the making: what it is to become, what there is of it, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from logitlab.arrays import IntArray
from logitlab.checks import ParameterError
from logitlab.constraints import ToolCall, Tools
from logitlab.generation.endings import Repetition
from logitlab.generation.preparation import Prepared, unspelled
from logitlab.generation.result import Finish, Generation
from logitlab.generation.stop import StoppedText
from logitlab.models.model import Model, State
from logitlab.sampling.logprobs import Logprobs
from logitlab.steps.growing import Tally
from logitlab.steps.state import State as ChainState
from logitlab.steps.trace import Trace
from numpy.typing import NDArray

__all__ = ["Reading", "Row"]


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

    Attributes
    ----------
    length : int
        How many tokens were drawn.
    finish : Finish or None
        Why it ended, once it has.
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
        self.length = 0
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
        return self._output[: self.length]

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
        if self.length == len(self._output):
            self._output = np.concatenate([self._output, np.empty_like(self._output)])
        self._output[self.length] = token
        self.length += 1
        if self.prepared.counts:
            self.everything.add(token)
            self.counts.add(token)
        if report is not None:
            self._reports.append(report)
        if trace is not None:
            self._traces.append(trace)
        data = b"" if token in self._unspelled else self._model.vocabulary[token]
        shown = self._text.add(data, looks=self.length > endings.min_tokens)
        repeated = endings.repetition(self.output) if endings.pattern else None
        is_over = self._text.settled or ended or repeated is not None
        if is_over or self.length == self.limit:
            shown += self._text.add(b"", final=True)
            self.finish = self._finished(token if ended else None, repeated, not is_over)
        return shown

    def fail(self, error: ParameterError) -> str:
        """End the text, which cannot be continued, and return what can be shown."""
        self.error = error
        sentence = f"The text could not go on after token {self.length} under its constraint: "
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
                sentence = f"The stop token {label} was drawn, token {self.length} of the output."
                return Finish("stop", "stop token", sentence, complete=self._is_whole())
            sentence = f"The model ended the text with {label}, its token {self.length}."
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
            sentence = f"Interrupted after token {self.length}: resume goes on from there."
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
            states=_columns_of(self._states[: self.length + 1]),
            observed=_columns_of(self._observed[: self.length]),
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
