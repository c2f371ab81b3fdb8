"""Is the error of a race as stated? Planted truths, 600 seeded races each; writes a dated table.

Run it from the root of the repository, after which the result is committed:

    PYTHONPATH=src:tests nice python benchmarks/verification_races.py [RACES [ALPHA ...]]

Servers draw from what the library's chains leave of whole recorded rows; the races see 20 tokens of
each. Each race begins with 24 neutral answers. What is counted: how often the truth was refuted, in
which the binomial bound of 99.9 % for the stated error must hold; claims that are false; verdicts.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from logitlab.verification.values import ParameterRace
from scipy.stats import binom

from verification.planted import DRAWN, TRUTHS, Truth, false_claims, learnt, race, templates
from verification.simulated import NEUTRAL

RACES = 600
RESULT = Path(__file__).parent / "results" / "verification_races.md"


def line(truth: Truth, like: ParameterRace, alpha: float, foreign: float, races: int) -> list[Any]:
    """Return the row of the table of one truth."""
    begin = time.monotonic()
    refuted = false = named = 0
    verdicts: Counter[str] = Counter()
    requests = []
    for seed in range(races):
        finding = race(truth, like, alpha, foreign, seed)
        refuted += truth.rule not in finding.alive
        false += false_claims(truth, finding)
        verdicts[finding.verdict] += 1
        is_named = truth.rule in finding.not_excluded and finding.verdict not in truth.verdicts
        named += is_named and finding.verdict != "cannot_tell"
        requests.append(finding.requests)
    right = sum(verdicts[verdict] for verdict in truth.verdicts)
    unsure = verdicts["cannot_tell"]
    bound = int(binom.ppf(0.999, races, alpha))
    middle, most = np.percentile(requests, [50, 95])
    server = "honours" if truth.fault is None else f"{truth.fault}"
    row = [truth.key, server, f"{foreign:.0%}", alpha, refuted, bound, false]
    row += [right, named, unsure, races - right - named - unsure, f"{middle:.0f}, {most:.0f}"]
    print(*row, f"{time.monotonic() - begin:.0f} s", flush=True)
    return row


HEAD: tuple[str, ...] = (
    "parameter",
    "server",
    "foreign",
    "alpha",
    "truth refuted",
    "bound",
    "false claims",
)
HEAD += ("right", "named", "cannot tell", "wrong", "requests: median, 95 %")


def table(rows: list[list[Any]], races: int) -> str:
    """Return the page of the results."""
    today = datetime.now(UTC).date()
    neutral = ", ".join(f"{key} {value}" for key, value in NEUTRAL.items())
    lines = [
        "# Races of planted truths",
        "",
        f"{today}: {races} seeded races a line, {DRAWN} neutral answers before each ({neutral}).",
        "`bound`: the 99.9 % point of the binomial distribution of the stated error. A verdict is",
        'right if it is of the truth; "named" if it is not, but names the truth as not excluded.',
        "Written by `benchmarks/verification_races.py`.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + " --- |" * len(HEAD),
        *("| " + " | ".join(map(str, row)) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def main(races: int = RACES, *alphas: float) -> None:
    """Run all races, and write the table after each line."""
    likes = templates(learnt())
    rows: list[list[Any]] = []
    for alpha in alphas or (0.05, 0.001):
        for truth in TRUTHS:
            for foreign in (0.0, 0.01):
                rows.append(line(truth, likes[truth.key], alpha, foreign, races))
                RESULT.write_text(table(rows, races), "utf-8")
    if any(row[4] > row[5] for row in rows):
        sys.exit("a truth was refuted more often than its error allows")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *map(float, sys.argv[2:]))
