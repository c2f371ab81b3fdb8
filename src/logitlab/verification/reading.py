"""Answers as they arrive, read into one form: what is no answer is said, and nothing is guessed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from inspect import isawaitable
from typing import Any

from logitlab.checks import with_article
from logitlab.verification.answer import Answer
from logitlab.verification.errors import EndpointError
from logitlab.verification.exchange import Dropped, Response
from logitlab.verification.hiding import without_passwords
from logitlab.verification.plain import plain
from logitlab.verification.wording import harmless

__all__ = [
    "answer_of",
    "counted_tokens",
    "document_of",
    "given_document",
    "given_error",
    "status_of",
]

_MOST_DEPTH = 64
_QUOTED = 4096  # of a text whose beginning is quoted
_MOST = 1e-3  # nats, a log-probability above 0 that rounding explains
_PASSING = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "server_error": 500,
    "internal_server_error": 500,
    "overloaded_error": 503,
    "service_unavailable": 503,
}
"""The status that an error means which another names by a word: it says nothing of a request."""

_COUNTS = ("prompt_tokens", "completion_tokens")


def document_of(
    response: Response, hidden: Callable[[str], str] = lambda text: text
) -> dict[str, Any]:
    """Return the JSON object of a response, whatever content type it says.

    Parameters
    ----------
    response : Response
        Of an error that is no JSON the text becomes the message of one: a refusal counts in
        whatever words it comes.
    hidden : callable
        Returns a text that is quoted without what nobody may read: it is asked before anything is
        cut.

    Raises
    ------
    Dropped
        For one that is empty, or breaks off.
    EndpointError
        For a page, a stream of events, or other things that were not asked for.

    Examples
    --------
    >>> document_of(Response(502, "text/html", None, None, b"<h1>Bad Gateway</h1>"))
    {'error': {'message': '<h1>Bad Gateway</h1>'}}
    """
    is_error = response.status >= 400
    text = response.content.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        if is_error:
            return {"error": {"message": " ".join(hidden(text).split())[:500] or "no words"}}
        if response.kind == "text/event-stream" or text.startswith("data:"):
            raise EndpointError(
                "The endpoint answers with a stream of events, which nobody asked for."
            ) from None
        if not text.strip():
            raise Dropped("the answer is empty") from None
        if text.lstrip().startswith("{") and str(error).startswith("Extra data"):
            raise EndpointError(
                "The endpoint answers with JSON and something behind it, and not with one object."
            ) from None
        if text.lstrip().startswith("{"):
            raise Dropped("the answer breaks off") from None
        kind = hidden(harmless(response.kind))[:80] if "json" not in response.kind else ""
        begins = json.dumps(harmless(hidden(text[:_QUOTED])[:80])[:30], ensure_ascii=False)
        raise EndpointError(
            f"The endpoint answers with {kind or 'what begins'} {begins}, and not with JSON. "
            "Is the address that of an API?"
        ) from None
    if isinstance(document, dict) and _depth_is_plain(document, _MOST_DEPTH):
        return document
    if is_error:
        return {"error": {"message": hidden(text)[:500]}}
    raise EndpointError(f"The endpoint answers with {_kind(document)}, and not with a JSON object.")


def given_document(given: Any) -> tuple[int, dict[str, Any]]:
    """Return status and document of what a function returned.

    Parameters
    ----------
    given : mapping, pair of an integer and a mapping, or object
        A mapping with an ``error`` and no choices is a refusal. Objects are those of clients: with
        ``model_dump`` (OpenAI's, and pydantic's), ``to_dict``, or ``status_code`` and ``json``.

    Examples
    --------
    >>> given_document({"error": {"code": 404, "message": "no such model"}})[0]
    404
    """
    status: int | None = None
    if isinstance(given, tuple) and len(given) == 2 and type(given[0]) is int:
        status, given = given
    elif hint := _hint(given):
        raise EndpointError(f"The function returns {_kind(given)}, and not its answer: {hint}.")
    elif callable(_attribute(given, "json")) and _attribute(given, "status_code") is not None:
        status, given = _attribute(given, "status_code"), _called(given, "json")
        if type(status) is not int:
            raise EndpointError(f"The function returns {_kind(status)} as status_code.")
    for name in ("model_dump", "to_dict"):
        if not isinstance(given, Mapping) and callable(_attribute(given, name)):
            given = _called(given, name)
    if not isinstance(given, Mapping):
        hint = _hint(given) or "a mapping is due, or (status, mapping)"
        raise EndpointError(f"The function returns {_kind(given)}, and not its answer: {hint}.")
    try:
        document: dict[str, Any] = json.loads(json.dumps(dict(given), default=_jsonable))
    except Exception as error:  # of whatever kind: a mapping may be anybody's
        raise EndpointError(
            f"The endpoint answers with an object that is not JSON: {_words(error)}."
        ) from None
    if not _depth_is_plain(document, _MOST_DEPTH):
        raise EndpointError("The endpoint answers with an object that is nested too deeply.")
    return status_of(200 if status is None else status, document), document


def given_error(error: Exception) -> tuple[int, dict[str, Any]]:
    """Return status and document of what a function raised, where that is an answer.

    Parameters
    ----------
    error : Exception
        One with a ``status_code``, as clients raise, is a refusal: in the words of its ``body``, or
        in its own.

    Raises
    ------
    EndpointError
        For any other, with its words.

    Examples
    --------
    >>> class RefusedError(Exception):
    ...     status_code, body = 400, {"message": "no top_k"}
    >>> given_error(RefusedError())
    (400, {'error': {'message': 'no top_k'}})
    """
    status = _attribute(error, "status_code")
    if type(status) is not int or not 400 <= status < 600:
        words = _words(error)
        told = f"{type(error).__name__}: {words}" if words else type(error).__name__
        raise EndpointError(f"The function raises {told}.") from error
    said = _attribute(error, "body")
    if not isinstance(said, Mapping):
        said = {"message": _words(error) or type(error).__name__}
    status, document = given_document((status, said))
    # OpenAI's client takes the envelope off.
    return status, document if "error" in document else {"error": document}


def _attribute(value: Any, name: str) -> Any:
    """Return an attribute of somebody's object; None where there is none, or it raises."""
    try:
        return getattr(value, name, None)
    except Exception:
        return None


def _called(value: Any, name: str) -> Any:
    """Return what a method of somebody's object returns."""
    try:
        return getattr(value, name)()
    except Exception as error:
        words = f"an object whose {name} raises {type(error).__name__}"
        raise EndpointError(f"The endpoint answers with {words}.") from error


def _words(error: Exception) -> str:
    """Return what an exception says, in one line without passwords; '' where it cannot."""
    try:
        return without_passwords(harmless(str(error)))[:300].rstrip(".")
    except Exception:
        return ""


def _jsonable(value: Any) -> Any:
    """Return a value as JSON has it; dates and the like, of which nothing is read, as text."""
    try:
        return plain(value)
    except TypeError:
        if isinstance(value, set | frozenset):
            raise
        return str(value)


def status_of(status: int, document: Mapping[str, Any]) -> int:
    """Return the status that an answer means, which its document may know better than HTTP.

    Routers answer 200 while the document says that the provider failed.

    Examples
    --------
    >>> status_of(200, {"error": {"code": 502, "message": "Provider returned error"}})
    502
    """
    if not 200 <= status < 300:
        return status
    choices = document.get("choices")
    error = document.get("error") if not choices else None
    if isinstance(choices, list):
        told = [each.get("error") for each in choices if isinstance(each, Mapping)]
        error = error or next((each for each in told if each), None)
    if not error:
        return 200
    names = error if isinstance(error, Mapping) else {}
    for code in (names.get("code"), names.get("type")):
        code = int(code) if isinstance(code, str) and re.fullmatch("[45][0-9]{2}", code) else code
        code = _PASSING.get(code, code) if isinstance(code, str) else code
        if type(code) is int and 400 <= code < 600:
            return code
    return 400


def answer_of(status: int, document: Mapping[str, Any]) -> Answer:
    """Return an answer in the form of chat completions, its parts of the types that they have.

    Plain completions report log-probabilities as four lists, some servers as chat does; both
    become ``content`` of the choice.

    Raises
    ------
    EndpointError
        For an answer whose parts are of other types, with the path of the first.

    Examples
    --------
    >>> lists = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0}]}
    >>> answer_of(200, {"choices": [{"text": "a", "logprobs": lists}]}).positions()
    [Position(token=b'a', top={b'a': -1.0})]
    """
    if status != 200:
        return Answer(status, document)
    choices = _typed(document.get("choices"), list, "choices")
    usage = _typed(document.get("usage") or {}, dict, "usage")
    for key in _COUNTS:
        _number(usage.get(key) or 0, f"usage.{key}")
    read = [_choice(each, f"choices[{i}]") for i, each in enumerate(choices)]
    return Answer(status, {**document, "choices": read})


def counted_tokens(document: Mapping[str, Any]) -> tuple[int, int]:
    """Return the tokens read and written of an answer, as its server counts them; 0 for nonsense.

    Examples
    --------
    >>> counted_tokens({"usage": {"prompt_tokens": 5, "completion_tokens": "many"}})
    (5, 0)
    """
    usage = document.get("usage")
    told = [usage.get(key) if isinstance(usage, Mapping) else None for key in _COUNTS]
    read, written = (n if type(n) is int and 0 <= n < 1 << 53 else 0 for n in told)
    return read, written


def _choice(choice: Any, path: str) -> dict[str, Any]:
    choice = _typed(choice, dict, path)
    message = choice.get("message")
    if message is not None:
        content = _typed(message, dict, f"{path}.message").get("content")
        if isinstance(content, list):  # parts, of which those of text count
            where = f"{path}.message.content"
            texts = [
                _typed(part["text"], str, f"{where}[{i}].text")
                for i, part in enumerate(content)
                if isinstance(part, dict) and part.get("text") is not None
            ]
            message = {**message, "content": "".join(texts)}
        elif content is not None:
            _typed(content, str, f"{path}.message.content")
    elif choice.get("text") is not None:
        _typed(choice["text"], str, f"{path}.text")
    reported = choice.get("logprobs")
    if reported is None:
        return {**choice, "message": message} if message is not None else choice
    reported = _typed(reported, dict, f"{path}.logprobs")
    content = reported.get("content")
    if content is None:
        content = _of_lists(reported, f"{path}.logprobs")
    entries = _typed(content, list, f"{path}.logprobs.content")
    for i, entry in enumerate(entries):
        where = f"{path}.logprobs.content[{i}]"
        _check_entry(entry, where)
        tops = _typed(entry.get("top_logprobs") or [], list, f"{where}.top_logprobs")
        for j, top in enumerate(tops):
            _check_entry(top, f"{where}.top_logprobs[{j}]")
    read = {**choice, "logprobs": {**reported, "content": entries}}
    return {**read, "message": message} if message is not None else read


def _of_lists(reported: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    """Return the entries that the lists of plain completions stand for."""
    tokens = _typed(reported.get("tokens") or [], list, f"{path}.tokens")
    own = _typed(reported.get("token_logprobs") or [], list, f"{path}.token_logprobs")
    tops = _typed(reported.get("top_logprobs") or [], list, f"{path}.top_logprobs")
    entries = []
    for i, token in enumerate(tokens):
        top = _typed((tops[i] if i < len(tops) else None) or {}, dict, f"{path}.top_logprobs[{i}]")
        entries.append(
            {
                "token": token,
                "logprob": own[i] if i < len(own) else None,
                "top_logprobs": [{"token": key, "logprob": value} for key, value in top.items()],
            }
        )
    return entries


def _check_entry(entry: Any, path: str) -> None:
    entry = _typed(entry, dict, path)
    _typed(entry.get("token"), str, f"{path}.token")
    if entry.get("logprob") is not None:
        number = _number(entry["logprob"], f"{path}.logprob", -math.inf)
        if number > _MOST:
            raise EndpointError(f"The endpoint answers with {number:g} as {path}.logprob.")
    data = entry.get("bytes")
    if data is not None:
        whole = isinstance(data, list) and all(type(b) is int and 0 <= b < 256 for b in data)
        if not whole:
            raise EndpointError(f"The endpoint answers with {path}.bytes that are no bytes.")


def _number(value: Any, path: str, *others: float) -> float:
    """Return a finite number, or one of some others."""
    _typed(value, int | float, path)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    if not (math.isfinite(number) or number in others):
        seen = "NaN" if math.isnan(number) else f"{number:g}"
        raise EndpointError(f"The endpoint answers with {seen} as {path}.")
    return number


def _typed(value: Any, kind: Any, path: str) -> Any:
    """Return a part of an answer, or raise where it has another type."""
    if value is None:
        raise EndpointError(f"The endpoint answers without {path}.")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise EndpointError(f"The endpoint answers with {_kind(value)} as {path}.")
    return value


def _hint(given: Any) -> str:
    """Return what to do about something that a function returned, where that is plain."""
    if isawaitable(given):
        if hasattr(given, "close"):
            given.close()  # or Python warns of it later, in other words
        return "an async one is called by asyncio.run"
    if isinstance(given, str | bytes):
        return "json.loads makes it of text"
    if isinstance(given, tuple):
        return "a pair is (status, mapping)"
    if isinstance(given, Iterator | AsyncIterator):
        return "streams are not read"
    return ""


def _kind(value: Any) -> str:
    return "nothing" if value is None else with_article(type(value).__name__)


def _depth_is_plain(value: Any, left: int) -> bool:
    """Whether a document is nested so little that everybody can walk through it."""
    level = [value]
    for _ in range(left):
        level = [
            each
            for item in level
            for each in (item.values() if isinstance(item, dict) else item)
            if isinstance(each, dict | list)
        ]
        if not level:
            return True
    return False
