"""What a server may be told: limits, who may come, and what it does for tests of applications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from logitlab.checks import (
    ParameterError,
    Range,
    check_choice,
    check_flag,
    check_integer,
    check_number,
)
from logitlab.engines.engine import Engine
from logitlab.engines.registry import EngineLike, get
from logitlab.engines.resolve import REPORTS

__all__ = ["LOOPBACK", "Fault", "Settings"]

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""Names of this machine that only programs on it can reach."""

_COUNT = Range(1, integer=True)
_QUEUE = Range(0, integer=True)
_SECONDS = Range(0, 3600)
_STATUS = Range(400, 599, integer=True)


@dataclass(frozen=True)
class Fault:
    """A failure that is played: this status for so large a part of the requests."""

    status: int
    share: float

    @classmethod
    def of(cls, value: Any) -> Fault:
        """Read ``429:0.05``, or a pair of status and share.

        Examples
        --------
        >>> Fault.of("429:0.05")
        Fault(status=429, share=0.05)
        """
        parts = value.split(":") if isinstance(value, str) else value
        rule = "STATUS:SHARE, such as 429:0.05"
        if not isinstance(parts, Sequence) or len(parts) != 2:
            raise ParameterError("fail", rule, value)
        try:
            status, share = int(parts[0]), float(parts[1])
            _STATUS.check("fail", status), Range(0, 1).check("fail", share)
        except (TypeError, ValueError):
            hint = "The status is 400 to 599, the share 0 to 1."
            raise ParameterError("fail", rule, value, hint) from None
        return cls(status, share)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keywords of `app`, checked.

    Parameters
    ----------
    engine : str or Engine
        Whose server it is, for requests whose ``provider`` does not name another.
    logprobs_mode : {"engine", "raw", "processed"}
        As of `generate`.
    strict_model : bool
        Whether a request for a model of another name is refused with 404, as by OpenAI and vLLM.
        Otherwise its name is echoed, as by llama.cpp's server: clients may have names built in.
    api_key : str, optional
        What a request has to send as ``Authorization: Bearer …``; everything but ``/health`` wants
        it. Without it nothing does.
    hosts : sequence of str, optional
        Which names a request may call the server by, without ports; ``"*"`` is any. None takes the
        names of the loopback, or any where there is a key: a page of the web can make its own name
        mean this machine, but knows no key.
    origins : sequence of str
        Pages of which other servers may ask, such as ``"https://example.org"``. No others may.
    batch_size : int
        Answers that are written at a time.
    queue : int
        Requests that wait beside so many: one more is refused with 503.
    max_body : int
        Bytes of a request; a longer one is refused with 413.
    max_answers : int
        Answers to one request.
    patience : float
        Seconds after which a reader who takes nothing of a stream is given up.
    script : sequence of mapping
        Rules for answers that are known before, see `Script`.
    latency : float
        Seconds before a request is begun.
    tokens_per_second : float, optional
        How fast an answer is written at most.
    fail : sequence of str
        Failures to play, such as ``"429:0.05"``: that status for a twentieth of the requests.
    fail_seed : int
        Which requests these are is a function of this seed and of a request's number.

    Raises
    ------
    ParameterError
        For whatever is wrong with them.
    """

    engine: EngineLike = "openrouter"
    logprobs_mode: str = "engine"
    strict_model: bool = False
    api_key: str | None = field(default=None, repr=False)
    hosts: Sequence[str] | None = None
    origins: Sequence[str] = ()
    batch_size: int = 64
    queue: int = 256
    max_body: int = 4 << 20
    max_answers: int = 128
    patience: float = 30.0
    script: Sequence[Mapping[str, Any]] = ()
    latency: float = 0.0
    tokens_per_second: float | None = None
    fail: Sequence[Any] = ()
    fail_seed: int = 0

    def __post_init__(self) -> None:
        changed: dict[str, Any] = {"engine": get(self.engine)}
        check_choice("logprobs_mode", self.logprobs_mode, REPORTS)
        check_flag("strict_model", self.strict_model)
        for name in ("batch_size", "max_body", "max_answers"):
            changed[name] = check_integer(name, getattr(self, name), _COUNT)
        changed["queue"] = check_integer("queue", self.queue, _QUEUE)
        for name in ("patience", "latency"):
            changed[name] = check_number(name, getattr(self, name), _SECONDS)
        if self.patience <= 0:
            raise ParameterError("patience", "a number of seconds above 0", self.patience)
        if self.tokens_per_second is not None:
            speed = check_number("tokens_per_second", self.tokens_per_second)
            if not speed > 0:
                raise ParameterError("tokens_per_second", "a number above 0", speed)
        key = self.api_key
        if key is not None and not (isinstance(key, str) and key and key.isprintable()):
            raise ParameterError("api_key", "a text of printable characters, or None", key)
        if self.hosts is not None:
            changed["hosts"] = tuple(_host(name) for name in _list("hosts", self.hosts))
        changed["origins"] = tuple(_origin(each) for each in _list("origins", self.origins))
        changed["fail"] = tuple(Fault.of(each) for each in _list("fail", self.fail))
        if sum(fault.share for fault in changed["fail"]) > 1:
            raise ParameterError("fail", "of shares that add up to 1 at most", self.fail)
        changed["fail_seed"] = check_integer("fail_seed", self.fail_seed, Range(integer=True))
        changed["script"] = tuple(_list("script", self.script))
        for name, value in changed.items():
            object.__setattr__(self, name, value)

    @property
    def usual_engine(self) -> Engine:
        """The engine of requests that name none."""
        return get(self.engine)

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """Names that a request may call the server by; None is any."""
        if self.hosts is None:
            return frozenset(LOOPBACK) if self.api_key is None else None
        return None if "*" in self.hosts else frozenset(self.hosts)


def _list(name: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ParameterError(name, "a list", value)
    return value


def _host(name: Any) -> str:
    is_name = isinstance(name, str) and name and not set(name) & set("/ @?#")
    if not is_name or (":" in name and not name.startswith("[")):
        rule = 'names of hosts without ports, such as "lab.example.org", or "*"'
        raise ParameterError("hosts", rule, name)
    return str(name).lower()


def _origin(origin: Any) -> str:
    rule = 'origins of pages, such as "https://example.org" or "http://localhost:3000"'
    if not isinstance(origin, str):
        raise ParameterError("origins", rule, origin)
    try:
        parts = urlsplit(origin)
        whole = f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        whole = ""
    if parts.scheme not in ("http", "https") or not parts.netloc or whole != origin.rstrip("/"):
        raise ParameterError("origins", rule, origin)
    return whole.lower()
