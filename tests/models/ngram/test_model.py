from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from logitlab import ParameterError, SamplingParams, datasets, sample
from logitlab.models import NGram, State
from logitlab.models.ngram.bpe import BPE
from logitlab.models.ngram.kneser_ney import KneserNey, discounts

GRIMM = NGram.bundled()
END = len(GRIMM.vocabulary) - 1

Gram = tuple[int, ...]

SIZE = 5  # of a small vocabulary, whose last token begins and ends a text
small_texts = st.lists(st.lists(st.integers(0, SIZE - 2), max_size=12), min_size=1, max_size=4)
histories = st.lists(st.integers(0, SIZE - 1), max_size=6)
token_lists = st.lists(st.integers(0, END), min_size=1, max_size=9)


class Truth:
    """Kneser-Ney from its equation, in dicts and Python floats."""

    def __init__(self, texts: list[list[int]], size: int, order: int, part: float = 1) -> None:
        self.size = size
        self.order = order
        end = size - 1
        occurrences: list[Counter[Gram]] = [Counter() for _ in range(order + 1)]
        for text in texts:
            tokens = (end, *text, end)
            for last in range(1, len(tokens)):
                for length in range(1, min(order, last + 1) + 1):
                    occurrences[length][tokens[last + 1 - length : last + 1]] += 1
        self.counts: list[dict[Gram, int]] = [{}]
        self.discounts: list[list[float]] = [[]]
        for length in range(1, order + 1):
            longer = occurrences[length + 1] if length < order else Counter()
            counts: dict[Gram, int] = {}
            for gram, count in occurrences[length].items():
                before = {other[0] for other in longer if other[1:] == gram}
                begins = length > 1 and gram[0] == end
                counts[gram] = count if begins or not longer else len(before)
            self.counts.append(counts)
            self.discounts.append([0.0, *(part * d for d in self.discounted(counts))])

    @staticmethod
    def discounted(counts: dict[Gram, int]) -> list[float]:
        n = [sum(count == k for count in counts.values()) for k in range(5)]
        if 0 in n[1:]:
            return [0.5, 1.0, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        found = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
        return found if all(discount > 0 for discount in found) else [0.5, 1.0, 1.5]

    def prob(self, token: int, context: Gram) -> float:
        context = context[max(0, len(context) - self.order + 1) :]
        counts, taken = self.counts[len(context) + 1], self.discounts[len(context) + 1]
        after = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context}
        below = self.prob(token, context[1:]) if context else 1 / self.size
        if not after:
            return below
        count, total = after.get(token, 0), sum(after.values())
        rest = sum(taken[min(count, 3)] for count in after.values()) / total
        return (count - taken[min(count, 3)]) / total + rest * below


def between(texts: list[list[int]]) -> list[list[int]]:
    return [[SIZE - 1, *text, SIZE - 1] for text in texts]


def logits_after(model: NGram, tokens: Sequence[int]) -> np.ndarray[Any, Any]:
    return np.asarray(model.advance([model.start()], [tokens])[0])


@given(small_texts, histories, st.integers(1, 4), st.sampled_from([1.0, 0.75]))
def test_probabilities_are_those_of_the_equation(
    texts: list[list[int]], history: list[int], order: int, part: float
) -> None:
    model = KneserNey(between(texts), SIZE, order, part)
    truth = Truth(texts, SIZE, order, part)
    expected = [truth.prob(token, tuple(history)) for token in range(SIZE)]
    np.testing.assert_allclose(np.exp(model.logprobs(history)), expected, rtol=1e-12)
    assert sum(expected) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_a_small_text_against_the_equation(order: int) -> None:
    """Long enough for discounts of its own, on all levels but the highest."""
    texts = datasets.texts("grimm")[0][:600].split(". ")
    model = NGram.fit(texts, order=order, vocabulary_size=280)
    size = len(model.vocabulary)
    truth = Truth([model.tokenizer.encode(text) for text in texts], size, order)
    assert truth.discounts[1] != [0.0, 0.5, 1.0, 1.5]
    for prompt in ("A", " the golden", ". A", " xylophone", "ould no"):
        tokens = model.encode(prompt)
        expected = [truth.prob(token, (size - 1, *tokens)) for token in range(size)]
        np.testing.assert_allclose(np.exp(logits_after(model, tokens)), expected, rtol=1e-12)


@given(token_lists)
def test_probabilities_add_up_to_one_and_none_is_zero(tokens: list[int]) -> None:
    logits = logits_after(GRIMM, tokens)
    assert logits.dtype == np.float64
    assert np.exp(logits).sum() == pytest.approx(1, abs=1e-9)
    assert logits.min() > -25


def test_probabilities_add_up_to_one_after_every_prefix_of_a_tale() -> None:
    tokens = GRIMM.encode(datasets.texts("grimm")[7])[:300]
    states = [GRIMM.start() for _ in tokens]
    logits = GRIMM.advance(states, [tokens[: i + 1] for i in range(len(tokens))])
    np.testing.assert_allclose(np.exp(logits).sum(axis=-1), 1, atol=1e-9)
    assert np.isfinite(logits).all()


@settings(max_examples=50)
@given(st.lists(token_lists, min_size=1, max_size=5))
def test_neighbours_change_no_bit(texts: list[list[int]]) -> None:
    together = GRIMM.advance([GRIMM.start() for _ in texts], texts)
    for row, tokens in zip(together, texts, strict=True):
        assert row.tobytes() == logits_after(GRIMM, tokens).tobytes()


@settings(max_examples=50)
@given(token_lists)
def test_token_by_token_is_the_same(tokens: list[int]) -> None:
    state = GRIMM.start()
    for token in tokens:
        logits = GRIMM.advance([state], [[token]])[0]
    assert state.tokens == tokens
    assert logits.tobytes() == logits_after(GRIMM, tokens).tobytes()


def test_copies_go_their_own_way_and_rewound_ones_back() -> None:
    state = GRIMM.start()
    GRIMM.advance([state], [GRIMM.encode("Once upon a time there")])
    branch = state.copy()
    first = GRIMM.advance([state], [GRIMM.encode(" was")])[0]
    GRIMM.advance([branch], [GRIMM.encode(" lived a poor woodcutter")])
    branch.rewind(5)
    again = GRIMM.advance([branch], [GRIMM.encode(" was")])[0]
    assert first.tobytes() == again.tobytes()
    again[:] = 0  # the caller's to keep
    assert first.tobytes() == logits_after(GRIMM, state.tokens).tobytes()


def test_the_bundled_model_is_the_fitted_one() -> None:
    fitted = NGram.fit(datasets.texts("grimm"), discount=0.75)
    assert fitted.vocabulary == GRIMM.vocabulary
    assert (fitted.order, fitted.context_length) == (GRIMM.order, GRIMM.context_length) == (5, 4096)
    for prompt in ("Once upon a time", "The king said", "zebra"):
        tokens = GRIMM.encode(prompt)
        assert logits_after(fitted, tokens).tobytes() == logits_after(GRIMM, tokens).tobytes()
    assert NGram.bundled() is GRIMM
    assert repr(GRIMM) == "<NGram grimm: 4096 tokens>"


def test_a_text_begins_and_ends_with_the_end_token() -> None:
    assert GRIMM.end_ids == {END}
    titles = logits_after(GRIMM, [END])
    assert GRIMM.vocabulary.decode([titles.argmax()]) == "THE"
    tale = GRIMM.encode(datasets.texts("grimm")[3])
    assert logits_after(GRIMM, tale[-9:]).argmax() == END
    # What is before the end of a text does not matter, and a text begins with one anyway.
    assert logits_after(GRIMM, [5, 6, END]).tobytes() == titles.tobytes()
    assert (
        logits_after(GRIMM, tale[:2]).tobytes() == logits_after(GRIMM, [END, *tale[:2]]).tobytes()
    )
    assert GRIMM.encode("") == [END]


def test_text_and_conversations_become_tokens() -> None:
    assert (
        GRIMM.vocabulary.decode(GRIMM.encode("Once upon a time, 日本")) == "Once upon a time, 日本"
    )
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A tale"}]
    assert GRIMM.vocabulary.decode(GRIMM.chat(messages)) == "Be brief.\n\nA tale\n\n"


def test_what_it_writes_is_made_of_the_words_of_the_tales() -> None:
    """Of three words in a row, two times of three."""
    params = SamplingParams(temperature=0.8, min_p=0.05)
    states = [GRIMM.start() for _ in range(8)]
    logits = GRIMM.advance(states, [GRIMM.encode("Once upon a time")] * len(states))
    for position in range(60):
        new = sample(logits, params, seed=1, position=position).tokens
        logits = GRIMM.advance(states, new[:, None].tolist())
    book = "\n".join(datasets.texts("grimm")).split()
    known = set(zip(book, book[1:], book[2:], strict=False))
    found = [
        triple in known
        for state in states
        for words in [GRIMM.vocabulary.decode(state.tokens).split()[:-1]]
        for triple in zip(words, words[1:], words[2:], strict=False)
    ]
    assert np.mean(found) > 2 / 3


def test_a_lower_discount_keeps_closer_to_the_texts() -> None:
    texts = datasets.texts("grimm")[0].split("\n")
    models = [NGram.fit(texts, vocabulary_size=600, discount=part) for part in (1, 0.5)]
    tokens = models[0].encode(texts[1])
    read = [tokens[: i + 1] for i in range(50)]
    costs = []
    for model in models:
        logits = model.advance([model.start() for _ in read], read)
        costs.append(-np.take_along_axis(logits, np.array(tokens[1:51])[:, None], axis=1).mean())
    assert costs[1] < costs[0]


def test_order_one_looks_at_nothing() -> None:
    model = NGram.fit("to be or not to be", order=1)
    assert logits_after(model, [1, 2]).tobytes() == logits_after(model, [3]).tobytes()


def test_discounts_are_those_of_chen_and_goodman() -> None:
    counts = np.repeat([1, 2, 3, 4, 9], [10, 4, 2, 1, 5])
    y = 10 / (10 + 2 * 4)
    expected = (1 - 2 * y * 4 / 10, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2)
    assert discounts(counts) == pytest.approx(expected, rel=1e-15)
    assert discounts(np.array([1, 2, 3, 9])) == (0.5, 1.0, 1.5)  # no count is 4
    assert discounts(np.repeat([1, 2, 3, 4], [9, 1, 9, 1])) == (0.5, 1.0, 1.5)  # one below 0


def test_the_bundled_model_needs_numpy_only() -> None:
    code = (
        "import sys\n"
        "from logitlab.models import NGram\n"
        "NGram.bundled()\n"
        "print([name for name in ('scipy', 'matplotlib') if name in sys.modules])\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_an_empty_batch_gives_no_rows() -> None:
    assert GRIMM.advance([], []).shape == (0, 4096)


# Without types, for mistakes in them.
make: Any = NGram
fit: Any = NGram.fit
encode: Any = GRIMM.encode
advance: Any = GRIMM.advance


def started(length: int) -> State:
    state = GRIMM.start()
    state.read([0] * length)
    return state


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit(""), "texts must be at least one character in all, got ['']."),
        (lambda: fit(["a", None]), "texts[1] must be a text, got None."),
        (lambda: fit(7), "texts must be a text or several, got 7."),
        (lambda: fit("a", order=0), "order must be an integer in [1, 32], got 0."),
        (lambda: fit("a", order=2.0), "order must be an integer in [1, 32], got 2.0."),
        (
            lambda: fit("a", vocabulary_size=256),
            "vocabulary_size must be an integer >= 257, got 256.",
        ),
        (
            lambda: fit("a", context_length=0),
            "context_length must be an integer >= 1, got 0.",
        ),
        (lambda: fit("a", discount=0), "discount must be a number in (0, 1], got 0."),
        (lambda: fit("a", discount=[1]), "discount must be a number in (0, 1], got [1]."),
        (lambda: fit("a", discount=1.5), "discount must be in [0, 1], got 1.5."),
        (lambda: make(None, "a"), "tokenizer must be a BPE, got None."),
        (lambda: make(BPE([]), []), "texts must be at least one character in all, got []."),
        (lambda: encode(7), "text must be a text or bytes, got 7."),
        (
            lambda: advance([started(0)], []),
            "tokens must be one sequence of new tokens for each of 1 states, got 0.",
        ),
        (
            lambda: advance([started(0)], [[]]),
            "tokens[0] must be a sequence of at least one token, got [].",
        ),
        (
            lambda: advance([started(0)], [3]),
            "tokens[0] must be a sequence of at least one token, got 3.",
        ),
        (
            lambda: advance([started(0), started(0)], [[1], [2, 4096]]),
            "tokens[1] must be an integer in [0, 4095], got 4096. It is element (1,).",
        ),
        (
            lambda: advance([started(0)], [[1.0]]),
            "tokens[0] must be an integer in [0, 4095], got [1.0].",
        ),
        (
            lambda: advance([started(4095)], [[1, 2]]),
            "tokens[0] must be within the context length of 4096, got 4097 tokens.",
        ),
    ],
)
def test_mistakes(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ParameterError) as error:
        call()
    assert str(error.value) == message


def test_a_mistake_changes_no_state() -> None:
    states = [GRIMM.start(), GRIMM.start()]
    with pytest.raises(ParameterError):
        GRIMM.advance(states, [[1], [-1]])
    assert [state.tokens for state in states] == [[], []]
