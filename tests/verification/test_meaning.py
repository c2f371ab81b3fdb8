"""What log-probabilities are of: read from noisy reports of simulated providers."""

from __future__ import annotations

from typing import Any

import pytest
from logitlab.verification.meaning import meaning

from verification.learnt import learnt
from verification.providers import Provider

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("engine", "faults", "told"),
    [
        ("vllm", {}, "raw"),
        ("mlx_lm_server", {}, "penalised"),
        ("sglang", {}, "tempered"),
        ("sglang", {"temperature": "ignored"}, "penalised"),
        ("transformers", {}, "processed"),
        ("transformers", {"temperature": "ignored"}, "filtered"),
    ],
)
def test_what_is_reported(engine: str, faults: dict[str, Any], told: str) -> None:
    study = learnt(Provider(engine, faults, noise=0.03, seed=4))
    meaning(study)
    assert study.meaning == told
    found = study.findings["logprobs"]
    assert (found.verdict, found.kind) == ("honoured", "reported")
    assert found.detail.startswith(f"{told}; ")


def test_a_floor_of_temperature_shows_in_reports() -> None:
    study = learnt(Provider("sglang", {"temperature": ("clamped", 0.7, 2)}))
    meaning(study)
    assert study.findings["logprobs"].detail.endswith("temperature 0.5 shows as 0.7")


@pytest.mark.parametrize(("bounds", "shown"), [((-9, 0.41), "0.05"), ((1.3, 9), "2")])
def test_bounds_of_temperature_hide_no_tempering(bounds: tuple[float, float], shown: str) -> None:
    study = learnt(Provider("sglang", {"temperature": ("clamped", *bounds)}, noise=0.03))
    meaning(study)
    assert study.meaning == "tempered"
    assert f"temperature {shown} shows as " in study.findings["logprobs"].detail
