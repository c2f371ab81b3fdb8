"""Texts become token ids: the stage between what of a request arrives and the chain.

Some parameters name tokens by what they spell, and some mean the tokens that end a text, which only
a model knows. How a text is spelt differs between engines: each declares it as a `Spelling`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from logitlab.checks import ParameterError
from logitlab.engines.rules import Note
from logitlab.models.model import Model
from logitlab.request.params import NEUTRAL, PARAMETERS
from logitlab.vocabulary import Vocabulary

__all__ = [
    "Encode",
    "Lexicon",
    "Spelling",
    "SpellingError",
    "VocabularyLike",
    "as_written",
    "check_spelt",
    "containing",
    "has_texts",
    "last_token",
    "overlapping",
    "spelt",
    "with_and_without_space",
]

Encode: TypeAlias = Callable[[str], Sequence[int]]
"""From a text to the ids of its tokens, without one that begins every text."""

VocabularyLike: TypeAlias = "Model | Vocabulary | Lexicon | None"
Ids: TypeAlias = tuple[int, ...]

_ENDED = ("min_tokens", "exponential_decay_length_penalty")  # act on the tokens that end a text


class SpellingError(ParameterError):
    """A text that cannot be spelt in token ids."""


class Lexicon:
    """What a request's texts are spelt with: tokens, what ends a text, perhaps a tokenizer.

    Parameters
    ----------
    vocabulary : Vocabulary
    end_ids : collection of int
        What ends a text.
    encode : callable, optional
        From a text in the middle of another to token ids.
    name : str
        Whose it is.

    Examples
    --------
    >>> lexicon = Lexicon.of(Vocabulary([b"a", b" b"]))
    >>> lexicon.ids("bad_words", " b")
    (1,)
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        end_ids: Collection[int] = (),
        encode: Encode | None = None,
        name: str = "the vocabulary",
    ) -> None:
        self.vocabulary = vocabulary
        self.end_ids: Ids = tuple(sorted(end_ids))
        self.encode = encode
        self._name = name

    @classmethod
    def of(cls, known: VocabularyLike, name: str = "vocabulary") -> Any:
        """Return what a model or a vocabulary is, or None for None."""
        if known is None or isinstance(known, Lexicon):
            return known
        if isinstance(known, Model):
            return cls(known.vocabulary, known.end_ids, partial(_encoded, known), known.name)
        if isinstance(known, Vocabulary):
            return cls(known)
        raise ParameterError(name, "a Model, a Vocabulary or None", known)

    def ids(self, key: str, text: str) -> Ids:
        """Return the token ids of a text in the middle of another.

        Raises
        ------
        SpellingError
            If there is no tokenizer, and the text is no single token, or it has no tokens.
        """
        if self.encode is None:
            try:
                return (self.vocabulary.find(text),)
            except ParameterError:
                rule = "of texts of one token each, or token ids, where no tokenizer is at hand"
                raise SpellingError(key, rule, text, "A model has one.") from None
        try:
            return tuple(self.encode(text))
        except ParameterError as error:
            hint = f"{self._name} does not tokenise it: {error.name} must be {error.rule}."
            raise SpellingError(key, "of texts that have tokens", text, hint) from None

    @property
    def bias_encode(self) -> Encode | None:
        """What tokenises the keys of a bias, if there is a tokenizer."""

        def encode(text: str) -> Sequence[int]:
            try:
                return self.ids("logit_bias", text)
            except SpellingError as error:
                rule = "a map whose keys are token ids"
                raise ParameterError("logit_bias", rule, text, error.hint) from None

        return None if self.encode is None else encode

    def marker(self, key: str, text: str) -> Ids:
        """Return the one token that is a text, special or not, or else the tokens of the text."""
        try:
            return (self.vocabulary.find(text),)
        except ParameterError:
            return self.ids(key, text)


def _encoded(model: Model, text: str) -> list[int]:
    """Return the token ids of a text in the middle of another."""
    first, tokens = model.encode(""), model.encode(text)
    return tokens[len(first) :] if tokens[: len(first)] == first else tokens


Spell: TypeAlias = Callable[[str, str, Lexicon], Iterable[Ids]]


def as_written(key: str, text: str, lexicon: Lexicon) -> Iterator[Ids]:
    """Yield the tokens of a text."""
    yield lexicon.ids(key, text)


def with_and_without_space(key: str, text: str, lexicon: Lexicon) -> Iterator[Ids]:
    """Yield the tokens of a word at the beginning of a text and inside of it, as vLLM does.

    The second form counts only if it begins with another token and is as long.
    """
    bare = text.lstrip()
    first = lexicon.ids(key, bare)
    if not first:
        raise SpellingError(key, "of texts that have tokens", text)
    yield first
    try:
        second = lexicon.ids(key, f" {bare}")
    except SpellingError:
        if lexicon.encode is not None:
            raise
        return  # no single token: so it is longer
    if second and second[0] != first[0] and len(second) == len(first):
        yield second


def overlapping(
    key: str, text: str, lexicon: Lexicon, longest: int = 40, most: int = 20
) -> Iterator[Ids]:
    """Yield whatever tokens a text may be in, as llama.cpp does for the breakers of DRY.

    Every token that contains the text, of which 40 bytes count, is a sequence of its own; every
    token that ends in a beginning of it goes on with the tokens of the rest, 20 of them at most.
    """
    data = text.encode("utf-8", "surrogatepass")[:longest]
    if not data:
        return
    whole, ends = lexicon.vocabulary.holding(data)
    yield from ((token,) for token in whole)
    tails: dict[int, Ids] = {}
    for token, reach in ends:
        if reach not in tails:
            rest = data[reach:].decode("utf-8", "replace")
            try:
                tails[reach] = lexicon.ids(key, rest)[:most]
            except SpellingError as error:
                raise SpellingError(key, error.rule, text, error.hint) from None
        yield token, *tails[reach]


def containing(key: str, text: str, lexicon: Lexicon) -> Iterator[Ids]:
    """Yield every token that contains the text, as exllamav3 does for the breakers of DRY."""
    whole, _ = lexicon.vocabulary.holding(text.encode("utf-8", "surrogatepass"))
    yield from ((token,) for token in whole)


def last_token(key: str, text: str, lexicon: Lexicon) -> Iterator[Ids]:
    """Yield the last token of the text after an a, as text-generation-webui and Aphrodite do."""
    yield lexicon.ids(key, f"a{text}")[-1:]


@dataclass(frozen=True)
class Spelling:
    """How an engine spells the texts of a request.

    Parameters
    ----------
    bad_words, dry_sequence_breakers : callable
        ``spell(key, text, lexicon)`` yields the sequences of token ids that a text is.

    Examples
    --------
    >>> lexicon = Lexicon.of(Vocabulary([b"a", b"x:", b":"]))
    >>> list(Spelling().dry_sequence_breakers("dry_sequence_breakers", ":", lexicon))
    [(1,), (2,)]
    """

    bad_words: Spell = with_and_without_space
    dry_sequence_breakers: Spell = overlapping


def spelt(
    engine: Any, values: Mapping[str, Any], arrived: Collection[str], lexicon: Lexicon | None
) -> tuple[dict[str, Any], list[Note]]:
    """Return the values that a chain is built from with token ids for texts, and what to tell.

    Parameters
    ----------
    engine : Engine
    values : mapping
        All of them.
    arrived : collection of str
        Which of them a request gives; others are defaults.
    lexicon : Lexicon or None
        Without one, texts of a request stay as they are, and defaults are none.
    """
    stage = _Stage(engine, dict(values), arrived, lexicon)
    return stage.values, stage.notes


class _Stage:
    """The values of one request, on their way into token ids."""

    def __init__(
        self,
        engine: Any,
        values: dict[str, Any],
        arrived: Collection[str],
        lexicon: Lexicon | None,
    ) -> None:
        self.values, self.notes = values, list[Note]()
        self._engine, self._arrived, self._lexicon = engine, arrived, lexicon
        if lexicon is not None and not values["eos_token_id"]:
            values["eos_token_id"] = lexicon.end_ids
        if "bad_words" in engine.reads:
            self._phrases("bad_words")
        if "dry_sequence_breakers" in engine.reads:
            self._breakers()
        if "thinking_markers" in engine.reads:
            self._markers()
        self._tell_of_ends()

    def _phrases(self, key: str) -> None:
        """Spell the texts of a list, where there is something to spell them with."""
        phrases = self.values[key]
        if self._lexicon is None or not has_texts(phrases):
            return
        spell = getattr(self._engine.spelling, key)
        known: dict[Ids, None] = {}
        for each in phrases:
            ids = spell(key, each, self._lexicon) if isinstance(each, str) else (each,)
            known.update(dict.fromkeys(ids))
        self.values[key] = tuple(known)

    def _breakers(self) -> None:
        key = "dry_sequence_breakers"
        if not _any(self.values["dry_multiplier"] != NEUTRAL["dry_multiplier"]):
            self.values[key] = ()
        elif key not in self._arrived:
            default = self._engine.defaults.get(key, PARAMETERS[key].default)
            self.values[key] = () if self._lexicon is None else default
            if default and self._lexicon is None:
                sentence = f"{key} is absent: {self._engine.name} uses "
                sentence += f"{', '.join(map(repr, default))} where a vocabulary spells them, and "
                sentence += "none here."
                self.notes.append(Note(key, "off", sentence, None, ()))
        self._phrases(key)

    def _markers(self) -> None:
        key, budget = "thinking_markers", "thinking_token_budget"
        acts = _any(self.values[budget] != NEUTRAL[budget])
        given = self.values[key] if key in self._arrived else PARAMETERS[key].default
        if not acts or not has_texts(given):
            self.values[key] = given if acts else NEUTRAL[key]
            return
        try:
            if self._lexicon is None:
                raise SpellingError(key, "spelt", given)
            self.values[key] = tuple(
                self._lexicon.marker(key, each) if isinstance(each, str) else each for each in given
            )
        except SpellingError:
            if key in self._arrived:
                if self._lexicon is not None:
                    raise
                return
            start, end = given
            sentence = f"{budget} does nothing at {self._engine.name}: nobody tells the tokens of "
            sentence += f"{start} and {end}; thinking_markers do."
            self.notes.append(Note(budget, "off", sentence, self.values[budget], -1))
            self.values[key] = NEUTRAL[key]

    def _tell_of_ends(self) -> None:
        values = self.values
        if values["eos_token_id"] or values["stop_token_ids"]:
            return
        for key in _ENDED:
            if key in self._engine.reads and _any(values[key] != NEUTRAL[key]):
                sentence = f"{key} does nothing at {self._engine.name}: nobody tells which tokens "
                sentence += "end a text; a model as vocabulary, or eos_token_id, does."
                self.notes.append(Note(key, "off", sentence, values[key], NEUTRAL[key]))


def has_texts(value: Any) -> bool:
    """Whether a value is a list with a text in it."""
    return isinstance(value, tuple) and any(isinstance(each, str) for each in value)


def _any(flag: Any) -> bool:
    """Whether a flag, or any of an array of them, is true."""
    return bool(flag.any() if hasattr(flag, "any") else flag)


def check_spelt(engine: Any, values: Mapping[str, Any]) -> None:
    """Raise `SpellingError` for a text that a chain would be built from."""
    for key in ("bad_words", "dry_sequence_breakers", "thinking_markers"):
        texts: Sequence[Any] = values[key] if key in engine.reads else ()
        for text in texts:
            if isinstance(text, str):
                hint = "Pass vocabulary, a model that spells it, or give the ids."
                raise SpellingError(key, "of token ids where no vocabulary is at hand", text, hint)
