"""A budget for thinking: after so many tokens of it, the tokens that end it are forced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import FloatArray, IntArray
from logitlab.checks import (
    ParameterError,
    Range,
    Seen,
)
from logitlab.numerics import DOUBLE, Precision
from logitlab.steps.allow import FORMS, force
from logitlab.steps.context import Context, needed_context
from logitlab.steps.ids import TokenIds, check_ids
from logitlab.steps.step import Rule, SparseStep, Words, option
from numpy.typing import ArrayLike

__all__ = ["ThinkingBudget", "thinking_token_budget"]

FOLLOWS = {
    "output": Words("the output", "follows the output, token by token"),
    "text": Words("the whole text", "looks at the last markers of the whole text"),
}


def thinking_token_budget(
    logits: ArrayLike,
    budget: ArrayLike,
    context: Context | None,
    *,
    start: Sequence[int],
    end: Sequence[int],
    newline: int | None = None,
) -> FloatArray:
    """Force the tokens that end a thought once it has ``budget`` tokens.

    A thought goes from the last tokens of ``start`` to the next ones of ``end``, in prompt and
    output. When ``budget`` tokens have come after ``start``, every token but the first of ``end``
    becomes ``-inf``; at the next steps every token but the second, and so on.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    budget : array_like of int, broadcasting to the batch shape (...)
        At least 0; -1 changes nothing.
    context : Context
        The tokens so far.
    start, end : sequence of int
        The tokens that begin and end a thought, ids in [0, V); without them nothing changes.
    newline : int, optional
        With it the rule is SGLang's: this token is forced first, unless it is the newest of the
        output, and ``start`` and ``end`` are one token each.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If a budget is below -1 or does not broadcast, an id is outside the vocabulary, the context
        does not fit, or the token to be forced was removed.

    Notes
    -----
    vLLM keeps a state for each text, which is a function of its tokens alone, and this is that
    function: where a thought begins in the prompt with markers of m tokens, the budget is ``m - 1``
    larger; an end that comes before any start hides the end of the next thought; once the first
    token of ``end`` was forced, the others follow whatever came. vLLM lifts the forced token to
    1e9 in place of removing the others, which also brings it back where it was removed.

    References
    ----------
    vLLM, "Reasoning outputs", https://docs.vllm.ai/en/latest/features/reasoning_outputs;
    its v1/sample/thinking_budget_state.py; sglang/srt/sampling/custom_logit_processor.py

    Examples
    --------
    >>> thinking_token_budget([2.0, 1.0, 0.0], 1, Context(output=[1, 0]), start=[1], end=[2])
    array([-inf, -inf,   0.])
    """
    return ThinkingBudget(budget, start, end, newline)(logits, context)


@dataclass(frozen=True, eq=False, repr=False)
class ThinkingBudget(SparseStep):
    """The step `thinking_token_budget` with its values chosen.

    Parameters
    ----------
    budget, start, end, newline
        As of `thinking_token_budget`.
    form : {"alone", "zero", "lifted"}
        What becomes of the logits, as of `ForcedTokens`; "lifted" gives the token 1e9.
    follows : {"output", "text"}
        Whether the output is followed token by token, or the last markers of the whole text decide
        anew each time, as in vLLM's Model Runner V2: then the forced token is the one that goes on
        with whatever of ``end`` the text ends with.

    Examples
    --------
    >>> ThinkingBudget(0, start=[1], end=[0])([2.0, 1.0], Context(prompt=[1]))
    array([  2., -inf])
    """

    budget: ArrayLike
    start: Sequence[int] = option((), rule=TokenIds())
    end: Sequence[int] = option((), rule=TokenIds())
    newline: int | None = option(None, rule=Range(0, integer=True))
    form: str = option("alone", FORMS)
    follows: str = option("output", FOLLOWS)

    key: ClassVar[str] = "thinking_token_budget"
    rule: ClassVar[Rule] = Range(-1, integer=True)
    neutral: ClassVar[Any] = -1

    @property
    def is_neutral(self) -> bool:
        """Whether the step changes nothing, whatever the logits."""
        return not (self.start and self.end) or super().is_neutral

    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> None:
        """Force tokens in place."""
        if self.is_neutral:
            return
        batch, size = logits.shape[:-1], logits.shape[-1]
        check_ids("start", self.start, size)
        check_ids("end", self.end, size)
        check_ids("newline", () if self.newline is None else (self.newline,), size)
        known = needed_context(self.key, context)
        prompts, outputs = (known.texts(batch, size, scope=name) for name in ("prompt", "output"))
        budgets = np.broadcast_to(self.values(batch), batch).reshape(-1)
        for row, line in enumerate(logits.reshape(-1, size)):
            token = self._forced(prompts[row], outputs[row], int(budgets[row]))
            if token is None:
                continue
            force(line, [token], self.form)
            if line[token] == -np.inf:
                hint = "A ban or an allow list has removed the token that ends a thought."
                seen = Seen(f"token {token}, which was removed")
                raise ParameterError(self.key, "free to force its token", seen, hint)

    def _forced(self, prompt: IntArray, output: IntArray, budget: int) -> int | None:
        """Return the token that has to come next, if there is one."""
        if budget < 0:
            return None
        if self.newline is None and self.follows == "text":
            return self._forced_in(np.concatenate([prompt, output]), budget)
        if self.newline is None:
            place = _place_of_end(prompt, output, self.start, self.end, budget)
            return None if place is None else self.end[place]
        whole = np.concatenate([prompt, output])
        begun = _last(_matches(whole, self.start[:1]))
        if begun <= _last(_matches(whole, self.end[:1])) or len(whole) - begun - 1 < budget:
            return None
        is_due = len(output) and output[-1] == self.newline
        return self.end[0] if is_due else self.newline

    def _forced_in(self, text: IntArray, budget: int) -> int | None:
        """Return the token that has to come after a text, by its last markers alone."""
        begun = _last(_matches(text, self.start))
        if begun < 0 or begun <= _last(_matches(text, self.end)):
            return None
        if len(text) - begun - len(self.start) < budget:
            return None
        lengths = range(min(len(self.end) - 1, len(text)), 0, -1)
        return self.end[next((n for n in lengths if tuple(text[-n:]) == self.end[:n]), 0)]


def _matches(text: IntArray, sequence: Sequence[int]) -> IntArray:
    """Return where a sequence of tokens begins in a text, increasing."""
    count = len(text) - len(sequence) + 1
    same = np.ones(max(count, 0), np.bool_)
    for i, token in enumerate(sequence):
        same &= text[i : i + len(same)] == token
    return np.flatnonzero(same)


def _last(places: IntArray) -> int:
    return int(places[-1]) if len(places) else -1


def _first(places: IntArray, offset: int) -> int | None:
    """Return the first of some increasing places that is not before another."""
    index = int(places.searchsorted(offset))
    return int(places[index]) if index < len(places) else None


def _place_of_end(
    prompt: IntArray, output: IntArray, start: Sequence[int], end: Sequence[int], budget: int
) -> int | None:
    """Return which token of ``end`` is forced after the output, by vLLM's rule, or None.

    Times are lengths of the output. A thought is ``due`` when its budget is used up, and closed by
    itself where its end is complete: what comes first counts, and closing where both do.
    """
    starts, ends = _matches(output, start), _matches(output, end)
    never, length = len(output) + 1, len(output)
    begun = _last(_matches(prompt, start))
    is_open = begun > _last(_matches(prompt, end))
    offset = 0
    while True:
        other = _first(ends, offset)
        closed = never if other is None else other + len(end)
        if is_open:  # since the prompt
            read = len(prompt) - begun - len(start)
            due = budget - read + len(start) - 1
            time = 0 if read >= budget else due
        else:
            place = _first(starts, offset)
            if place is None:
                return None
            noticed = place + len(start)
            due = time = noticed + budget
            if other is not None and other <= place:
                closed = never  # it is known already, and no other is looked for
            closed = max(closed, noticed)
        while time <= length and time < closed:
            if time == length:
                return 0
            if output[time] == end[0]:
                break
            time = max(time + 1, due)  # another token came in spite of it
        if closed <= min(time, length):
            offset = closed
        elif time > length:
            return None
        elif length - time < len(end):
            return length - time
        else:
            offset = time + len(end)
        is_open = False
