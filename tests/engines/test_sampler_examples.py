"""Every one of the worked examples is compared with somewhere, or left out for a reason."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path

import sampler_examples

TESTS = Path(__file__).parents[1]
LEFT_OUT = {
    # Its keys and its state of past n-grams are Google's own; transformers alone has it.
    ("transformers", "watermarking_config (SynthID, third call)"): 2,
}


def test_every_example_is_compared_with_or_left_out_for_a_reason() -> None:
    assert len(sampler_examples.EXAMPLES) == 314
    count = 0
    for path in sorted(TESTS.glob("*/**/test_*.py")):
        if "from sampler_examples import" in path.read_text("utf-8"):
            importlib.import_module(".".join(path.relative_to(TESTS).with_suffix("").parts))
            count += 1
    assert count >= 15
    left_out = Counter(
        (example["engine"].split(" ")[0], example["sampler"])
        for i, example in enumerate(sampler_examples.EXAMPLES)
        if i not in sampler_examples.COMPARED
    )
    assert left_out == LEFT_OUT
