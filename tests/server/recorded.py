"""What seeded draws, texts and traces are: recorded once, and the same in every Python.

``python tests/server/recorded.py`` records them anew, with the Python that runs it; where they have
changed, so have all seeded results. `benchmarks/browser.py` asks the same in a browser.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
CLOSE = 1e-12
_REQUESTS: list[dict[str, Any]] = [
    {"seed": 7},
    {"temperature": 0.8, "top_k": 50, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.1},
    {"temperature": 1.3, "frequency_penalty": 0.5, "presence_penalty": 0.2, "top_a": 0.1},
    {"temperature": 0.9, "typical_p": 0.7},
    {"mirostat_tau": 3, "dry_multiplier": 0.8, "xtc_probability": 0.5, "xtc_threshold": 0.1},
]
_LINES = "\n".join(f"t{i}: {(i * 37) % 11 / 3}" for i in range(40))  # many are equal
_PROMPT = "Once upon a time there was a king"


def questions() -> list[tuple[str, dict[str, Any]]]:
    """Return what the page may ask, function and body, all of it seeded."""
    engines = ("openrouter", "vllm", "llama_cpp", "transformers", "koboldcpp")
    asked: list[tuple[str, dict[str, Any]]] = []
    for i, (engine, plain) in enumerate(zip(engines, _REQUESTS, strict=True)):
        request = {"seed": i, **plain}
        sources: list[dict[str, Any]] = [{"prompt": 4 * i}, {"text": _PROMPT}, {"lines": _LINES}]
        body = {"engine": engine, "request": request, "tops": 8}
        asked += [("trace", {**body, "source": source}) for source in sources]
        for coupling in ("inverse", "gumbel"):
            how = {"coupling": coupling, "sequence": i, "count": 12}
            asked.append(("write", {**body, "prompt": _PROMPT, **how}))
        asked.append(("score", {**body, "prompt": _PROMPT, "answer": " who had a daughter."}))
    body = {"source": {"prompt": 5}, "request": {"seed": 1, **_REQUESTS[1]}, "tops": 4}
    return [*asked, ("engines", body), ("partings", {**body, "other": "llama_cpp"})]


def drawn() -> dict[str, Any]:
    """Return seeded draws of engines and couplings: some to look at, the sum of very many."""
    import hashlib

    import logitlab as ll
    from logitlab.engines import MAIN

    rows = ll.datasets.load()
    request = {"temperature": 0.9, "top_p": 0.95, "frequency_penalty": 0.3, "seed": 11}
    found: dict[str, Any] = {}
    for i, engine in enumerate(MAIN):
        context = ll.Context(rows.prompt_ids[i])
        for coupling in ("inverse", "gumbel"):
            how: dict[str, Any] = {"engine": engine, "context": context, "coupling": coupling}
            draws = ll.sample(rows.logits[i], request, size=16, **how)
            found[f"{engine}, row {i}, {coupling}"] = draws.tokens.tolist()
    for i in (0, 3, 9):
        many = ll.sample(rows.logits[i], {"temperature": 1.5, "seed": i}, size=100_000).tokens
        found[f"100,000 of row {i}"] = hashlib.sha256(many.astype("<i8").tobytes()).hexdigest()
    return found


def source_of_draws() -> str:
    """Return the code of `drawn`, to be run elsewhere."""
    return "from typing import Any\n" + inspect.getsource(drawn)


def numbers(answer: Any) -> Any:
    """Return an answer without its words, which change more often than what they tell of."""
    if isinstance(answer, dict):
        kept = {key: x for key, x in answer.items() if not isinstance(x, str) or key == "text"}
        return {key: numbers(x) for key, x in kept.items()}
    return (
        [numbers(x) for x in answer if not isinstance(x, str)]
        if isinstance(answer, list)
        else answer
    )


def distance(one: Any, other: Any) -> float:
    """Return how far apart the numbers of two answers are; infinite where anything else differs.

    A number is as far off as is its difference over its size, where that is above 1. JavaScript
    knows one kind of number.
    """
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((distance(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(distance, one, other), default=0.0)
    kinds = {type(one), type(other)}
    if kinds <= {int, float}:
        return float(abs(one - other) / max(1.0, abs(one)))
    return 0.0 if one == other and type(one) is type(other) else float("inf")


def recorded() -> dict[str, Any]:
    """Return what the file has: ``answers``, one for each question, and ``draws``."""
    told: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return told


if __name__ == "__main__":
    import logitlab as ll
    from logitlab.server.lab import Lab

    lab = Lab(ll.models.NGram.bundled())
    answers = [numbers(lab.answer(*each)) for each in questions()]
    FILE.write_text(json.dumps({"draws": drawn(), "answers": answers}) + "\n", "utf-8")
