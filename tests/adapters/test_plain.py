"""What all adapters have in common, seen through the plain one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError, adapters, generate
from logitlab.adapters import shaping
from logitlab.engines.resolve import resolve

from adapters.requests_of_all_kinds import REQUESTS, Reference, same_bits
from toys import END, PIECES, Bigrams

MODEL = Bigrams(end=-1.0)
SIZE = len(PIECES)
requests = pytest.mark.parametrize(("engine", "request_"), REQUESTS)


def logits_after(ids: list[int], dtype: Any = np.float32) -> Any:
    return MODEL.advance([MODEL.start()], [ids])[0].astype(dtype)


def chain_of(engine: str, request: dict[str, Any]) -> ll.Chain:
    return ll.sampler(request, engine=engine, vocabulary=MODEL).chain


@requests
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_are_the_chains_bit_for_bit(engine: str, request_: dict[str, Any], dtype: Any) -> None:
    adapter = adapters.plain(request_, engine=engine, vocabulary=MODEL)
    assert adapter.seed is None
    assert adapter.chain == chain_of(engine, request_)
    rng = np.random.default_rng(5)
    for prompt in ([1, 2, 3], [4]):  # a text after another, with one adapter
        reference = Reference(adapter.chain, prompt)
        for _ in range(25):
            ids = prompt + reference.output
            row = logits_after(ids, dtype)
            before = row.copy()
            result = adapter(ids, row)
            wide = row.astype(np.float32) if dtype == np.float16 else row
            assert same_bits(result, reference.row(wide))
            assert same_bits(row, before)
            reference.add(int(rng.choice(SIZE, p=ll.softmax(result))))


@requests
@pytest.mark.parametrize("coupling", ["inverse", "gumbel"])
def test_with_a_seed_the_tokens_are_those_of_generate(
    engine: str, request_: dict[str, Any], coupling: Any
) -> None:
    answers = generate(
        MODEL,
        [1, 2, 3],
        request_,
        engine=engine,
        seed=11,
        n=3,
        sequence=5,
        max_tokens=30,
        coupling=coupling,
    )
    assert {len(answer.tokens) for answer in answers} != {1}
    for place, answer in enumerate(answers):
        adapter = adapters.plain(
            request_,
            engine=engine,
            seed=11,
            sequence=5 + place,
            coupling=coupling,
            vocabulary=MODEL,
        )
        assert adapter.seed == 11
        ids = [1, 2, 3]
        for token in answer.tokens.tolist():
            row = adapter(ids, logits_after(ids))
            assert same_bits(row, np.where(np.arange(SIZE) == token, 0, -np.inf).astype("f4"))
            ids.append(token)


@requests
@pytest.mark.parametrize("seed", [None, 3])
def test_rows_of_a_batch_are_texts_of_their_own(
    engine: str, request_: dict[str, Any], seed: int | None
) -> None:
    options: dict[str, Any] = {"engine": engine, "vocabulary": MODEL}
    together = adapters.plain(request_, seed=seed, **options)
    numbers = [0, 1, 2]
    alone = [
        adapters.plain(request_, seed=seed, sequence=0 if seed is None else number, **options)
        for number in numbers
    ]
    rng = np.random.default_rng(5)
    texts = [[1, 2], [3, 3], [9, 4]]
    for _ in range(20):
        rows = np.stack([logits_after(text) for text in texts])
        results = together(texts, rows)
        for own, text, row, result in zip(alone, texts, rows, results, strict=True):
            assert same_bits(own(text, row), result)
            text.append(int(rng.choice(SIZE, p=ll.softmax(result))))


def test_the_seed_of_a_request_draws_and_that_of_the_call_comes_first() -> None:
    row = logits_after([1])
    drawn = adapters.plain({"seed": 4})([1], row)
    assert np.isneginf(drawn).sum() == SIZE - 1
    assert int(drawn.argmax()) == int(ll.sample(row, seed=4).tokens)
    assert adapters.plain({"seed": 4}, seed=np.random.default_rng(1)).seed != 4
    assert adapters.plain({"seed": 4}, seed=9).seed == 9


def test_sequences_are_counted_up_or_given() -> None:
    rows = np.zeros((3, SIZE), np.float32)
    ids = [[1], [1], [1]]
    cases: Any = ((2, [2, 3, 4]), ([7, 0, 7], [7, 0, 7]))
    for given, own in cases:
        tokens = adapters.plain({}, seed=1, sequence=given)(ids, rows).argmax(axis=1)
        assert tokens.tolist() == ll.sample(rows, seed=1, sequence=own).tokens.tolist()


def test_a_chain_a_sampler_and_parameters_are_requests_too() -> None:
    chain = ll.Chain(ll.PresencePenalty(1.0), ll.TopK(3))
    for request in (chain, ll.sampler(chain), ll.SamplingParams(presence_penalty=1.0, top_k=3)):
        adapter = adapters.plain(request)
        assert adapter.chain == chain
        assert adapter([1], np.arange(5.0)).tolist() == [-np.inf, -np.inf, 2, 3, 4]
        assert adapter([1, 4], np.arange(5.0)).tolist() == [-np.inf, -np.inf, 2, 3, 3]


def test_a_request_is_resolved_once_for_a_width(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def counted(*arguments: Any, **keywords: Any) -> Any:
        calls.append(keywords)
        return resolve(*arguments, **keywords)

    monkeypatch.setattr(shaping, "resolve", counted)
    adapter = adapters.plain({"top_p": 0.9, "presence_penalty": 1.0}, seed=1)
    for length in range(1, 9):
        adapter([1] * length, np.zeros(6))
    assert [call["size"] for call in calls] == [None, 6]
    calls.clear()
    known = adapters.plain({"top_p": 0.9}, vocabulary=MODEL)
    known([1], np.zeros(SIZE))
    assert [call["size"] for call in calls] == [SIZE]


def test_a_callers_buffers_may_change_afterwards() -> None:
    adapter = adapters.plain({"mirostat": 2, "mirostat_tau": 1.5})
    reference = Reference(adapter.chain, [1])
    buffer, row = np.zeros(40, np.int32), np.empty(SIZE, np.float32)  # as llama-cpp-python does
    buffer[0] = 1
    for length in range(1, 20):
        row[:] = logits_after(buffer[:length].tolist())
        result = adapter(buffer[:length], row)
        assert same_bits(result, reference.row(row.copy()))
        token = int(result.argmax())
        result[:] = 7.0
        row[:] = 0.0
        reference.add(token)
        buffer[length] = token


def test_a_mapping_may_change_afterwards() -> None:
    request = {"top_k": 1}
    adapter = adapters.plain(request)
    request["top_k"] = 2
    assert np.isfinite(adapter([0], np.arange(4.0))).sum() == 1


def penalised(adapter: Any, ids: list[int]) -> list[int]:
    return np.flatnonzero(adapter(ids, np.zeros(9))).tolist()


def test_what_goes_on_and_what_begins_anew() -> None:
    adapter = adapters.plain({"presence_penalty": 1.0}, engine="vllm")  # counts the output alone
    assert penalised(adapter, [1, 2]) == []
    assert penalised(adapter, [1, 2, 3]) == [3]
    assert penalised(adapter, [1, 2, 3]) == [3]  # the very same rows
    assert penalised(adapter, [1, 2, 3, 4]) == [3, 4]
    assert penalised(adapter, [1, 2]) == []  # the same prompt again
    assert penalised(adapter, [1, 2, 5]) == [5]
    assert penalised(adapter, [1, 2, 5, 6, 7]) == []  # a conversation that goes on
    assert penalised(adapter, [1, 2, 5, 6, 7, 8]) == [8]
    assert penalised(adapter, [3]) == []  # another text
    adapter.restart()
    assert penalised(adapter, [3, 4]) == []
    adapter.restart()
    assert penalised(adapter, [3, 4, 5]) == []


def test_states_begin_anew_too() -> None:
    adapter = adapters.plain({"mirostat": 2, "mirostat_tau": 1.0})
    rows = [logits_after([1]), logits_after([1, 3]), logits_after([1, 3, 2])]
    texts = [[1], [1, 3], [1, 3, 2]]
    first, second = (
        [adapter(ids, row) for ids, row in zip(texts, rows, strict=True)] for _ in range(2)
    )
    assert all(map(same_bits, first, second))


def test_a_state_to_begin_with() -> None:
    state = {"mirostat": 1.25}
    adapter = adapters.plain({"mirostat": 2}, state=state)
    row = logits_after([1])
    assert same_bits(adapter([1], row), adapter.chain.at(state)(row))


def test_a_text_that_goes_back_is_refused() -> None:
    adapter = adapters.plain({"top_k": 2})
    for length in range(1, 5):
        adapter([1, 2, 3, 4][:length], np.zeros(9))
    with pytest.raises(ParameterError) as error:
        adapter([1, 2, 3, 5], np.zeros(9))
    assert str(error.value) == (
        "ids must be the 4 tokens of before and one more, got a text that parts from them at "
        "token 3, in row 0. Nothing goes back here, as drafts of another model would. Call "
        "restart() before a text of its own."
    )
    with pytest.raises(ParameterError, match="got the first 3 of them, in row 0"):
        adapter([1, 2, 3], np.zeros(9))
    with pytest.raises(ParameterError, match="parts from them at token 2, in row 0"):
        adapter([1, 2, 4, 4, 4], np.zeros(9))
    adapter.restart()
    adapter([1, 2, 3], np.zeros(9))


def test_texts_that_take_turns_are_refused() -> None:
    adapter = adapters.plain({"top_k": 2})
    adapter([1, 2], np.zeros(9))
    adapter([5], np.zeros(9))
    with pytest.raises(ParameterError) as error:
        adapter([1, 2, 3], np.zeros(9))
    assert str(error.value) == (
        "ids must be those of one text until it ends, got a text that another took the place of. "
        "Make an adapter for each text that is written at the same time. Call restart() before a "
        "text of its own."
    )
    adapter([5, 6], np.zeros(9))  # the other goes on as if nothing had been


def test_rows_in_another_order_need_an_adapter_that_follows() -> None:
    adapter = adapters.plain({"top_k": 2}, seed=1)
    rows = np.zeros((2, 9))
    adapter([[1], [2]], rows)
    with pytest.raises(ParameterError) as error:
        adapter([[2, 3], [1, 4]], rows)
    assert str(error.value) == (
        "ids must be in one order where the adapter draws, got rows in another order, as in a "
        "beam search. Leave out seed, or search no beams."
    )


def test_rows_may_fork_where_somebody_else_draws() -> None:
    adapter = adapters.plain({"presence_penalty": 1.0})
    rows = np.zeros((2, 9))
    adapter([[1], [2]], rows)
    found = [np.flatnonzero(row).tolist() for row in adapter([[2, 3], [2, 4]], rows)]
    assert found == [[2, 3], [2, 4]]
    found = [np.flatnonzero(row).tolist() for row in adapter([[2, 4, 5], [2, 3, 6]], rows)]
    assert found == [[2, 4, 5], [2, 3, 6]]


def test_a_token_that_could_not_be_drawn_leaves_the_state() -> None:
    request = {"mirostat": 2, "mirostat_tau": 0.5, "logit_bias": {END: -100}}
    chain = chain_of("openrouter", request).of(*chain_of("openrouter", request), ll.TopK(1))
    for seed in (None, 1):
        adapter = adapters.plain(chain, seed=seed)
        worst = int(logits_after([1]).argmin())
        adapter([1], logits_after([1]))
        # A finished row that is padded: the state is that of before.
        [text] = adapter._texts.follow(np.array([[1, worst]]), adapter.chain)
        assert text.chain_state == adapter.chain.init()
        assert text.output.tolist() == [worst]


def test_columns_beyond_the_vocabulary_are_removed() -> None:
    row = np.append(logits_after([1]), np.full(3, 9, np.float32))
    result = adapters.plain({"temperature": 0.5}, vocabulary=MODEL)([1], row)
    assert same_bits(result[:SIZE], logits_after([1]) * np.float32(2))
    assert np.isneginf(result[SIZE:]).all()
    drawn = adapters.plain({}, seed=3, vocabulary=MODEL)([1], row)
    assert int(drawn.argmax()) == int(ll.sample(row[:SIZE], seed=3).tokens)
    with pytest.raises(ParameterError) as error:
        adapters.plain({}, vocabulary=MODEL)([1], row[:5])
    assert str(error.value) == (
        f"logits must be of at least the {SIZE} tokens of the vocabulary, got 5 columns."
    )


def test_verbosity_acts_where_the_end_is_known() -> None:
    row = logits_after([1])
    for word, sign in (("low", 1), ("high", -1)):
        result = adapters.plain({"verbosity": word}, vocabulary=MODEL)([1], row)
        assert result[END] - row[END] == pytest.approx(sign * np.log(1.5), abs=1e-6)
    with pytest.raises(ParameterError, match="verbosity must be absent where single tokens"):
        adapters.plain({"verbosity": "low"})


def test_what_is_left_to_the_library_is_told() -> None:
    request = {"stop": ["x"], "max_tokens": 5, "logprobs": True, "top_logprobs": 2, "top_k": 3}
    notes = {note.key: note for note in adapters.plain(request).notes}
    assert notes.keys() == {"stop", "max_tokens", "logprobs", "top_logprobs"}
    assert {note.effect for note in notes.values()} == {"ignored"}
    ends, reports = (f"is left to the caller: what shapes logits {x}." for x in (
        "ends no text", "reports nothing"))  # fmt: skip
    assert notes["stop"].sentence == f"stop {ends}"
    assert notes["max_tokens"].sentence == f"max_tokens {ends}"
    assert notes["max_tokens"].given == 5
    assert notes["logprobs"].sentence == f"logprobs {reports}"
    assert notes["top_logprobs"].sentence == f"top_logprobs {reports}"
    beyond = {"stop_token_ids": [3], "ignore_eos": True, "eos_token_id": 2, "negative_prompt": "a"}
    notes = {note.key: note for note in adapters.plain(beyond, engine="vllm").notes}
    assert notes["stop_token_ids"].sentence == f"stop_token_ids {ends}"
    assert {"ignore_eos", "negative_prompt"} <= notes.keys()
    tools = [{"type": "function", "function": {"name": "f"}}]
    notes = {n.key: n for n in adapters.plain({"tools": tools, "tool_choice": "none"}).notes}
    assert notes["tools"].sentence == (
        "tools is left to the caller: what shapes logits sees no text."
    )
    assert adapters.plain({"stop": ["x"]}, vocabulary=MODEL).notes[0].key == "stop"
    assert not adapters.plain({"logprobs": False, "stop": []}).notes
    assert not adapters.plain({"response_format": {"type": "text"}, "verbosity": "medium"}).notes
    # What the engine ignores is told by the engine, and once.
    request = {"max_tokens": 4, "min_tokens": 2}
    keys = [note.key for note in adapters.plain(request, engine="llama_cpp").notes]
    assert keys.count("max_tokens") == keys.count("min_tokens") == 1


@pytest.mark.parametrize("known", [None, MODEL])
def test_what_cannot_be_is_refused(known: Any) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    for key, value in (
        ("tools", tools),
        ("response_format", {"type": "json_object"}),
        ("n", 2),
        ("top_p", 3),
        ("top_pp", 0.5),
    ):
        with pytest.raises(ParameterError, match=f"^{key} must be"):
            adapters.plain({key: value}, vocabulary=known)
    with pytest.raises(ParameterError) as error:
        adapters.plain({"guidance_scale": 1.5}, vocabulary=known)
    assert str(error.value) == (
        "guidance_scale must be absent where the caller runs the model, got 1.5. "
        "It asks the model twice."
    )


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"coupling": "gumbel"}, "coupling must be 'inverse' without a seed, got 'gumbel'. the caller"),
    ({"coupling": "x"}, "coupling must be one of 'inverse', 'gumbel', got 'x'."),
    ({"sequence": 2}, "sequence must be absent without a seed, got 2."),
    ({"sequence": -1, "seed": 1}, "sequence must be an integer in [0, 4611686018427387903], got"),
    ({"sequence": [1, 0.5], "seed": 1}, "sequence[1] must be an integer in [0, 461168601842738"),
    ({"seed": 0.5}, "seed must be an integer, got 0.5."),
    ({"state": {"mirostat": 1.0}}, "state must be absent where no step has one, got"),
    ({"vocabulary": 3}, "vocabulary must be a Model, a Vocabulary or None, got 3."),
    ({"request": ll.Chain(ll.TopK([1, 2]))}, "request must be a chain of steps with one value"),
    (
        {"request": {"mirostat": 2}, "state": {"mirostat": [1.0]}},
        "state must be a map with one num",
    ),
    ({"request": 3}, "request must be SamplingParams, a map, a chain or None, got 3."),
    ({"engine": "nope"}, "engine must be"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as error:
        adapters.plain(**options)
    assert str(error.value).startswith(message)


ROW = np.zeros(6, np.float32)
CALLS: list[tuple[Any, Any, str]] = [
    ([1, 6], ROW, "ids must be token ids in [0, 5], got 6."),
    ([-1], ROW, "ids must be token ids in [0, 5], got -1."),
    ([0.5], ROW, "ids must be token ids, got float64."),
    ("ab", ROW, "ids must be token ids of shape (L,)"),
    ([[1]], ROW, "ids must be token ids of shape (L,) beside one row, got shape (1, 1)."),
    ([[1, 2], [3]], ROW, "ids must be token ids of shape (L,), got"),
    (
        [1],
        np.zeros((2, 6)),
        "ids must be token ids of shape (2, L), a row for each of logits, got ",
    ),
    ([[1]], np.zeros((2, 6)), "ids must be token ids of shape (2, L), a row for each of logits, g"),
    (
        [1],
        np.zeros((2, 2, 6)),
        "row must be of shape (n, V) with V at least 1, got shape (2, 2, 6).",
    ),
    ([1], np.zeros(6, int), "row must be float16, bfloat16, float32 or float64, got int64."),
    ([1], "row", "row must be"),
    (
        [1],
        np.full(6, np.nan),
        "logits must be free of NaN, got NaN in row (0,). (In the rows of the",
    ),
    (
        [1],
        np.full(6, -np.inf),
        "logits must be finite for at least one token of every row, got onl",
    ),
]


@pytest.mark.parametrize(("ids", "row", "message"), CALLS)
@pytest.mark.parametrize("seed", [None, 1])
def test_wrong_calls(ids: Any, row: Any, message: str, seed: int | None) -> None:
    with pytest.raises(ParameterError) as error:
        adapters.plain({"presence_penalty": 1.0}, seed=seed)(ids, row)
    assert str(error.value).startswith(message)


def test_sequences_are_as_many_as_rows() -> None:
    with pytest.raises(ParameterError) as error:
        adapters.plain({}, seed=1, sequence=[1, 2])([[1]] * 3, np.zeros((3, 6)))
    assert str(error.value) == "sequence must be one number, or one for each of 3 rows, got 2."


def test_an_empty_prompt_has_a_row() -> None:
    adapter = adapters.plain({"presence_penalty": 1.0})
    assert penalised(adapter, []) == []
    assert penalised(adapter, [3]) == [3]


def test_what_depends_on_the_size_is_told_with_the_first_row() -> None:
    adapter = adapters.plain({"logit_bias": {7: 1.0}})
    with pytest.raises(ParameterError, match="logit_bias must be"):
        adapter([1], np.zeros(6))


def test_no_other_library_is_imported() -> None:
    code = (
        "import sys, logitlab as ll\n"
        "late = [name for name in sys.modules if name.startswith('logitlab.adapters')]\n"
        "for make in (getattr(ll.adapters, name) for name in ('llama_cpp', 'mlx_lm', 'plain')):\n"
        "    make({'top_p': 0.9}, seed=1)\n"
        "ll.adapters.transformers({'top_p': 0.9}, seed=1, pad_token_id=0)\n"
        "foreign = {'torch', 'transformers', 'llama_cpp', 'mlx', 'mlx_lm', 'vllm', 'jax'}\n"
        "print(late, sorted(foreign & {name.split('.')[0] for name in sys.modules}))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.stdout.strip() == "[] []", told.stderr


def test_it_prints_what_it_is() -> None:
    assert repr(adapters.plain({"top_k": 2})) == "<Plain Chain(TopK(2))>"
    assert repr(adapters.plain({"top_k": 2}, seed=7)) == "<Plain Chain(TopK(2)), seed=7>"
