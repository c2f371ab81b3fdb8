"""Where two engines part ways: one program turned into the other, change by change."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.checks import ParameterError, shown
from logitlab.engines.rules import Note
from logitlab.metrics import total_variation
from logitlab.steps.candidate_order.chain import SortedChain
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.penalties import AdditivePenalty
from logitlab.steps.step import Step, Transform, words_of

__all__ = ["Parting", "option_sentences", "partings"]

Program: TypeAlias = tuple[str, Chain, tuple[Note, ...]]
Steps: TypeAlias = tuple[Transform, ...]

_DETOURS = 40  # after so many changes the shortest way is taken
# Which of two steps that changed places is told of, if both went equally far.
_MOVERS = ("temperature", "logit_bias", "repetition_penalty", "min_p", "top_k", "top_p", "top_a")


@dataclass(frozen=True)
class Parting:
    """A stage at which two engines part ways.

    Attributes
    ----------
    key : str
        The stage: a request key, the name of a step that no request asks for ("prefilter"), or
        "rounding" or "ties" for how the whole chain computes.
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
    _, goal, _ = second
    stages = []
    steps = _apart(chain)
    before = chain(logits, context)
    pending: list[_Change] = []
    for count in itertools.count():
        if steps == _apart(goal):
            break
        pending.append(_next_change(steps, first, second, straight=count > _DETOURS))
        steps = pending[-1].steps
        try:
            after = chain.of(*steps)(logits, context)
        except ParameterError:  # no token is left on the way: what comes next is told with this
            continue
        if not (after.max(axis=-1) > -np.inf).all():  # nor here, where two rules for ties disagree
            continue
        distance = float(total_variation(before, after).max(initial=0))
        if distance > same:
            stages.append(Parting(pending[0].key, pending[0].reason, distance))
        before, pending = after, []
    after = goal(logits, context)
    distance = float(total_variation(before, after).max(initial=0))
    if distance > same:
        # Where one sort favours other tokens than the other, the numbers are the same.
        moved = total_variation(np.sort(before, axis=-1), np.sort(after, axis=-1))
        sorts = chain.kind != goal.kind and float(moved.max(initial=0)) <= same
        reason = "equal tokens stand in another order" if sorts else "sums are rounded differently"
        key = "ties" if sorts else "rounding"
        if pending:
            key, reason = pending[0].key, pending[0].reason
        stages.append(Parting(key, reason, distance))
    return tuple(stages)


def _apart(chain: Chain) -> Steps:
    """Return the steps with penalties that are added up first as two of them."""
    parts = (step.apart() if isinstance(step, AdditivePenalty) else (step,) for step in chain)
    return chain.of(*(step for part in parts for step in part)).without_neutral().steps


def _stage(step: Transform) -> str:
    return step.key if isinstance(step, Step) else type(step).__name__


def _next_change(steps: Steps, first: Program, second: Program, straight: bool = False) -> _Change:
    """Return a change on the way to the second program.

    Steps that changed places are told of by the one that went further. Where it went to the back,
    the steps agree no further than before; ``straight`` has them agree one place further for sure.
    """
    goal = _apart(second[1])
    pairs = zip(steps, goal, strict=False)
    i = next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(steps), len(goal)))
    here = [_stage(step) for step in steps[i:]]
    there = [_stage(step) for step in goal[i:]]
    if here and here[0] not in there:
        return _Change(steps[:i] + steps[i + 1 :], here[0], _only(first, steps[i], second))
    if there and there[0] not in here:
        return _Change((*steps[:i], goal[i], *steps[i:]), there[0], _only(second, goal[i], first))
    if here[0] == there[0]:
        replaced = (*steps[:i], goal[i], *steps[i + 1 :])
        return _Change(replaced, here[0], _difference((first, steps[i]), (second, goal[i])))
    later, earlier = there.index(here[0]), here.index(there[0])
    if not straight and (later, -_rank(here[0])) > (earlier, -_rank(there[0])):
        behind = max(here.index(key) for key in there[:later] if key in here)
        moved = steps[i + 1 : i + behind + 1] + steps[i : i + 1] + steps[i + behind + 1 :]
        return _Change(steps[:i] + moved, here[0], _whereabouts(here[0], first, second))
    at = i + earlier
    moved = steps[at : at + 1] + steps[i:at] + steps[at + 1 :]
    return _Change(steps[:i] + moved, there[0], _whereabouts(there[0], first, second))


def _rank(key: str) -> int:
    return _MOVERS.index(key) if key in _MOVERS else len(_MOVERS)


def _only(program: Program, step: Transform, other: Program) -> str:
    """Say that one of the two has a step more."""
    name, _, notes = program
    if not isinstance(step, Step):
        return f"only {name} has it"
    if step.key in map(_stage, _apart(other[1])):
        return f"{name} applies it once more"
    by_default = any(n.key == step.key and n.effect == "default" for n in notes)
    value = f", {shown(step.value)}" + (" by default" if by_default else "")
    return f"only {name} applies it{value if step.key != 'logit_bias' else ''}"


def _whereabouts(key: str, first: Program, second: Program) -> str:
    """Say where one of the two applies a step, rather that it comes last than anything else."""
    for name, chain, _ in (second, first):
        if _stage(_apart(chain)[-1]) == key:
            return f"{name} applies it last"
    name, chain, _ = second
    keys = [_stage(step) for step in _apart(chain)]
    at = keys.index(key)
    return f"{name} applies it {'first' if at == 0 else f'after {keys[at - 1]}'}"


def option_sentences(step: Step, is_sorted: bool) -> dict[str, str]:
    """Return what there is to say of a step's options, by topic, where a chain sorts or not."""
    last_n = getattr(step, "last_n", None)
    window = "" if last_n is None else f"the last {last_n} of "
    words = {
        name: each.sentence.format(window=window, key=step.key)
        for name, each in words_of(step).items()
    }
    if getattr(step, "fill", None) is not None:
        words["fill"] = f"fills its window with token {step.fill}"  # type: ignore[attr-defined]
    if getattr(step, "slope", 1) != 1:
        words["slope"] = f"has a slope of {step.slope:g}"  # type: ignore[attr-defined]
    if getattr(step, "skip", 0):
        words["skip"] = f"leaves out the first {step.skip} tokens of the prompt"  # type: ignore[attr-defined]
    if "ties" in words and is_sorted:
        words["ties"] = "keeps those of equal tokens that its sort leaves in front"
    return words


def _difference(first: tuple[Program, Transform], second: tuple[Program, Transform]) -> str:
    """Say what two steps of the same key differ by: their values, or their options."""
    ((a, chain_a, _), x), ((b, chain_b, _), y) = first, second
    if not isinstance(x, Step) or not isinstance(y, Step):
        return "it differs"
    if shown(x.value) != shown(y.value):
        if x.key == "logit_bias":
            return "other values arrive"
        return f"{a} uses {shown(x.value)}, {b} {shown(y.value)}"
    ours = option_sentences(x, isinstance(chain_a, SortedChain))
    theirs = option_sentences(y, isinstance(chain_b, SortedChain))
    topics = [key for key in ours | theirs if ours.get(key) != theirs.get(key)]
    if not topics:
        return "sums are rounded differently"
    sides = (
        f"{name} {' and '.join(words[key] for key in topics if key in words)}"
        for name, words in ((a, ours), (b, theirs))
        if any(key in words for key in topics)
    )
    return ", ".join(sides)
