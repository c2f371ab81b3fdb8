"""Ask an engine that is installed fresh random requests, and compare: ``live.py llama_cpp``.

First those of the page, then those with all samplers that go beyond it.
"""

from __future__ import annotations

import importlib
import secrets
import sys
from collections import Counter
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
    wrong: list[str] = []
    if engine in RECORDED:
        wrong += page(engine, seed)
    if engine in BEYOND:
        wrong += beyond_page(engine, seed)
    print("\n".join(wrong))
    print(f"{engine}, seed {seed}: {len(wrong)} differ")
    return len(wrong)


def page(engine: str, seed: int) -> list[str]:
    """Ask what the page has, draw, and return what differs."""
    module, variant = RECORDED[engine]
    own = importlib.import_module(f"engines.own_code.{module}")
    counts, wrong, drawn = Counter[str](), list[str](), 0
    for number, case in enumerate(cases.make(seed)):
        if engine == "mlx_lm" and case.params.get("temperature", 1) < 0:
            continue  # make_sampler turns the order of tokens around, which is not modelled
        if engine == "llama_cpp_python" and case.params.get("repetition_penalty") == 0:
            continue  # it divides by 0, which may leave a NaN row or not
        outcome, told = compared(engine, number, case, own.run(case, variant))
        counts[outcome] += 1
        wrong += told
        draws = engine != "sglang" or _sglang_draws(case)
        if engine in DRAWN and len(case.logits) <= 600 and outcome == "equal" and draws:
            token = own.draw(case, DRAWN[engine][1], number, 1)[0]
            context = Context(case.prompt, case.output)
            recipe = engines.get(engine)
            ours = recipe.draw(case.logits, case.params, context=context, seed=number, step=0)
            drawn += 1
            if token != ours:
                wrong.append(f"{number} {case.params}: drew {token} / {ours}")
    print(f"{engine}: {dict(counts)}, {drawn} drawn")
    return wrong


def beyond_page(engine: str, seed: int) -> list[str]:
    """Ask what goes beyond it, and return what differs."""
    module, variant, asked = BEYOND[engine]
    own = importlib.import_module(f"engines.own_code.{module}")
    rows = beyond.rows(seed)
    counts, wrong = Counter[str](), list[str]()
    for number, case in enumerate(beyond.cases_of(rows, beyond.requests(asked, rows, seed))):
        outcome, told = compared(engine, number, case, own.run(case, variant))
        counts[outcome] += 1
        wrong += [f"beyond {each}, acts {case.acts}" for each in told]
    print(f"{engine}, beyond the page: {dict(counts)}")
    return wrong


def compared(engine: str, number: int, case: Case, theirs: Any) -> tuple[str, list[str]]:
    """Return what became of a request, and what differs."""
    ours = recorded.evaluated(engine, case)
    if isinstance(theirs, str) or isinstance(ours, str):
        if isinstance(theirs, str) == isinstance(ours, str):
            return "refused", []
        refused = theirs if isinstance(theirs, str) else ours
        return "refused", [f"{number} {case.params}: only one refuses, {refused}"]
    kept = np.flatnonzero(theirs > 0)
    answer = recorded.Answer(number, case, kept, theirs[kept], "")
    if not recorded.same_survivors(answer, ours):
        if recorded.excluded(engine, answer, ours):
            return "excluded", []
        return "other", [f"{number} {case.params}: {len(kept)} / {np.count_nonzero(ours)}"]
    distance = recorded.distance(answer, ours)
    far = [f"{number} {case.params}: {distance}"] if distance >= recorded.tolerance(case) else []
    return "equal", far


def _sglang_draws(case: Case) -> bool:
    """Whether SGLang draws with its seed alone: min_p stops it."""
    return not case.params.get("min_p")


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else secrets.randbits(32))))
