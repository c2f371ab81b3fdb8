"""Record what the engines' own code answers, into ``tests/engines/vectors``.

    python tests/engines/record.py            # all engines that are installed
    python tests/engines/record.py sglang     # some of them
    python tests/engines/record.py --cases    # new requests first: all engines have to follow
    python tests/engines/record.py --beyond llama_cpp   # what goes beyond the page; --cases, too

Each engine runs in a process of its own. How to install them is in ``tests/engines/README.md``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from engines import beyond, cases as stored
from engines.own_code import Array, Case

# Name in logitlab -> module of engines.own_code and its variant.
RECORDED = {
    "vllm": ("vllm", "v1"),
    "vllm_triton": ("vllm", "triton"),
    "sglang": ("sglang", "torch"),
    "sglang_lag": ("sglang", "lag"),
    "transformers": ("transformers", "generate"),
    "transformers_serve": ("transformers", "serve"),
    "llama_cpp": ("llama_cpp", "server"),
    "llama_cpp_python": ("llama_cpp", "python"),
    "ollama": ("ollama", "0.24"),
    "mlx_lm": ("mlx_lm", "0.32.2"),
    "mlx_lm_server": ("mlx_lm", "server"),
    "aphrodite": ("aphrodite", "v1"),
    "koboldcpp": ("koboldcpp", "1.116"),
}
DRAWN = {
    "vllm": ("vllm", "v1"),
    "vllm_triton": ("vllm", "triton"),
    "sglang": ("sglang", "deterministic"),
    "llama_cpp": ("llama_cpp", "server"),
    "llama_cpp_python": ("llama_cpp", "python"),
    "ollama": ("ollama", "0.24"),
    "koboldcpp": ("koboldcpp", "1.116"),
}
# Beyond the page: name in logitlab -> module of engines.own_code, its variant, and who is asked.
BEYOND = {
    "llama_cpp": ("llama_cpp", "server", "llama_cpp"),
    "llama_cpp_python": ("llama_cpp", "python", "llama_cpp_python"),
    "mlx_lm": ("mlx_lm", "0.32.2", "mlx_lm"),
    "koboldcpp": ("koboldcpp", "1.116", "koboldcpp"),
    "transformers": ("transformers", "generate", "transformers"),
    "vllm": ("vllm", "v1", "vllm"),
    "vllm_triton": ("vllm", "triton", "vllm"),
    "sglang": ("sglang", "torch", "sglang"),
    "sglang_lag": ("sglang", "lag", "sglang"),
    "aphrodite": ("aphrodite", "v1", "aphrodite"),
    "textgen": ("textgen", "transformers", "textgen"),
    "tgi": ("tgi", "generate", "tgi"),
    "exllamav3": ("exllamav3", "combo", "exllamav3"),
    "tabbyapi": ("exllamav3", "tabby", "tabbyapi"),
}
DRAWS, STEPS = 60, 12
FOLLOWED = 24  # tokens of a sequence that is drawn with a state
# transformers serve answers 422 to these.
_UNEXPECTED = ("top_k", "min_p", "repetition_penalty", "top_a")
_SLOW = 20  # rows of a whole vocabulary that an interpreted kernel is asked for


def cases_for(engine: str) -> list[tuple[int, Case]]:
    """Return the requests that an engine is asked, with their numbers."""
    numbered = list(enumerate(stored.read()))
    if engine == "transformers_serve":
        return [(i, _without(case, _UNEXPECTED)) for i, case in numbered]
    if engine == "vllm_triton":
        large = [pair for pair in numbered if len(pair[1].logits) > 1000]
        quick = [i for i, case in large if not ("top_k" in case.params and "top_p" in case.params)]
        skipped = {i for i, _ in large} - set(quick[:_SLOW])
        return [(i, case) for i, case in numbered if i not in skipped]
    if engine == "llama_cpp":
        return numbered + [
            (len(numbered) + n, _own(case, n)) for n, (_, case) in enumerate(numbered[60:110])
        ]
    return numbered


def draws_for(engine: str) -> list[tuple[int, Case, int]]:
    """Return requests to draw from, with their numbers and seeds."""
    small = [(i, case) for i, case in enumerate(stored.read()) if len(case.logits) <= 600]
    spread = small[:: max(1, len(small) // (2 * DRAWS))][:DRAWS]
    if engine != "vllm_triton":  # whose kernels keep other ties
        distinct = sum(stored.COUNTS[kind] for kind in ("real", "slice", "ties"))
        spread += [(i, case) for i, case in small if i >= distinct and i % 7 == 0]
    if engine == "sglang":
        spread = [(i, _without(case, ("min_p",))) for i, case in spread]
    return [(i, case, 7 + i * i * 1009 if i % 3 else i) for i, case in spread]


def _without(case: Case, keys: tuple[str, ...]) -> Case:
    params = {key: value for key, value in case.params.items() if key not in keys}
    return Case(case.logits, params, case.prompt, case.output)


def _own(case: Case, n: int) -> Case:
    """Return a request with keys of llama-server's own: a window, an order of samplers."""
    rng = np.random.default_rng(n)
    samplers = rng.permutation(["penalties", "top_k", "top_p", "min_p", "temperature"]).tolist()
    own = {
        "samplers": samplers[: int(rng.integers(2, 6))],
        "repeat_last_n": int(rng.integers(0, 90)),
    }
    return Case(case.logits, case.params | own, case.prompt, case.output)


def record(engine: str) -> None:
    """Run an engine on its requests and store what it answers."""
    module, variant = RECORDED[engine]
    own = importlib.import_module(f"engines.own_code.{module}")
    arrays, errors = answered(own, variant, cases_for(engine))
    drawn: dict[str, Any] = {}
    if engine in DRAWN:
        module, variant = DRAWN[engine]
        for number, case, seed in draws_for(engine):
            answer = own.draw(case, variant, seed, STEPS) if number not in errors else ""
            if not isinstance(answer, str):
                drawn[str(number)] = answer
    np.savez_compressed(stored.VECTORS / f"{engine}.npz", **arrays)
    about = {"versions": own.VERSIONS, "errors": errors, "draws": drawn}
    (stored.VECTORS / f"{engine}.json").write_text(json.dumps(about, separators=(",", ":")) + "\n")
    count = len(arrays["survivors_ends"])
    print(f"{engine}: {count} requests, {len(errors)} refused, {len(drawn)} sequences drawn")


def answered(
    own: Any, variant: str, cases: list[tuple[int, Case]]
) -> tuple[dict[str, Any], dict[int, str]]:
    """Return what an engine answers to requests: survivors with probabilities, and errors."""
    survivors: list[Array] = []
    probs: list[Array] = []
    errors: dict[int, str] = {}
    for number, case in cases:
        answer = own.run(case, variant)
        if isinstance(answer, str):
            errors[number] = answer
            answer = np.zeros(1)
        kept = np.flatnonzero(answer > 0)
        survivors.append(np.diff(kept, prepend=0).astype(np.uint16))
        probs.append(answer[kept].astype(np.float32))
    arrays = {
        "survivors": np.concatenate(survivors),
        "survivors_ends": np.cumsum([len(part) for part in survivors]),
        "probs": np.concatenate(probs),
    }
    return arrays, errors


def record_beyond(engine: str) -> None:
    """Do the same for the requests beyond the page, and draw sequences with a state."""
    module, variant, asked = BEYOND[engine]
    own = importlib.import_module(f"engines.own_code.{module}")
    arrays, errors = answered(own, variant, list(enumerate(beyond.read_cases(asked))))
    drawn = [
        [
            [each.token, each.kept, round(each.prob, 8)]
            for each in own.follow(case, variant, seed, rows)
        ]
        for case, seed, rows in sequences(asked)
    ]
    np.savez_compressed(beyond.FOLDER / f"{engine}.npz", **arrays)
    about = {"versions": own.VERSIONS, "errors": errors, "sequences": drawn}
    text = json.dumps(about, separators=(",", ":"))
    (beyond.FOLDER / f"{engine}.json").write_text(text + "\n")
    count = len(arrays["survivors_ends"])
    print(f"{engine}, beyond: {count} requests, {len(errors)} refused, {len(drawn)} sequences")


def sequences(asked: str) -> list[tuple[Case, int, list[Array]]]:
    """Return requests, seeds and the rows of which an engine draws one token after another."""
    rows = beyond.read_rows()
    told = importlib.import_module(f"engines.asked.{asked}")
    return [
        (
            Case(rows[number].logits, params, rows[number].prompt, rows[number].output),
            seed,
            [rows[number].later(step) for step in range(FOLLOWED)],
        )
        for number, seed, params in getattr(told, "SEQUENCES", [])
    ]


def main() -> None:
    """Record what the command line asks for, each engine in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("engines", nargs="*", choices=[*{**RECORDED, **BEYOND}, []])
    parser.add_argument("--cases", action="store_true", help="make new requests first")
    parser.add_argument("--beyond", action="store_true", help="those beyond the page")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    engines = arguments.engines or [*(BEYOND if arguments.beyond else RECORDED)]
    if arguments.here:
        (record_beyond if arguments.beyond else record)(engines[0])
        return
    if arguments.cases and arguments.beyond:
        if not arguments.engines:  # new rows for all
            beyond.save_rows(beyond.rows())
        for asked in {BEYOND[engine][2] for engine in engines}:
            beyond.save_requests(asked, beyond.requests(asked, beyond.read_rows()))
    elif arguments.cases:
        stored.save(stored.make())
    kind = ["--beyond"] if arguments.beyond else []
    for engine in engines:
        done = subprocess.run([sys.executable, __file__, engine, "--here", *kind], check=False)
        if done.returncode:
            print(f"{engine}: not recorded")


if __name__ == "__main__":
    main()
