"""Which text each row is of, told from the token ids that a library hands over."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from logitlab.arrays import IntArray
from logitlab.checks import ParameterError, Seen
from logitlab.steps.chain import Chain

if TYPE_CHECKING:
    from logitlab.adapters.shaping import Text

__all__ = ["Texts"]

_REMEMBERED = 64  # texts that others took the place of

_ANEW = "Call restart() before a text of its own."


class Texts:
    """The texts of the rows of a batch, as one loop after another goes through them.

    Rows that are one token longer than before, and begin with what was there, are the same texts,
    in any order: a beam search permutes and forks them. The very same rows are the same texts, too.
    Anything else begins anew, with all of it as prompts, unless it could as well be a text that
    went back, or one of several that take turns: these are refused.

    Parameters
    ----------
    name : str
        What the ids are called in messages.
    start : callable
        From ids, shape (n, L), to new texts.
    forks : bool
        Whether rows may change their order.
    """

    def __init__(self, name: str, start: Callable[[IntArray], list[Text]], forks: bool) -> None:
        self._name = name
        self._start = start
        self._forks = forks
        self.restart()

    def restart(self) -> None:
        """Forget all texts."""
        self._ids: IntArray | None = None
        self._first = 0  # the length of the prompts
        self._texts: list[Text] = []
        self._earlier: deque[int] = deque(maxlen=_REMEMBERED)

    def follow(self, ids: IntArray, chain: Chain) -> Sequence[Text]:
        """Return the text of each row.

        Parameters
        ----------
        ids : ndarray of int64, shape (n, L)
            All tokens of every row, the newest last; kept.
        chain : Chain
            Whose states go on with the texts.
        """
        known = self._ids
        if known is not None and len(known) == len(ids):
            longer = ids.shape[1] - known.shape[1]
            if longer == 0 and (ids == known).all():
                return self._texts
            if longer == 1 and ((ids[:, :-1] == known).all() or self._fork(ids[:, :-1], known)):
                self._ids = ids
                for text, token in zip(self._texts, ids[:, -1].tolist(), strict=True):
                    text.grow(token, chain)
                return self._texts
            if longer <= 1:
                self._check_branch(ids, known)
        if hash(ids[:, :-1].tobytes()) in self._earlier:
            rule = "those of one text until it ends"
            seen = Seen("a text that another took the place of")
            hint = f"Make an adapter for each text that is written at the same time. {_ANEW}"
            raise ParameterError(self._name, rule, seen, hint)
        texts = self._start(ids)
        if known is not None:
            self._earlier.append(hash(known.tobytes()))
        self._ids, self._first, self._texts = ids, ids.shape[1], texts
        return texts

    def _fork(self, before: IntArray, known: IntArray) -> bool:
        """Give each row the text that it goes on with; False where one has none."""
        places = {row.tobytes(): place for place, row in enumerate(known)}
        order = [places.get(row.tobytes()) for row in before]
        if None in order:
            return False
        if not self._forks:
            rule = "in one order where the adapter draws"
            seen = Seen("rows in another order, as in a beam search")
            raise ParameterError(self._name, rule, seen, "Leave out seed, or search no beams.")
        self._texts = [copy.deepcopy(self._texts[place or 0]) for place in order]
        return True

    def _check_branch(self, ids: IntArray, known: IntArray) -> None:
        """Refuse a text that parts from its earlier self after the prompt."""
        shared = self._first + 1  # tokens of a text that has one of its own
        if min(ids.shape[1], known.shape[1]) < shared:
            return
        for row, (new, old) in enumerate(zip(ids, known, strict=True)):
            if (new[:shared] == old[:shared]).all():
                rule = f"the {known.shape[1]} tokens of before and one more"
                place = int((new[: known.shape[1]] != old[: len(new)]).argmax())
                seen = Seen(f"a text that parts from them at token {place}, in row {row}")
                if len(new) < known.shape[1] and (new == old[: len(new)]).all():
                    seen = Seen(f"the first {len(new)} of them, in row {row}")
                hint = f"Nothing goes back here, as drafts of another model would. {_ANEW}"
                raise ParameterError(self._name, rule, seen, hint)
