"""Ask an engine that is installed fresh random requests, and compare: ``live.py llama_cpp``."""

from __future__ import annotations

import importlib
import secrets
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from logitlab import Context, engines

from engines import beyond, cases, recorded
from engines.own_code import Case
from engines.record import BEYOND, DRAWN, RECORDED


def main(engine: str, seed: int) -> int:
    """Print what differs, and return how much."""
    module, variant = RECORDED[engine] if engine in RECORDED else BEYOND[engine][:2]
    own = importlib.import_module(f"engines.own_code.{module}")
    counts = {"equal": 0, "refused": 0, "excluded": 0, "drawn": 0}
    wrong: list[str] = []
    for number, case in enumerate(cases.make(seed) if engine in RECORDED else ()):
        if engine == "mlx_lm" and case.params.get("temperature", 1) < 0:
            continue  # make_sampler turns the order of tokens around, which is not modelled
        if engine == "llama_cpp_python" and case.params.get("repetition_penalty") == 0:
            continue  # it divides by 0, which may leave a NaN row or not
        theirs, ours = own.run(case, variant), recorded.evaluated(engine, case)
        if isinstance(theirs, str) or isinstance(ours, str):
            counts["refused"] += 1
            if isinstance(theirs, str) != isinstance(ours, str):
                refused = theirs if isinstance(theirs, str) else ours
                wrong.append(f"{number} {case.params}: only one refuses, {refused}")
            continue
        kept = np.flatnonzero(theirs > 0)
        answer = recorded.Answer(number, case, kept, theirs[kept], "")
        draws = engine != "sglang" or _sglang_draws(case)
        same = recorded.same_survivors(answer, ours)
        if same:
            counts["equal"] += 1
            if recorded.distance(answer, ours) >= recorded.TOLERANCE:
                wrong.append(f"{number} {case.params}: {recorded.distance(answer, ours)}")
        elif recorded.excluded(engine, answer, ours):
            counts["excluded"] += 1
        else:
            wrong.append(f"{number} {case.params}: {len(kept)} / {np.count_nonzero(ours)}")
        if engine in DRAWN and len(case.logits) <= 600 and same and draws:
            token = own.draw(case, DRAWN[engine][1], number, 1)[0]
            context = Context(case.prompt, case.output)
            recipe = engines.get(engine)
            drawn = recipe.draw(case.logits, case.params, context=context, seed=number, step=0)
            counts["drawn"] += 1
            if token != drawn:
                wrong.append(f"{number} {case.params}: drew {token} / {drawn}")
    if engine in BEYOND:
        wrong += _beyond(engine, own, seed, counts)
    print("\n".join(wrong))
    print(f"{engine}, seed {seed}: {counts}, {len(wrong)} differ")
    return len(wrong)


def _beyond(engine: str, own: Any, seed: int, counts: dict[str, int]) -> list[str]:
    """Ask what goes beyond the page; return what differs."""
    _, variant, asked = BEYOND[engine]
    rows, wrong = beyond.rows(seed), []
    for number, case in enumerate(beyond.cases_of(rows, beyond.requests(asked, rows, seed))):
        theirs, ours = own.run(case, variant), recorded.evaluated(engine, case)
        if isinstance(theirs, str) or isinstance(ours, str):
            counts["refused"] += 1
            if isinstance(theirs, str) != isinstance(ours, str):
                refused = theirs if isinstance(theirs, str) else ours
                wrong.append(f"beyond {number} {case.params}: only one refuses, {refused}")
            continue
        kept = np.flatnonzero(theirs > 0)
        answer = recorded.Answer(number, case, kept, theirs[kept], "")
        far = recorded.distance(answer, ours) >= recorded.TOLERANCE
        if far or not recorded.same_survivors(answer, ours):
            left = np.count_nonzero(ours)
            wrong.append(f"beyond {number} {case.params} acts {case.acts}: {len(kept)} / {left}")
        else:
            counts["equal"] += 1
    return wrong


def _sglang_draws(case: Case) -> bool:
    """Whether SGLang draws with its seed alone: min_p stops it."""
    return not case.params.get("min_p")


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else secrets.randbits(32))))
