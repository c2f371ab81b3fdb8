"""safetensors: every float to the bit, and damage is told."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import ParameterError
from logitlab.models import read_logits
from numpy.typing import NDArray

from models.recording.safetensors_files import packed, safetensors

THEIRS: Any = None
with suppress(ImportError):
    THEIRS = import_module("safetensors.numpy")

ROWS = np.random.default_rng(6).normal(size=(4, 7))


def opened(content: bytes, **options: Any) -> NDArray[Any]:
    """Read a file with some content, and copy what it holds."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(content)
        return np.array(read_logits(path, **options))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_numpy_are_mapped(tmp_path: Path, dtype: Any) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors(one=ROWS.astype(dtype), other=np.arange(5)))
    rows = read_logits(path, name="one")
    assert isinstance(rows, np.memmap)
    assert not rows.flags.writeable
    assert rows.dtype == dtype
    assert rows.tobytes() == ROWS.astype(dtype).tobytes()
    with pytest.raises(ParameterError) as error:
        read_logits(path)
    assert str(error.value) == "name must be one of 'one', 'other', got None."
    with pytest.raises(ParameterError) as error:
        read_logits(path, name="other")
    assert str(error.value) == (
        "logits must be one of F16, F32, F64, BF16, F8_E4M3, F8_E5M2, got I64."
    )


def test_no_rows() -> None:
    assert opened(safetensors(x=np.zeros((0, 7), np.float32))).shape == (0, 7)


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    rows = opened(safetensors(x=bits))
    assert rows.dtype == np.float32
    assert (rows.view(np.uint32) == bits.astype(np.uint32) << 16).all()


def by_definition(code: int, exponent_bits: int, bias: int) -> float:
    """Return the number of a code of 8 bits: sign, exponent, fraction."""
    fraction_bits = 7 - exponent_bits
    sign = -1.0 if code >= 128 else 1.0
    exponent = code >> fraction_bits & (1 << exponent_bits) - 1
    fraction = (code & (1 << fraction_bits) - 1) / (1 << fraction_bits)
    if exponent_bits == 5 and exponent == 31:
        return sign * math.inf if fraction == 0 else math.nan
    if exponent_bits == 4 and code & 127 == 127:
        return math.nan
    if exponent == 0:
        return math.copysign(fraction * 2.0 ** (1 - bias), sign)
    return sign * (1 + fraction) * 2.0 ** (exponent - bias)


@pytest.mark.parametrize(
    ("dtype", "exponent_bits", "bias", "other"),
    [("F8_E4M3", 4, 7, "float8_e4m3fn"), ("F8_E5M2", 5, 15, "float8_e5m2")],
)
def test_float8_is_exact(dtype: str, exponent_bits: int, bias: int, other: str) -> None:
    codes = np.arange(256, dtype=np.uint8)
    header = {"x": {"dtype": dtype, "shape": [2, 128], "data_offsets": [0, 256]}}
    rows = opened(packed(header, codes.tobytes())).ravel()
    assert rows.dtype == np.float32
    expected = np.array([by_definition(int(code), exponent_bits, bias) for code in codes])
    np.testing.assert_array_equal(rows, expected)
    numbers = ~np.isnan(expected)
    assert (np.signbit(rows) == (codes >= 128))[numbers].all()
    ml_dtypes = pytest.importorskip("ml_dtypes")
    theirs = codes.view(getattr(ml_dtypes, other)).astype(np.float32)
    np.testing.assert_array_equal(rows, theirs)


GOOD = {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def with_entry(**changes: Any) -> dict[str, Any]:
    return {"x": GOOD["x"] | changes}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Its header cannot be 0 bytes long."),
        (b"\x05\x00", "Its header cannot be 5 bytes long."),
        (b"\xff" * 8 + b"{}", "Its header cannot be 18446744073709551615 bytes long."),
        (packed(GOOD, bytes(8))[:30], "Its header cannot be 61 bytes long."),
        (packed(b"no JSON", b""), "Expecting value"),
        (packed(b"{" + b"\xff" * 7, b""), "codec can't decode"),
        (packed(b"[" * 100000, b""), "recursion"),
        (packed(b"[]", b""), "Its header is no JSON object."),
        (packed(b" " + json.dumps(GOOD).encode(), bytes(8)), "Its header is no JSON object."),
        (packed(b"{}", b""), "It holds no array of floats."),
        (packed(b'{"x": {}, "x": {}}', b""), "Its header has a name twice."),
        (packed({"__metadata__": []} | GOOD, bytes(8)), "Its metadata is no map of texts."),
        (packed({"__metadata__": {"a": 1}} | GOOD, bytes(8)), "Its metadata is no map of texts."),
        (packed({"x": 3}, b""), "Of 'x' it says no dtype, shape and place."),
        (packed({"x": {"dtype": "F32"}}, b""), "Of 'x' it says no dtype, shape and place."),
        (packed(with_entry(dtype=3), bytes(8)), "Of 'x' it says no dtype, shape and place."),
        (packed(with_entry(shape=[2.0]), bytes(8)), "Of 'x' it says no dtype, shape and place."),
        (packed(with_entry(shape=[-2]), bytes(8)), "Of 'x' it says no dtype, shape and place."),
        (packed(with_entry(shape=[True]), bytes(4)), "Of 'x' it says no dtype, shape and place."),
        (packed(with_entry(shape={}), bytes(8)), "Of 'x' it says no dtype, shape and place."),
        (packed(with_entry(data_offsets=[0]), b""), "Of 'x' it says no dtype, shape and place."),
        (packed(with_entry(shape=[3]), bytes(8)), "'x' has 8 bytes, not those of F32 [3]."),
        (packed(with_entry(shape=[10**30]), bytes(8)), "'x' has 8 bytes, not those of F32 [100000"),
        (packed(GOOD, bytes(7)), "It has 7 bytes of tensors, not 8."),
        (packed(GOOD, bytes(9)), "It has 9 bytes of tensors, not 8."),
        (packed(with_entry(data_offsets=[4, 12]), bytes(12)), "The bytes of 'x' begin at 4, not"),
        (packed(GOOD | {"y": GOOD["x"]}, bytes(8)), "The bytes of 'y' begin at 0, not at 8."),
        (packed(with_entry(data_offsets=[8, 0]), bytes(8)), "'x' has -8 bytes, not those of F32"),
        (packed(with_entry(dtype="F4", data_offsets=[8, 0]), b""), "The bytes of 'x' begin at 8"),
    ],
)
def test_damage_is_told(content: bytes, reason: str) -> None:
    with pytest.raises(ParameterError) as error:
        opened(content)
    told = str(error.value)
    assert told.startswith("path must be a .safetensors file of logits, got '")
    assert reason in told


def test_metadata_and_padding_are_no_damage() -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}} | GOOD).encode() + b"   "
    numbers = np.array([1.5, -2], np.float32)
    np.testing.assert_array_equal(opened(packed(header, numbers.tobytes())), numbers)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
_ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F16", "F32", "F64", "BF16", "I64", "F8_E5M2", "F4", "X"])
        | _JSON,
        "shape": st.lists(st.integers(-1, 3) | st.integers(), max_size=4) | _JSON,
        "data_offsets": st.lists(st.integers(0, 16) | st.integers(), max_size=3) | _JSON,
    }
)
_HEADER = st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), _ENTRY | _JSON, max_size=3)


def check_against_theirs(content: bytes) -> None:
    """Read what may be damaged: an array, the one that their own package reads, or our error."""
    names: list[str | None] = [None, "a", "b"]
    for name in names:
        try:
            rows = opened(content, name=name)
        except ParameterError:
            continue
        assert rows.nbytes <= 4 * len(content)
        is_plain = rows.dtype == np.float32 and b"BF16" not in content and b"F8" not in content
        if THEIRS is not None and is_plain:
            tensors = THEIRS.load(content)
            assert tensors[name or next(iter(tensors))].tobytes() == rows.tobytes()


@given(_HEADER | _JSON, st.binary(max_size=24))
def test_no_header_is_a_foreign_exception(header: Any, data: bytes) -> None:
    check_against_theirs(packed(header, data))


@given(st.binary(max_size=64))
def test_no_bytes_are_a_foreign_exception(content: bytes) -> None:
    check_against_theirs(content)
    check_against_theirs(packed(content, b""))


@given(st.integers(0, 200), st.binary(max_size=6), st.integers(0, 6))
def test_no_damage_is_a_foreign_exception(place: int, other: bytes, gone: int) -> None:
    content = safetensors(a=ROWS[:2].astype(np.float32), b=np.arange(3))
    check_against_theirs(content[:place] + other + content[place + gone :])


def test_their_own_writer(tmp_path: Path) -> None:
    package = pytest.importorskip("safetensors.numpy")
    for dtype in (np.float16, np.float32, np.float64):
        x = ROWS.astype(dtype)
        package.save_file({"x": x, "tokens": np.arange(4)}, tmp_path / "x.safetensors")
        assert read_logits(tmp_path / "x.safetensors", name="x").tobytes() == x.tobytes()
        assert package.load(safetensors(x=x))["x"].tobytes() == x.tobytes()  # and our writer


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float32"])
def test_torchs_tensors(tmp_path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("safetensors.torch")
    tensor = torch.from_numpy(ROWS).to(getattr(torch, dtype))
    package.save_file({"x": tensor}, tmp_path / "x.safetensors")
    rows = read_logits(tmp_path / "x.safetensors")
    assert rows.tobytes() == tensor.to(torch.float32).numpy().tobytes()
