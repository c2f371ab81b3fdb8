"""What an empty request may mean: a set that holds the truth."""

from __future__ import annotations

from logitlab.verification.defaults import defaults, known_bundles

from verification.learnt import decided
from verification.providers import Provider


def test_an_empty_request_is_a_set_that_holds_the_truth() -> None:
    study = decided(Provider("llama_cpp", seed=2))
    defaults(study, budget=30)
    assert study.defaults is not None
    truth = "temperature 0.8, top_p 0.95, top_k 40, min_p 0.05 (llama_cpp)"
    assert truth in known_bundles()
    assert truth in study.defaults.alive
    low, high = study.defaults.ranges["temperature"]
    assert low <= 0.8 <= high
    found = study.findings["defaults"]
    assert found.verdict == "cannot_tell"
    assert f"{len(study.defaults.alive)} of {len(known_bundles())} known bundles" in found.detail
