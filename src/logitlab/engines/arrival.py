"""From what a request gives to what of it reaches a chain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from logitlab.checks import FrozenDict, ParameterError
from logitlab.engines.generation_config import KEY
from logitlab.engines.given import Given
from logitlab.engines.rules import (
    ABSENT,
    Ignore,
    LeftOut,
    Note,
    RefusalError,
    Send,
    Target,
    Translation,
    as_written,
    brief_number,
    refusal,
)
from logitlab.engines.spelling import Lexicon, has_texts, spelt
from logitlab.engines.together import number
from logitlab.request.params import ENDINGS, NEUTRAL, PARAMETERS, TWENTY, UNSPELLED, USED
from logitlab.request.whole import READ

__all__ = ["arrive"]

_UNMODELLED = Ignore("it has no such parameter")
_UNREAD = Ignore("its chain does not read it")
_UNGUIDED = Ignore("without guidance_scale nothing moves away from it")
_NEGATIVE = ("negative_prompt", "negative_prompt_ids")


def arrive(
    engine: Any, given: Given, size: int | None, lexicon: Lexicon | None = None
) -> Translation:
    """Return what of a request that was read reaches the chain of an `Engine`.

    Texts are spelt in token ids, if there is a lexicon. Errors name what the request says, where
    that is the engine's own name of a key.
    """
    written: dict[str, str] = {}
    try:
        return _Arrival(engine, given, size, written).translation(lexicon)
    except ParameterError as error:
        if not written:
            raise
        raise as_written(error, written) from None


class _Arrival:
    """One request on its way into an engine.

    Parameters
    ----------
    engine : Engine
    given : Given
    size : int or None
        Size of the vocabulary, if known.
    written : dict
        Gets the names that the request has for keys, where they are others.
    """

    def __init__(
        self, engine: Any, given: Given, size: int | None, written: dict[str, str]
    ) -> None:
        self.engine = engine
        self.given = given
        self.written = written
        self.notes: list[Note] = list(given.notes)
        self.values: dict[str, Any] = {}
        self.endings: dict[str, Any] = {}
        self.request: Mapping[str, Any] = given
        aliased: frozenset[str] = frozenset()
        if not engine.own.isdisjoint(given):
            self.request, aliased = self._named(given)
        if engine.deployed:
            self.request = {**engine.deployed, **self.request}
        self.file = self._file(KEY in given)
        known = {**self.file, **self.request} if self.file else self.request
        temperature = known.get("temperature", engine.defaults.get("temperature", 1))
        self.target = Target(
            engine.name,
            size,
            temperature == 0,
            aliased,
            known,
            engine.schema.answers,
            (*given, *sorted(given.nulls)),
        )

    def translation(self, lexicon: Lexicon | None) -> Translation:
        """Apply the rules, and spell what comes out."""
        engine = self.engine
        self._check_together()
        keys: Iterable[str] = self.request
        if engine.senders:
            # What is put to another use comes first, so that the rules of that use act on it.
            keys = sorted(self.request, key=engine.senders.__contains__, reverse=True)
        for key in keys:
            self._arrive(key, self.request[key])
        for key, value in self.file.items():
            if key not in self.request and key not in self.values:
                self._arrive_from_file(key, value)
        arrived = frozenset(self.values)
        self._fill()
        self._tell_of_idle()
        if engine.dialect.has_one_answer and number(self.request, "n") > 1:
            sentence = f"n: {engine.name} gives one answer, whatever it says."
            self.notes.append(Note("n", "beside", sentence, self.request["n"], 1))
        if self.request.get("top_logprobs") and not self.request.get("logprobs"):
            self._tell_of_lone_tops()
        values, notes = spelt(engine, engine.absent | self.values, arrived, lexicon)
        limit = None if "max_tokens" in self.request else self.file.get("max_tokens")
        endings = FrozenDict(self.endings)
        all_notes = (*self.notes, *notes)
        written = FrozenDict(self.written)
        return Translation(engine.name, FrozenDict(values), all_notes, limit, endings, written)

    def _check_together(self) -> None:
        """Raise for what the engine refuses of the request as a whole."""
        engine = self.engine
        if engine.together:
            options = {key: option.default for key, option in engine.options.items()}
            whole = {**options, **engine.defaults, **self.target.request, "V": self.target.size}
            for rule in engine.together:
                rule.check(whole, self.target)

    def _tell_of_idle(self) -> None:
        """Tell what does nothing, since what switches it on is off, and nothing else told so."""
        told = {note.key for note in self.notes if note.effect != "beyond"}
        for key in [key for key in self.request if key in self.values and key not in told]:
            switch = PARAMETERS[key].needs if key in PARAMETERS else ""
            used = self.values.get(switch, self.engine.absent.get(switch))
            is_off = type(used) in (int, float) and used == NEUTRAL.get(switch)
            if is_off and switch in self.engine.reads:
                self.notes = [note for note in self.notes if note.key != key]
                sentence = f"{key} does nothing at {self.engine.name} without {switch}."
                self.notes.append(Note(key, "off", sentence, self.request[key]))

    def _tell_of_lone_tops(self) -> None:
        top, name = self.request["top_logprobs"], self.engine.name
        if self.engine.tops_alone:
            sentence = f"logprobs is absent: {name} reports them beside top_logprobs."
            self.notes.append(Note("logprobs", "default", sentence, None, True))
        elif not any(note.key == "top_logprobs" for note in self.notes):
            sentence = f"top_logprobs is ignored by {name} without logprobs."
            self.notes.append(Note("top_logprobs", "ignored", sentence, top))

    def _file(self, is_sent: bool) -> dict[str, Any]:
        """Return the defaults of a model's own, by key."""
        engine, file = self.engine, self.request.get(KEY)
        if file is None or KEY not in engine.options:
            return {}
        values, notes = engine.generation_config.values(file, engine.name, is_sent)
        self.notes += notes
        return dict(values)

    def _named(self, given: Given) -> tuple[dict[str, Any], frozenset[str]]:
        """Return what is given by documented names, and which of it came by others."""
        aliases, options = self.engine.aliases, self.engine.options
        request = {key: value for key, value in given.items() if key in PARAMETERS}
        for key, value in given.items():
            if key in options:
                request[key] = self._option(key, value)
            elif key not in aliases:
                request.setdefault(key, value)
        sent = [key for key in aliases if key in given]
        for key in sent:
            known = aliases[key]
            before = self.written.get(known, known)
            self.written[known] = key
            value = self._typed(known, given[key])
            if known in request:
                joined = self.engine.join(known, request[known], value)
                if joined == request[known]:
                    self.written[known] = before
                value = joined
            request[known] = value
        aliased = frozenset(aliases[key] for key in sent)
        for key, value in given.items():
            known = aliases.get(key, key)
            if known in aliased and self._typed(known, value) != request[known]:
                sentence = f"{key} {brief_number(value)} is ignored by {self.engine.name}: "
                sentence += f"{brief_number(request[known])} counts."
                self.notes.append(Note(key, "ignored", sentence, value))
        return request, aliased

    def _typed(self, key: str, value: Any) -> Any:
        """Return the value of a documented key, or of one of the engine's own."""
        if key in self.engine.options:
            return self._option(key, value)
        return PARAMETERS[key].typed(value)

    def _option(self, key: str, value: Any) -> Any:
        """Return the value of a key of the engine's own, or raise as the engine does."""
        option = self.engine.options[key]
        try:
            return option.check(key, value)
        except ParameterError as error:
            if isinstance(error, RefusalError) or key == KEY:
                raise
            says = option.says(value) or str(error)
            answers = self.engine.schema.answers
            raise refusal(key, error.rule, value, self.engine.name, says, answers) from None

    def _is_ignored(self, key: str) -> bool:
        """Whether the engine reads a key in no request."""
        return any(isinstance(rule, Ignore) for rule in self.engine.rules.get(key, ()))

    def _arrive(self, key: str, value: Any) -> None:
        """Let the rules of a key act on its value, and file what comes out."""
        engine, target = self.engine, self.target
        rules = engine.rules.get(key, ())
        if key not in READ and key not in engine.options:
            sentence = f"{key} is not modelled here, whatever {engine.name} does with it."
            self.notes.append(Note(key, "unknown", sentence, value))
            return
        is_unread = key in NEUTRAL and key not in engine.reads and not (rules and key in TWENTY)
        if key in ENDINGS:
            is_unread = key not in engine.endings and key not in engine.reads and not rules
        if is_unread and (engine.is_bundled or key in ENDINGS) and not self._is_ignored(key):
            rules = (_UNMODELLED,)
        if key in _NEGATIVE and not self._is_ignored(key):
            if "guidance_scale" not in engine.reads:
                rules = (_UNMODELLED,)
            elif self.request.get("guidance_scale", 1) == 1:
                rules = (*rules, _UNGUIDED)
        for rule in rules:
            value, note = rule.apply(key, value, target)
            if isinstance(rule, Send):
                if rule.key in self.request:
                    sentence = f"{key} is ignored by {engine.name} beside {rule.key}."
                    note = Note(key, "ignored", sentence, self.request[key])
                else:
                    self.values[rule.key] = value
                value = ABSENT
            if note:
                self.notes.append(note)
            if value is ABSENT:
                return
        if key in ENDINGS:
            self.endings[key] = value
        if key in engine.absent:
            self.values[key] = value
            if key in engine.options and engine.options[key].is_deployed and key in self.given:
                sentence = f"{key} belongs to a deployment of {engine.name}, and to no request; "
                sentence += "it acts here."
                self.notes.append(Note(key, "changed", sentence, value, value))
        if engine.is_page and key in PARAMETERS.keys() - set(TWENTY):
            sentence = f"{key} is not on OpenRouter's page: it acts as defined by "
            sentence += f"{PARAMETERS[key].origin}."
            self.notes.append(Note(key, "beyond", sentence, value, value))

    def _arrive_from_file(self, key: str, value: Any) -> None:
        """Do the same for a default of the model's own, which is told of as one."""
        sentence = f"{key} is absent: {self.engine.name} uses {brief_number(value)}, of {KEY}."
        self.notes.append(Note(key, "default", sentence, None, value))
        if key in self.engine.absent:
            try:
                self._arrive(key, value)
            except RefusalError as error:
                place = f"{KEY}[{key!r}]"
                raise RefusalError(place, error.rule, error.value, error.hint) from None

    def _fill(self) -> None:
        """Put in what the engine uses for keys that are absent."""
        engine, values = self.engine, self.values
        missing: dict[str, Any] = {}
        for key, default in engine.ordered_defaults.items():
            if key in UNSPELLED:  # filled in where they are spelt
                continue
            if key not in values and (key not in self.target.request or self._is_ignored(key)):
                missing[key] = default
        if not engine.is_bundled:
            # It may read some values only beside others, so that these very ones decide.
            tried = {key: USED[key] if has_texts(value) else value for key, value in values.items()}
            reads = engine.reads_beside(missing | tried)
            missing = {key: default for key, default in missing.items() if key in reads}
            for key in [key for key in values if key not in reads and key not in ENDINGS]:
                self.notes.append(_UNREAD.apply(key, values.pop(key), self.target)[1])
        for key, default in missing.items():
            rules = engine.rules.get(key, ())
            if not any(
                isinstance(rule, LeftOut) and rule.why(self.target.request) for rule in rules
            ):
                values[key] = default
                sentence = f"{key} is absent: {engine.name} uses {brief_number(default)}."
                self.notes.append(Note(key, "default", sentence, None, default))
