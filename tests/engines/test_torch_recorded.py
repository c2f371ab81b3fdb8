"""The torch engines with samplers beyond the page, against hundreds of recorded answers.

Each has 280 requests, in which its samplers meet at random; Aphrodite's mirostat draws eight texts.
"""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pytest
from logitlab import Context, engines, log_softmax, softmax

from engines import recorded
from engines.beyond import FOLDER
from engines.record import BEYOND, sequences
from engines.test_recorded import compared

ENGINES = ("transformers", "vllm", "vllm_triton", "sglang", "sglang_lag", "aphrodite")
# Of the Triton kernels' limits, which are those of the page's requests.
KERNELS = json.loads((FOLDER / "excluded.json").read_text("utf-8"))


@pytest.mark.parametrize("engine", ENGINES)
def test_survivors_and_probabilities_are_the_engines(engine: str) -> None:
    outcome, excluded = compared(engine, beyond=True)
    assert excluded == KERNELS.get(engine, {})
    assert outcome["equal"] >= 250
    assert outcome.total() + sum(map(len, excluded.values())) == 280


@pytest.mark.parametrize("engine", ENGINES)
def test_what_an_engine_refuses_is_refused_with_its_text(engine: str) -> None:
    count = 0
    for answer in recorded.answers(engine, beyond=True):
        if not answer.error or answer.error == "NaN row":
            continue
        count += 1
        ours = recorded.evaluated(engine, answer.case)
        assert isinstance(ours, str)
        message, said = re.split(f" {engine} refuses the request", ours)
        theirs = answer.error.partition(": ")[2].partition(" (parameter=")[0]
        said = said.removeprefix(": ") if said.startswith(": ") else message
        assert theirs.rstrip(" .") == said.rstrip(" .")
    assert count >= 5


def test_half_of_the_rows_are_rounded_and_all_samplers_are_in_play() -> None:
    for engine in ENGINES:
        cases = [answer.case for answer in recorded.answers(engine, beyond=True)]
        rounded = [np.all(case.logits.view(np.uint32) & 0xFFFF == 0) for case in cases]
        assert sum(rounded) >= 140
        keys = Counter(key for case in cases for key in case.params)
        rare = {"max_tokens", "max_length", "forced_bos_token_id", "forced_eos_token_id"}
        assert min(count for key, count in keys.items() if key not in rare) >= 10


def test_aphrodites_mirostat_draws_from_what_its_state_leaves() -> None:
    drawn = recorded.about("aphrodite", beyond=True)["sequences"]
    texts = sequences(BEYOND["aphrodite"][2])
    assert len(drawn) == len(texts) == 8
    for (case, _, rows), text in zip(texts, drawn, strict=True):
        chain = engines.aphrodite(case.params)
        state, output = chain.init(), list(case.output)
        for row, (token, kept, prob) in zip(rows, text, strict=True):
            context = Context(case.prompt, output)
            left = softmax(chain.at(state)(row, context))
            assert np.count_nonzero(left > recorded.TINY) == kept
            assert left[token] == pytest.approx(prob, rel=1e-5, abs=1e-7)
            # The surprise of a token is that before the cut.
            before = log_softmax(chain[: chain.observed["mirostat"]](row, context))
            state = chain.update(state, before[token])
            output.append(token)
