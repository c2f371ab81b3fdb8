"""Clients that CI does not install, against the server: litellm, and lm-eval's local-completions.

Run by hand, each client from a virtual environment of its own::

    python benchmarks/clients.py --litellm ENV/bin/python --lm-eval ENV/bin/python

where ENV has ``litellm``, or ``lm-eval[api]`` and torch. It starts ``logitlab serve``, lets the
clients ask, compares what they got with what the library says itself, and writes
``results/clients.md``. lm-eval scores 60 beginnings of sentences, of tales that the model wrote
itself, with four ends each, and writes on from ten of them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from logitlab import generate, score
from logitlab.models import NGram
from logitlab.wire.chat import chat

import report
from serving import served

MODEL = NGram.bundled()
MESSAGES = [{"role": "user", "content": "Once upon a time"}]
ASKED = {"messages": MESSAGES, "seed": 7, "max_tokens": 12, "logprobs": True, "top_logprobs": 2}

_LITELLM = """
import asyncio, json, sys, litellm
litellm.suppress_debug_info = True
url, asked = sys.argv[1], json.loads(sys.argv[2])
how = {"model": "openai/grimm", "api_base": url, "api_key": "none", "num_retries": 0}
whole = litellm.completion(**how, **asked)
parts = litellm.completion(**how, **asked, stream=True)
text = "".join(part.choices[0].delta.content or "" for part in parts)
async def several():
    calls = [litellm.acompletion(**how, **{**asked, "seed": seed}) for seed in range(16)]
    return [answer.choices[0].message.content for answer in await asyncio.gather(*calls)]
router = {**how, "model": "openrouter/grimm", "api_base": url.replace("/v1", "/api/v1")}
other = litellm.completion(**router, **asked, extra_body={"min_p": 0.05})
try:
    litellm.completion(**how, **{**asked, "top_p": 2})
    refused = None
except litellm.BadRequestError as error:
    refused = str(error)
written = litellm.text_completion(
    **{**how, "model": "text-completion-openai/grimm"}, prompt="The king", seed=1, max_tokens=5
)
logprobs = whole.choices[0].logprobs
logprobs = logprobs if isinstance(logprobs, dict) else logprobs.model_dump()
print(json.dumps({
    "text": whole.choices[0].message.content, "streamed": text, "several": asyncio.run(several()),
    "logprobs": [entry["logprob"] for entry in logprobs["content"]],
    "min_p": other.choices[0].message.content, "refused": refused,
    "written": written.choices[0].text, "usage": whole.usage.completion_tokens,
}))
"""

_LM_EVAL = """
import json, sys
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
url, folder = sys.argv[1:]
found = simple_evaluate(
    model="local-completions", tasks=["tales", "telling"],
    model_args={"model": "grimm", "base_url": url + "/completions", "num_concurrent": 8,
                "max_retries": 1, "batch_size": 4, "max_length": 4096},
    task_manager=TaskManager(include_path=folder, include_defaults=False),
    bootstrap_iters=0, log_samples=True,
)
scored = [[pair[0] for pair in sample["filtered_resps"]] for sample in found["samples"]["tales"]]
told = [sample["filtered_resps"][0] for sample in found["samples"]["telling"]]
print("RESULT" + json.dumps({"scored": scored, "told": told, "found": {
    name: {key: value for key, value in each.items() if isinstance(value, float)}
    for name, each in found["results"].items()}}, default=str))
"""

_TALES = """
task: tales
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{begin}}}}"
doc_to_choice: "{{{{ends}}}}"
doc_to_target: "{{{{right}}}}"
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""

_TELLING = """
task: telling
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{begin}}}}"
doc_to_target: "{{{{right}}}}"
generation_kwargs: {{until: ["."], max_gen_toks: 12, temperature: 0}}
metric_list: [{{metric: exact_match}}]
"""


def ran(python: str, code: str, *arguments: str, **variables: str) -> Any:
    """Return what a client printed at its end, as JSON."""
    command = [python, "-c", code, *arguments]
    run = subprocess.run(
        command, capture_output=True, text=True, env={**_clean_environment(), **variables}
    )
    if run.returncode:
        raise SystemExit(run.stderr[-20_000:])
    return json.loads(run.stdout.splitlines()[-1].removeprefix("RESULT"))


def _clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def litellm(python: str) -> list[str]:
    """Ask by litellm, and compare."""
    with served() as server:
        told = ran(
            python, _LITELLM, server.url, json.dumps(ASKED), LITELLM_LOCAL_MODEL_COST_MAP="True"
        )
    answer = chat(MODEL, ASKED)["choices"][0]
    text = answer["message"]["content"]
    assert told["text"] == told["streamed"] == text
    assert told["logprobs"] == [entry["logprob"] for entry in answer["logprobs"]["content"]]
    assert told["usage"] == 12
    alone = [chat(MODEL, {**ASKED, "seed": seed})["choices"][0] for seed in range(16)]
    assert told["several"] == [choice["message"]["content"] for choice in alone]
    assert (
        told["min_p"] == chat(MODEL, {**ASKED, "min_p": 0.05})["choices"][0]["message"]["content"]
    )
    assert "top_p must be in [0, 1], got 2" in told["refused"]
    assert told["written"] == generate(MODEL, "The king", seed=1, max_tokens=5).text
    return [
        f"* litellm {_version(python, 'litellm')}: whole, streamed, 16 at once, as a completion "
        "and by its own way to OpenRouter: texts and log-probabilities are those of `chat`; a "
        "refusal arrives as BadRequestError with our sentence."
    ]


def _version(python: str, name: str) -> str:
    code = f"from importlib.metadata import version; print(version({name!r}))"
    run = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def lm_eval(python: str) -> list[str]:
    """Let lm-eval score and write by local-completions, and compare."""
    tales = [sentence.strip() for sentence in _sentences()]
    docs = []
    for i in range(60):
        words = [tales[(i + 7 * k) % len(tales)].split(" ") for k in range(4)]
        ends = [" " + " ".join(each[-4:]) for each in words]
        place = i % 4
        ends[0], ends[place] = ends[place], ends[0]
        docs.append({"begin": " ".join(words[0][:-4]), "ends": ends, "right": place})
    with tempfile.TemporaryDirectory() as name, served("--engine", "vllm") as server:
        folder = Path(name)
        for task, form, count in (("tales", _TALES, 60), ("telling", _TELLING, 10)):
            file = folder / f"{task}.jsonl"
            file.write_text("".join(json.dumps(doc) + "\n" for doc in docs[:count]))
            (folder / f"{task}.yaml").write_text(form.format(file=file))
        variables = {"HF_HUB_OFFLINE": "1", "HF_HOME": name, "OPENAI_API_KEY": "none"}
        told = ran(python, _LM_EVAL, server.url, name, **variables)
    most, right = 0.0, 0
    for doc, scores in zip(docs, told["scored"], strict=True):
        ours = [_likelihood(str(doc["begin"]), end) for end in list(doc["ends"])]  # type: ignore[call-overload]
        most = max(most, float(np.abs(np.array(ours) - np.array(scores)).max()))
        right += int(np.argmax(ours)) == doc["right"]
    assert most < 1e-6, most
    assert told["found"]["tales"]["acc,none"] == right / 60
    for doc, text in zip(docs, told["told"], strict=False):
        greedy: Any = {"temperature": 0, "max_tokens": 12, "stop": ["."]}
        assert text == generate(MODEL, str(doc["begin"]), greedy, seed=1234).text
    return [
        f"* lm-eval {_version(python, 'lm-eval')}, `local-completions` with the tokenizer of the "
        "server: 240 ends of sentences scored, which differ by at most "
        f"{most:.1g} from `logitlab.score`; "
        f"accuracy {right}/60 on both sides; 10 sentences written, all as by `generate`."
    ]


def _sentences() -> list[str]:
    """Return sentences that the bundled model writes itself, so that there are right ones."""
    told = [generate(MODEL, "Once", seed=seed, max_tokens=400).text for seed in range(12)]
    found = [part for text in told for part in text.replace("\n", " ").split(". ")]
    return [part for part in dict.fromkeys(found) if 9 <= len(part.split()) <= 30]


def _likelihood(begin: str, end: str) -> float:
    """Return how likely an end is, cut into tokens as lm-eval cuts it."""
    whole, first = MODEL.encode(begin + end), MODEL.encode(begin)
    found = score(MODEL, list(whole[len(first) :]), prompt=list(whole[: len(first)]))
    return found.raw.total


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--litellm", metavar="PYTHON")
    parser.add_argument("--lm-eval", metavar="PYTHON")
    asked = parser.parse_args()
    lines = litellm(asked.litellm) if asked.litellm else []
    lines += lm_eval(asked.lm_eval) if asked.lm_eval else []
    print(*lines, sep="\n")
    if asked.litellm and asked.lm_eval:
        head = ["# Clients that were run by hand", "", f"{datetime.date.today()}.", ""]
        tail = [
            "",
            "Written by `benchmarks/clients.py`, which compares and fails where they differ.",
        ]
        (report.RESULTS / "clients.md").write_text("\n".join([*head, *lines, *tail]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
