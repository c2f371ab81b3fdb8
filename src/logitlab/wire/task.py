"""A request body, read and checked: what is asked, and how it is sampled."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from logitlab.checks import ParameterError, Seen, check_choice, check_type, suggestion
from logitlab.constraints import constraint_of_values
from logitlab.engines.engine import Engine
from logitlab.engines.registry import ENGINES, EngineLike, get
from logitlab.engines.resolve import REPORTS
from logitlab.generation.endings import Endings
from logitlab.generation.options import Options
from logitlab.generation.preparation import resolve_for
from logitlab.generation.result import Generation
from logitlab.models.messages import check_messages
from logitlab.models.model import Model, check_model
from logitlab.request.values import flag
from logitlab.request.whole import answers_of
from logitlab.wire.errors import check_body

__all__ = ["Task", "checked_engine", "provided"]

# Keys that say what is asked, beside the parameters, which say how it is sampled; the rules of an
# engine may look at some of them, too.
_KEYS = ("messages", "prompt", "model", "max_completion_tokens", "provider")
_KEYS_OF_BOTH = ("stream", "stream_options")
_STREAM_OPTIONS = ("include_usage",)
_PROVIDER = {"order", "allow_fallbacks"}
_SIGNS = re.compile("[^a-z0-9]+")


class Task:
    """A request body, read and checked.

    Parameters
    ----------
    model : Model
    request : mapping
    engine : Engine
        Whose rules alone judge its parameters, unless its ``provider`` names another.
    logprobs_mode : {"engine", "raw", "processed"}
    streams : bool
        Whether it is answered by and by, whatever the body says.

    Attributes
    ----------
    resolved : Resolved
        Its parameters.
    prompt : str or list of dict
        Its text, or its messages.
    conversation : str
        A digest of that, of which the ids of tool calls are made.
    count : int
        How many answers it asks for.
    silent : frozenset of int
        Tokens that leave nothing in a text.
    logprobs_mode : str
    has_flags : bool
        Whether ``logprobs`` is a flag in such a request, and no number.

    Raises
    ------
    ParameterError
        For whatever is wrong with it.
    """

    has_flags = True

    def __init__(
        self,
        model: Model,
        request: Mapping[str, Any],
        engine: Engine,
        logprobs_mode: Any = "engine",
        *,
        streams: bool = False,
    ) -> None:
        check_body(request)
        self.model, self.logprobs_mode, self._streams = model, logprobs_mode, streams
        self._read(request, engine)

    def _read(self, request: Mapping[str, Any], engine: Engine) -> None:
        """Read and check the body."""
        model = self.model
        body = {key: value for key, value in request.items() if value is not None}
        engine, passed_over, self._told = provided(body.get("provider"), engine)
        # What is null goes along: an engine may refuse it.
        own = {key: value for key, value in request.items() if isinstance(key, str)}
        parameters = {key: value for key, value in own.items() if key not in _KEYS}
        limit = body.get("max_completion_tokens")
        passed_over += self._take_limit(limit, parameters, engine)
        if self.has_flags and engine.dialect.tops is not None:
            self._take_tops(parameters, engine)
        if engine.dialect.has_one_answer:
            asked = parameters.pop("n", None)
            passed_over += [] if asked is None or (type(asked) is int and asked == 1) else ["n"]
        flag("stream", body.get("stream", False))
        if self._streams:
            parameters["stream"] = True
        options = Options(engine=engine, logprobs_mode=self.logprobs_mode)
        try:
            self.resolved = resolve_for(model, parameters, options)
        except ParameterError as error:
            if limit is None or body.get("max_tokens") == limit or error.name != "max_tokens":
                raise
            raise type(error)("max_completion_tokens", *error.args[1:]) from None
        self.count = answers_of(self.resolved.given) or 1
        self.constraint = constraint_of_values(self.resolved.given)
        self.silent = Endings.of(self.resolved.endings).silent
        self._name = check_type("model", body.get("model", model.name), str, "the name of a model")
        self._unread = [str(key) for key in body.keys() - own.keys()] + passed_over
        self._read_stream_options(body.get("stream_options", {}))
        self.prompt: Any = self._read_prompt(body)
        self.conversation = _digest(self.prompt)
        self._identity = _digest(body)

    def _take_limit(self, limit: Any, parameters: dict[str, Any], engine: Engine) -> list[str]:
        """Let ``max_completion_tokens`` be the limit, and return what is passed over for it."""
        if limit is None:
            return []
        before, parameters["max_tokens"] = parameters.get("max_tokens"), limit
        if before is None or before == limit:
            return []
        if engine.dialect.has_two_limits:
            return ["max_tokens"]
        rule = "equal to max_tokens where both are given"
        raise ParameterError("max_completion_tokens", rule, limit)

    def _take_tops(self, parameters: dict[str, Any], engine: Engine) -> None:
        """Let ``logprobs`` say how many there are of the most likely tokens, and 0 that of it."""
        asked, name = parameters.get("logprobs"), engine.name
        tops = parameters.get("top_logprobs")
        if not isinstance(asked, int) or asked < 1:  # true is 1
            return
        if tops is None:
            usual = engine.dialect.tops if asked is True else asked
            tops = parameters["top_logprobs"] = min(usual or 0, len(self.model.vocabulary))
            self._told.append(f"top_logprobs is absent: {name} reports {tops}.")
        elif isinstance(tops, int) and tops == 0:
            del parameters["logprobs"], parameters["top_logprobs"]
            self._told.append(f"logprobs is ignored by {name} beside a top_logprobs of 0.")

    def _read_prompt(self, body: Mapping[str, Any]) -> Any:
        """Return the text, or the messages where there are any."""
        if "prompt" in body and "messages" not in body:
            return check_type("prompt", body["prompt"], str, "a text")
        self._unread += ["prompt"] if "prompt" in body else []
        return check_messages(body.get("messages"))

    def _read_stream_options(self, options: Any) -> None:
        """See whether a stream tells its usage, and where."""
        check_type("stream_options", options, Mapping, "a map")
        asks = options.get("include_usage")
        if asks is not None:
            flag("stream_options.include_usage", asks)
        place = self.resolved.engine.dialect.usage
        self.usage_at_finish = place == "finish"
        self.usage_at_end = place in ("asked", "always") and (
            place == "always" if asks is None else asks
        )
        names = [name for name, value in options.items() if value is not None]
        unread = [name for name in names if name not in _STREAM_OPTIONS]
        if asks is not None and place in ("finish", "never"):
            unread.append("include_usage")
        self._unread += [f"stream_options.{name}" for name in unread]

    @property
    def ignored(self) -> list[str]:
        """The keys of the body that nobody reads."""
        unknown = {str(note.key) for note in self.resolved.notes if note.effect == "unknown"}
        return sorted(unknown.difference(_KEYS_OF_BOTH).union(self._unread))

    def finish_reason(self, answer: Generation) -> str:
        """Return why an answer ended, in the engine's word."""
        if answer.finish_reason == "tool_calls":
            after = self.resolved.engine.dialect.stops_after
            is_named = isinstance(self.resolved.given.get("tool_choice"), Mapping)
            if after == "all" or (after == "named" and is_named):
                return "stop"
        if answer.finish_reason == "repetition" and self.resolved.engine.is_page:
            return "stop"  # OpenRouter knows no such word: native_finish_reason has it
        return answer.finish_reason

    def head(self, seed: int, kind: str) -> dict[str, Any]:
        """Return what a body and all chunks of a stream begin with."""
        return {
            "id": f"gen-{_digest([self._identity, seed, self.model.name])[:24]}",
            "object": kind,
            "created": int(time.time()),
            "model": self._name,
            "system_fingerprint": f"logitlab-{self.model.name}",
        }

    def end(self, answers: list[Generation]) -> dict[str, Any]:
        """Return what goes with the end of the last of all answers, which are put in order."""
        answers.sort(key=lambda answer: answer.sequence)
        usage = self.usage(answers) if self.usage_at_finish else {}
        return usage | ({} if self.usage_at_end else self.summary(answers))

    def usage(self, answers: Sequence[Generation]) -> dict[str, Any]:
        """Return how many tokens were read and drawn."""
        prompt = answers[0].usage.prompt_tokens
        completion = sum(answer.usage.completion_tokens for answer in answers)
        usage = {"prompt_tokens": prompt, "completion_tokens": completion}
        return {"usage": {**usage, "total_tokens": prompt + completion}}

    def summary(self, answers: Sequence[Generation]) -> dict[str, Any]:
        """Return what logitlab knows beyond the wire."""
        states = [answer.state for answer in answers]
        return {
            "logitlab": {
                "seed": answers[0].seed,
                "finish": [answer.finish.sentence for answer in answers],
                "ignored": self.ignored,
                "notes": [
                    *(n.sentence for n in answers[0].notes if n.key not in _KEYS_OF_BOTH),
                    *self._told,
                ],
                **({"state": states} if any(states) else {}),
            }
        }


def checked_engine(model: object, engine: EngineLike, logprobs_mode: object) -> Engine:
    """Return the engine of a call, whose other arguments beside the request are right, too.

    Raises
    ------
    ParameterError
        For what is no model, no engine, no such mode: who called is to know it, not who asked.
    """
    check_model(model, "request")
    check_choice("logprobs_mode", logprobs_mode, REPORTS)
    return get(engine)


def provided(provider: Any, engine: Engine) -> tuple[Engine, list[str], list[str]]:
    """Return whose engine a request asks for, what nobody reads, and what there is to tell.

    Parameters
    ----------
    provider : mapping or None
        As OpenRouter has it: the first name in its ``order`` that an engine has is taken, and
        others are passed over, which is told. Without one it is the usual engine, unless
        ``allow_fallbacks`` is false. [1]_
    engine : Engine
        The usual one.

    Returns
    -------
    engine : Engine
    unread : list of str
        Keys of the request.
    told : list of str
        Sentences.

    Raises
    ------
    ParameterError
        For what is no such map, and where no engine is left.

    References
    ----------
    .. [1] OpenRouter, "Provider routing", https://openrouter.ai/docs/features/provider-routing

    Examples
    --------
    >>> from logitlab import engines
    >>> provided({"order": ["llama.cpp"]}, engines.openrouter)
    (<Engine llama_cpp: llama.cpp...>, [], [])
    >>> provided({"order": ["vlm"]}, engines.openrouter)[2]
    ['provider.order names vlm, which is no engine here: openrouter answers. Did you mean vllm?']
    """
    if provider is None:
        return engine, [], []
    check_type("provider", provider, Mapping, "a map")
    given = {key: value for key, value in provider.items() if value is not None}
    order = check_type("provider.order", given.get("order", []), list, "an array of names")
    falls = flag("provider.allow_fallbacks", given.get("allow_fallbacks", True))
    rule = "an array of names"
    keys = [
        _SIGNS.sub("_", check_type("provider.order", name, str, rule).lower()) for name in order
    ]
    place = next((i for i, key in enumerate(keys) if key in ENGINES), None)
    unknown = order[:place]
    hint = next(filter(None, (suggestion(key, ENGINES) for key in keys[:place])), "")
    if order and place is None and not falls:
        rule = f"of engines ({', '.join(ENGINES)}), one at least"
        raise ParameterError("provider.order", rule, order, hint)
    unread = ["provider"] if given else []
    if place is not None:
        engine = get(keys[place])
        unread = sorted(f"provider.{key}" for key in given.keys() - _PROVIDER)
    told = []
    if unknown:
        names = ", ".join(unknown)
        verb = "are no engines" if len(unknown) > 1 else "is no engine"
        sentence = f"provider.order names {names}, which {verb} here: {engine.name} answers."
        told.append(f"{sentence} {hint}".strip())
    return engine, unread, told


def _digest(value: Any) -> str:
    """Return the same word for equal JSON, in whatever order its keys come."""
    import hashlib  # a tenth of the time of importing logitlab

    try:
        text = repr(_ordered(value))
    except RecursionError:
        raise ParameterError("request", "nested less deeply", Seen("too many levels")) from None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _ordered(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [(key, _ordered(value[key])) for key in sorted(value, key=repr)]
    if isinstance(value, list | tuple):
        return [_ordered(entry) for entry in value]
    return value
