"""A text in the making: what it is to become, what there is of it, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from logitlab.arrays import IntArray
from logitlab.checks import MOST_TEXTS, ParameterError, Seen
from logitlab.constraints import ToolCall, Tools
from logitlab.draw import resolve_seed
from logitlab.foreign import is_array
from logitlab.generation.endings import Repetition
from logitlab.generation.history import History
from logitlab.generation.options import Options
from logitlab.generation.preparation import Prepared, prepare, unspelled
from logitlab.generation.prompts import are_prompts, prompt_ids
from logitlab.generation.reading import Reading
from logitlab.generation.result import Finish, Generation
from logitlab.generation.stop import StoppedText
from logitlab.models.model import Model, check_model
from logitlab.sampling.logprobs import Logprobs
from logitlab.steps.state import State as ChainState
from logitlab.steps.trace import Trace
from numpy.typing import NDArray

__all__ = ["Row", "is_list", "rows_of"]


class Row(History):
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
    forced : ndarray of int64, or None
        All tokens that it is to have, see `force`.
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
        state = prepared.chain.known(prepared.options.state)
        super().__init__(prompt, seed, sequence, state, prepared.counts, min(self.limit, 256))
        self.finish: Finish | None = None
        self.forced: IntArray | None = None
        self.error: ParameterError | None = None
        self._model = model
        endings = prepared.endings
        self._text = StoppedText(prepared.stop, endings.keeps_stop)
        self.matcher = None
        marks = unspelled(prepared.constraint, model.vocabulary)
        self._unspelled = marks | model.end_ids | endings.silent
        if prepared.constraint is not None:
            self.matcher = prepared.constraint.start(model.vocabulary, endings.end_ids)
        self._reports: list[Logprobs] = []
        self._traces: list[Trace] = []
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
    def place(self) -> tuple[int, int]:
        """Which sequence it is, and how many tokens it has: what its random numbers depend on."""
        return self.sequence, self.length

    def force(self, tokens: IntArray) -> None:
        """Let the text have these tokens, whatever their probability, and end after them."""
        self.forced = tokens
        self.limit = min(self.limit, len(tokens))

    def observe(self, logprobs: dict[str, float]) -> None:
        """Take the next state, after a token of these log-probabilities."""
        self.advance(self.prepared.chain, logprobs)
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
        self.append(token)
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
        if self.forced is not None and self.length == len(self.forced):
            sentence = "The text that was to be written ends here."
            return Finish("stop", "forced", sentence, complete=whole)
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
            if finish.cause in ("end token", "forced") and calls:
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
            vocabulary_size=len(self._model.vocabulary),
            params=self.prepared.request,
            options=options,
            chain=self.prepared.chain,
            states=_columns_of(self._states[: self.length + 1]),
            observed=_columns_of(self._observed[: self.length]),
        )


def rows_of(
    model: Model,
    prompts: Sequence[Any],
    requests: Sequence[Any],
    options: Sequence[Options],
    seeds: Sequence[Any],
    n: int | None,
) -> list[Row]:
    """Return the rows of a call: for each request as many as there are answers to it.

    Nothing is read by the model yet, so that whoever has a `Loop` of their own can take them.
    """
    check_model(model, "prompt")
    lone = prompts[0] if len(prompts) == 1 and are_prompts(prompts[0]) else None
    for name, each in (("prompt", lone), ("request", requests[0]), ("seed", seeds[0])):
        if is_list(each):
            raise ParameterError(name, f"one {name}", each, "generate_many takes lists.")
    count = max(map(len, (prompts, requests, options, seeds)))
    ready: list[Prepared] = []
    for i in range(max(len(requests), len(options))):
        try:
            request, own = requests[i % len(requests)], options[i % len(options)]
            ready.append(prepare(model, request, own, n))
        except ParameterError as error:
            raise (error.inside(f"request {i}") if len(requests) > 1 else error) from None
    total = sum(ready[i % len(ready)].answers or 1 for i in range(count))
    if total > MOST_TEXTS:
        rule = f"so many that there are at most {MOST_TEXTS} texts"
        raise ParameterError("n", rule, Seen(f"{total} texts"))
    known: dict[tuple[int, int], IntArray] = {}
    rows: list[Row] = []
    for i in range(count):
        prepared, own = ready[i % len(ready)], seeds[i % len(seeds)]
        place = i % len(prompts), i % len(ready)
        if place not in known:
            try:
                known[place] = prompt_ids(model, prompts[place[0]], prepared.tools)
            except ParameterError as error:
                where = f"prompt {place[0]}"
                raise (error.inside(where) if len(prompts) > 1 else error) from None
        used = resolve_seed(prepared.resolved.seed if own is None else own)
        first = prepared.options.sequence
        for j in range(prepared.answers or 1):
            rows.append(Row(len(rows), model, prepared, known[place], used, first + j))
    return rows


def is_list(value: object) -> bool:
    """Whether several prompts, requests or seeds were given, and not one."""
    if is_array(value):
        return len(getattr(value, "shape", (1,))) > 0
    return isinstance(value, list | tuple | range)


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
