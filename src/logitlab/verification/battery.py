"""The order of an examination: which stages there are, what each needs, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from logitlab.verification.finding import Finding
from logitlab.verification.handshake import handshake
from logitlab.verification.outcome import KNOWN, OTHERS
from logitlab.verification.study import Spent, Study

__all__ = ["QUICK", "STAGES", "Stage", "estimate", "examine", "is_beyond", "is_examined", "keys_of"]

QUICK = ("top_k", "top_p", "min_p", "temperature")
"""The parameters of a quick examination."""

_READ = 18  # tokens of a prompt: 9 without a template, 35 in the form of some chats


class Stage(NamedTuple):
    """A part of an examination.

    Attributes
    ----------
    home : str
        The module and function that run it.
    keys : tuple of str
        The findings that it leaves.
    needs : {"logprobs", "draws", "", "text"}
        Log-probabilities; draws that differ; nothing; or that there are no log-probabilities.
    requests, written : int
        How many requests it takes at the median, and the tokens written in all.
    argument : str
        What it is told beside the study.
    """

    home: str
    keys: tuple[str, ...]
    needs: str
    requests: int
    written: int
    argument: str = ""

    def __call__(self, study: Study, keys: Sequence[str] = ()) -> None:
        """Run it, for all its keys or some."""
        module, _, name = self.home.partition(".")
        function: Callable[..., Any] = getattr(import_module(f"{__package__}.{module}"), name)
        if self.argument == "each":
            function(study, *(keys or self.keys))
        elif self.argument == "keys":
            function(study, keys or self.keys)
        elif self.argument:
            function(study, self.argument)
        else:
            function(study)


_RACED = ("top_k", "top_p", "min_p", "top_a", "temperature")
_PENALTIES = ("frequency_penalty", "presence_penalty", "repetition_penalty")

STAGES = (
    Stage("bases.bases", (), "logprobs", 31, 31),
    Stage("meaning.meaning", ("logprobs",), "logprobs", 10, 132),
    Stage("values.values", _RACED, "logprobs", 130, 130, "each"),
    Stage("arms.arms", _RACED, "text", 110, 110, "keys"),
    Stage("distinct.distinct", _PENALTIES, "text", 70, 3400, "keys"),
    *(Stage("penalties.penalty", (key,), "logprobs", 26, 890, key) for key in _PENALTIES),
    Stage("bias.bias", ("logit_bias",), "draws", 12, 12),
    Stage("seeds.seeds", ("seed",), "draws", 31, 330),
    Stage("endings.limits", ("max_tokens",), "", 4, 18),
    Stage("endings.stops", ("stop",), "", 11, 220),
    Stage("endings.choices", ("n",), "", 3, 6),
    Stage("endings.accepted", ("verbosity", "reasoning_effort"), "", 2, 2),
    Stage("structure.formats", ("response_format", "structured_outputs"), "", 18, 430),
    Stage("calls.calls", ("tools", "tool_choice"), "", 26, 1240),
    Stage("calls.parallel", ("parallel_tool_calls",), "", 7, 350),
    Stage("beyond.beyond", ("beyond",), "logprobs", 60, 60),
    Stage("dialects.dialects", ("dialects", "order"), "logprobs", 31, 31),
    Stage("defaults.defaults", ("defaults",), "logprobs", 40, 40),
    Stage("battery.unchanged", (), "logprobs", 2, 2),
)
_HANDSHAKE = (9, 40)
_ALWAYS = ("bases.bases", "meaning.meaning", "battery.unchanged")


def is_examined(key: str) -> bool:
    """Whether any examination tells something of a parameter.

    Examples
    --------
    >>> is_examined("top_p"), is_examined("typical_p"), is_examined("skew")
    (True, True, False)
    """
    if key in KNOWN or key in OTHERS or not is_beyond(key):
        return True
    module: Any = import_module(f"{__package__}.beyond")
    return key in module.FIRST or key in module.LATER


def keys_of(only: Collection[str], quick: bool) -> frozenset[str] | None:
    """Return the keys that are examined; None for all."""
    if quick:
        return frozenset(QUICK) & frozenset(only or QUICK)
    return frozenset(only) or None


def _chosen(only: frozenset[str] | None) -> Iterator[Stage]:
    """Yield the stages that some keys take, in their order."""
    own = {key for stage in STAGES for key in stage.keys}
    wanted = None if only is None else {key if key in own else "beyond" for key in only}
    races = {key for stage in STAGES if stage.needs == "logprobs" for key in stage.keys}
    for stage in STAGES:
        if stage.home in _ALWAYS:
            if wanted is None or wanted & races:
                yield stage
        elif wanted is None or wanted & {*stage.keys}:
            yield stage


def estimate(only: frozenset[str] | None, cap: int) -> tuple[int, int, int]:
    """Return how many requests an examination takes, and tokens read and written, about.

    Medians of examinations with log-probabilities; hard cases take up to the cap.

    Examples
    --------
    >>> requests, read, written = estimate(frozenset({"seed"}), cap=800)
    >>> requests < estimate(None, cap=800)[0] <= 800
    True
    """
    stages = [stage for stage in _chosen(only) if stage.needs != "text"]
    # A stage of several races takes its part for each of its keys.
    shares = [
        len(only & {*stage.keys}) / len(stage.keys)
        if only is not None and stage.argument == "each"
        else 1.0
        for stage in stages
    ]
    pairs = list(zip(stages, shares, strict=True))
    requests = round(_HANDSHAKE[0] + sum(stage.requests * part for stage, part in pairs))
    written = round(_HANDSHAKE[1] + sum(stage.written * part for stage, part in pairs))
    share = min(1.0, cap / requests)
    return min(requests, cap), round(requests * share) * _READ, round(written * share)


def examine(
    study: Study,
    only: frozenset[str] | None = None,
    begun: Callable[[str], None] = lambda name: None,
    met: Callable[[Study], None] = lambda study: None,
) -> str | None:
    """Run the stages in their order, and return why it ended early, or None.

    Parameters
    ----------
    study : Study
    only : set of str, optional
        The keys that are wanted. What the races need comes along.
    begun : callable
        Told the name of each stage.
    met : callable
        Told when the first requests have shown how to ask.

    Returns
    -------
    str or None
        Whatever ends it, every key that was wanted has a finding: one whose stage was not reached
        cannot be told.
    """
    begun("handshake")
    reason: str | None = None
    try:
        handshake(study)
        met(study)
    except Spent as spent:
        reason = str(spent)
    for stage in _chosen(only):
        if (stage.needs == "logprobs" and not study.logprobs) or (
            stage.needs == "text" and study.logprobs
        ):
            continue
        left = [key for key in stage.keys if key not in study.findings or key == "logprobs"]
        if only is not None and len(stage.keys) > 1:
            left = [key for key in left if key in only]
        if stage.keys and not left:
            continue  # refused in the first requests
        if reason is None and stage.needs and study.is_cached:
            _leave(study, left, "a cache answers, so that draws prove nothing")
            continue
        if reason is None:
            begun(", ".join(stage.keys) or stage.home.partition(".")[2])
            try:
                stage(study, left)
            except Spent as spent:
                reason = str(spent)
        _leave(study, left, reason or "no request told it")
    for key in sorted(only or ()):
        if key not in study.findings and not _is_told_elsewhere(key, study):
            _leave(study, [key], reason or "there are no log-probabilities to tell it by")
    return reason


def _is_told_elsewhere(key: str, study: Study) -> bool:
    return key == "beyond" and any(is_beyond(each) for each in study.findings)


def is_beyond(key: str) -> bool:
    """Whether a parameter has no stage of its own."""
    return not any(key in stage.keys for stage in STAGES)


def _leave(study: Study, keys: Collection[str], why: str) -> None:
    """Leave findings of what a stage did not tell."""
    for key in keys:
        if key not in study.findings and key not in ("beyond", "drift"):
            study.findings[key] = Finding("cannot_tell", "observed", detail=why)


def unchanged(study: Study) -> None:
    """See at the end whether neutral requests are still answered as at the beginning."""
    bases: Any = import_module(f"{__package__}.bases")
    moved = bases.drift(study)
    if moved > 0:
        far = "beyond what is reported" if math.isinf(moved) else f"by {moved:.2f} nats"
        study.notes.append(
            f"The log-probabilities of a neutral request have moved {far} since the beginning, "
            "beyond their noise: the server changed, and the proofs assume that it did not."
        )
