"""The chains that `compare.py` measures, and what each was to reach.

Targets are upper limits in floors, the cost of max, subtract, exp and sum of the row in numpy, and
lower limits of how many times as long another engine takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from logitlab import SamplingParams

SIZES = (128_256, 32_000)
LARGE = SIZES[0]


@dataclass(frozen=True)
class Case:
    """A request on rows of a kind.

    Attributes
    ----------
    floors : tuple of float
        The most floors at V = 128 256: of 32 rows, of 256 rows, of one row.
    times : dict
        At least how many times as long an engine is to take, at V = 128 256.
    small : tuple
        The same two for V = 32 000.
    """

    name: str
    params: SamplingParams
    rows: str
    floors: tuple[float, float, float]
    times: dict[str, float]
    small: tuple[tuple[float, float, float] | None, dict[str, float]]

    def floor_at(self, size: int, batch: int) -> float | None:
        """Return the most floors that a batch of a size is to take."""
        floors = self.floors if size == LARGE else self.small[0]
        return None if floors is None else floors[{32: 0, 256: 1, 1: 2}[batch]]

    def times_at(self, size: int) -> dict[str, float]:
        """Return at least how many times as long an engine is to take."""
        return self.times if size == LARGE else self.small[1]


def _most(llama_cpp: float, torch: float, vllm: float | None = None) -> dict[str, float]:
    return {"llama.cpp": llama_cpp, "transformers": torch, "vllm": vllm or torch}


_SMALL = ((0.8, 1.0, 0.8), _most(8, 40))
_BEYOND = (1.5, 1.5, 1.5), _most(5, 20)

PENALTIES = SamplingParams(
    repetition_penalty=1.1, frequency_penalty=0.2, presence_penalty=0.1, temperature=0.8,
    top_k=50, top_p=0.9, min_p=0.05,
)  # fmt: skip
TOP_P = SamplingParams(temperature=0.8, top_p=0.9)

CASES = (
    Case("3 penalties, T 0.8, top_k 50, top_p 0.9, min_p 0.05", PENALTIES, "real",
         (0.4, 0.6, 0.5), _most(12, 80), _SMALL),
    Case("T 0.8, top_p 0.9", TOP_P, "real", (0.75, 0.95, 0.9), _most(12, 80), _SMALL),
    Case("T 0.8, top_p 0.9", TOP_P, "peaked", (0.5, 0.7, 0.6), _most(12, 80), _SMALL),
    Case("T 1.5, top_p 0.9", SamplingParams(temperature=1.5, top_p=0.9), "flat",
         (2.7, 2.5, 2.7), _most(12, 30), (None, {})),
    Case("T 0.8, min_p 0.05", SamplingParams(temperature=0.8, min_p=0.05), "real",
         (0.25, 0.4, 0.25), _most(10, 80), _SMALL),
    Case("T 0.8, top_a 0.2", SamplingParams(temperature=0.8, top_a=0.2), "real",
         (0.5, 0.7, 0.6), {}, (_SMALL[0], {})),
    Case("T 0.8", SamplingParams(temperature=0.8), "real",
         (0.5, 0.75, 0.5), _most(10, 30, 10), _SMALL),
    *(
        Case(f"T 0.8, {name}", SamplingParams.from_request({"temperature": 0.8, **given}), "real",
             *_BEYOND, _BEYOND)
        for name, given in (
            ("typical_p 0.9", {"typical_p": 0.9}),
            ("top_n_sigma 1", {"top_n_sigma": 1.0}),
            ("XTC 0.5, 0.1", {"xtc_probability": 0.5, "xtc_threshold": 0.1}),
            ("epsilon 0.0009", {"epsilon_cutoff": 0.0009}),
            ("eta 0.0009", {"eta_cutoff": 0.0009}),
        )
    ),
)  # fmt: skip
