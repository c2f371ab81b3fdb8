"""Counting: a context of growing texts counts as one that counts anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Context
from logitlab.steps.context import SCOPES
from logitlab.steps.growing import GrowingContext, Tally

TEXTS = st.lists(
    st.tuples(st.lists(st.integers(0, 8), max_size=12), st.lists(st.integers(0, 8), max_size=12)),
    min_size=1,
    max_size=4,
)


def grown(texts: list[tuple[list[int], list[int]]]) -> GrowingContext:
    everything = [Tally(prompt) for prompt, _ in texts]
    output = [Tally() for _ in texts]
    for i, (_, tokens) in enumerate(texts):
        for token in tokens:
            everything[i].add(token)
            output[i].add(token)
    prompts = [np.array(prompt, np.int64) for prompt, _ in texts]
    outputs = [np.array(tokens, np.int64) for _, tokens in texts]
    return GrowingContext(prompts, outputs, everything, output)


@given(TEXTS, st.sampled_from(SCOPES), st.sampled_from([None, 1, 5]), st.data())
def test_growing_texts_are_counted_as_any(
    texts: list[tuple[list[int], list[int]]], scope: str, last_n: int | None, data: st.DataObject
) -> None:
    growing = grown(texts)
    plain = Context([prompt for prompt, _ in texts], [output for _, output in texts])
    batch = (len(texts),)
    rows = np.array(data.draw(st.lists(st.sampled_from(range(len(texts))), min_size=1)))
    for one, other in [
        (growing.counts(batch, 9, scope, last_n), plain.counts(batch, 9, scope, last_n)),
        (
            growing.for_rows(batch, rows).counts(rows.shape, 9, scope, last_n),
            plain.for_rows(batch, rows).counts(rows.shape, 9, scope, last_n),
        ),
    ]:
        assert one.row.tolist() == other.row.tolist()
        assert one.token.tolist() == other.token.tolist()
        assert one.count.tolist() == other.count.tolist()


def test_counts_are_taken_at_their_time() -> None:
    tally = Tally([3])
    before = GrowingContext([np.array([3])], [np.array([], np.int64)], [tally], [Tally()])
    counts = before.counts((1,), 9)
    tally.add(3)
    assert counts.count.tolist() == [1]


def test_other_batches_are_counted_from_the_tokens() -> None:
    growing = grown([([1, 1], [2])])
    assert growing.counts((3, 1), 9).count.tolist() == [2, 1] * 3
    with pytest.raises(ValueError, match="token ids in"):
        growing.counts((3, 1), 2)
