"""`resolve`: any form of request and an engine become one resolved request, once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from logitlab.checks import FrozenDict, ParameterError
from logitlab.engines.engine import Engine
from logitlab.engines.given import Given, read_request
from logitlab.engines.registry import EngineLike, get
from logitlab.engines.rules import Note, Translation
from logitlab.engines.spelling import Lexicon, VocabularyLike
from logitlab.request.keys import refuse_unknown
from logitlab.request.params import ENDINGS, PARAMETERS, SamplingParams, check_structure
from logitlab.request.whole import refuse_answers, refuse_whole
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain
from logitlab.steps.step import Transform

__all__ = ["REPORTS", "Request", "Resolved", "resolve", "resolve_alone"]

Request: TypeAlias = "SamplingParams | Mapping[str, Any] | Transform | Resolved | None"

REPORTS = ("engine", "raw", "processed")


@dataclass(frozen=True, eq=False)
class Resolved:
    """A request that was read, checked and translated.

    Attributes
    ----------
    engine : Engine
        Whose request it is.
    chain : Chain
        What it does to logits.
    given : mapping
        What was asked, by key, each value in its type; ``max_tokens`` may be a model's own.
    notes : tuple of Note
        What the engine ignored, changed or filled in.
    is_chain : bool
        Whether a chain was asked for, so that no engine has made it.
    endings : mapping
        What ends a generation beside the page's parameters: those beyond it that the engine has,
        by key, with the ids that end a text, and ``min_tokens`` where that holds off stop strings.
    """

    engine: Engine
    chain: Chain
    given: Mapping[str, Any] = field(default_factory=Given)
    notes: tuple[Note, ...] = ()
    is_chain: bool = False
    endings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int | None:
        """The seed that was asked for."""
        return self.given.get("seed")

    @property
    def shapes(self) -> bool:
        """Whether it can change a distribution."""
        return bool(self.chain.steps)

    def at_size(self, size: int | None) -> Resolved:
        """Return it for a vocabulary of a size, where that is not what it was resolved for."""
        return self

    def reports(self, mode: str) -> bool:
        """Whether log-probabilities are reported.

        Raises
        ------
        ParameterError
            If the engine does not say of what they are, and nobody else does.
        """
        if mode != "engine" or self.is_chain or self.engine.tells_logprobs:
            return True
        if self.engine.logprobs == "undocumented":
            rule = "false, or asked for with logprobs_mode 'raw' or 'processed'"
            hint = f"{self.engine.name} does not say what it reports."
            raise ParameterError("logprobs", rule, True, hint)
        return False

    def reported(self, mode: str) -> Chain | None:
        """Return what log-probabilities are of: a chain, or None for the model's own logits.

        Parameters
        ----------
        mode : {"engine", "raw", "processed"}
            What the engine reports (of a chain the model's own), the model's own, or what is drawn
            from.
        """
        kind = self.engine.logprobs if mode == "engine" else mode
        if kind == "raw" or (mode == "engine" and self.is_chain):
            return None
        return self.chain if mode == "processed" else self.engine.reported_of(self.chain)


def resolve(
    request: Request,
    engine: EngineLike = "openrouter",
    *,
    size: int | None = None,
    keywords: Mapping[str, Any] | None = None,
    ending: Mapping[str, float] | None = None,
    vocabulary: VocabularyLike = None,
) -> Resolved:
    """Return a request of any form, resolved: whatever follows begins with it.

    Parameters
    ----------
    request : SamplingParams, mapping, Transform, Resolved or None
        A mapping is a request body, checked by the engine's rules alone; a transform is a chain
        that acts as it is; None is an empty request. What is resolved stays so, with its engine.
    engine : str or Engine
    size : int, optional
        Of the vocabulary, for the rules that depend on it.
    keywords : mapping, optional
        What takes the place of the request's own values.
    ending : mapping of str to float, optional
        For a whole generation: the bias on the tokens that end a text which each word of verbosity
        means. Without it, what acts on a whole generation is refused.
    vocabulary : Model or Vocabulary, optional
        What spells the texts of a request in token ids, and tells what ends a text.

    Raises
    ------
    ParameterError
        For whatever is wrong with the request, or what the engine refuses.
    """
    if isinstance(request, Resolved):
        for key, value in (keywords or {}).items():
            raise ParameterError(key, "absent beside a request that is resolved", value)
        get(engine), Lexicon.of(vocabulary)  # no others are looked for, but they have to exist
        return request.at_size(size)
    whose, lexicon = get(engine), Lexicon.of(vocabulary)
    if isinstance(request, Transform):
        return _of_chain(request, whose, keywords, ending, lexicon)
    if request is not None and not isinstance(request, SamplingParams | Mapping):
        raise ParameterError("request", "SamplingParams, a map, a chain or None", request)
    if keywords:
        body = request.to_request() if isinstance(request, SamplingParams) else request or {}
        names = whose.aliases
        kept = {key: value for key, value in body.items() if names.get(key, key) not in keywords}
        request = {**kept, **{key: x for key, x in keywords.items() if x is not None}}
    given = whose.read({} if request is None else request, lexicon and lexicon.bias_encode)
    if not whose.is_page:
        check_structure(given)
    if ending is None:
        refuse_whole(given)
    translation = whose.arrive(given, size, lexicon)
    if translation.max_tokens is not None:
        given = Given(given, max_tokens=translation.max_tokens)
    if whose.tops_alone and given.get("top_logprobs"):
        given = Given(given, logprobs=True)
    if ending is None:  # after the engine, which may refuse several answers in its own words
        refuse_answers(given)
    values = translation.values
    endings = {**translation.endings, "eos_token_id": values["eos_token_id"]}
    if "min_tokens" in whose.reads and whose.dialect.holds_stops:
        endings["min_tokens"] = values["min_tokens"]
    if endings.get("ignore_eos") and whose.dialect.ignores_stops:
        endings.pop("stop_token_ids", None)
    amount = (ending or {}).get(given.get("verbosity", "medium"), 0)
    if amount:
        translation = _with_bias(translation, dict.fromkeys(values["eos_token_id"], amount))
    chain = whose.chain_of(translation)
    return Resolved(whose, chain, given, translation.notes, endings=FrozenDict(endings))


def resolve_alone(
    request: Request,
    engine: EngineLike,
    *,
    size: int | None = None,
    vocabulary: VocabularyLike = None,
) -> Resolved:
    """Do `resolve` for a result that has no notes: what nobody knows is refused there."""
    resolved = resolve(request, engine, size=size, vocabulary=vocabulary)
    if not isinstance(request, Resolved):  # whoever has resolved it has its notes
        refuse_unknown(resolved.given.keys() - resolved.engine.own)
    return resolved


def _of_chain(
    steps: Transform,
    engine: Engine,
    keywords: Mapping[str, Any] | None,
    ending: Mapping[str, float] | None,
    lexicon: Lexicon | None,
) -> Resolved:
    for key, value in (keywords or {}).items():
        # What acts on logits is in the chain already.
        if key not in PARAMETERS or PARAMETERS[key].role == "distribution":
            raise ParameterError(key, "a step of the chain where one is given", value)
    given = read_request(SamplingParams(**keywords) if keywords else Given())
    chain = steps if isinstance(steps, Chain) else Chain(steps)
    endings = {key: given[key] for key in ENDINGS if key in given}
    endings.setdefault("eos_token_id", lexicon.end_ids if lexicon else ())
    amount = (ending or {}).get(given.get("verbosity", "medium"), 0)
    if amount:
        chain = chain.of(LogitBias(dict.fromkeys(endings["eos_token_id"], amount)), *chain)
    return Resolved(engine, chain, given, is_chain=True, endings=FrozenDict(endings))


def _with_bias(translation: Translation, bias: Mapping[int, float]) -> Translation:
    """Return a translation whose bias has more on top."""
    values = dict(translation.values)
    both = dict(values["logit_bias"] or {})
    for token, amount in bias.items():
        both[token] = both.get(token, 0.0) + amount
    values["logit_bias"] = FrozenDict(both)
    return dataclasses.replace(translation, values=FrozenDict(values))
