"""All hypothesis strategies: those that are public, and steps of every kind."""

from __future__ import annotations

import dataclasses
import inspect
from functools import cache
from typing import Any

import logitlab as ll
import numpy as np
from hypothesis import strategies as st
from logitlab import LogitBias, Step
from logitlab.steps.ids import SequenceMap, TokenIds, TokenSequences
from logitlab.steps.penalties import _Penalty
from logitlab.steps.step import RandomStep, StatefulStep, Truncation
from logitlab.steps.xtc import ExcludeTopChoices
from logitlab.testing.strategies import (
    DTYPES as DTYPES,
    UNIT,
    batch_shapes as batch_shapes,
    contexts as contexts,
    integers,
    rows,
)

logits = rows


def _concrete(kind: type) -> list[Any]:
    """All classes below this one that can be made, those of the package alone."""
    kinds = (
        [kind] if not inspect.isabstract(kind) and kind.__module__.startswith("logitlab.") else []
    )
    below: type
    for below in type.__subclasses__(kind):
        kinds += [each for each in _concrete(below) if each not in kinds]
    return kinds


# Every concrete step there is: whoever adds one has it held to the laws.
STEPS: tuple[Any, ...] = tuple(sorted(_concrete(Step), key=lambda kind: kind.__name__))
TRUNCATIONS = tuple(kind for kind in STEPS if issubclass(kind, Truncation))
PREFIX_CUTS = tuple(kind for kind in TRUNCATIONS if kind.prefix is not Truncation.prefix)
RANDOM = tuple(kind for kind in STEPS if issubclass(kind, RandomStep))
STATEFUL = tuple(kind for kind in STEPS if issubclass(kind, StatefulStep))


def kinds_of_a_chain(length: int) -> st.SearchStrategy[list[Any]]:
    """Kinds of steps that can stand in one chain, which has each state once.

    Without those that may leave no token behind a cut, which is an error.
    """
    banning = (ll.AllowedTokens, ll.SuppressTokens, ll.BadWords, ll.MinTokens)
    leaving = [k for k in STEPS if k not in (*banning, ll.ForcedTokens, ll.ThinkingBudget)]
    kinds = st.lists(st.sampled_from(leaving), max_size=length)

    def has_each_state_once(chosen: list[Any]) -> bool:
        names = [kind.name for kind in chosen if kind in STATEFUL]
        return len(names) == len(set(names))

    return kinds.filter(has_each_state_once)


PENALTIES = tuple(kind for kind in STEPS if issubclass(kind, _Penalty))

_IDS = (TokenIds, TokenSequences, SequenceMap)


def _fields_with_ids(kind: Any) -> dict[str, Any]:
    """Which fields of a step hold token ids, and what they accept."""
    first, *others = dataclasses.fields(kind)
    fields = {first.name: kind.rule} | {f.name: f.metadata.get("rule") for f in others}
    return {name: rule for name, rule in fields.items() if isinstance(rule, _IDS)}


# Steps whose value is no number, and those that can leave no token: token 0 is left to them.
OF_IDS = tuple(kind for kind in STEPS if isinstance(kind.rule, TokenIds | TokenSequences))
NAMING = tuple(kind for kind in STEPS if _fields_with_ids(kind))


def relabelled(step: Any, new_id: Any) -> Any:
    """The step for other ids of the same tokens."""

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {renamed(key): amount for key, amount in value.items()}
        if isinstance(value, tuple):
            return tuple(map(renamed, value))
        return None if value is None else int(new_id[value])

    names = [*_fields_with_ids(type(step)), *(n for n in ("fill", "newline") if hasattr(step, n))]
    return dataclasses.replace(step, **{name: renamed(getattr(step, name)) for name in names})


_UNIT = list(UNIT)
# Values to be met often, and ends for those that have none.
_EDGES: dict[str, tuple[list[Any], float, float]] = {
    "temperature": ([0.0, 1.0, 1e-30, 5e-324, 2.0], 0, 2),
    "top_a": (_UNIT, 0, 5),
    "repetition_penalty": ([0.0, 1.0, 2.0, 1e-30], 0, 2),
    "frequency_penalty": ([0.0, -2.0, 2.0], -2, 2),
    "presence_penalty": ([0.0, -2.0, 2.0], -2, 2),
    "top_n_sigma": ([0.0, -1.0, 1.0, 2.0, 0.5, 1e-3], -1, 4),
    "logit_bias": ([0.0, 100.0, -100.0], -100, 100),
    "guidance_scale": ([1.0, 0.0, 1.5, 3.0, -1.0], -4, 6),
    "dynatemp_range": ([0.0, 0.5, -0.5, 2.0], -3, 3),
    "smoothing_factor": ([0.0, 0.3, 1.0], 0, 3),
    "skew": ([0.0, 0.5, -0.5, 2.0], -5, 5),
    "dry_multiplier": ([0.0, 0.8, -0.8], -3, 3),
    "exponential_decay_length_penalty": ([1.0, 1.5, 0.5, 0.0], 0, 3),
}


def _numbers(key: str, rule: Any) -> st.SearchStrategy[Any]:
    rule = getattr(rule, "values", rule)
    often, low, high = _EDGES.get(key, (_UNIT, max(rule.low, -10), min(rule.high, 10)))
    return st.one_of(st.sampled_from(often), st.floats(low, high))


@cache
def values(kind: Any, size: int) -> st.SearchStrategy[Any]:
    """In-range values of a step, the edges often."""
    if isinstance(kind.rule, _IDS):
        return _ids(kind.rule, size, allows=kind.key in ("allowed_token_ids", "forced_tokens"))
    if kind.rule.integer:
        return st.integers(0, int(min(size + 1, kind.rule.high)))
    return _numbers(kind.key, kind.rule)


@cache
def _ids(rule: Any, size: int, allows: bool = False) -> st.SearchStrategy[Any]:
    """Token ids, all but 0 where they may be removed, 0 among them where they alone stay."""
    some = st.integers(min(1, size - 1), size - 1)
    if isinstance(rule, TokenIds):
        if allows:
            return st.lists(some, max_size=4).map(lambda ids: (0, *ids))
        return st.lists(some, max_size=4 if size > 1 else 0).map(tuple)
    before = st.lists(st.integers(0, size - 1), max_size=2)
    sequences = st.tuples(before, some).map(lambda pair: (*pair[0], pair[1]))
    most = 4 if size > 1 else 0
    if isinstance(rule, TokenSequences):
        return st.lists(sequences, max_size=most).map(tuple)
    return st.dictionaries(sequences, st.floats(-100, 100), max_size=most)


@cache
def _option(entry: dataclasses.Field[Any], size: int) -> st.SearchStrategy[Any]:
    words, rule = entry.metadata["words"], entry.metadata["rule"]
    if isinstance(rule, _IDS):
        return _ids(rule, size)
    if entry.name == "form":  # others bring removed tokens back
        return st.just("alone")
    if isinstance(entry.default, bool):
        # What may leave no token is tested by itself.
        return st.just(True) if entry.default else st.booleans()
    if words:
        # Removed tokens as top choices leave nothing; that is tested by itself, too.
        return st.sampled_from([word for word in words if word != "counts"])
    whole = st.integers(int(rule.low), 6) if rule.integer else _numbers("", rule)
    if entry.default is None:
        return st.one_of(st.none(), whole)
    if rule.integer:
        return whole
    return _numbers(entry.metadata["name"] or entry.name, rule)


@cache
@st.composite
def options(draw: st.DrawFn, kind: Any, size: int = 1) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for entry in dataclasses.fields(kind)[1:]:
        needs = entry.metadata["needs"].split()[-1:]
        if needs and chosen[needs[0]] is None:
            continue
        value = draw(_option(entry, size))
        is_id = entry.name in ("fill", "newline")
        chosen[entry.name] = 0 if is_id and value is not None else value
    return chosen


@cache
def biases(size: int) -> st.SearchStrategy[dict[int, float]]:
    return st.dictionaries(integers(0, size - 1), values(LogitBias, size), max_size=4)


@cache
@st.composite
def steps(draw: st.DrawFn, kind: Any, size: int) -> Step:
    if kind is LogitBias:
        return LogitBias(draw(biases(size)))
    made: Step = kind(draw(values(kind, size)), **draw(options(kind, size)))
    # A threshold of 0 in single precision can leave no token, too, where removed ones count.
    threshold: Any = getattr(made, "threshold", 1.0)
    if getattr(made, "removed", "") == "counts" and threshold < 1e-40:
        made = dataclasses.replace(made, threshold=0.1)  # type: ignore[call-arg]
    return made


@cache
def chunked_bytes() -> st.SearchStrategy[list[bytes]]:
    """Text of few different characters, some of several bytes and some broken, in chunks."""
    pieces = [b"a", b"b", b"ab", b" ", b"\n", b"aba", "é".encode(), "日b".encode(), b"\xe6",
              b"\x97", b"\xa5", b"\xc3", b"\xa9", b"\xf0\x9f\x99", b"\x82", b"\xff"]  # fmt: skip
    return st.lists(st.sampled_from(pieces), max_size=30)


@cache
def stop_strings() -> st.SearchStrategy[list[str]]:
    """Stop strings that such text may well contain, overlapping each other."""
    return st.lists(st.text("ab é日\n\ufffd", min_size=1, max_size=5), max_size=4)


# Truncations that the compiled kernels know, with the options that they know.
CUTS: dict[Any, dict[str, tuple[str, ...]]] = {
    ll.TopK: {"ties": ("lowest", "highest", "all")},
    ll.TopP: {"ties": ("lowest", "highest", "all")},
    ll.MinP: {},
    ll.TopA: {},
    ll.EpsilonCutoff: {},
    ll.EtaCutoff: {},
    ll.PLess: {},
    ll.TopNSigma: {"deviation": ("population", "sample")},
    ll.TypicalP: {},
    ExcludeTopChoices: {"ties": ("lowest", "highest", "all")},
}


@cache
@st.composite
def cut(draw: st.DrawFn, kind: Any, size: int, batch: int) -> Step:
    """A temperature or a truncation, with one value or one for each row."""
    of = _heats() if kind is ll.Temperature else values(kind, size)
    value: Any = draw(of)
    if draw(integers(0, 3)) == 0:
        value = np.array([draw(of) for _ in range(batch)])
    chosen = {name: draw(st.sampled_from(words)) for name, words in CUTS.get(kind, {}).items()}
    made: Step = kind(value, **chosen)
    return made


@cache
def _heats() -> st.SearchStrategy[float]:
    often = st.sampled_from([0.0, 1.0, 0.8, 0.5, 1.5, 2.0, 1e-3, 1e-31])
    return st.one_of(often, st.floats(0.05, 3))


@cache
@st.composite
def chains_of_cuts(draw: st.DrawFn, size: int, batch: int) -> ll.Chain:
    """Temperatures and truncations in any order, for rows of shape (batch, size)."""
    kinds = draw(st.lists(st.sampled_from([ll.Temperature, *CUTS]), min_size=1, max_size=4))
    return ll.Chain(*(draw(cut(kind, size, batch)) for kind in kinds))
