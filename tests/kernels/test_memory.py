"""No read or write outside a row, of any size from 1 to 300.

Rows end where a page begins that nobody may touch, and begin where one ends; so do scratch and
results. A touch would end the process, so that this runs in one of its own.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import logitlab as ll
import numpy as np
import pytest
from logitlab import Chain, Context, Temperature, TopK, TopP, kernels
from logitlab.sampling import compiled as module
from logitlab.steps.xtc import ExcludeTopChoices

from kernel_cases import EXAMPLES, KINDS, Array, bound_to, compiled, make

linux = pytest.mark.skipif(sys.platform != "linux", reason="pages are protected by mprotect")

PAGE = mmap.PAGESIZE
CHAINS = [
    Chain(Temperature(0.8)),
    Chain(Temperature(0.7), TopK(3), TopP(0.9), ll.MinP(0.05)),
    Chain(TopP(0.6), TopP(0.9), Temperature(2.0)),
    Chain(Temperature(1.3), ll.TypicalP(0.5), ll.TopNSigma(1.0)),
    Chain(ll.EtaCutoff(0.01), ll.TopA(0.1), ll.PLess()),
    Chain(ExcludeTopChoices(0.1), TopK(100), ll.EpsilonCutoff(1e-3)),
    Chain(
        ll.RepetitionPenalty(1.2), ll.FrequencyPenalty(0.1), ll.LogitBias({0: 1.0}), TopK(2)
    ),
]  # fmt: skip


class Fence:
    """Memory between two pages that nobody may touch."""

    def __init__(self, pages: int) -> None:
        self.memory = mmap.mmap(-1, (pages + 2) * PAGE)
        self.bytes = np.frombuffer(self.memory, np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        start = self.bytes.ctypes.data
        for page in (start, start + (pages + 1) * PAGE):
            if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        self.inside = self.bytes[PAGE:-PAGE]

    def hold(self, array: Array, at_end: bool) -> Array:
        """Return a copy of an array at one of the two ends."""
        room = self.inside[-array.nbytes :] if at_end else self.inside[: array.nbytes]
        held = room.view(array.dtype).reshape(array.shape)
        held[...] = array
        return held


def sizes() -> Iterator[int]:
    step = 1 if EXAMPLES > 20 else 7
    yield from sorted(
        {*range(1, 301, step), *range(1, 18), *(64 * k + i for k in (1, 2, 3) for i in (-1, 0, 1))}
    )


def run() -> None:
    """Run every kernel over rows between two fences."""
    rng = np.random.default_rng(7)
    fences = [Fence(64) for _ in range(5)]
    rows, scratch, out, ids, luck = fences
    at_end = True
    assert kernels.rows
    needed = kernels.rows.scratch
    module.scratch_of = lambda size: scratch.hold(np.empty(needed(size)), at_end)
    count = 0
    for size in sizes():
        for kind in KINDS:
            x = make(kind, 2, size, rng)
            for at_end in (True, False):
                held = rows.hold(x, at_end)
                chain = CHAINS[count % len(CHAINS)]
                context = Context(prompt=[[0, size - 1], [0, 0]])
                bound = bound_to(held, chain, context)
                count += 1
                if bound is None:
                    continue
                uniforms = luck.hold(rng.random((2, 3)), at_end)
                bound.draw(uniforms, out.hold(np.zeros((2, 3), np.int64), at_end))
                bound.survivors()
                bound = bound_to(held, Chain(Temperature(1.5)))
                assert bound
                bound._call("masses", np.empty(2, np.uint8), 0, None, np.empty(2))
                chunks = -(-size // 64)
                partial = out.hold(np.empty((2, 2, chunks)), at_end)
                states = np.empty(2, np.uint8)
                bound._call("measures", states, 0, None, np.empty((2, 14)), partial)
                if x.dtype == np.float16:
                    continue
                tokens = ids.hold(np.arange(2 * size).reshape(2, size), at_end)
                key, places = np.zeros(2, np.uint64), np.zeros(2, np.uint64)
                sure = np.empty(2, np.uint8)
                drawn = np.empty(2, np.int64)
                kernels.rows.gumbel(held, tokens, key, places, places, drawn, sure)
                kernels.rows.gumbel(held, None, key, places, places, drawn, sure)
                kernels.rows.quotients(held[0], 0.7, False, out.hold(np.empty_like(x[0]), at_end))
                finite = np.sort(x[0][np.isfinite(x[0])])[::-1]
                sums = (each.hold(np.empty(len(finite)), at_end) for each in (out, ids, luck))
                kernels.rows.running_sums(rows.hold(finite, at_end), *sums)
    print(f"{count} rows between fences")


@compiled
@linux
def test_nothing_outside_of_rows_is_touched() -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "rows between fences" in done.stdout


@compiled
@linux
def test_a_touch_would_end_the_process() -> None:
    """The fence is one: what reads a number too many does not come back."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_memory import Fence; import ctypes, numpy as np\n"
        "held = Fence(1).hold(np.zeros(3), True)\n"
        "print(len(ctypes.string_at(held.ctypes.data, 24)), flush=True)\n"
        "print(len(ctypes.string_at(held.ctypes.data, 25)), flush=True)"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode != 0
    assert done.stdout.split() == [b"24"]


@compiled
@pytest.mark.parametrize("kind", [1, 2])
def test_every_float16_and_bfloat16_is_read_exactly(kind: int) -> None:
    """All patterns of 16 bits that are logits: survivors of a cut that removes one of them."""
    assert kernels.rows
    bits = np.arange(1 << 16, dtype=np.uint16)
    wide = (bits.astype(np.uint32) << 16).view(np.float32)
    if kind == 1:
        wide = bits.view(np.float16).astype(np.float32)
    fits = (wide < 1e30) & (wide > -1e38)  # what is beyond is left to numpy
    x, expected = np.append(bits[fits], bits[wide == -np.inf]), wide[fits]
    size = len(x)
    states, ids = np.empty(1, np.uint8), np.empty(size, np.int64)
    logits, counts = np.empty(size), np.empty(1, np.int64)
    program = np.array([[1, 0]], np.int32), np.array([size - 1.0]), ()
    results = states, ids, logits, counts
    scratch = np.empty(kernels.rows.scratch(size))
    rows = x.view(np.float16) if kind == 1 else x
    kernels.rows.survivors(rows, kind, size, 0, 1, *program, scratch, *results)
    assert states[0] == 0
    assert counts[0] == size - 1
    assert np.array_equal(logits[:-1].astype(np.float32).view(np.uint32), expected.view(np.uint32))


if __name__ == "__main__":
    run()
