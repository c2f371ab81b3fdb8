from __future__ import annotations

import numpy as np
import pytest
from logitlab import datasets, entropy, support_size, top_p


def test_the_recording_is_what_it_says() -> None:
    rows = datasets.load("smollm2")
    assert rows.logits.shape == (20, 49152)
    assert rows.logits.dtype == np.float32
    assert len(rows) == len(rows.prompts) == len(rows.kinds) == len(rows.prompt_ids) == 20
    assert len(rows.vocabulary) == 49152
    assert (rows.bos_id, rows.eos_id) == (1, 2)
    assert rows.vocabulary[rows.eos_id] == b"<|im_end|>"
    assert "SmolLM2-135M-Instruct" in rows.source
    assert "Apache-2.0" in repr(rows)


def test_rows_are_peaked_and_flat() -> None:
    rows = datasets.load()
    assert entropy(rows.logits).min() < 0.2
    assert entropy(rows.logits).max() > 4
    assert support_size(top_p(rows.logits, 0.9)).max() > 500


def test_arrays_are_read_only() -> None:
    rows = datasets.load()
    with pytest.raises(ValueError, match="read-only"):
        rows.logits[0, 0] = 0
    with pytest.raises(ValueError, match="read-only"):
        rows.prompt_ids[0][0] = 0
    assert datasets.load() is rows
