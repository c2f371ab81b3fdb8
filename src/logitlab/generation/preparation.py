"""A request made ready for the loop: its chain, what it reports, and where it ends."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from logitlab.arrays import IntArray
from logitlab.checks import ParameterError
from logitlab.constraints import Constraint, Tools, constraint_of_values, marker_ids
from logitlab.engines.resolve import Request, Resolved, resolve
from logitlab.engines.rules import Note
from logitlab.generation.endings import Endings
from logitlab.generation.options import Options
from logitlab.generation.prompts import prompt_ids
from logitlab.models.model import Model
from logitlab.request.params import SamplingParams
from logitlab.request.values import copied
from logitlab.request.whole import answers_of, check_answers
from logitlab.steps.allow import MinTokens
from logitlab.steps.chain import Chain
from logitlab.steps.guidance import Guidance
from logitlab.vocabulary import Vocabulary

__all__ = ["Prepared", "check_steps", "prepare", "resolve_for", "unspelled"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A request made ready.

    Attributes
    ----------
    request : SamplingParams, mapping, Transform or None
        As it was given.
    options : Options
    resolved : Resolved
    counts : bool
        Whether a step looks at the tokens so far.
    guides : bool
        Whether guidance asks the model twice.
    negative_prompt : ndarray of int64, shape (P,), or None
        What it moves away from; None is the last token of the prompt.
    constraint : Constraint or None
        Which tokens may come next, before anything else is done to the logits.
    reported : Chain or None
        What the log-probabilities are of, if any are asked for.
    is_raw : bool
        Whether they are of the model's own logits, before the constraint, too.
    top_logprobs : int
    max_tokens : int or None
    stop : tuple of str
    endings : Endings
        What ends it beside these.
    answers : int or None
        How many are asked for, where that is said.
    tools : tuple of mapping
        What a chat template is told of.
    """

    request: Request
    options: Options
    resolved: Resolved
    counts: bool
    guides: bool
    negative_prompt: IntArray | None
    constraint: Constraint | None
    reported: Chain | None
    is_raw: bool
    top_logprobs: int
    max_tokens: int | None
    stop: tuple[str, ...]
    endings: Endings
    answers: int | None
    tools: tuple[Mapping[str, Any], ...]

    @property
    def notes(self) -> tuple[Note, ...]:
        """What happens to the request, and what of its structure is not enforced."""
        if self.constraint is None:
            return self.resolved.notes
        own = self.options.constraint is not None
        more = (
            Note("constraint" if own else re.split(r"[.\[]", sentence)[0], "ignored", sentence)
            for sentence in self.constraint.notes
        )
        return (*self.resolved.notes, *more)

    @cached_property
    def observed(self) -> dict[str, int | None]:
        """At which stages steps with a state look at what was drawn, see `Chain.observed`."""
        return self.chain.observed

    @property
    def chain(self) -> Chain:
        """What is done to the logits."""
        return self.resolved.chain


def resolve_for(model: Model, request: Request, options: Options, n: int | None = None) -> Resolved:
    """Return the request of a whole generation, resolved, for ``n`` answers where that is said.

    Verbosity is a bias on the tokens that end a text, which multiplies the odds of ending.
    """
    ending = {"low": options.verbosity_bias, "high": -options.verbosity_bias}
    keywords = options.parameters
    if n is not None:
        check_answers("n", n)
        body = request.extra if isinstance(request, SamplingParams) else request or {}
        if isinstance(body, Mapping):  # an engine's rules may look at it
            asked = body.get("n")
            if asked not in (None, n):
                raise ParameterError("n", f"{asked!r}, as in the request, or absent", n)
            keywords = {**keywords, "n": n} if asked is None else keywords
    return resolve(
        request,
        options.engine,
        size=len(model.vocabulary),
        keywords=keywords,
        ending=ending,
        vocabulary=model,
    )


def prepare(model: Model, request: Request, options: Options, n: int | None = None) -> Prepared:
    """Return a request for n answers made ready for a model, or raise for what is wrong with it."""
    resolved = resolve_for(model, request, options, n)
    given = resolved.given
    constraint, stop = _constraint(given, options.constraint), given.get("stop", ())
    if constraint is not None:
        resolved = _constrained(resolved)
    chain = resolved.chain
    check_steps(chain)
    chain.at(options.state)  # says what is wrong with it
    top = given.get("top_logprobs", 0)
    top = len(model.vocabulary) if top == -1 else top  # which vLLM and mlx-lm take
    if not 0 <= top <= len(model.vocabulary):
        rule = f"at most the {len(model.vocabulary)} tokens of the model"
        raise ParameterError("top_logprobs", rule, top)
    guides = any(isinstance(step, Guidance) and not step.is_neutral for step in chain)
    notes = _unmatched(stop, model.vocabulary, unspelled(constraint, model.vocabulary))
    reports = given.get("logprobs") and resolved.reports(options.logprobs_mode)
    reported = resolved.reported(options.logprobs_mode) if reports else None
    return Prepared(
        # The caller's own map may change before the text is resumed.
        request=copied(request) if isinstance(request, Mapping) else request,
        options=options,
        resolved=replace(resolved, notes=(*resolved.notes, *notes)),
        counts=any(step.needs_context for step in chain),
        guides=guides,
        negative_prompt=_negative_prompt(model, given) if guides else None,
        constraint=constraint,
        # A chain without steps is still one: in single precision it rounds.
        reported=(Chain() if reported is None else reported) if reports else None,
        is_raw=reported is None,
        top_logprobs=top,
        max_tokens=given.get("max_tokens"),
        stop=stop,
        endings=Endings.of(resolved.endings, constraint is not None),
        answers=n if n is not None else answers_of(given),
        tools=() if given.get("tool_choice") == "none" else tuple(given.get("tools", ())),
    )


def _constrained(resolved: Resolved) -> Resolved:
    """Return a request whose text has a constraint: it ends where it is complete, as at vLLM."""
    steps = [replace(s, restores=True) if isinstance(s, MinTokens) else s for s in resolved.chain]
    notes = list(resolved.notes)
    if resolved.endings.get("ignore_eos"):
        sentence = "ignore_eos is ignored where the text has a structure: it ends when complete."
        notes.append(Note("ignore_eos", "ignored", sentence, True))
    return replace(resolved, chain=resolved.chain.of(*steps), notes=tuple(notes))


def _negative_prompt(model: Model, given: Mapping[str, Any]) -> IntArray | None:
    """Return the token ids of the negative prompt, if there is one, or raise."""
    asked = [key for key in ("negative_prompt", "negative_prompt_ids") if key in given]
    if len(asked) > 1:
        rule = "absent where negative_prompt_ids is given"
        raise ParameterError(asked[0], rule, given[asked[0]])
    if not asked:
        return None
    try:
        return prompt_ids(model, given[asked[0]])
    except ParameterError as error:
        raise ParameterError(asked[0], error.rule, error.value, error.hint) from None


def unspelled(constraint: Constraint | None, vocabulary: Vocabulary) -> frozenset[int]:
    """Return the tokens that leave nothing in a text: the special ones that mark no call."""
    marks = marker_ids(vocabulary) if isinstance(constraint, Tools) else frozenset()
    return vocabulary.special - marks


def _unmatched(
    stop: Sequence[str], vocabulary: Vocabulary, silent: frozenset[int]
) -> Iterator[Note]:
    """Yield a note for each stop string with the name of a special token, which is no text."""
    names = {vocabulary[token].decode("utf-8", "replace"): token for token in sorted(silent)}
    for one in stop:
        for name in (name for name in names if name and name in one):
            sentence = f"stop {one!r} can never match the special token {name}, which leaves no "
            sentence += "text: only other tokens that spell its name can."
            yield Note("stop", "ignored", sentence, one)


def _constraint(values: Mapping[str, Any], given: Constraint | None) -> Constraint | None:
    asked = constraint_of_values(values)
    calls_nothing = isinstance(asked, Tools) and asked.tool_choice == "none"
    if given is None or asked is None or calls_nothing:
        return given or asked
    hint = "The request has response_format or tools, which are a constraint of their own."
    raise ParameterError("constraint", "absent beside these", given, hint)


def check_steps(chain: Chain) -> None:
    """Raise `ParameterError` for a step with one value for each row of a batch."""
    for step in chain:
        value = getattr(step, "value", None)
        amounts = value.values() if isinstance(value, Mapping) else (value,)
        if any(getattr(amount, "ndim", 0) for amount in amounts):
            hint = "Give one request for each row instead."
            raise ParameterError("request", "a chain of steps with one value each", step, hint)
