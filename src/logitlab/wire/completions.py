"""Completions of texts, as OpenAI's API had them before there was chat: ``/v1/completions``."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from logitlab.arrays import IntArray
from logitlab.checks import (
    MOST_TEXTS,
    ParameterError,
    Range,
    Seen,
    check_integer,
)
from logitlab.engines.engine import Engine
from logitlab.engines.registry import EngineLike
from logitlab.generation.endings import Endings
from logitlab.generation.loop import Loop
from logitlab.generation.options import Options
from logitlab.generation.preparation import prepare
from logitlab.generation.prompts import prompt_ids
from logitlab.generation.result import Generation, Piece
from logitlab.generation.row import Row, rows_of
from logitlab.models.model import Model
from logitlab.request.values import flag
from logitlab.sampling.logprobs import Logprobs
from logitlab.vocabulary import Vocabulary
from logitlab.wire.errors import error_body
from logitlab.wire.reports import NO_LOGPROB
from logitlab.wire.task import Task, checked_engine

__all__ = ["CompletionStream", "CompletionTask", "complete"]

_MAX_TOKENS = 16  # OpenAI's default here
_MOST_TOPS = Range(0, 20, integer=True)
_ECHO_ONLY = "max_tokens 0: the prompt alone was asked for."


def complete(
    model: Model,
    request: Mapping[str, Any],
    *,
    engine: EngineLike = "openrouter",
    logprobs_mode: str = "engine",
) -> dict[str, Any]:
    r"""Answer a completion request.

    Parameters
    ----------
    model, engine, logprobs_mode
        As of `chat`.
    request : mapping
        The request body: ``prompt`` (a text, token ids, or a list of those), ``echo``, ``logprobs``
        as a number, ``max_tokens`` (16; 0 beside ``echo`` writes nothing), ``n``, and any of the
        parameters.

    Returns
    -------
    dict
        A "text_completion" body. ``logprobs`` has an entry for each token that was drawn, an end
        token included, and with ``echo`` before these for each token of the prompt: the model's
        own, as `score` tells them, and null for the first, before which there is nothing. A token
        that is no UTF-8 is written ``bytes:\xe6``. For a request that is wrong ``{"error": …}``.

    Raises
    ------
    ParameterError
        As of `chat`.

    References
    ----------
    OpenAI, "Create completion", https://platform.openai.com/docs/api-reference/completions/create

    Examples
    --------
    >>> from logitlab import models
    >>> request = {"prompt": "The king", "max_tokens": 0, "echo": True, "logprobs": 1}
    >>> [choice] = complete(models.NGram.bundled(), request)["choices"]
    >>> choice["text"], choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"]
    ('The king', ['The', ' king'], [0, 3])
    """
    whose = checked_engine(model, engine, logprobs_mode)
    try:
        task = CompletionTask(model, request, whose, logprobs_mode)
        rows = task.rows()
        loop = Loop(model, rows, 64)
        while not loop.is_done:
            loop.step()
    except ParameterError as error:
        return error_body(error)
    return task.body([row.generation() for row in rows])


class CompletionTask(Task):
    """A completion request, read and checked; ``count`` answers to each of its prompts.

    Parameters
    ----------
    model, request, engine, logprobs_mode, streams
        As of `Task`.

    Attributes
    ----------
    prompts : list of ndarray of int64
    echo : bool
    writes : bool
        Whether anything is written, and not only echoed.
    """

    has_flags = False

    def _read(self, request: Mapping[str, Any], engine: Engine) -> None:
        body = {key: value for key, value in request.items() if value is not None}
        self.echo = body.pop("echo", False)
        flag("echo", self.echo)
        if body.pop("suffix", "") != "":
            raise ParameterError("suffix", "absent", request["suffix"])
        best_of = body.pop("best_of", None)
        if best_of not in (None, body.get("n", 1)):
            raise ParameterError("best_of", "absent, or as large as n", best_of)
        self.tops: int | None = body.pop("logprobs", None)
        if self.tops is not None:
            self.tops = check_integer("logprobs", self.tops, _MOST_TOPS)
            body |= {"logprobs": True, "top_logprobs": self.tops}
        limit = body.setdefault("max_tokens", _MAX_TOKENS)
        self.writes = not (self.echo and limit == 0 and not isinstance(limit, bool))
        if not self.writes:
            body["max_tokens"] = 1
        body.pop("messages", None)
        try:
            super()._read(body, engine)
        except ParameterError as error:
            if error.name != "top_logprobs":
                raise
            raise ParameterError("logprobs", error.rule, self.tops, error.hint) from None
        self._unread += ["messages"] if request.get("messages") is not None else []
        self.prompts = [prompt_ids(self.model, prompt) for prompt in self.prompt]
        total = len(self.prompts) * self.count
        if total > MOST_TEXTS:
            rule = f"so many that there are at most {MOST_TEXTS} texts"
            raise ParameterError("n", rule, Seen(f"{total} texts"))
        self.texts = [_text_of(self.model.vocabulary, prompt) for prompt in self.prompts]

    def _read_prompt(self, body: Mapping[str, Any]) -> Any:
        prompt = body.get("prompt")
        rule = "a text, token ids, or a list of those, not empty"
        if isinstance(prompt, str) and prompt:
            return [prompt]
        if not isinstance(prompt, list) or not prompt:
            raise ParameterError("prompt", rule, prompt)
        if all(isinstance(each, int) for each in prompt):
            return [prompt]
        for i, each in enumerate(prompt):
            if not (isinstance(each, str | list) and each):
                raise ParameterError(f"prompt[{i}]", "a text or token ids, not empty", each)
        return prompt

    @property
    def size(self) -> int:
        """How many choices the answer has."""
        return len(self.prompts) * self.count

    def rows(self) -> list[Row]:
        """Return the answers before their first token, and before these the prompts to echo."""
        rows = self._echoes() if self.echo and self.tops is not None else []
        if self.writes:
            options = Options(engine=self.resolved.engine, logprobs_mode=self.logprobs_mode)
            rest = [self.resolved], [options], [None], self.count
            rows += rows_of(self.model, self.prompts, *rest)
        for index, row in enumerate(rows):
            row.index = index
        return rows

    def _echoes(self) -> list[Row]:
        """Return rows that have the tokens of the prompts, to see how likely these are."""
        rows: list[Row] = []
        for prompt in self.prompts:
            asked = {"logprobs": True, "top_logprobs": self.tops, "max_tokens": len(prompt)}
            prepared = prepare(self.model, asked, Options(logprobs_mode="raw"))
            # An end token within a prompt ends nothing.
            prepared = replace(prepared, endings=Endings(frozenset()))
            if len(prompt) > 1:
                row = Row(0, self.model, prepared, prompt[:1], 0, 0)
                row.force(prompt[1:])
                rows.append(row)
        return rows

    def echo_places(self) -> dict[int, int]:
        """Return which row echoes each prompt; none does a prompt of one token."""
        if not (self.echo and self.tops is not None):
            return {}
        long = [i for i, prompt in enumerate(self.prompts) if len(prompt) > 1]
        return {i: place for place, i in enumerate(long)}

    def body(self, answers: Sequence[Generation]) -> dict[str, Any]:
        """Return the response, of all rows that are finished."""
        echoes = self.echo_places()
        written = list(answers[len(echoes) :])
        choices = []
        for index in range(self.size):
            which = index // self.count
            echoed = answers[echoes[which]] if which in echoes else None
            spans = _Spans(self, which, echoed)
            answer = written[index] if self.writes else None
            if answer is not None:
                for place, token in enumerate(answer.tokens.tolist()):
                    spans.add(token, answer.logprobs and answer.logprobs.at(place))
            text = (self.texts[which] if self.echo else "") + (answer.text if answer else "")
            choices.append(self.choice(index, text, spans.take(), answer, ends=True))
        seed = written[0].seed if written else 0
        return {**self.head(seed, "text_completion"), "choices": choices, **self.totals(written)}

    def choice(
        self,
        index: int,
        text: str,
        logprobs: dict[str, Any] | None,
        answer: Generation | None,
        ends: bool,
    ) -> dict[str, Any]:
        """Return a choice, or a part of one."""
        choice: dict[str, Any] = {"index": index, "text": text, "logprobs": logprobs}
        reason, cause = None, None
        if ends:
            reason = "length" if answer is None else self.finish_reason(answer)
            cause = "max_tokens" if answer is None else answer.finish.cause
        choice |= {"finish_reason": reason, "native_finish_reason": cause}
        if ends and answer is not None and self.constraint is not None:
            choice["logitlab"] = {"complete": answer.finish.complete}
        return choice

    def totals(self, written: Sequence[Generation]) -> dict[str, Any]:
        """Return how many tokens were read and drawn, and what logitlab knows beyond the wire."""
        return {**self.counts(written), **self.known(written)}

    def counts(self, written: Sequence[Generation]) -> dict[str, Any]:
        """Return how many tokens were read and drawn."""
        read = sum(map(len, self.prompts))
        drawn = sum(answer.usage.completion_tokens for answer in written)
        usage = {"prompt_tokens": read, "completion_tokens": drawn, "total_tokens": read + drawn}
        return {"usage": usage}

    def known(self, written: Sequence[Generation]) -> dict[str, Any]:
        """Return what logitlab knows beyond the wire."""
        if written:
            return self.summary(written)
        finish = [_ECHO_ONLY] * self.size
        return {"logitlab": {"seed": 0, "finish": finish, "ignored": self.ignored, "notes": []}}


class CompletionStream:
    """The chunks of all choices of a completion.

    Parameters
    ----------
    task : CompletionTask
    seed : int
        Of the answers.
    """

    def __init__(self, task: CompletionTask, seed: int) -> None:
        self._task = task
        self._head = task.head(seed, "text_completion")
        self._echoes = task.echo_places()
        self._of_place = {place: which for which, place in self._echoes.items()}
        self._open: dict[int, _Spans] = {}  # of the prompts that are echoed already
        self._held: dict[int, list[Piece]] = {}  # that came before their prompt was
        self._answers: list[tuple[int, Generation]] = []
        self._ended = 0

    def opening(self) -> Iterator[dict[str, Any]]:
        """Yield the prompts that need no reading."""
        for which in range(len(self._task.prompts)):
            if which not in self._echoes:
                yield from self._begin(which, None)

    def add(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Yield what a piece of a row brings, and with the last one the end of all."""
        if piece.index in self._of_place:
            if piece.generation is not None:
                which = self._of_place[piece.index]
                yield from self._begin(which, piece.generation)
                for held in self._held.pop(which, []):
                    yield from self._continue(held)
            return
        which = (piece.index - len(self._echoes)) // self._task.count
        if which * self._task.count in self._open:
            yield from self._continue(piece)
        else:
            self._held.setdefault(which, []).append(piece)

    def _begin(self, which: int, echoed: Generation | None) -> Iterator[dict[str, Any]]:
        """Open the choices of a prompt."""
        task = self._task
        for index in range(which * task.count, (which + 1) * task.count):
            spans = self._open[index] = _Spans(task, which, echoed)
            if task.echo:
                text = task.texts[which]
                choice = task.choice(index, text, spans.take(), None, ends=not task.writes)
                yield from self._chunk(choice, None, not task.writes)

    def _continue(self, piece: Piece) -> Iterator[dict[str, Any]]:
        index = piece.index - len(self._echoes)
        spans, answer = self._open[index], piece.generation
        if piece.token is not None:
            spans.add(piece.token, piece.logprobs)
        entries = spans.take()
        if piece.text or entries or answer is not None:
            ends = answer is not None
            choice = self._task.choice(index, piece.text, entries, answer, ends)
            yield from self._chunk(choice, answer, ends)

    def _chunk(
        self, choice: dict[str, Any], answer: Generation | None, ends: bool
    ) -> Iterator[dict[str, Any]]:
        task, chunk = self._task, {**self._head, "choices": [choice]}
        if answer is not None:
            self._answers.append((choice["index"], answer))
        self._ended += ends
        if not ends or self._ended < task.size:
            yield chunk
            return
        written = [each for _, each in sorted(self._answers, key=lambda pair: pair[0])]
        if task.usage_at_finish:
            chunk |= task.counts(written)
        if not task.usage_at_end:
            yield chunk | task.known(written)
            return
        yield chunk
        yield {**self._head, "choices": [], **task.totals(written)}


class _Spans:
    """What is reported of the tokens of a choice: those of the prompt, if it is echoed, and on."""

    def __init__(self, task: CompletionTask, which: int, echoed: Generation | None) -> None:
        self._vocabulary = task.model.vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._length = 0
        self._reports = task.tops is not None
        self._entries: list[tuple[str, float | None, dict[str, float] | None, int]] = []
        if not (self._reports and task.echo):
            return
        first, *rest = task.prompts[which].tolist()
        self._append(first, None)
        for place, token in enumerate(rest):
            assert echoed is not None
            self.add(token, echoed.logprobs and echoed.logprobs.at(place))

    def add(self, token: int, report: Logprobs | None) -> None:
        """Take a token, and its log-probabilities."""
        if report is not None and self._reports:
            self._append(token, report)

    def _append(self, token: int, report: Logprobs | None) -> None:
        vocabulary = self._vocabulary
        name, logprob = _name(vocabulary[token]), None
        tops: dict[str, float] | None = None
        if report is not None:
            logprob = _finite(float(report.logprobs))
            pairs = zip(report.top_tokens.tolist(), report.top_logprobs.tolist(), strict=True)
            tops = {}
            for other, value in pairs:  # the most likely first: of equal names that one stays
                tops.setdefault(_name(vocabulary[other]), _finite(value))
            tops.setdefault(name, logprob)
        self._entries.append((name, logprob, tops, self._length))
        if token not in vocabulary.special:
            self._length += len(self._decoder.decode(vocabulary[token]))

    def take(self) -> dict[str, Any] | None:
        """Return what is reported of the tokens since the last time."""
        if not self._entries:
            return None
        names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        columns = dict(zip(names, map(list, zip(*self._entries, strict=True)), strict=True))
        self._entries = []
        return columns


def _text_of(vocabulary: Vocabulary, tokens: IntArray) -> str:
    """Return the text of token ids; special ones are none."""
    special = np.array(sorted(vocabulary.special), np.int64)
    return vocabulary.decode(tokens[~np.isin(tokens, special)])


def _name(data: bytes) -> str:
    r"""Return how a token is written.

    Examples
    --------
    >>> _name(b" king"), _name(b"\xe6\x97")
    (' king', 'bytes:\\xe6\\x97')
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _finite(logprob: float) -> float:
    return logprob if logprob > -math.inf else NO_LOGPROB
