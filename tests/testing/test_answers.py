"""What samplers return by mistake is told as what it is, not as a mistake of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError, testing
from numpy.typing import NDArray

Array = NDArray[Any]
LIKE = {"top_k": 2}
INTEGERS = (
    "returns 4 integers for 4 tokens, some of them equal: a mask is of bools, ids stand once each, "
    "and numbers need gives='logits' or gives='probabilities'"
)


def two(row: Any) -> Any:
    """Return logits of which two are left."""
    row = np.array(row, np.float32)
    row[np.argsort(-row, kind="stable")[2:]] = -np.inf
    return row


def ids(row: Any) -> Any:
    order = np.argsort(-row, kind="stable")[:2]
    return order[row[order] > -np.inf]


def in_place(row: Any) -> None:
    row[:] = two(row)


def read_only(row: Any) -> Any:
    row = two(row)
    row.flags.writeable = False
    return row


def wrong(sampler: Any, **options: Any) -> str:
    with pytest.raises(testing.SamplerError) as error:
        testing.check(sampler, LIKE, rows="few-tokens", **options)
    return error.value.sentence


@pytest.mark.parametrize(
    "sampler",
    [
        lambda row: (two(row),),
        lambda row: two(row)[None],
        lambda row: two(row).tolist(),
        lambda row: tuple(two(row).tolist()),
        lambda row: memoryview(two(row)),
        lambda row: two(row)[::-1][::-1],
        read_only,
    ],
)
def test_any_form_of_an_answer_is_read(sampler: Any) -> None:
    assert testing.check(sampler, LIKE, rows="few-tokens").gives == "logits"


@pytest.mark.parametrize(
    ("sampler", "sentence"),
    {
        in_place: "returns None: what works in place returns what it has changed, too",
        (lambda row: np.ma.masked_invalid(two(row))): (
            "returns a masked array, which may mean anything: filled(-np.inf) of it removes "
            "tokens, filled(0) probabilities"
        ),
        (lambda row: (two(row), ids(row))): "returns a tuple of 2 arrays, where one is due",
        (lambda row: [(0, 1.0), (1, 0.5)]): "returns a list of 2 arrays, where one is due",
        (lambda row: {0: 1.0}): "returns a dict, where numbers are due",
        (lambda row: frozenset([0])): "returns a frozenset, where numbers are due",
        (lambda row: (x for x in row)): "returns a generator, where numbers are due",
        (lambda row: "0"): "returns a str, where numbers are due",
        (lambda row: object()): "returns an object, where numbers are due",
        (lambda row: row.astype(object)): "returns an array of dtype object, where numbers are due",
        (lambda row: row.astype(complex)): (
            "returns an array of dtype complex128, where numbers are due"
        ),
        (lambda row: two(row)[:, None]): "returns an answer of shape (4, 1) for 4 tokens",
        (lambda row: two(row)[:-1]): "returns 3 numbers for 4 tokens",
        (lambda row: two(row).reshape(2, -1)): "returns an answer of shape (2, 2) for 4 tokens",
        (lambda row: 3.0): "returns one float for 4 tokens: ids are integers",
        (lambda row: True): "returns one bool for 4 tokens",
        (lambda row: np.isfinite(two(row)).astype(np.uint8)): INTEGERS,
        (lambda row: (row == row.max()).astype(int)): INTEGERS,
        (lambda row: two(row) if len(row) == 4 else np.isfinite(two(row))): (
            "returns bools, where logits are due"
        ),
        (lambda row: np.isfinite(two(row)) if len(row) == 4 else two(row)): (
            "returns float32 numbers, where survivors are due: bools, or ids"
        ),
    }.items(),
)
def test_what_is_no_answer_is_told_as_what_it_is(
    sampler: Callable[[Any], Any], sentence: str
) -> None:
    assert wrong(sampler) == sentence


def test_flags_that_are_integers_are_told_of_a_row_of_one_token_too() -> None:
    told = wrong(lambda row: np.isfinite(two(row)).astype(np.uint8), gives="survivors")
    assert told == "keeps token 1 of a vocabulary of 1: a mask is of bools"
    right = testing.check(
        lambda row: (row == row.max()).astype(int) * (np.arange(len(row)) == row.argmax()),
        {"temperature": 0}, gives="probabilities",
    )  # fmt: skip
    assert right.gives == "probabilities"


def test_what_is_no_answer_to_a_batch_is_told() -> None:
    def all_of(rows: Any) -> Any:
        return np.stack([two(row) for row in rows])

    assert wrong(lambda rows: (all_of(rows), None), batch=True) == (
        "returns a tuple in which number 1 is None"
    )
    assert wrong(lambda rows: all_of(rows).T, batch=True) == "returns 4 answers for 2 rows"
    assert wrong(lambda rows: all_of(rows)[:1], batch=True) == "returns 1 answer for 2 rows"


def test_a_token_at_minus_infinity_that_is_kept_is_told_for_all_steps() -> None:
    for batch in (False, True):

        def sampler(rows: Any, batch: bool = batch) -> Any:
            return [np.argsort(-row, kind="stable")[:2] for row in (rows if batch else [rows])]

        one = sampler if batch else lambda row: np.argsort(-row, kind="stable")[:2]
        with pytest.raises(testing.SamplerError) as error:
            testing.check(one, LIKE, rows=["one-hot", "masked"], batch=batch)
        assert error.value.sentence == "keeps token 1, whose logit is -inf"


def test_one_buffer_for_all_answers_is_read_before_it_is_used_again() -> None:
    buffers: dict[Any, Any] = {}

    def tokens(row: Any, seed: Any) -> Any:
        token = buffers.setdefault("token", np.empty(1, np.int64))
        left = np.flatnonzero(np.isfinite(two(row)))
        chances = np.exp(row[left].astype(float) - row.max())
        token[0] = np.random.default_rng(seed).choice(left, p=chances / chances.sum())
        return token

    kept = testing.check(tokens, LIKE, gives="tokens", rows=["ordinary", "equal"], calls=600)
    assert kept.gives == "tokens"
    counts = iter(range(10**6))

    def another_each_time(row: Any) -> Any:
        mask = buffers.setdefault(len(row), np.empty(len(row), np.bool_))
        mask[:] = False
        mask[next(counts) % len(row)] = True
        return mask

    with pytest.raises(testing.SamplerError, match="gives another answer when asked again"):
        testing.LAWS["the-same-again"](another_each_time, {}, rows="equal")


def test_a_sampler_may_change_what_it_is_handed() -> None:
    def sampler(row: Any, request: Any, prompt: Any, output: Any) -> Any:
        row[np.argsort(-row, kind="stable")[request.pop("top_k") :]] = -np.inf
        prompt[:], output[:] = 0, 0
        return row

    assert testing.check(sampler, [{"top_k": 2}, {"top_k": 3}], rows="few-tokens").rows > 5
    with pytest.raises(testing.SamplerError) as error:
        testing.check(lambda row, request: [request.pop("top_k")] and row, LIKE, rows="few-tokens")
    assert "{'top_k': 2}" in str(error.value)


async def _later(row: Any) -> Any:
    return row


@pytest.mark.parametrize(
    ("sampler", "like", "message"),
    [
        (_later, {}, "It is async: nobody awaits it."),
        (two, 5, "like must be SamplingParams, a map, a chain or None, got 5."),
        (two, [5], "like[0] must be SamplingParams, a map, a chain or None, got 5."),
        (two, [], "like must be at least one request, got []."),
        (two, {"nope": 1}, "like must be free of keys that nobody knows, got 'nope'."),
        (two, {"top_p": 2}, "top_p must be in [0, 1], got 2.0."),
    ],
)
def test_a_wrong_request_is_told_in_the_words_of_the_call(
    sampler: Any, like: Any, message: str
) -> None:
    with pytest.raises(ParameterError) as error:
        testing.check(sampler, like)
    assert str(error.value).endswith(message)


def test_ids_that_are_padded_to_the_size_of_the_vocabulary_are_ids() -> None:
    def padded(row: Any) -> Any:
        found = ids(row)
        return np.pad(found, (0, len(row) - len(found)), constant_values=-1)

    assert testing.check(padded, LIKE, rows="few-tokens").gives == "survivors"
    assert testing.check(padded, LIKE, rows="few-tokens", gives="survivors").rows
