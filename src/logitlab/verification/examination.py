"""One examination, from the first request to the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, Seen, counted
from logitlab.progress import Progress
from logitlab.verification.answer import Answer
from logitlab.verification.bases import PROMPTS
from logitlab.verification.battery import estimate, examine, keys_of
from logitlab.verification.endpoint import Endpoint, Reply
from logitlab.verification.errors import EndpointError
from logitlab.verification.identity import Watch
from logitlab.verification.log import Log, Past, Replay
from logitlab.verification.outcome import OTHERS, Spending
from logitlab.verification.penalty_prompts import words
from logitlab.verification.reading import counted_tokens
from logitlab.verification.result import Verification
from logitlab.verification.study import Spent, Study
from logitlab.verification.wording import harmless

__all__ = ["Examination"]

_SHOWN = 6  # names of models in a message
_AGAIN = 16  # times that a request is sent in vain for an answer of one deployment


@dataclass
class Examination:
    """One examination: it goes through the battery, and counts what that takes.

    Parameters
    ----------
    settings : dict
        As a log keeps them.
    past : Past, optional
        The log of an earlier run.
    bar : Progress, optional
    is_interrupted : callable, optional
        Whether somebody wants it to end.

    Attributes
    ----------
    header : dict
        The first line of its log; of one that is resumed its own.
    """

    settings: dict[str, Any]
    past: Past | None = None
    bar: Progress = field(default_factory=lambda: Progress("requests", False))
    is_interrupted: Callable[[], bool] = lambda: False
    watch: Watch = field(default_factory=Watch)
    answers: int = 0
    recorded: int = 0
    retried: int = 0
    tokens: tuple[int, int] = (0, 0)
    expected: int = 0
    url: str | None = None
    header: dict[str, Any] = field(default_factory=dict)
    is_met: bool = False

    def __call__(
        self, speaker: Endpoint | None, log: Any, pieces: Callable[[str], list[bytes]] | None
    ) -> Verification:
        """Run it, against an endpoint or a log alone, and return the report."""
        settings, begun = self.settings, time.monotonic()
        if speaker is not None:
            speaker.is_stopped = self.check_going
        notes: list[str] = []
        self._choose_model(speaker)
        header = self.header
        written: Log | None = None
        if log is not None:
            written = Log(log, header)
        elif self.past is not None and speaker is not None:
            written = Log(self.past.path, header, self.past)
        replies = None if speaker is None else speaker.replies
        replay = Replay(self.past, replies, written, self.heard)

        def answers(bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
            self.check_going()
            try:
                return replay(bodies)
            except EndpointError as error:
                if not self.is_met:
                    raise
                raise Spent(str(error).rstrip(".")) from error

        def send(bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
            return self.of_one_deployment(bodies, answers, study)

        study = Study(
            send,
            alpha=settings["alpha"],
            cap=settings["cap"],
            rng=np.random.default_rng(settings["seed"]),
            prompts=tuple(settings["prompts"] or PROMPTS),
            extra=_extra(settings),
            chat=not settings["plain"],
            pieces=pieces,
            notes=notes,
        )
        known = dict(self.past.pieces) if self.past else {}

        def told(text: str) -> list[bytes] | None:
            if text not in known and speaker is not None and speaker.url:
                known[text] = speaker.pieces(text, settings["model"])
                if written is not None:
                    written.add_pieces(text, known[text])
            return known.get(text)

        def met(study: Study) -> None:
            self.settle(study)
            is_wanted = only is None or any("penalty" in key for key in only)
            if study.pieces is None and is_wanted and told(study.prompts[0]) is not None:
                study.pieces = lambda text: told(text) or words(text)

        only = keys_of(settings["only"], settings["quick"])
        self.expected = estimate(only, study.cap)[0]
        with nullcontext() if written is None else closing(written):
            try:
                stopped = examine(study, only, met=met)
            except EndpointError as error:
                raise self._with_models(error, speaker) from error.__cause__
        if self.past is not None and self.past.is_torn:
            notes.append("The last line of the log broke off, and was left out.")
        if stopped is None and replay.left:
            notes.append(
                f"{counted(replay.left, 'answer')} of the log answered nothing asked here."
            )
        notes += self.watch.sentences()
        path = written.path if written else self.past.path if self.past else None
        parameters = {k: v for k, v in study.findings.items() if k not in OTHERS}
        sigma = max((float(each.sigma) for each in study.observed.values()), default=0.0)
        return Verification(
            parameters,
            url=header["endpoint"],
            model=settings["model"],
            identities=dict(self.watch.seen),
            alpha=study.alpha,
            cap=study.cap,
            seed=settings["seed"],
            meaning=study.meaning,
            noise=sigma,
            neutral=dict(study.neutral),
            prompts=tuple(map(_about, study.observed.values())),
            others={k: v for k, v in study.findings.items() if k in OTHERS},
            spending=Spending(
                self.answers,
                self.recorded,
                self.retried + (0 if speaker is None else speaker.retried),
                *self.tokens,
                seconds=time.monotonic() - begun,
            ),
            started=header["started"],
            notes=tuple(dict.fromkeys(notes)),
            stopped=stopped,
            log=None if path is None else str(path),
        )

    def of_one_deployment(
        self,
        bodies: Sequence[Mapping[str, Any]],
        answers: Callable[[Sequence[Mapping[str, Any]]], list[Answer]],
        study: Study,
    ) -> list[Answer]:
        """Return answers of the deployment that is examined, asking again where others come."""
        got = answers(bodies)
        for _ in range(_AGAIN):
            others = [
                i
                for i, answer in enumerate(got)
                if not answer.refused and not self.watch.is_home(answer.body)
            ]
            if not others:
                return got
            study.requests += len(others)
            if study.requests + len(bodies) > study.cap:
                raise Spent(f"the cap of {counted(study.cap, 'request')} is reached")
            for i, answer in zip(others, answers([bodies[i] for i in others]), strict=True):
                got[i] = answer
        raise Spent(f"{self.watch.home} does not answer any more, but others do")

    def check_going(self) -> None:
        """Raise where somebody wants it to end."""
        if self.is_interrupted():
            raise Spent("it was interrupted")

    def heard(self, reply: Reply, is_new: bool) -> None:
        """Count an answer."""
        self.answers += 1
        self.recorded += not is_new
        self.retried += 0 if is_new else reply.retries
        read, wrote = counted_tokens(reply.document)
        self.tokens = self.tokens[0] + read, self.tokens[1] + wrote
        if reply.status == 200:
            self.watch.see(reply.document)
        self.bar.update(self.answers, max(self.answers, self.expected))

    def settle(self, study: Study) -> None:
        """Pin a router to whoever answered first."""
        self.is_met = True
        self.watch.settle()
        provider = self.watch.home.provider if self.watch.home else None
        routed = str(self.url or "").startswith("https://openrouter.ai")
        if provider and "provider" not in study.extra and routed:
            study.extra = study.extra | _pinned(provider)
            study.notes.append(f"The router was pinned to {provider}, which answered most.")

    def meet(self, speaker: Endpoint | None) -> None:
        """Take whoever is asked for the endpoint, before anything is.

        Raises
        ------
        ParameterError
            For another than the log has.
        """
        kept = self.past.header if self.past is not None else {}
        started = datetime.now(UTC).isoformat(timespec="seconds")
        url = kept.get("endpoint") if speaker is None else speaker.url
        if kept and url != kept.get("endpoint"):
            rule = f"that of the log, {kept.get('endpoint') or 'a function'}"
            raise ParameterError("endpoint", rule, Seen(url or "a function"))
        self.url = url
        self.header = {
            "endpoint": url,
            "started": str(kept.get("started", started)),
            "settings": self.settings,
        }

    def _choose_model(self, speaker: Endpoint | None) -> None:
        """Take the model of a server that has one, where none is named."""
        if self.settings["model"] is not None or speaker is None or self.past is not None:
            return
        names = speaker.models() if speaker.url else []
        if len(names) == 1:
            self.settings["model"] = names[0]

    def _with_models(self, error: EndpointError, speaker: Endpoint | None) -> EndpointError:
        """Return an error with the names that the server has, where the model is in question."""
        if speaker is None or not speaker.url or "--model" not in str(error):
            return error
        names = speaker.models()
        if not names:
            return error
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return EndpointError(f"{error} It has {', '.join(map(harmless, names[:_SHOWN]))}{more}.")


def _extra(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every request has."""
    model, provider = settings["model"], settings["provider"]
    return ({} if model is None else {"model": model}) | (
        {} if provider is None else _pinned(provider)
    )


def _pinned(provider: str) -> dict[str, Any]:
    return {"provider": {"order": [provider], "allow_fallbacks": False}}


def _about(observed: Any) -> dict[str, Any]:
    """Return what a report says of a prompt, as far as it is known."""
    names = ("prompt", "entropy", "rest", "replies")
    named = {name: getattr(observed, name, None) for name in names}
    plain = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in named.items()
    }
    return {"text": plain.pop("prompt"), **{k: v for k, v in plain.items() if v is not None}}
