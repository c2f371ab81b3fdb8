"""Peak memory of the dense chain, in units of its input array.

Run ``python benchmarks/memory.py``. All nine steps act on float32 logits of shape (32, 128256)
with a context of 512 tokens a row. numpy reports its allocations to `tracemalloc`; the peak
counts everything allocated during the call, the result included, and the input array on top.
The target is 4 times the input array.
"""

from __future__ import annotations

import platform
import sys
import tracemalloc

import numpy as np
from logitlab import Chain, Context, SamplingParams, Transform, engines

import report

SHAPE = (32, 128256)
TARGET = 4.0

PARAMS = SamplingParams(
    logit_bias={7: 1.0},
    repetition_penalty=1.1,
    frequency_penalty=0.2,
    presence_penalty=0.1,
    temperature=0.8,
    top_k=1000,
    top_p=0.95,
    min_p=0.01,
    top_a=0.01,
)


def peak(transform: Transform, logits: np.ndarray, context: Context) -> float:
    """Return the peak of one call, input included, in units of the input."""
    tracemalloc.start()
    transform(logits, context)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return 1 + most / logits.nbytes


def main() -> int:
    report.options(__doc__).parse_args()  # it is quick as it is
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=SHAPE).astype(np.float32)
    context = Context(prompt=rng.integers(SHAPE[1], size=(SHAPE[0], 512)))
    chain = engines.openrouter(PARAMS)
    print(f"numpy {np.__version__}, Python {platform.python_version()}, {platform.machine()}")
    print(f"float32 logits {SHAPE}, {logits.nbytes / 2**20:.1f} MiB; peak in units of the input")
    for step in chain:
        print(f"  {peak(step, logits, context):5.2f}  {type(step).__name__}")
    whole = peak(chain, logits, context)
    print(f"  {whole:5.2f}  the whole chain of {len(chain)} (target: at most {TARGET:g})")
    print(f"  {peak(Chain(), logits, context):5.2f}  the empty chain, which copies")
    return 0 if whole <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
