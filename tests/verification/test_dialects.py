"""The engine behind an endpoint is among those left, and the order of its steps.

The races of single parameters have their own tests: here they are taken for decided.
"""

from __future__ import annotations

import pytest
from logitlab import engines
from logitlab.verification.dialects import chain_of, dialects
from logitlab.verification.in_force import beside, certain
from logitlab.verification.rules import Rule, rules

from verification.learnt import decided
from verification.providers import Provider

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("engine", "order"),
    [("vllm", "before"), ("sglang", "before"), ("llama_cpp", "after"), ("mlx_lm_server", "after")],
)
def test_the_engine_is_among_those_left(engine: str, order: str) -> None:
    study = decided(Provider(engine, seed=6))
    dialects(study, budget=80)
    told = study.dialects
    assert told is not None
    assert engine in told.alive
    assert told.order in (order, "unknown")
    assert study.findings["order"].scope in (order, None)
    assert next(iter(study.findings["dialects"].alive)) in told.alive
    assert engine in told.vote or engine == "llama_cpp"
    assert told.requests == study.findings["dialects"].requests <= 87


def test_no_two_values_that_may_be_clamped_are_combined() -> None:
    study = decided(Provider("vllm"))
    assert study.backgrounds is not None
    known = rules("top_p")
    study.backgrounds.rules["top_p"] = list(known.values())
    assert certain(study, "temperature", 0.4)
    assert not certain(study, "top_p", 0.5)
    assert not certain(study, "top_a", 0.5)


def test_a_key_that_an_engine_lacks_has_no_effect_there() -> None:
    chain = chain_of(engines.openai, {"temperature": 0.5, "top_k": 3.0})
    assert chain is not None
    assert [type(step).__name__ for step in chain] == ["Temperature"]
    chain = chain_of(engines.llama_cpp, {"temperature": 0.5})
    assert chain is not None
    assert [type(step).__name__ for step in chain] == ["Temperature"]


def test_a_proven_temperature_is_sent_where_it_is_not_known_which_is_in_force() -> None:
    study = decided(Provider("vllm"))
    assert beside(study) == {}
    assert study.backgrounds is not None
    low = Rule("clamped to at most .4 to 1", "clamped", cap=(0.4, 1.0))
    study.backgrounds.rules["temperature"] = [Rule("honoured", "honoured"), low]
    assert beside(study) == {"temperature": 0.4}
    study.backgrounds.rules["temperature"] = list(rules("temperature").values())
    assert beside(study) == {}
