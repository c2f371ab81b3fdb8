"""The merges of the bundled fairy tales, learned again.

Run ``python benchmarks/merges.py`` after a change of the text, or of how words or merges are found;
it writes ``src/logitlab/data/grimm_merges.txt``, one merge a line.
"""

from __future__ import annotations

import time
from pathlib import Path

from logitlab import datasets
from logitlab.models.ngram.bpe import BPE

SIZE = 4096
FILE = Path(datasets.__file__).parent / "data" / "grimm_merges.txt"


def main() -> None:
    begin = time.perf_counter()
    bpe = BPE.train(datasets.texts("grimm"), SIZE)
    print(f"{bpe} in {time.perf_counter() - begin:.1f} s")
    FILE.write_text("".join(f"{first} {second}\n" for first, second in bpe.merges), "utf-8")


if __name__ == "__main__":
    main()
