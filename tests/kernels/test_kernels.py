"""What is compiled, and what becomes of everything where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import kernels
from logitlab.draw import uniforms

compiled = pytest.mark.skipif(kernels.rows is None, reason="logitlab was installed without kernels")

ALL_ONES = 0xFFFFFFFF


def test_the_environment_switches_them_off() -> None:
    code = "from logitlab import kernels, sample; print(kernels.rows, sample([0.0], seed=1))"
    environment = os.environ | {"LOGITLAB_KERNELS": "0"}
    told = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert told.startswith("None ")


@pytest.mark.parametrize("module", ["None", "types.SimpleNamespace(INTERFACE=0)"])
def test_a_file_that_does_not_load_or_is_of_another_time_is_as_none(module: str) -> None:
    code = (
        f"import sys, types; sys.modules['logitlab.kernels._rows'] = {module}\n"
        "from logitlab import kernels, sample; print(kernels.rows, sample([0.0], seed=1))"
    )
    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert told.startswith("None ")


def test_off_ends_with_its_block() -> None:
    before = kernels.rows
    with kernels.off():
        assert kernels.rows is None
    assert kernels.rows is before
    with pytest.raises(KeyError), kernels.off():
        raise KeyError
    assert kernels.rows is before


places = st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, ALL_ONES)), max_size=40)


@compiled
@given(st.lists(st.integers(), min_size=1, max_size=5), places, st.integers(-1, 2**63 - 1))
def test_uniforms_have_the_same_bits(
    seeds: list[int], places: list[tuple[int, int]], coin: int
) -> None:
    shape = (len(seeds), len(places))
    sequence, position = (
        np.broadcast_to(np.array(words, np.uint64), shape)
        for words in (zip(*places, strict=True) if places else ([], []))
    )
    ours = uniforms(seeds, sequence, position, coin)
    with kernels.off():
        expected = uniforms(seeds, sequence, position, coin)
    assert ours.dtype == expected.dtype
    assert ours.shape == expected.shape
    assert ours.tobytes() == expected.tobytes()


@compiled
def test_uniforms_of_known_words() -> None:
    """A known answer of the Random123 distribution, philox4x32-10, its first two words."""
    assert kernels.rows
    out = np.empty(1)
    key = np.array([[0xA4093822, 0x299F31D0]], np.uint64)
    sequence, position = np.array([0x0370734413198A2E], np.uint64), np.array([0x85A308D3])
    kernels.rows.uniforms(key, sequence, position, 0x243F6A88, out)
    assert out[0] * 2.0**53 == (0xD16CFE09 << 32 | 0x94FDCCEB) >> 11


KEYS, PLACES, OUT = np.zeros((2, 2), np.uint64), np.zeros(4, np.uint64), np.full(4, 7.0)
READ_ONLY = np.zeros(4)
READ_ONLY.flags.writeable = False


@compiled
@pytest.mark.parametrize(
    ("place", "wrong", "rule"),
    [
        (0, None, "contiguous"),
        (0, KEYS.T, "contiguous"),
        (0, KEYS.astype(float), "dtype"),
        (0, KEYS.astype(">u8"), "dtype"),
        (0, KEYS[:0], "pairs"),
        (0, np.zeros(3, np.uint64), "pairs"),
        (0, np.zeros((3, 2), np.uint64), "pairs"),
        (1, PLACES.astype(np.uint32), "dtype"),
        (1, PLACES[:2], "size"),
        (2, PLACES[::2], "contiguous"),
        (2, b"12345678" * 4, "dtype"),
        (2, np.frombuffer(bytes(33), np.uint8)[1:].view(np.uint64), "position"),
        (3, 0.5, "integer"),
        (3, -1, "integer"),
        (3, 2**32, "integer"),
        (3, 2**80, "integer"),
        (4, OUT.astype(np.float32), "dtype"),
        (4, OUT[:3], "size"),
        (4, READ_ONLY, "writable"),
        (4, PLACES, "dtype"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_done(
    place: int, wrong: Any, rule: str
) -> None:
    assert kernels.rows
    right = [KEYS, PLACES, PLACES, ALL_ONES, OUT]
    with pytest.raises(ValueError, match=rule):
        kernels.rows.uniforms(*right[:place], wrong, *right[place + 1 :])
    assert set(OUT) == {7.0}


@compiled
def test_arguments_are_counted() -> None:
    assert kernels.rows
    with pytest.raises(TypeError, match="takes 5 arguments, got 0"):
        kernels.rows.uniforms()


def test_blocks_without_kernels_may_overlap_in_threads() -> None:
    first, second = threading.Event(), threading.Event()

    def longer() -> None:
        with kernels.off():
            first.set()
            second.wait(10)
            seen.append(kernels.rows)

    seen: list[Any] = []
    with kernels.off():
        other = threading.Thread(target=longer)
        other.start()
        assert first.wait(10)
    assert kernels.rows is None
    second.set()
    other.join()
    assert seen == [None]
    assert kernels.rows is kernels.built


@pytest.mark.parametrize("word", ["0", "off", "No", "FALSE"])
def test_a_word_for_no_switches_them_off(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("LOGITLAB_KERNELS", word)
    assert kernels._found() is None
