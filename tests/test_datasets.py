from __future__ import annotations

import numpy as np
import pytest
from logitlab import ParameterError, datasets, entropy, support_size, top_p


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


def test_bfloat16_rows_are_those_of_a_bfloat16_model() -> None:
    rows, tied = datasets.load(), datasets.load("smollm2", dtype="bfloat16")
    assert (rows.dtype, tied.dtype) == ("float32", "bfloat16")
    assert tied.logits.dtype == np.float32
    assert not (tied.logits.view(np.uint32) & 0xFFFF).any()  # the lower half holds nothing
    # Nothing is further away than half of a last place, of which there are 8 bits.
    exponent = np.frexp(rows.logits.astype(np.float64))[1]
    assert (np.abs(rows.logits - tied.logits) <= np.ldexp(0.5, exponent - 8)).all()
    distinct = [len(np.unique(row)) for row in tied.logits]
    assert 300 < min(distinct) < max(distinct) < 2500
    assert tied.prompts is rows.prompts
    assert tied.vocabulary is rows.vocabulary
    assert "logits (20, 49152) rounded to bfloat16: SmolLM2" in repr(tied)
    assert "rounded" not in repr(rows)


def test_bfloat16_rows_are_loaded_once_and_read_only() -> None:
    tied = datasets.load("smollm2", dtype="bfloat16")
    assert datasets.load(dtype="bfloat16") is tied
    assert datasets.load(dtype="float32") is datasets.load()
    with pytest.raises(ValueError, match="read-only"):
        tied.logits[0, 0] = 0


def test_bfloat16_rows_are_what_other_libraries_round_to() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rows, tied = datasets.load(), datasets.load(dtype="bfloat16")
    other = rows.logits.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert other.tobytes() == tied.logits.tobytes()


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ("bf16", "dtype must be one of 'float32', 'bfloat16', got 'bf16'."),
        (None, "dtype must be one of 'float32', 'bfloat16', got None."),
        (
            "float16",
            "dtype must be one of 'float32', 'bfloat16', got 'float16'. "
            "numpy rounds to it: load(name).logits.astype(dtype).",
        ),
    ],
)
def test_other_dtypes_are_errors(dtype: str, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        datasets.load("smollm2", dtype=dtype)
    assert str(error.value) == message
