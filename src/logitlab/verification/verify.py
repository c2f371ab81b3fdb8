"""`verify`: an endpoint is examined, from its address to the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, nullcontext, suppress
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any

from logitlab.checks import (
    ParameterError,
    Range,
    Seen,
    brief,
    check_flag,
    check_integer,
    check_number,
)
from logitlab.progress import Progress, interruptible
from logitlab.verification.address import Address
from logitlab.verification.endpoint import Endpoint, key_from
from logitlab.verification.examination import Examination
from logitlab.verification.log import Past, check_new, read_log
from logitlab.verification.names import only_names
from logitlab.verification.result import Verification

__all__ = ["examined", "verify"]

_DEFAULTS: dict[str, Any] = {
    "model": None,
    "alpha": 1e-3,
    "cap": 800,
    "only": (),
    "quick": False,
    "prompts": None,
    "provider": None,
    "plain": False,
    "seed": 0,
}
"""What a log keeps, so that the report can be made again from it alone."""

_OFFLINE = "No request is sent."
_FIXED = ("model", "provider", "plain", "prompts", "seed")
"""Settings that all requests of a log follow, and that cannot be others later."""


def verify(
    endpoint: str | Callable[[dict[str, Any]], Any] | None = None,
    *,
    model: str | None = None,
    alpha: float | None = None,
    cap: int | None = None,
    only: str | Iterable[str] | None = None,
    quick: bool | None = None,
    prompts: Iterable[str] | None = None,
    tokenizer: Any = None,
    provider: str | None = None,
    key: str | None = None,
    plain: bool | None = None,
    jobs: int = 1,
    seed: int | None = None,
    log: Any = None,
    resume: Any = None,
    timeout: float = 120.0,
    retries: int = 4,
    client: Any = None,
    progress: bool | None = False,
) -> Verification:
    r"""Examine an endpoint: which parameters it honours, ignores, clamps or refuses.

    For each parameter hypotheses :math:`h` race: what a server that honours, ignores or clamps it
    would answer. :math:`h` is refuted when the evidence against it,

    .. math:: E_h = \frac{\sum_{g \ne h} w_g \prod_r q_g(y_r)}{\prod_r u_h(y_r)},

    ever reaches :math:`1/\alpha`, with the answers :math:`y_r`, a prediction :math:`q_g` of every
    other hypothesis, and the most :math:`u_h` that :math:`h` allows. If :math:`h` is true that
    happens with a chance of :math:`\alpha` at most, however the requests are chosen and whenever
    one stops.

    Parameters
    ----------
    endpoint : str or callable, optional
        The URL of an API of OpenAI's form, with or without ``/v1`` and the route. Or a function
        from a request's body to its answer: a mapping, (status, mapping), or an object of a
        client. None works offline, from ``resume`` alone.
    model : str, optional
        As the server calls it; needed where it offers several.
    alpha : float, optional
        The error of each race, from 1e-12 to 0.5, 1e-3 by default.
    cap : int, optional
        The most requests, 1 at least, 800 by default.
    only : str or iterable of str, optional
        The parameters that are wanted, instead of all: names, or a text with commas between them.
        ``"beyond"`` stands for all samplers beyond the page.
    quick : bool, optional
        Only top_k, top_p, min_p and temperature: about 100 requests.
    prompts : iterable of str, optional
        Prompts to use, instead of a dozen of our own.
    tokenizer : callable or Model, optional
        Splits prompts as the server does: a function from a text to a list of bytes, or one of our
        models. Without it the words of a prompt are found in its text.
    provider : str, optional
        Whom a router has to ask, and nobody else. OpenRouter is pinned to the provider of its first
        answers where none is named.
    key : str, optional
        The key, or ``env:NAME`` for the variable that holds it. By default OpenRouter and OpenAI
        get those of ``OPENROUTER_API_KEY`` and ``OPENAI_API_KEY``, and nobody else gets any. It is
        not printed, and not logged; where an answer repeats it, in whatever escapes, it is hidden.
    plain : bool, optional
        Ask for completions of a prompt, and not for chats.
    jobs : int
        Requests that may be sent at a time, 64 at most.
    seed : int, optional
        Of the choices that the examination makes, 0 by default.
    log : path, optional
        A new file for every request and answer.
    resume : path, optional
        The log of an earlier run. Its settings are taken where none are given, and its answers
        before any is asked for; new ones are added to it.
    timeout : float
        Seconds for a request and its response, a day at most.
    retries : int
        How often, 20 times at most, a request is sent again after 408, 409, 425, 429, 5xx and lost
        connections. Other errors are answers.
    client : httpx.Client, optional
        Carries the requests, for proxies and certificates of one's own; the standard library does
        without it. No proxy of the environment is asked.
    progress : bool, optional
        Show a bar on standard error; None does where that is a terminal.

    Returns
    -------
    Verification
        A first Ctrl-C, or an endpoint that goes away, ends it early with what was found so far.

    Raises
    ------
    ParameterError
        For a bad URL or setting, one that has no effect where no endpoint is given, and a log that
        is none. Nothing is asked before all of these are looked at.
    EndpointError
        For an endpoint that answers nothing, or what nobody can read, in the first requests; for a
        function that raises anything but what clients raise for a refusal.

    Notes
    -----
    The examination is a function of its settings and the answers: the report of a log is the same
    wherever it is made. The network is used by this function alone, and at the endpoint alone.

    References
    ----------
    J. Ville, "Étude critique de la notion de collectif", 1939; L. Wasserman, A. Ramdas and
    S. Balakrishnan, "Universal inference", PNAS 117, 2020; P. Grünwald, R. de Heide and W. Koolen,
    "Safe testing", JRSS B 86, 2024.

    Examples
    --------
    A provider that drops ``n`` and honours the rest:

    >>> import logitlab as ll
    >>> model = ll.models.NGram.bundled()
    >>> def provider(body):
    ...     return ll.chat(model, {key: value for key, value in body.items() if key != "n"})
    >>> result = ll.verify(provider, only="n")
    >>> result.parameters["n"].verdict, result.parameters["n"].kind, result.honoured("n")
    ('ignored', 'observed', False)
    """
    given = {
        "model": model,
        "alpha": alpha,
        "cap": cap,
        "only": only,
        "quick": quick,
        "prompts": prompts,
        "provider": provider,
        "plain": plain,
        "seed": seed,
    }
    how = {"tokenizer": tokenizer, "key": key, "jobs": jobs, "log": log, "resume": resume}
    how |= {"timeout": timeout, "retries": retries, "client": client, "progress": progress}
    return examined(endpoint, given, **how)


def examined(
    endpoint: Any,
    given: Mapping[str, Any],
    *,
    tokenizer: Any = None,
    key: str | None = None,
    jobs: int = 1,
    log: Any = None,
    resume: Any = None,
    timeout: float = 120.0,
    retries: int = 4,
    client: Any = None,
    progress: bool | None = False,
    begun: Callable[[Mapping[str, Any], int], None] = lambda settings, recorded: None,
) -> Verification:
    """Examine an endpoint as `verify` does, and tell somebody of it before the first request.

    Parameters
    ----------
    endpoint, tokenizer, key, jobs, log, resume, timeout, retries, client, progress
        As of `verify`.
    given : mapping
        The other settings of `verify`; those that are left out, or None, are not given.
    begun : callable
        Told the settings, and how many answers a log has, once everything was checked that can be
        without a request.
    """
    past = None if resume is None else read_log(resume)
    settings = _settings(given, past)
    jobs = check_integer("jobs", jobs, Range(1, 64, integer=True))
    retries = check_integer("retries", retries, Range(0, 20, integer=True))
    timeout = check_number("timeout", timeout, Range(0.001, 86400))
    if progress is not None:
        check_flag("progress", progress)
    if log is not None and past is not None:
        hint = "New answers are added to that log."
        raise ParameterError("log", "left out where a log is resumed", str(log), hint)
    if log is not None:
        check_new(log)
    asked = None if endpoint is None else _asked(endpoint)
    if asked is None and past is None:
        raise ParameterError("endpoint", "given where there is no log to resume", None)
    for name, value in (("key", key), ("client", client)) if asked is None else ():
        if value is not None:
            seen = Seen("a key") if name == "key" else value
            raise ParameterError(name, "left out where no endpoint is given", seen, _OFFLINE)
    secret = key_from(key, asked if isinstance(asked, Address) else None) if asked else None
    pieces = None if tokenizer is None else _pieces(tokenizer)
    how = {"retries": retries, "timeout": timeout, "jobs": jobs, "client": client}
    speaker = None if asked is None else Endpoint(asked, secret, **how)
    run = Examination(settings, past)
    with nullcontext() if speaker is None else closing(speaker):
        run.meet(speaker)
        begun(settings, len(past.entries) if past else 0)
        with Progress("requests", progress) as bar, interruptible() as is_interrupted:
            run.bar, run.is_interrupted = bar, is_interrupted
            return run(speaker, log, pieces)


def _settings(given: Mapping[str, Any], past: Past | None) -> dict[str, Any]:
    """Return checked settings: those given, else those of a log, else the defaults."""
    if past is None:
        return _checked(given, {})
    kept = past.header.get("settings", {})
    hint = "Its first line has no settings."
    if isinstance(kept, Mapping):
        try:
            _checked({}, kept)
        except ParameterError as error:
            hint = f"Its settings are none: {error}"
        else:
            return _checked(given, kept, is_kept=True)
    raise ParameterError("resume", "a log of logitlab verify", str(past.path), hint)


def _checked(
    given: Mapping[str, Any], kept: Mapping[str, Any], is_kept: bool = False
) -> dict[str, Any]:
    """Return settings, or raise for the first that is wrong, or not as it was kept."""
    settings = {
        key: next(
            (each for each in (given.get(key), kept.get(key)) if each is not None),
            default,
        )
        for key, default in _DEFAULTS.items()
    }
    for name in ("quick", "plain"):
        check_flag(name, settings[name])
    settings["alpha"] = check_number("alpha", settings["alpha"], Range(1e-12, 0.5))
    settings["cap"] = check_integer("cap", settings["cap"], Range(1, 10**6, integer=True))
    settings["seed"] = check_integer("seed", settings["seed"], Range(0, 2**63 - 1, integer=True))
    # No name at all is none of a caller, and all of a log.
    only = given.get("only") if given.get("only") is not None else settings["only"] or None
    settings["only"] = list(only_names("only", only, bool(settings["quick"])))
    for name in ("model", "provider"):
        if settings[name] is not None and not (isinstance(settings[name], str) and settings[name]):
            raise ParameterError(name, "a name", settings[name])
    settings["prompts"] = _texts(settings["prompts"])
    for name in _FIXED if is_kept else ():
        if name in kept and settings[name] != kept[name]:
            is_none = kept[name] is None
            rule = "left out, as in the log" if is_none else f"that of the log, {brief(kept[name])}"
            raise ParameterError(name, rule, settings[name], "Another one needs a log of its own.")
    return settings


def _texts(prompts: Any) -> list[str] | None:
    """Return prompts as a list, or raise for what is none."""
    if prompts is None:
        return None
    listed = [prompts] if isinstance(prompts, str) else []
    if not isinstance(prompts, str | bytes | Mapping):
        with suppress(TypeError):
            listed = list(prompts)
    if not listed:
        raise ParameterError("prompts", "texts, at least one", prompts)
    for each in listed:
        if not (isinstance(each, str) and each.strip() and _is_text(each)):
            raise ParameterError("prompts", "texts that are not empty", each)
    return listed


def _is_text(text: str) -> bool:
    """Whether a text can be sent: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _asked(endpoint: Any) -> Address | Callable[[dict[str, Any]], Any]:
    if not callable(endpoint):
        return Address.of(endpoint)
    own = getattr(endpoint, "func", endpoint)  # of a functools.partial
    for each in (own, getattr(own, "__call__", None)):  # noqa: B004 - an object may be async, too
        if iscoroutinefunction(each) or isasyncgenfunction(each):
            hint = "lambda body: asyncio.run(function(body)) waits for an async one."
            raise ParameterError("endpoint", "a function that returns its answer", endpoint, hint)
        if isgeneratorfunction(each):
            hint = "Streams are not read."
            raise ParameterError("endpoint", "a function that returns its answer", endpoint, hint)
    function: Callable[[dict[str, Any]], Any] = endpoint
    return function


def _pieces(tokenizer: Any) -> Callable[[str], list[bytes]]:
    """Return a function from a text to the bytes of its tokens."""
    rule = "a function from a text to the bytes of its tokens, or a model"
    if hasattr(tokenizer, "encode") and hasattr(tokenizer, "vocabulary"):
        words = tokenizer.vocabulary

        def split(text: str) -> Any:
            return [words[token] for token in tokenizer.encode(text)]
    elif callable(tokenizer):
        split = tokenizer
    else:
        raise ParameterError("tokenizer", rule, tokenizer)

    def pieces(text: str) -> list[bytes]:
        try:
            found = list(split(text))
        except Exception as error:
            hint = f"It raised {type(error).__name__} for {text[:20]!r}."
            raise ParameterError("tokenizer", rule, tokenizer, hint) from error
        if not all(isinstance(piece, bytes) for piece in found):
            hint = f"For {text[:20]!r} it returned {found[:2]!r}."
            raise ParameterError("tokenizer", rule, tokenizer, hint)
        return found

    pieces("a text")  # wrong ones are told before anything is asked
    return pieces
