"""Sorts of rows with ties, done once for the same row however many doors ask for it.

They are functions of their arguments alone, in plain Python, and took most of the time of whatever
asks llama.cpp and KoboldCpp the same thing twice. `steps/candidate_order` tests them as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from logitlab.steps.candidate_order import sorts

Sort = Callable[[Any, Any], Any]


def remembering(sort: Sort, most: int = 64) -> Sort:
    """Return a sort of values that looks up what it was asked lately."""
    held: OrderedDict[Any, Any] = OrderedDict()

    def look_up(values: Any, more: Any) -> Any:
        what = more if isinstance(more, int) else more.tobytes()
        key = values.dtype, values.tobytes(), what
        if key not in held:
            held[key] = sort(values, more)
        held.move_to_end(key)
        while len(held) > most:
            held.popitem(last=False)
        return held[key].copy()

    return look_up


@pytest.fixture(scope="module", autouse=True)
def remembered_sorts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_bucket_sort", "_heap_sort", "_introsort"):
            patch.setattr(sorts, name, remembering(getattr(sorts, name)))
        yield
