"""Where two engines part ways: one program turned into the other, change by change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from logitlab.chain import Chain, Step, Transform
from logitlab.checks import shown
from logitlab.context import Context
from logitlab.engines import Translation
from logitlab.metrics import total_variation
from logitlab.numerics import FloatArray
from logitlab.transforms.penalties import AdditivePenalty

__all__ = ["Parting", "partings"]

Program: TypeAlias = tuple[str, Chain, Translation]
Steps: TypeAlias = tuple[Transform, ...]

# Which of two steps that changed places is told of, if both went equally far.
_MOVERS = ("temperature", "logit_bias", "repetition_penalty", "min_p", "top_k", "top_p", "top_a")


@dataclass(frozen=True)
class Parting:
    """A stage at which two engines part ways.

    Attributes
    ----------
    key : str
        The stage: a request key, or "rounding" or "ties" for how the whole chain computes.
    reason : str
        What differs there.
    distance : float
        Total variation distance that this one change makes, the largest over all rows.
    """

    key: str
    reason: str
    distance: float

    def __str__(self) -> str:
        return f"they differ at {self.key}: {self.reason}"


@dataclass(frozen=True)
class _Change:
    """One edit of a program: the steps after it, the stage and the words."""

    steps: Steps
    key: str
    reason: str


def partings(
    logits: FloatArray,
    context: Context | None,
    first: Program,
    second: Program,
    same: float,
) -> tuple[Parting, ...]:
    """Return the changes on the way from one program to another that change a distribution."""
    _, chain, _ = first
    found = []
    steps = _apart(chain)
    before = chain.of(*steps)(logits, context)
    while steps != _apart(second[1]):
        change = _next_change(steps, first, second)
        steps = change.steps
        after = chain.of(*steps)(logits, context)
        distance = float(total_variation(before, after).max(initial=0))
        if distance > same:
            found.append(Parting(change.key, change.reason, distance))
        before = after
    distance = float(total_variation(before, second[1](logits, context)).max(initial=0))
    if distance > same:
        sorts = type(chain) is not type(second[1])
        reason = "equal tokens stand in another order" if sorts else "sums are rounded differently"
        found.append(Parting("ties" if sorts else "rounding", reason, distance))
    return tuple(found)


def _apart(chain: Chain) -> Steps:
    """Return the steps with penalties that are added up first as two of them."""
    parts = (step.apart() if isinstance(step, AdditivePenalty) else (step,) for step in chain)
    return chain.of(*(step for part in parts for step in part)).without_neutral().steps


def _key(step: Transform) -> str:
    return step.key if isinstance(step, Step) else type(step).__name__


def _next_change(steps: Steps, first: Program, second: Program) -> _Change:
    """Return the change that makes the steps agree with the second program one place further."""
    goal = _apart(second[1])
    pairs = zip(steps, goal, strict=False)
    i = next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(steps), len(goal)))
    here = [_key(step) for step in steps[i:]]
    there = [_key(step) for step in goal[i:]]
    if here and here[0] not in there:
        return _Change(steps[:i] + steps[i + 1 :], here[0], _only(first, steps[i], second))
    if there and there[0] not in here:
        return _Change((*steps[:i], goal[i], *steps[i:]), there[0], _only(second, goal[i], first))
    if here[0] == there[0]:
        replaced = (*steps[:i], goal[i], *steps[i + 1 :])
        return _Change(replaced, here[0], _difference(first[0], steps[i], second[0], goal[i]))
    later, earlier = there.index(here[0]), here.index(there[0])
    if (later, -_rank(here[0])) > (earlier, -_rank(there[0])):
        behind = max(here.index(key) for key in there[:later] if key in here)
        moved = steps[i + 1 : i + behind + 1] + steps[i : i + 1] + steps[i + behind + 1 :]
        return _Change(steps[:i] + moved, here[0], _place(here[0], first, second))
    at = i + earlier
    moved = steps[at : at + 1] + steps[i:at] + steps[at + 1 :]
    return _Change(steps[:i] + moved, there[0], _place(there[0], first, second))


def _rank(key: str) -> int:
    return _MOVERS.index(key) if key in _MOVERS else len(_MOVERS)


# ---------------------------------------------------------------- words


def _only(program: Program, step: Transform, other: Program) -> str:
    """Say that one of the two has a step more."""
    name, _, translation = program
    if not isinstance(step, Step):
        return f"only {name} has it"
    if step.key in map(_key, _apart(other[1])):
        return f"{name} applies it once more"
    by_default = any(n.key == step.key and n.effect == "default" for n in translation.notes)
    value = f", {shown(step.value)}" + (" by default" if by_default else "")
    return f"only {name} applies it{value if step.key != 'logit_bias' else ''}"


def _place(key: str, first: Program, second: Program) -> str:
    """Say where one of the two applies a step, rather that it comes last than anything else."""
    for name, chain, _ in (second, first):
        if _key(_apart(chain)[-1]) == key:
            return f"{name} applies it last"
    name, chain, _ = second
    keys = [_key(step) for step in _apart(chain)]
    at = keys.index(key)
    return f"{name} applies it {'first' if at == 0 else f'after {keys[at - 1]}'}"


def _window(last_n: int | None) -> str:
    return "counts all tokens" if last_n is None else f"counts the last {last_n} tokens"


_WORDS: dict[str, Callable[[Any], str]] = {
    "ties": {
        "lowest": "keeps the lowest ids of equal tokens",
        "highest": "keeps the highest ids of equal tokens",
        "all": "keeps all equal tokens",
    }.__getitem__,
    "scope": {
        "all": "counts prompt and output",
        "output": "counts the output alone",
        "prompt": "counts the prompt alone",
        "lagged": "counts the prompt's last token and not the output's newest",
    }.__getitem__,
    "at_p": {
        "keep": "keeps a token if those before it hold exactly top_p",
        "drop": "drops a token if those before it hold exactly top_p",
    }.__getitem__,
    "last_n": _window,
    "fill": lambda fill: "" if fill is None else f"fills its window with token {fill}",
    "slope": lambda slope: "" if slope == 1 else f"has a slope of {slope:g}",
    "guard": lambda guard: "keeps the best token" if guard else "may leave no token",
}


def _difference(first: str, x: Transform, second: str, y: Transform) -> str:
    """Say what two steps of the same key differ by: their values, or their options."""
    if not isinstance(x, Step) or not isinstance(y, Step):
        return "it differs"
    if shown(x.value) != shown(y.value):
        if x.key == "logit_bias":
            return "other values arrive"
        return f"{first} uses {shown(x.value)}, {second} {shown(y.value)}"
    names = [entry.name for entry in dataclasses.fields(x)[1:] if entry.name in _WORDS]
    told = [name for name in names if getattr(x, name) != getattr(y, name)]
    sides = []
    for engine, step in ((first, x), (second, y)):
        words = filter(None, (_WORDS[name](getattr(step, name)) for name in told))
        sides.append(f"{engine} {' and '.join(words)}")
    return ", ".join(sides) if told else "sums are rounded differently"
