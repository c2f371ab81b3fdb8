"""`check` as its users call it: what it infers, what it hands over, and what it says."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError, testing

from testing import samplers as s

Array = s.Array


def refused(sampler: Any, like: Any = None, **options: Any) -> str:
    with pytest.raises(ParameterError) as error:
        testing.check(sampler, like or {"top_p": 0.75}, **options)
    return str(error.value)


def wrong(sampler: Any, like: Any, **options: Any) -> testing.SamplerError:
    with pytest.raises(testing.SamplerError) as error:
        testing.check(sampler, like, **options)
    assert isinstance(error.value, AssertionError)
    return error.value


def test_tokens_that_no_row_has_and_arrays_that_are_none_are_refused_at_once() -> None:
    far = ll.Context(prompt=[10**9])
    assert "context must be of token ids below 262144" in refused(nucleus, context=far)
    assert "like must be of token ids below" in refused(nucleus, {"logit_bias": {10**9: 1.0}})
    assert "it raises ZeroDivisionError" in refused(nucleus, arrays=lambda array: 1 // 0)
    assert "arrays must be a function from an array" in refused(nucleus, arrays=lambda array: None)


def nucleus(row: Array) -> Array:
    return s.top_p(row, 0.75)


def test_the_first_mistake_is_one_sentence_and_code_that_shows_it() -> None:
    error = wrong(lambda row: s.top_p(row, 0.75, "at equality"), {"top_p": 0.75})
    assert error.sentence == "keeps token 3, whose mass before it is exactly 0.75"
    assert str(error) == (
        "keeps token 3, whose mass before it is exactly 0.75.\n\n"
        "    import logitlab as ll\n"
        "    import numpy as np\n"
        "    row = np.array([0.0, 0.0, 0.0, 0.0], np.float32)\n"
        "    print(ll.trace(row, {'top_p': 0.75}))  # what is right"
    )
    lines = [line.strip() for line in str(error).splitlines()[2:]]
    names: dict[str, Any] = {}
    exec("\n".join(lines[:-1]), names)
    assert names["row"].tolist() == error.row.tolist() == [0, 0, 0, 0]
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)


@pytest.mark.parametrize(
    ("like", "made", "sentence"),
    [
        ({"top_k": 5}, lambda row: s.top_k(row, 5, "one more"),
         "keeps token 5, number 6 of the most likely: top_k is 5"),
        ({"top_k": 5}, lambda row: s.top_k(row, 5, "one fewer"),
         "drops token 4: number 5 of the most likely (top_k is 5)"),
        ({"top_p": 0.75}, lambda row: s.top_p(row, 0.75, "one fewer"),
         "drops token 1: the mass before it is exactly 0.5 (top_p is 0.75)"),
        ({"min_p": 0.2}, lambda row: np.where(row > row.max() - 2, row, -np.inf),
         "keeps token 0, which is 0.194 times as likely as the best: min_p is 0.2"),
        ({"top_a": 0.9}, lambda row: row,
         "keeps token 1, whose probability is 0.268941, too low for top_a 0.9"),
        ({"temperature": 0}, lambda row: np.where(row == row.max(), row, -np.inf),
         "keeps token 1, which is not the first of the most likely: temperature is 0"),
        ({}, lambda row: np.maximum(row, -1e30), "gives token 1 a logit 1e+30 below"),
        ({}, lambda row: np.maximum(row, -1e30) if len(row) < 50 else row,
         "gives token 1 a logit 1e+30 below that of token 0, where it is 3e+30"),
        ({}, lambda row: np.where(row > -np.inf, row, -1.0), "keeps token 1, whose logit is -inf"),
        ({}, lambda row: row[:-1], "returns 3 numbers for 4 tokens"),
        ({}, lambda row: row[: max(4, len(row) - 1)],
         "returns 4 numbers for 5 tokens"),
        ({}, lambda row: None,
         "returns None: what works in place returns what it has changed, too"),
        ({}, lambda row: row[row > 100], "returns 0 numbers for 4 tokens"),
        ({}, lambda row: 1 / 0, "raises ZeroDivisionError: division by zero"),
        ({}, lambda row: s.softmax(row) * 0.99,
         "gives token 0 the probability 0.99, where it is 1"),
        ({}, lambda row: [0, *range(len(row))], "keeps a token twice"),
        ({}, lambda row: [*range(len(row) + 1)], "keeps token 1 of a vocabulary of 1"),
        ({"temperature": 0.5}, lambda row: row,
         "gives token 1 a logit 1 below that of token 0, where it is 2"),
    ],
)  # fmt: skip
def test_sentences(like: Any, made: Any, sentence: str) -> None:
    assert wrong(made, like).sentence.startswith(sentence)


@pytest.mark.parametrize(
    ("like", "engine"),
    [
        (ll.TopP(0.75), "openrouter"),
        (ll.Chain(ll.PresencePenalty(0.5), ll.TopK(3, ties="all")), "openrouter"),
        (ll.SamplingParams(top_p=0.75, presence_penalty=0.1), "vllm"),
        ({"top_p": 0.75}, "mlx_lm"),
    ],
)
def test_the_code_runs_whatever_was_asked_for(
    like: Any, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = wrong(lambda row, prompt: row + row.argmax(), like, engine=engine, rows="signs")
    exec("\n".join(line.strip() for line in str(error).splitlines()[2:]), {})
    assert "Trace" in capsys.readouterr().out
    mistaken = wrong(mixed_up, ll.PresencePenalty(1.5), batch=True, rows="signs",
                     context=ll.Context([1]))  # fmt: skip
    exec("\n".join(line.strip() for line in str(mistaken).splitlines()[2:]), {})
    assert "row = np.array([[" in str(mistaken)
    assert "context = ll.Context(prompt=[[1], [1]]" in str(mistaken)
    assert mistaken.sentence.endswith("of a batch of 2; alone it is answered rightly)")


def mixed_up(rows: Array, prompt: Array) -> Array:
    rows[np.arange(len(rows)), prompt[:, 0]] -= 1.5
    return rows[::-1].copy()


def test_ties_that_any_sort_may_break_are_counted_still() -> None:
    """vLLM keeps as many as the mass says, whichever; a better token never goes first."""

    def any_of_them(row: Array, less: int = 0) -> Array:
        count = (s.top_p(row, 0.5) > -np.inf).sum() - less
        order = np.lexsort((-np.arange(len(row)), -row))  # ties to the highest
        return np.isin(np.arange(len(row)), order[: max(1, count)])

    like, rows = {"top_p": 0.5}, [[0.0] * 8]
    assert testing.check(any_of_them, like, engine="vllm").gives == "survivors"
    assert wrong(any_of_them, like, rows=rows).sentence == (
        "keeps token 1, whose mass before it is exactly 0.5"
    )
    fewer = wrong(lambda row: any_of_them(row, 1), like, engine="vllm", rows=rows).sentence
    assert fewer == "keeps 1 token, where 2 stay"


def test_what_it_infers() -> None:
    assert testing.check(nucleus, {"top_p": 0.75}, rows="ties").gives == "logits"
    probabilities = testing.check(lambda row: s.softmax(nucleus(row)), {"top_p": 0.75}, rows="ties")
    assert probabilities.gives == "probabilities"
    for answer in (lambda mask: mask, np.flatnonzero, lambda mask: np.flatnonzero(mask).tolist()):
        seen = testing.check(lambda row, of=answer: of(nucleus(row) > -np.inf), {"top_p": 0.75},
                             rows="masked")  # fmt: skip
        assert seen.gives == "survivors"
    tokens = testing.check(lambda row: row.argmax(), {"temperature": 0}, rows="ties")
    assert (tokens.gives, tokens.error) == ("tokens", 1e-6)


def test_what_a_sampler_asks_for_by_name() -> None:
    seen: list[Any] = []

    def sampler(
        rows: Array, context: Any, prompt: Any, output: Any, request: Any, seed: Any
    ) -> Any:
        assert context.prompt.shape == prompt.shape == (len(rows), prompt.shape[1])
        assert seed.shape == (len(rows),)
        seen.append(request)
        return np.stack([s.penalised(*each, presence_penalty=0.5)
                         for each in zip(rows, prompt, output, strict=True)])  # fmt: skip

    like: Any = [{"presence_penalty": 0.5}, ll.SamplingParams(presence_penalty=0.5)]
    result = testing.check(sampler, like, batch=True, rows=["ordinary", "signs"])
    assert result.calls == len(seen)
    assert {type(each) for each in seen} == {dict, ll.SamplingParams}


def test_many_draws_of_a_call() -> None:
    def sampler(row: Array, size: int, seed: int) -> Array:
        rng = np.random.default_rng(seed)
        p = s.softmax(row).astype(np.float64)
        return rng.choice(len(row), size, p=p / p.sum())

    result = testing.check(sampler, {}, rows=["ordinary", "equal"])
    assert result.draws == 8 * 256 * result.rows
    assert wrong(lambda row, size: np.zeros(size, int), {}, rows="equal").sentence == (
        "draws token 0 in 2048 of 2048 draws, where the probability is 0.5"
    )
    assert wrong(lambda row, size: [0], {}, rows="equal", gives="tokens").sentence == (
        "returns 1 token, where 256 are asked for"
    )


def test_calls_are_never_more_than_allowed() -> None:
    calls = 0

    def sampler(row: Array) -> Array:
        nonlocal calls
        calls += 1
        return nucleus(row)

    seen = testing.check(sampler, {"top_p": 0.75}, calls=20)
    assert calls == seen.calls == 20
    assert not seen.is_complete
    assert str(seen).endswith("of their tokens; the calls did not do for all rows")
    with pytest.raises(testing.SamplerError):
        testing.check(lambda row: [sampler(row), row][1], {"top_p": 0.75}, calls=50)
    assert calls <= 70


def test_rows_and_a_context_of_ones_own() -> None:
    seen: list[Any] = []

    def sampler(row: Array, context: Any) -> Array:
        seen.append(row.tolist())
        return s.penalised(row, context.prompt, context.output, frequency_penalty=0.5)

    context = ll.Context(prompt=[1, 1], output=[2])
    options: Any = {"context": context, "gives": "logits"}
    testing.check(sampler, {"frequency_penalty": 0.5}, rows=[[0.0, 1.0, 2.0], [3.0, 1.0, 4.0, 0]],
                  **options)  # fmt: skip
    assert seen == [[0, 1, 2], [3, 1, 4, 0]]
    seen.clear()
    testing.check(sampler, {"frequency_penalty": 0.5}, rows=["few-tokens", [0.0, 1.0, 2.0]],
                  **options)  # fmt: skip
    assert min(map(len, seen)) == 3


def test_ids_that_are_named_are_there() -> None:
    bias = np.zeros(300, np.float32)
    bias[299] = 2.0

    def sampler(row: Array, prompt: Array) -> Array:
        row[prompt] -= 1
        assert len(row) > 310
        row[:300] += bias
        return row

    like = {"logit_bias": {299: 2.0}, "presence_penalty": 1.0}
    seen = testing.check(sampler, like, rows=["ties", "ordinary", np.zeros(320)],
                         context=ll.Context([310]))  # fmt: skip
    assert (seen.gives, seen.rows) == ("logits", 3)


def test_arithmetic_of_few_bits_and_arrays_of_others() -> None:
    def half(row: Array) -> Array:
        weight = np.exp((row - row.max()).astype(np.float16)).astype(np.float16)
        return np.asarray(weight / np.cumsum(weight, dtype=np.float16)[-1], np.float32)

    rows = ["ordinary", "ties", "signs"]
    assert testing.check(half, {}, rows=rows, arithmetic="float16", gives="probabilities")
    assert "probability" in wrong(half, {}, rows=rows, gives="probabilities").sentence
    sums: Any = {"rows": ["equal", "mass-at-p", "signs"], "arithmetic": "float16"}
    assert testing.check(lambda row: s.top_p(row, 0.75, "half sums"), {"top_p": 0.75}, **sums)
    kept = testing.check(lambda row: row, {}, arrays=lambda row: row.astype(np.float16), rows=rows)
    assert kept.gives == "logits"  # judged by what it has seen


def test_what_is_wrong_with_a_call_is_said() -> None:
    assert refused(5) == "sampler must be a function of logits, got 5."
    names = "context, prompt, output, request, seed, size"
    assert refused(lambda row, temperature: row) == (
        f"sampler must be a function of logits that asks for no more than {names}, "
        "got 'temperature'."
    )
    assert "a function whose first parameter is the logits" in refused(lambda *, seed: seed)
    assert "one that asks for context, or for prompt and output, for PresencePenalty(0.5)" in (
        refused(nucleus, {"presence_penalty": 0.5})
    )
    assert "like must be one request, unless the sampler takes a parameter named request" in (
        refused(nucleus, [{"top_p": 0.5}, {"top_p": 0.75}])
    )
    assert refused(nucleus, rows="tie").startswith("rows must be one of 'ordinary', 'few-tokens'")
    assert refused(nucleus, rows=[[np.nan]]).startswith("rows must")
    assert refused(nucleus, gives="probs").startswith("gives must be one of")
    assert refused(nucleus, arrays="tensorflow").startswith("arrays must be one of")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "jax.numpy", None)
        assert refused(nucleus, arrays="jax") == (
            "arrays must be of a library that is installed, got 'jax'."
        )
    assert refused(nucleus, arithmetic="int8").startswith("arithmetic must be one of")
    assert refused(nucleus, calls=2) == "calls must be an integer >= 10, got 2."
    assert refused(nucleus, error=0).startswith("error must be")
    assert refused(nucleus, batch=1).startswith("batch must be")
    assert refused(nucleus, context=[1]) == "context must be a Context or None, got [1]."
    assert refused(nucleus, {"top_pp": 1}).startswith("top_pp must be")
    assert refused(nucleus, {"typical_p": 0.5}, engine="transformers").startswith("like must be of")
    assert refused(nucleus, {"logit_bias": {200_000: 1}}, rows="ordinary") == (
        "rows must be enough for one row that the request can act on, got 'ordinary'."
    )


def test_a_right_sampler_of_tokens_fails_as_seldom_as_it_says() -> None:
    """100 checks at an error of one in ten: at most 10 expected, 22 or fewer with 99.98 %."""
    failed = 0
    for seed in range(100):
        luck = np.random.default_rng(seed)

        def sampler(row: Array, size: int, luck: Any = luck) -> Array:
            p = s.softmax(row).astype(np.float64)
            return np.asarray(luck.choice(len(row), size, p=p / p.sum()))

        try:
            testing.check(sampler, {}, rows="signs", error=0.1, seed=seed, calls=10)
        except testing.SamplerError:
            failed += 1
    assert failed <= 22
