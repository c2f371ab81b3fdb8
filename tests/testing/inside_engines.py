"""Run by `test_engines`: ``python inside_engines.py ENGINE`` prints what each check has seen.

The engines' own functions, called as the engine calls them, are handed to `testing.check` with the
engine's name: they are right by definition, so that a failure is a false alarm.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

from logitlab import testing

CUTS = [
    {"temperature": 0.8, "top_p": 0.75},
    {"temperature": 0.5, "top_k": 4},
    {"temperature": 1.3, "top_k": 8, "top_p": 0.9},
    {"temperature": 1.0, "top_p": 0.5, "min_p": 0.1},
    {"temperature": 0.7, "min_p": 0.05},
]
PENALTIES = [
    {"repetition_penalty": 1.3},
    {"frequency_penalty": 0.5, "presence_penalty": 0.25},
    {"repetition_penalty": 0.8, "frequency_penalty": -0.3},
]


def transformers(engine: str) -> list[testing.Checked]:
    """`LogitsProcessorList` of the warpers, in the order of ``generation/utils.py``."""
    import torch
    from transformers.generation import logits_process as own

    def processors(request: dict[str, float], ids: Any) -> Any:
        made = own.LogitsProcessorList()
        if "repetition_penalty" in request and ids.shape[1]:
            made.append(own.RepetitionPenaltyLogitsProcessor(request["repetition_penalty"]))
        if request.get("temperature", 1.0) != 1:
            made.append(own.TemperatureLogitsWarper(request["temperature"]))
        if request.get("top_k", 50):
            made.append(own.TopKLogitsWarper(request.get("top_k", 50)))
        if request.get("top_p", 1) < 1:
            made.append(own.TopPLogitsWarper(request["top_p"]))
        if "min_p" in request:
            made.append(own.MinPLogitsWarper(request["min_p"]))
        for key, warper in (("epsilon_cutoff", own.EpsilonLogitsWarper),
                            ("eta_cutoff", own.EtaLogitsWarper)):  # fmt: skip
            if key in request:
                made.append(warper(request[key]))
        return made

    def sampler(logits: Any, prompt: Any, output: Any, request: Any) -> Any:
        ids = torch.cat([prompt, output]).long()
        ids = ids[ids >= 0][None]
        return processors(request, ids)(ids, logits[None])

    def rows(logits: Any, request: Any) -> Any:
        ids = torch.zeros((len(logits), 0), dtype=torch.long)
        return processors(request, ids)(ids, logits)

    beyond = [{"epsilon_cutoff": 0.01}, {"eta_cutoff": 0.01, "temperature": 0.8}]
    how: Any = {"engine": engine, "arrays": "torch"}
    return [
        testing.check(rows, [*CUTS, *beyond], batch=True, **how),
        testing.check(sampler, [PENALTIES[0], PENALTIES[0] | CUTS[2]], **how),
    ]


def vllm(engine: str) -> list[testing.Checked]:
    """`apply_top_k_top_p_pytorch`, the penalties, min-p, and `random_sample`, of V1."""
    import torch
    from vllm.model_executor.layers.utils import apply_penalties
    from vllm.v1.sample.logits_processor.builtin import MinPLogitsProcessor
    from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p_pytorch, random_sample

    def rows(logits: Any, request: Any) -> Any:
        count, size = logits.shape
        logits = logits.div_(torch.full((count, 1), request["temperature"]))
        if "min_p" in request:
            own = MinPLogitsProcessor.__new__(MinPLogitsProcessor)
            own.min_p_count, own.min_p = count, torch.full((count, 1), request["min_p"])
            logits = own.apply(logits)
        k = min(request["top_k"], size) if "top_k" in request else None
        return apply_top_k_top_p_pytorch(
            logits,
            None if k is None else torch.full((count,), k),
            torch.full((count,), request["top_p"]) if "top_p" in request else None,
            allow_cpu_sync=True,
        )

    def penalised(logits: Any, prompt: Any, output: Any, request: Any) -> Any:
        count, size = logits.shape
        first, second = (torch.where(ids < 0, size, ids).long() for ids in (prompt, output))
        amounts = [
            torch.full((count,), float(request.get(key, neutral)))
            for key, neutral in (
                ("presence_penalty", 0),
                ("frequency_penalty", 0),
                ("repetition_penalty", 1),
            )
        ]
        return apply_penalties(logits, first, second, *amounts)

    def draws(logits: Any, seed: Any, request: Any) -> Any:
        made = {i: torch.Generator().manual_seed(int(each)) for i, each in enumerate(seed)}
        return random_sample(rows(logits, request).softmax(-1), made)

    how: Any = {"engine": engine, "arrays": "torch", "batch": True}
    return [
        testing.check(rows, CUTS, **how),
        testing.check(penalised, PENALTIES, **how),
        testing.check(draws, CUTS[2], calls=500, **how),
    ]


def mlx_lm(engine: str) -> list[testing.Checked]:
    """The functions of ``sample_utils.py``, as `make_sampler` strings them together."""
    import mlx.core as mx
    from mlx_lm import sample_utils as own

    def rows(logits: Any, request: Any) -> Any:
        x = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        if "top_p" in request:
            x = own.apply_top_p(x, request["top_p"])
        if "min_p" in request:
            x = own.apply_min_p(x, request["min_p"], 1)
        if request.get("top_k", 0) and request["top_k"] < x.shape[-1]:  # else it raises
            x = own.apply_top_k(x, request["top_k"])
        return x * (1.0 / request["temperature"])

    def penalised(logits: Any, prompt: Any, output: Any, request: Any) -> Any:
        tokens = [t for t in [*prompt.tolist(), *output.tolist()] if t >= 0]
        logits = logits[None]
        for processor in own.make_logits_processors(
            repetition_penalty=request.get("repetition_penalty"),
            frequency_penalty=request.get("frequency_penalty"),
            presence_penalty=request.get("presence_penalty"),
        ):
            logits = processor(mx.array(tokens), logits) if tokens else logits
        return logits

    def draws(logits: Any, seed: int, request: Any) -> Any:
        mx.random.seed(seed)
        return own.categorical_sampling(rows(logits, request), 1.0)

    how: Any = {"engine": engine, "arrays": "mlx"}
    hot = [{**request, "temperature": 1.0} for request in PENALTIES]
    return [
        testing.check(rows, CUTS, batch=True, **how),
        testing.check(penalised, hot, **how),
        testing.check(draws, CUTS[2], calls=1000, **how),
    ]


def main(engine: str) -> None:
    """Hand the functions of an engine over, and those of it as of another, which has to fail."""
    checks = {"transformers": transformers, "vllm": vllm, "mlx_lm": mlx_lm}[engine]
    for seen in checks(engine):
        assert seen.is_complete, seen
        print(seen)
    other = {"transformers": "mlx_lm", "vllm": "openrouter", "mlx_lm": "vllm"}[engine]
    try:
        checks(other)
    except testing.SamplerError as error:
        print(f"as {other}: {error.sentence}")
    else:
        raise AssertionError(f"{engine} passes as {other}")
    print(engine, "held")


if __name__ == "__main__":
    main(sys.argv[1])
