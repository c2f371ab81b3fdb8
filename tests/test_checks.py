"""Bad input: one clear error each, read here word by word."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import Context, ParameterError, SamplingParams, Vocabulary
from logitlab.checks import Range
from logitlab.engines.dialect import Dialect
from logitlab.models.messages import check_messages

FLOATS = "logits must be float16, bfloat16, float32 or float64, got "

X = np.zeros((2, 4))
NAN, INF = float("nan"), float("inf")
SEEN = Context(prompt=[1])

Case = tuple[Callable[[], Any], str]


def request(**body: Any) -> Callable[[], Any]:
    return lambda: SamplingParams.from_request(body)


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": function}


UNIT_KEYS = ("top_p", "min_p", "top_a")
PENALTY_KEYS = ("frequency_penalty", "presence_penalty")

REQUESTS: list[Case] = [
    (lambda: SamplingParams(top_k=2**63), "top_k must be below 2**63, got 9223372036854775808."),
    (
        lambda: SamplingParams(logit_bias={"9" * 5000: 1}),  # type: ignore[dict-item]
        "logit_bias must be a map whose keys are token ids >= 0, got "
        + repr("9" * 116)[:-1]
        + "....",
    ),
    (
        lambda: SamplingParams(tool_choice=np.array([1, 2])),  # type: ignore[arg-type]
        "tool_choice must be 'none', 'auto', 'required' or "
        '{"type": "function", "function": {"name": …}}, got [1, 2].',
    ),
    (
        lambda: SamplingParams(temperature=[np.zeros((2, 2))]),  # type: ignore[arg-type]
        "temperature must be one number in [0, 2], got [[[0.0, 0.0], [0.0, 0.0]]].",
    ),
    *((request(**{k: 1.3}), f"{k} must be in [0, 1], got 1.3.") for k in UNIT_KEYS),
    *((request(**{k: -0.1}), f"{k} must be in [0, 1], got -0.1.") for k in UNIT_KEYS),
    *((request(**{k: NAN}), f"{k} must be in [0, 1], got nan.") for k in UNIT_KEYS),
    *((request(**{k: "0.7"}), f"{k} must be a number in [0, 1], got '0.7'.") for k in UNIT_KEYS),
    *((request(**{k: True}), f"{k} must be a number in [0, 1], got True.") for k in UNIT_KEYS),
    *((request(**{k: 2.1}), f"{k} must be in [-2, 2], got 2.1.") for k in PENALTY_KEYS),
    *((request(**{k: -INF}), f"{k} must be in [-2, 2], got -inf.") for k in PENALTY_KEYS),
    *((request(**{k: []}), f"{k} must be one number in [-2, 2], got [].") for k in PENALTY_KEYS),
    (request(temperature=2.5), "temperature must be in [0, 2], got 2.5."),
    (request(temperature=-0.5), "temperature must be in [0, 2], got -0.5."),
    (request(temperature=INF), "temperature must be in [0, 2], got inf."),
    (request(temperature="hot"), "temperature must be a number in [0, 2], got 'hot'."),
    (request(temperature=[0.5]), "temperature must be one number in [0, 2], got [0.5]."),
    (request(temperature=1j), "temperature must be a number in [0, 2], got 1j."),
    (request(repetition_penalty=-1), "repetition_penalty must be in [0, 2], got -1.0."),
    (request(repetition_penalty=2.01), "repetition_penalty must be in [0, 2], got 2.01."),
    (request(top_k=-1), "top_k must be an integer >= 0, got -1."),
    (request(top_k=1.5), "top_k must be an integer >= 0, got 1.5."),
    (request(top_k=True), "top_k must be an integer >= 0, got True."),
    (request(seed="7"), "seed must be an integer, got '7'."),
    (request(seed=7.0), "seed must be an integer, got 7.0."),
    (request(seed=False), "seed must be an integer, got False."),
    (request(max_tokens=0), "max_tokens must be an integer >= 1, got 0."),
    (request(max_tokens=1.0), "max_tokens must be an integer >= 1, got 1.0."),
    (
        request(logit_bias=[1]),
        "logit_bias must be a map from token ids to numbers in [-100, 100], got [1].",
    ),
    (request(logit_bias={"5": 101}), "logit_bias[5] must be in [-100, 100], got 101.0."),
    (request(logit_bias={5: "1"}), "logit_bias[5] must be a number in [-100, 100], got '1'."),
    (request(logit_bias={5: True}), "logit_bias[5] must be a number in [-100, 100], got True."),
    (
        request(logit_bias={"the": 1}),
        "logit_bias must be a map whose keys are token ids >= 0, got 'the'.",
    ),
    (
        request(logit_bias={-1: 1}),
        "logit_bias must be a map whose keys are token ids >= 0, got -1.",
    ),
    (
        request(logit_bias={"5": 1, 5: 2}),
        "logit_bias must be a map with one entry for each token id, got {'5': 1, 5: 2}.",
    ),
    (request(logprobs=1), "logprobs must be true or false, got 1."),
    (
        request(logprobs=True, top_logprobs=21),
        "top_logprobs must be an integer in [0, 20], got 21.",
    ),
    (
        request(top_logprobs=3),
        "top_logprobs must be 0 unless logprobs is on, got 3. Set logprobs to true.",
    ),
    (
        request(top_logprobs=3, logprobs=False),
        "top_logprobs must be 0 unless logprobs is on, got 3. Set logprobs to true.",
    ),
    (
        request(response_format="json"),
        "response_format must be a map whose type is one of text, json_object, json_schema, "
        "got 'json'.",
    ),
    (
        request(response_format={"type": "xml"}),
        "response_format must be a map whose type is one of text, json_object, json_schema, "
        "got {'type': 'xml'}.",
    ),
    (
        request(response_format={"type": "json_schema"}),
        "response_format must be a map with a schema under json_schema, got {'type': "
        '\'json_schema\'}. Send {"type": "json_schema", "json_schema": {"name": …, '
        '"schema": {…}}}.',
    ),
    (
        request(
            structured_outputs=False,
            response_format={"type": "json_schema", "json_schema": {"schema": {}}},
        ),
        "structured_outputs must be true with a json_schema, got False.",
    ),
    (request(structured_outputs="yes"), "structured_outputs must be true or false, got 'yes'."),
    (request(stop=5), "stop must be an array of strings, got 5."),
    (request(stop=["a", 5]), "stop must be an array of strings, got ['a', 5]."),
    (request(stop=["a", ""]), "stop must be an array of non-empty strings, got ['a', '']."),
    (request(stop=""), "stop must be an array of non-empty strings, got ''."),
    (request(tools={}), "tools must be an array of tools, got {}."),
    (request(tools=["f"]), "tools[0] must be a map of type \"function\", got 'f'."),
    (
        request(tools=[{"type": "function"}]),
        "tools[0] must be a map with a function, got {'type': 'function'}.",
    ),
    (
        request(tools=[tool(name="a b")]),
        "tools[0].function.name must be 1 to 64 of A-Z a-z 0-9 _ -, got 'a b'.",
    ),
    (
        request(tools=[tool(name="f"), tool(name="f")]),
        "tools[1].function.name must be different from all others, got 'f'.",
    ),
    (
        request(tools=[tool(name="f", parameters=[])]),
        "tools[0].function.parameters must be a JSON schema, got [].",
    ),
    (
        request(tools=[tool(name="f", strict="yes")]),
        "tools[0].function.strict must be true or false, got 'yes'.",
    ),
    (
        request(tools=[tool(name="f", description=3)]),
        "tools[0].function.description must be a text, got 3.",
    ),
    (
        request(tool_choice={"type": "custom", "custom": {"name": "f"}}),
        "tool_choice.type must be 'function', got 'custom'.",
    ),
    (
        request(tool_choice={"type": "function", "name": "f"}),
        "tool_choice.function must be a map with a name, got None.",
    ),
    (
        request(tool_choice={"type": "function", "function": {"name": 5}}),
        "tool_choice.function.name must be the name of a function, got 5.",
    ),
    (
        request(response_format={"type": "json_schema", "json_schema": {"strict": 1}}),
        "response_format.json_schema.strict must be true or false, got 1.",
    ),
    (
        request(tool_choice="any"),
        "tool_choice must be 'none', 'auto', 'required' or "
        """{"type": "function", "function": {"name": …}}, got 'any'.""",
    ),
    (
        request(tool_choice="required"),
        "tool_choice must be 'none' or 'auto' without tools, got 'required'.",
    ),
    (
        request(tool_choice=tool(name="g"), tools=[tool(name="f")]),
        "tool_choice must be one of the tools ['f'], got 'g'.",
    ),
    (request(parallel_tool_calls="no"), "parallel_tool_calls must be true or false, got 'no'."),
    (
        request(verbosity="max"),
        "verbosity must be one of 'low', 'medium', 'high', got 'max'.",
    ),
    (request(verbosity=3), "verbosity must be one of 'low', 'medium', 'high', got 3."),
    (
        lambda: SamplingParams.from_request([1]),  # type: ignore[arg-type]
        "request must be a map of parameters, got [1].",
    ),
    (
        request(temprature=0.1),
        "temprature must be a known key, got 0.1. Did you mean temperature?",
    ),
    (
        lambda: ll.greedy(X, {"my_own": 1}),
        "request must be free of keys that nobody knows, got 'my_own'. This result has no notes, "
        "which could tell that it is not used.",
    ),
    (
        lambda: ll.sample(X, {"n": 3}),
        "n must be 1 where single tokens are sampled, got 3. generate writes several texts, and "
        "sample draws several tokens with size.",
    ),
    (
        lambda: SamplingParams(extra={"top_p": 1}),
        "extra must be free of the documented key 'top_p', got {'top_p': 1}.",
    ),
    (
        lambda: SamplingParams(extra=5),  # type: ignore[arg-type]
        "extra must be a map of further request keys, got 5.",
    ),
]

LOGITS: list[Case] = [
    (lambda: ll.top_k([1.0, NAN], 1), "logits must be free of NaN, got NaN."),
    (
        lambda: ll.top_p([[1.0, 2.0], [1.0, NAN]], 1),
        "logits must be free of NaN, got NaN in row (1,).",
    ),
    (lambda: ll.min_p([1.0, INF], 1), "logits must be free of +inf, got +inf."),
    (
        lambda: ll.temperature([[1.0], [-INF]], 1),
        "logits must be finite for at least one token of every row, got only -inf in row (1,).",
    ),
    (lambda: ll.softmax([]), "logits must be of shape (..., V) with V at least 1, got shape (0,)."),
    (
        lambda: ll.entropy(np.zeros((3, 0))),
        "logits must be of shape (..., V) with V at least 1, got shape (3, 0).",
    ),
    (
        lambda: ll.softmax(np.float64(1)),
        "logits must be of shape (..., V) with V at least 1, got shape ().",
    ),
    (
        lambda: ll.top_a([1, 2], 0.5),
        FLOATS + "int64. Write floats: [2.0, 1.0].",
    ),
    (
        lambda: ll.top_a([1j], 0.5),
        FLOATS + "complex128.",
    ),
    (
        lambda: ll.top_a([True], 0.5),
        FLOATS + "bool.",
    ),
    (
        lambda: ll.top_a("abc", 0.5),
        FLOATS + "'abc'. The first argument is the logits.",
    ),
    (
        lambda: ll.softmax(np.zeros(3, np.longdouble)),
        FLOATS + "float128.",
    ),
    (
        lambda: ll.greedy([[1.0], [1.0, 2.0]]),
        "logits must be an array of shape (..., V), got a ragged list.",
    ),
    (
        lambda: ll.greedy(np.ma.array([1.0, 2.0], mask=True)),
        "logits must be an array without a mask, got MaskedArray of shape (2,). Its mask would be "
        "lost: write np.where(mask, -np.inf, x).",
    ),
    (
        lambda: ll.Temperature(np.ma.array([1.0, 2.0], mask=True)),
        "temperature must be an array without a mask, got MaskedArray of shape (2,). Its mask "
        "would be lost: write np.where(mask, value, x).",
    ),
    (lambda: ll.greedy([NAN]), "logits must be free of NaN, got NaN."),
    (lambda: ll.Chain()([NAN]), "logits must be free of NaN, got NaN."),
    (lambda: ll.kl_divergence(X, [NAN] * 4), "q_logits must be free of NaN, got NaN."),
    (
        lambda: ll.kl_divergence(X, np.zeros(5)),
        "q_logits must be of a shape that broadcasts with p_logits, (2, 4), with equal V, "
        "got shape (5,).",
    ),
    (
        lambda: ll.mass_removed(X, np.zeros((3, 4))),
        "after must be of a shape that broadcasts with before, (2, 4), with equal V, "
        "got shape (3, 4).",
    ),
]

STEPS: list[Case] = [
    (lambda: ll.Temperature(-1), "temperature must be >= 0, got -1.0."),
    (lambda: ll.Temperature("1"), "temperature must be a number >= 0, got '1'."),
    (lambda: ll.Temperature([1, NAN]), "temperature must be >= 0, got nan. It is element (1,)."),
    (lambda: ll.Temperature(INF), "temperature must be >= 0, got inf."),
    (lambda: ll.Temperature(None), "temperature must be a number >= 0, got None."),  # type: ignore[arg-type]
    (lambda: ll.TopK(2.0), "top_k must be an integer >= 0, got 2.0."),
    (lambda: ll.TopK(True), "top_k must be an integer >= 0, got True."),
    (lambda: ll.TopK([1, -2]), "top_k must be an integer >= 0, got -2. It is element (1,)."),
    (lambda: ll.TopK(2**64), "top_k must be below 2**63, got 18446744073709551616."),
    (lambda: ll.TopK(2**63), "top_k must be below 2**63, got 9223372036854775808."),
    (
        lambda: ll.TopK(1, "random"),
        "ties must be one of 'lowest', 'highest', 'all', 'introsort', got 'random'.",
    ),
    (lambda: ll.OneSortChain(sorts="p"), "sorts must be one of 'logits', 'probs', got 'p'."),
    (lambda: ll.TopP(1.1), "top_p must be in [0, 1], got 1.1."),
    (
        lambda: ll.TopP(1, ties=None),  # type: ignore[arg-type]
        "ties must be one of 'lowest', 'highest', 'all', 'introsort', got None.",
    ),
    (lambda: ll.TopP([[1], [2, 3]]), "top_p must be a number in [0, 1], got [[1], [2, 3]]."),
    (lambda: ll.MinP(-1), "min_p must be in [0, 1], got -1.0."),
    (lambda: ll.TopA(-1), "top_a must be >= 0, got -1.0."),
    (lambda: ll.RepetitionPenalty(-1), "repetition_penalty must be >= 0, got -1.0."),
    (lambda: ll.FrequencyPenalty(INF), "frequency_penalty must be finite, got inf."),
    (lambda: ll.PresencePenalty("x"), "presence_penalty must be a finite number, got 'x'."),
    (
        lambda: ll.PresencePenalty(1, scope="input"),
        "scope must be one of 'all', 'output', 'prompt', 'lagged', got 'input'.",
    ),
    (lambda: ll.PresencePenalty(1, last_n=-1), "last_n must be an integer >= 0, got -1."),
    (lambda: ll.LogitBias({1: NAN}), "logit_bias[1] must be finite, got nan."),
    (lambda: ll.LogitBias([1]), "logit_bias must be a map from token ids to numbers, got [1]."),  # type: ignore[arg-type]
    (
        lambda: ll.LogitBias({"1": 2}),  # type: ignore[dict-item]
        "logit_bias must be a map whose keys are token ids >= 0, got '1'.",
    ),
    (
        lambda: ll.Chain(ll.top_k),  # type: ignore[arg-type]
        f"step must be a Transform, got {ll.top_k!r}. Write Chain(TopK(50), TopP(0.9)).",
    ),
    (
        lambda: ll.top_p(X, [0.1, 0.2, 0.3]),
        "top_p must be a scalar or an array that broadcasts to the batch shape (2,), "
        "got shape (3,).",
    ),
    (
        lambda: ll.top_k(X, [[1], [2]]),
        "top_k must be a scalar or an array that broadcasts to the batch shape (2,), "
        "got shape (2, 1).",
    ),
    (
        lambda: ll.logit_bias(X, {4: 1}),
        "logit_bias must be a map whose keys are token ids in [0, 3], got 4.",
    ),
    (
        lambda: ll.logit_bias(X, {1: [1, 2, 3]}),
        "logit_bias[1] must be a scalar or an array that broadcasts to the batch shape (2,), "
        "got shape (3,).",
    ),
    (
        lambda: ll.Chain(ll.TopK(2), ll.LogitBias({9: 1}))(X),
        "logit_bias must be a map whose keys are token ids in [0, 3], got 9. "
        "(In step 2, LogitBias({9: 1.0}).)",
    ),
    (
        lambda: ll.presence_penalty(X, 1, None),
        "context must be a Context for presence_penalty, got None. "
        "Pass Context(prompt=…, output=…); an empty Context() counts nothing.",
    ),
    (
        lambda: ll.presence_penalty(X, 1, Context(prompt=[4])),
        "prompt must be token ids in [0, 3], or -1 for padding, got 4.",
    ),
    (
        lambda: ll.presence_penalty(X, 1, Context(output=[[1], [2], [3]])),
        "output must be token ids whose leading axes broadcast to the batch shape (2,), "
        "got shape (3, 1).",
    ),
    (lambda: Context(prompt=[-2]), "prompt must be an integer >= -1, got -2. It is element (0,)."),
    (lambda: Context(prompt=[1.5]), "prompt must be an integer >= -1, got [1.5]."),
    (lambda: Context(output=5), "output must be a sequence of token ids, got 5."),
    (lambda: Context(output="hi"), "output must be token ids, got 'hi'. Turn text into ids first."),
    (
        lambda: Context(prompt=[[1], [[2]]]),  # type: ignore[arg-type]
        "prompt must be token ids nested equally deep, got [[1], [[2]]].",
    ),
    (
        lambda: Context(prompt=[1, [2]]),  # type: ignore[arg-type]
        "prompt must be token ids nested equally deep, got [1, [2]].",
    ),
]

DRAWS: list[Case] = [
    (lambda: ll.uniform(7.0), "seed must be an integer, got 7.0."),  # type: ignore[arg-type]
    (lambda: ll.gumbel(None, 1), "seed must be an integer, got None."),  # type: ignore[arg-type]
    (
        lambda: ll.sample(X, ll.TopK(1), context=[1]),  # type: ignore[arg-type]
        "context must be a Context or None, got [1].",
    ),
    (
        lambda: ll.sample(X, ll.TopK(1), context=Context(prompt=[99])),
        "prompt must be token ids in [0, 3], or -1 for padding, got 99.",
    ),
    (
        lambda: ll.engines.openrouter("top_p"),  # type: ignore[arg-type]
        "request must be SamplingParams or a request body, got 'top_p'. "
        "SamplingParams.from_request reads a request body.",
    ),
    (lambda: ll.sample(X, seed=1.5), "seed must be an integer, got 1.5."),  # type: ignore[arg-type]
    (lambda: ll.sample(X, seed=True), "seed must be an integer, got True."),
    (lambda: ll.sample(X, size=-1), "size must be an integer >= 0, got -1."),
    (
        lambda: ll.sample(X, size=2**70),
        "size must be at most 33554432 for 2 rows, got 1180591620717411303424. Draw the rest with "
        "a later position.",
    ),
    (
        lambda: ll.compare_engines(X, {}, engines=5),  # type: ignore[arg-type]
        "engines must be names of engines, or engines, got 5.",
    ),
    (
        lambda: ll.sweep(X, {"top_k": [1]}, checkpoint=5),  # type: ignore[arg-type]
        "checkpoint must be the path of a file, got 5.",
    ),
    (
        lambda: ll.models.Recorded.open(None),  # type: ignore[arg-type]
        "path must be the path of a file, got None.",
    ),
    (
        lambda: ll.sweep(np.zeros((0, 4)), {"top_k": [1]}),
        "rows must be at least one row, got shape (0, 4).",
    ),
    (
        lambda: ll.sweep(X, {"top_k": [1, 1]}),
        "top_k must be free of values that are given twice, got 1.",
    ),
    (lambda: ll.sample(X, size=1.0), "size must be an integer >= 0, got 1.0."),  # type: ignore[arg-type]
    (
        lambda: ll.sample(X, coupling="luck"),  # type: ignore[arg-type]
        "coupling must be one of 'inverse', 'gumbel', got 'luck'.",
    ),
    (lambda: ll.sample(X, position=-1), "position must be an integer in [0, 4294967295], got -1."),
    (
        lambda: ll.sample(X, position=2**32 - 1, size=2),
        "position must be below 2**32 for every draw, got 4294967296.",
    ),
    (
        lambda: ll.sample(X, sequence=[1, 2, 3]),
        "sequence must be a scalar or an array that broadcasts to the batch shape (2,), "
        "got shape (3,).",
    ),
    (lambda: ll.sample(X, sequence=0.5), "sequence must be an integer >= 0, got 0.5."),
    (
        lambda: ll.sample(X, [0.9]),  # type: ignore[arg-type]
        "request must be SamplingParams, a map, a chain or None, got [0.9].",
    ),
    (
        lambda: ll.sample(X, SamplingParams(presence_penalty=1)),
        "context must be a Context for presence_penalty, got None. Pass Context(prompt=…, "
        "output=…); an empty Context() counts nothing. (In step 1, PresencePenalty(1.0).)",
    ),
    (
        lambda: ll.sample(X, SamplingParams(verbosity="high")),
        "verbosity must be absent where single tokens are sampled, got 'high'. Makes ending more "
        "likely (low) or less likely (high) at every step: that acts on a whole generation.",
    ),
    (
        lambda: ll.sample(X, SamplingParams(response_format={"type": "json_object"})),
        "response_format must be absent where single tokens are sampled, got {'type': "
        "'json_object'}. Forces the text to be valid JSON, or to validate against a schema: that "
        "acts on a whole generation.",
    ),
    (
        lambda: ll.greedy(X, SamplingParams(tools=[tool(name="f")])),
        "tools must be absent where single tokens are sampled, got ({'type': 'function', "
        "'function': {'name': 'f'}},). Declares the functions that the model may call: that acts "
        "on a whole generation.",
    ),
    (
        lambda: ll.uniform(1, sequence=-1),
        "sequence must be an integer in [0, 9223372036854775807], got -1.",
    ),
    (lambda: ll.gumbel(1, 2**32), "token must be an integer in [0, 4294967294], got 4294967296."),
    (
        lambda: ll.logprobs(X, [0, 4]),
        "tokens must be an integer in [0, 3], got 4. It is element (1,).",
    ),
    (lambda: ll.logprobs(X, [0.5, 1]), "tokens must be an integer in [0, 3], got [0.5, 1]."),
    (lambda: ll.logprobs(X, 0), "tokens must be of shape (2,) or (2, n), got shape ()."),
    (lambda: ll.logprobs(X, [0, 0, 0]), "tokens must be of shape (2,) or (2, n), got shape (3,)."),
    (
        lambda: ll.logprobs(X, [0, 0], top_logprobs=5),
        "top_logprobs must be an integer in [0, 4], got 5.",
    ),
    (
        lambda: ll.logprobs(X, [0, 0], mode="cooked"),  # type: ignore[arg-type]
        "mode must be one of 'raw', 'processed', got 'cooked'.",
    ),
]


def messages(*wrong: Any) -> Callable[[], Any]:
    return lambda: check_messages(wrong)


def call(**function: Any) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"function": function}]}


MESSAGES: list[Case] = [
    (messages(), "messages must be a non-empty array of messages, got ()."),
    (messages(5), "messages[0] must be a map with role and content, got 5."),
    (
        messages({"role": "user", "content": [{"type": "text", "text": 5}]}),
        "messages[0].content[0].text must be a text, got 5.",
    ),
    (
        messages({"role": "user", "content": [{"type": "refusal", "refusal": "No"}]}),
        "messages[0].content[0] must be a part of type \"text\", got {'type': 'refusal', "
        "'refusal': 'No'}.",
    ),
    (
        messages({"role": "assistant", "content": [{"type": "audio"}]}),
        'messages[0].content[0] must be a part of type "text" or "refusal", got '
        "{'type': 'audio'}.",
    ),
    (
        messages({"role": "assistant", "tool_calls": 5}),
        "messages[0].tool_calls must be an array of tool calls, got 5.",
    ),
    (
        messages(call()),
        "messages[0].tool_calls[0].function.name must be the name of a function, got None.",
    ),
    (
        messages(call(name="f", arguments="{'a': 1}")),
        "messages[0].tool_calls[0].function.arguments must be the JSON text of an object, got "
        "\"{'a': 1}\".",
    ),
    (
        lambda: Dialect(usage="often"),  # type: ignore[arg-type]
        "usage must be one of 'asked', 'always', 'finish', 'never', got 'often'.",
    ),
]

WORDS: list[Case] = [
    (lambda: Vocabulary(None), "tokens must be a non-empty sequence of bytes, got None."),  # type: ignore[arg-type]
    (lambda: Vocabulary([]), "tokens must be a non-empty sequence of bytes, got []."),
    (
        lambda: Vocabulary([b"a", "b"]),  # type: ignore[list-item]
        "tokens[1] must be bytes, got 'b'. A text becomes bytes by .encode().",
    ),
    (lambda: Vocabulary([b"a", 7]), "tokens[1] must be bytes, got 7."),  # type: ignore[list-item]
    (lambda: Vocabulary(b"ab"), "tokens must be a non-empty sequence of bytes, got b'ab'."),  # type: ignore[arg-type]
    (lambda: Vocabulary([b"a"], [1]), "special must be an integer in [0, 0], got 1."),
    (lambda: Vocabulary([b"a"]).label(1), "token must be an integer in [0, 0], got 1."),
    (lambda: Vocabulary([b"a"])[-1], "token must be an integer in [0, 0], got -1."),
    (
        lambda: Vocabulary([b"a"]).decode([0, 5]),
        "tokens must be an integer in [0, 0], got 5. It is element (1,).",
    ),
    (
        lambda: Vocabulary([b"a"]).find("b"),
        "token must be the whole text of one token of this vocabulary, got 'b'.",
    ),
    (lambda: ll.datasets.load("gpt5"), "name must be one of 'smollm2', got 'gpt5'."),
    (lambda: ll.datasets.load(["x"]), "name must be one of 'smollm2', got ['x']."),  # type: ignore[arg-type]
]

VLLM = ll.engines.vllm
ENGINES: list[Case] = [
    (
        lambda: VLLM.with_options(repeat_last_n=2),
        "options must be an option of vllm: generation_config, max_logprobs, device, "
        "got repeat_last_n=2.",
    ),
    (
        lambda: ll.engines.openai.with_options(top=2),
        "options must be an option of openai: it has none, got top=2.",
    ),
    (lambda: VLLM.with_options(name=5), "name must be a text or None, got 5."),  # type: ignore[arg-type]
    (
        lambda: VLLM.with_options(generation_config=[1]),
        "generation_config must be a map, as in generation_config.json, got [1].",
    ),
    (
        lambda: VLLM.with_options(generation_config={"top_k": "x"}),
        "generation_config['top_k'] must be an integer, got 'x'.",
    ),
    (
        lambda: VLLM({"n": 2, "temperature": 0}),
        "n must be 1 when using greedy sampling, got 2. vllm refuses the request with these words.",
    ),
    (
        lambda: VLLM({"seed": 2**63}),
        "seed must be in [-2**63, 2**63 - 1], got 9223372036854775808. vllm refuses the request: "
        "Input should be less than or equal to 9223372036854775807",
    ),
    (
        lambda: VLLM({"use_beam_search": True}),
        "use_beam_search must be false, got True. vllm goes on, but a search for beams is not "
        "modelled here.",
    ),
    (
        lambda: ll.engines.transformers_serve({"nonsense": 1}),
        "nonsense must be absent, got 1. transformers_serve refuses the request: Unexpected "
        "fields in the request: {'nonsense'}",
    ),
    (
        lambda: ll.engines.transformers_serve({"temperature": -1}),
        "temperature must be at least 0, got -1.0. transformers_serve answers 500 without a text, "
        "and logs: `temperature` (=-1.0) has to be a strictly positive float, otherwise your next "
        "token scores will be invalid.",
    ),
    (
        lambda: ll.engines.mlx_lm_server({"temperature": None}),
        "temperature must be absent, or not null, got None. mlx_lm_server refuses the request: "
        "temperature must be of type ('float', 'int')",
    ),
    (
        lambda: ll.translate({"top_k": 4, "temperature": 1}, "mlx_lm_server", vocabulary_size=4),
        "top_k must be in [1, 4), or 0 (disable), got 4. mlx_lm_server drops the connection, and "
        "logs: `top_k` has to be an integer in the (0, 4) interval, but is 4.",
    ),
    (
        lambda: ll.engines.llama_cpp({"logit_bias": {" cat": 1}}),
        "logit_bias must be a map whose keys are token ids where no tokenizer is at hand, got "
        "' cat'. Its server tokenises other keys: give the ids, or generate with a model.",
    ),
    (
        lambda: ll.LogitBias({0: -np.inf, 1: -np.inf})([1.0, 2.0]),
        "logit_bias must be a map that leaves one token at least, got [0, 1].",
    ),
    (
        lambda: ll.engines.openai({"n": 200}),
        "n must be in [1, 128], got 200. openai refuses the request: It documents 1 to 128.",
    ),
    (
        lambda: ll.logprobs(X, [0, 0], {}, engine="transformers_serve"),
        "mode must be 'raw' or 'processed' at transformers_serve, got None. It reports none.",
    ),
]

TALES = ll.models.NGram.bundled()
TOKENS: list[Case] = [
    (request(suppress_tokens=[1, -1]), "suppress_tokens must be of token ids >= 0, got -1."),
    (request(stop_token_ids=5), "stop_token_ids must be an array of token ids, got 5."),
    (
        request(allowed_token_ids=[]),
        "allowed_token_ids must be an array of at least one token id, got [].",
    ),
    (
        request(bad_words="a"),
        "bad_words must be an array of texts or arrays of token ids, got 'a'.",
    ),
    (
        request(thinking_markers=["<think>"]),
        "thinking_markers must be an array of two texts or arrays of token ids, got ['<think>'].",
    ),
    (
        lambda: ll.SamplingParams(nsigma=1),  # type: ignore[call-arg]
        "keywords must be request parameters, got nsigma=1. Other keys of a request go into extra.",
    ),
    (
        request(min_tokens=9, max_tokens=5),
        "min_tokens must be at most max_tokens, 5, got 9.",
    ),
    (
        request(repetition_detection={"max_pattern_size": 1, "min_pattern_size": 2}),
        "repetition_detection must be with 0 <= min_pattern_size <= max_pattern_size, got "
        "{'max_pattern_size': 1, 'min_pattern_size': 2}. Set both to 0 to detect nothing.",
    ),
    (
        request(repetition_detection={"max_pattern_size": 1}),
        "repetition_detection must be with a min_count of at least 2, got {'max_pattern_size': 1}.",
    ),
    (
        lambda: ll.AllowedTokens([4])(X),
        "allowed_token_ids must be of token ids in [0, 3], got 4.",
    ),
    (
        lambda: ll.AllowedTokens([0])([[0.0, 1.0], [-np.inf, 1.0]]),
        "allowed_token_ids must be such that one token at least is left, got only -inf in row "
        "(1,).",
    ),
    (
        lambda: ll.MinTokens(1, [0, 1])([0.0, 1.0], SEEN),
        "min_tokens must be such that one token at least is left, got only -inf.",
    ),
    (
        lambda: ll.MinTokens(1, [0])([0.0, 1.0]),
        "context must be a Context for min_tokens, got None. Pass Context(prompt=…, output=…); an "
        "empty Context() counts nothing.",
    ),
    (
        lambda: ll.BadWords([[]]),
        "bad_words must be a sequence of sequences of token ids, none of them empty, got [[]].",
    ),
    (
        lambda: ll.SequenceBias({(): 1.0}),
        "sequence_bias must be a map from sequences of token ids to numbers, none of them empty, "
        "got {(): 1.0}.",
    ),
    (
        lambda: ll.ThinkingBudget(0, [1], [0])([-np.inf, 0.0], SEEN),
        "thinking_token_budget must be free to force its token, got token 0, which was removed. A "
        "ban or an allow list has removed the token that ends a thought.",
    ),
    (
        lambda: ll.engines.openrouter({"bad_words": ["king"]}),
        "bad_words must be of token ids where no vocabulary is at hand, got 'king'. Pass "
        "vocabulary, a model that spells it, or give the ids.",
    ),
    (
        lambda: ll.engines.openrouter({"bad_words": ["of a"]}, vocabulary=TALES.vocabulary),
        "bad_words must be of texts of one token each, or token ids, where no tokenizer is at "
        "hand, got 'of a'. A model has one.",
    ),
    (
        lambda: ll.engines.openrouter({"bad_words": [" "]}, vocabulary=TALES),
        "bad_words must be of texts that have tokens, got ' '.",
    ),
    (
        lambda: ll.sample(X, vocabulary="gpt2"),  # type: ignore[arg-type]
        "vocabulary must be a Model, a Vocabulary or None, got 'gpt2'.",
    ),
    (
        lambda: ll.engines.openrouter({"suppress_tokens": [9]}, vocabulary_size=4),
        "suppress_tokens must be of token ids in [0, 3], got 9. openrouter refuses the request: No "
        "token has the id 9.",
    ),
]

CASES = [*REQUESTS, *LOGITS, *STEPS, *DRAWS, *MESSAGES, *WORDS, *ENGINES, *TOKENS]
# The same in every process: the message without the address that some values print.
IDS = [re.sub(" at 0x[0-9a-f]+", "", message) for _, message in CASES]


@pytest.mark.parametrize(("call", "message"), CASES, ids=IDS)
def test_bad_input_is_one_clear_error(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        call()
    assert str(caught.value) == message
    assert message.startswith(f"{caught.value.name} must be {caught.value.rule}, got ")


def test_the_table_is_long() -> None:
    assert len(CASES) >= 80


def test_long_values_are_shortened() -> None:
    assert len(str(ParameterError("stop", "short", "x" * 10_000))) < 200
    message = str(ParameterError("x", "small", np.zeros((100, 3), np.float32)))
    assert message == "x must be small, got an array of shape (100, 3) and dtype float32."
    assert str(ParameterError("seed", "odd", 10**5000)).endswith("got an integer of 16610 bits.")
    assert str(ParameterError("x", "odd", "word " * 50)).endswith("word word ...."), (
        "no word is cut"
    )
    assert str(ParameterError("x", "odd", np.float32(2))) == "x must be odd, got 2.0."


def test_errors_survive_pickling() -> None:
    error = ParameterError("top_p", "in [0, 1]", 1.3, "Hint.", "step 1, TopP(1.3)")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.where == "step 1, TopP(1.3)"
    assert isinstance(again, ValueError)


def test_foreign_byte_order_is_read() -> None:
    x = np.array([1.0, 2.0], ">f4")
    result = ll.top_k(x, 1)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [-np.inf, 2.0])


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Range(0, 1), "in [0, 1]"),
        (Range(0), ">= 0"),
        (Range(), "finite"),
        (Range(high=5), "<= 5"),
        (Range(-1.5, 2.25), "in [-1.5, 2.25]"),
        (Range(0, 2**63 - 1, integer=True), "in [0, 9223372036854775807]"),
    ],
)
def test_ranges_print_themselves(rule: Range, text: str) -> None:
    assert str(rule) == text
