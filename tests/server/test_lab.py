"""What the page asks: the numbers are the library's, and so are the words about mistakes."""

from __future__ import annotations

import base64
import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab.cli import main
from logitlab.engines import ENGINES, MAIN
from logitlab.request.params import PARAMETERS
from logitlab.server.lab import FUNCTIONS, Lab

MODEL = ll.models.NGram.bundled()
LAB = Lab(MODEL)
ROWS = ll.datasets.load()
REQUEST = {"repetition_penalty": 1.1, "temperature": 0.8, "top_k": 50, "top_p": 0.9, "min_p": 0.05}
BODY = {"source": {"prompt": 3}, "request": {**REQUEST, "seed": 7}}
CONTEXT = ll.Context(ROWS.prompt_ids[3])


def ask(name: str, **body: Any) -> dict[str, Any]:
    """Ask as over the wire: whatever comes and goes is JSON."""
    answer = LAB.answer(name, json.loads(json.dumps(body)))
    whole: dict[str, Any] = json.loads(json.dumps(answer, allow_nan=False))
    assert "error" not in whole, whole
    return whole


def refusal(name: str, body: Any) -> str:
    answer = LAB.answer(name, body)
    assert set(answer) == {"error"}, answer
    return str(answer["error"]["message"])


BEYOND = [
    {},
    {"typical_p": 0.9},
    {"xtc_probability": 0.5, "xtc_threshold": 0.1},
    {"mirostat": 2},
    {"logit_bias": {"5": 20}},
    {"temperature": 0},
    {"dry_multiplier": 0.8, "no_repeat_ngram_size": 2},
]


@pytest.mark.parametrize("engine", ["openrouter", "vllm", "llama_cpp", "mlx_lm", "koboldcpp"])
@pytest.mark.parametrize("more", BEYOND)
def test_stages_are_those_of_trace(engine: str, more: dict[str, Any]) -> None:
    request = {**REQUEST, **more}
    told = ask("trace", source={"prompt": 3}, request=request, engine=engine)
    row = ROWS.logits[3]
    trace = ll.trace(row, request, engine=engine, context=CONTEXT, vocabulary=ROWS.vocabulary)
    assert [stage["name"] for stage in told["stages"]] == list(trace.names)
    assert [stage["kept"] for stage in told["stages"]] == trace.kept.tolist()
    np.testing.assert_allclose([s["entropy"] for s in told["stages"]], trace.entropy, atol=1e-12)
    removed = [stage["removed"] for stage in told["stages"]]
    np.testing.assert_allclose(removed, trace.mass_removed, atol=1e-12)
    probs = ll.softmax(trace.logits)
    ids = [token["id"] for token in told["tokens"]]
    assert [token["label"] for token in told["tokens"]] == list(map(ROWS.vocabulary.label, ids))
    for stage, p, logits in zip(told["stages"], probs, trace.logits, strict=True):
        gone = [p is None for p in stage["probs"]]
        assert gone == (logits[ids] == -np.inf).tolist()
        shown = [p or 0 for p in stage["probs"]]
        np.testing.assert_allclose(shown, p[ids], atol=1e-12)


def test_what_is_shown_tells_the_best_tokens_and_the_likeliest_that_each_step_removed() -> None:
    told = ask("trace", **BODY)
    ids = [token["id"] for token in told["tokens"]]
    row, trace = ROWS.logits[3], ll.trace(ROWS.logits[3], REQUEST, context=CONTEXT)
    assert len(ids) == len(set(ids)) == 14
    assert row[ids].tolist() == sorted(row[ids].tolist(), reverse=True)
    assert {*np.argsort(-row)[:7].tolist()} <= {*ids}
    for before, after in zip(trace.logits, trace.logits[1:], strict=False):
        gone = np.where(after == -np.inf, before, -np.inf)
        if gone.max() > -np.inf:
            assert int(gone.argmax()) in ids
    # A token that only the request makes likely is there, too.
    told = ask("trace", source={"prompt": 3}, request={"logit_bias": {"40000": 100}})
    assert 40000 in [token["id"] for token in told["tokens"]]


def test_the_drawn_token_is_that_of_sample() -> None:
    for coupling in ("inverse", "gumbel"):
        told = ask("trace", **BODY, coupling=coupling)
        draws = ll.sample(ROWS.logits[3], REQUEST, seed=7, context=CONTEXT, coupling=coupling)
        assert told["drawn"]["id"] == int(draws.tokens)
    assert ask("trace", source={"prompt": 3})["drawn"] is None


def test_steps_in_another_order() -> None:
    order = ["min_p", "temperature", "top_k", "top_p"]
    told = ask("trace", **BODY, order=order)
    chain = ll.Chain(
        ll.RepetitionPenalty(1.1), ll.MinP(0.05), ll.Temperature(0.8), ll.TopK(50), ll.TopP(0.9)
    )
    assert told["chain"] == repr(chain)
    trace = chain.trace(ROWS.logits[3], CONTEXT)
    assert [stage["kept"] for stage in told["stages"]] == trace.kept.tolist()
    own = ll.engines.openrouter(REQUEST)(ROWS.logits[3], CONTEXT)
    distance = ll.total_variation(own, trace.logits[-1])
    assert told["order"]["distance"] == pytest.approx(float(distance), abs=1e-12)
    assert told["order"]["engines"] == []
    words = f"None of the {len(ENGINES)} engines has this order by itself."
    assert told["order"]["sentence"].startswith(words)
    assert {*told["order"]["told"]} == {"llama_cpp", "textgen"}
    for name, option in told["order"]["told"].items():
        keys = [step.key for step in ENGINES[name]({**REQUEST, **option})]  # type: ignore[attr-defined]
        assert [key for key in keys if key in order] == order


def test_who_has_an_order_is_found_among_all_engines() -> None:
    order = ["repetition_penalty", "top_k", "top_p", "min_p", "temperature"]
    told = ask("trace", **BODY, order=order)["order"]
    assert {"llama_cpp", "llama_cpp_python"} <= {*told["engines"]}
    assert not {"openrouter", "vllm"} & {*told["engines"]}
    keys = ["temperature", "top_k", "top_p"]  # not all that the request has: the others stay
    own = ask("trace", **BODY, order=keys)["order"]
    assert own["sentence"].startswith("This is the order of openrouter itself, and of ")
    assert own["distance"] == 0
    assert "openrouter" in own["engines"]
    for name in told["engines"]:
        chain = ENGINES[name]({**REQUEST, "seed": 7}, vocabulary_size=49152)
        assert [step.key for step in chain if step.key in order] == order  # type: ignore[attr-defined]


@pytest.mark.parametrize("engine", MAIN)
def test_every_engine_lets_its_steps_be_moved(engine: str) -> None:
    request = {"temperature": 0.8, "top_k": 50, "top_p": 0.9}
    told = ask("trace", source={"prompt": 3}, request=request, engine=engine)
    keys = [stage["key"] for stage in told["stages"][1:]][::-1]
    moved = ask("trace", source={"prompt": 3}, request=request, engine=engine, order=keys)
    assert [stage["key"] for stage in moved["stages"][1:]] == keys


def test_engines_side_by_side_are_those_of_compare_engines() -> None:
    told = ask("engines", **BODY, engine="vllm")
    names = ["vllm", *(name for name in MAIN if name != "vllm")]
    compared = ll.compare_engines(ROWS.logits[3], BODY["request"], context=CONTEXT, engines=names)  # type: ignore[arg-type]
    assert [side["name"] for side in told["sides"]] == list(compared.engines)
    assert told["refused"] == dict(compared.refused)
    assert [side["kept"] for side in told["sides"]] == compared.kept.tolist()
    distances = [side["distance"] for side in told["sides"]]
    np.testing.assert_allclose(distances, compared.total_variation[0], atol=1e-12)
    parted = ask("partings", **BODY, engine="vllm", other="llama_cpp")["partings"]
    assert [each["sentence"] for each in parted] == list(
        map(str, compared.partings("vllm", "llama_cpp"))
    )
    assert len(parted) >= 1
    refused = ask("engines", source={"prompt": 3}, request={"top_p": 0}, engine="vllm")
    assert refused["refused"]["vllm"].startswith("top_p must be in (0, 1], got 0.")
    assert all(side["distance"] is None for side in refused["sides"])


@pytest.mark.parametrize("more", [{}, {"mirostat": 2}, {"frequency_penalty": 1.0, "top_k": 20}])
def test_a_text_written_in_pieces_is_that_of_generate(more: dict[str, Any]) -> None:
    request = {"temperature": 0.9, "min_p": 0.02, "seed": 7, **more}
    whole = ll.generate(MODEL, "Once upon a time", request, max_tokens=12, sequence=2)
    output: list[int] = []
    for count in (1, 4, 0, 7):
        told = ask(
            "write",
            prompt="Once upon a time",
            request=request,
            output=output,
            count=count,
            sequence=2,
        )
        output = [token["id"] for token in told["tokens"]]
    assert output == whole.tokens.tolist()
    assert told["text"] == whole.text
    assert (told["seed"], told["sequence"], told["finish"]) == (7, 2, None)
    judged = ll.score(MODEL, whole.tokens, request, prompt="Once upon a time", sequence=2)
    for token, p, raw in zip(
        told["tokens"], judged.processed.logprobs, judged.raw.logprobs, strict=True
    ):
        assert token["p"] == pytest.approx(math.exp(p))
        assert token["raw"] == pytest.approx(math.exp(raw))
        tops = [other["p"] or 0 for other in token["alternatives"]]
        assert tops == sorted(tops, reverse=True)
        assert len(tops) == 8


def test_what_is_rewound_comes_again_and_what_is_forced_changes_the_rest() -> None:
    how: dict[str, Any] = {"prompt": "The king", "request": {"temperature": 0.9, "seed": 3}}
    text = [token["id"] for token in ask("write", **how, count=8)["tokens"]]
    again = ask("write", **how, output=text[:3], count=5)
    assert [token["id"] for token in again["tokens"]] == text
    first = ask("write", **how, output=text[:1])["tokens"][0]
    other = next(each["id"] for each in first["alternatives"] if each["id"] != text[0])
    forced = ask("write", **how, output=[other], count=5)
    assert forced["tokens"][0]["id"] == other
    assert [token["id"] for token in forced["tokens"]][1:] != text[1:6]
    branch = ask("write", **how, output=text[:3], count=5, sequence=1)
    assert [token["id"] for token in branch["tokens"]][:3] == text[:3]
    assert [token["id"] for token in branch["tokens"]] != text


def test_a_text_ends_as_a_generation_does() -> None:
    how: dict[str, Any] = {
        "prompt": "Once upon a time",
        "request": {"seed": 7, "stop": ["a"], "max_tokens": 50},
    }
    told = ask("write", **how, count=50)
    whole = ll.generate(MODEL, "Once upon a time", how["request"])
    assert told["finish"] == whole.finish.sentence
    assert [token["id"] for token in told["tokens"]] == whole.tokens.tolist()
    beyond = {**how, "output": [*whole.tokens.tolist(), 5]}
    assert refusal("write", beyond).startswith("output must be no longer than the text, which")


def test_a_pasted_answer_is_scored() -> None:
    request = {"top_k": 3, "temperature": 0.7}
    told = ask("score", prompt="Once upon a time there", answer=" was a king", request=request)
    result = ll.score(MODEL, " was a king", request, prompt="Once upon a time there")
    assert told["verdict"] == result.processed.verdict
    assert [token["died"] for token in told["tokens"]] == [
        None,
        None,
        result.processed.removals[0].sentence,
    ]
    assert told["raw"]["perplexity"] == pytest.approx(result.raw.perplexity)
    assert told["processed"]["perplexity"] is None  # infinite, which JSON has no word for
    assert [token["rank"] for token in told["tokens"]] == result.raw.ranks.tolist()
    alternatives = told["tokens"][2]["alternatives"]
    assert [each["p"] is None for each in alternatives] == [False] * 3 + [True] * 5


SPELLED: list[dict[str, Any]] = [
    {},
    {"engine": "vllm"},
    {"order": ["top_p", "temperature"]},
    {"source": {"text": 'The king\'s "crown"'}},
    {"source": {"lines": "␣a: 1\nb:c: 2.5\n日: -1"}},
    {"engine": "llama_cpp", "order": ["temperature", "top_k"], "source": {"text": "x"}},
]


@pytest.mark.parametrize("more", SPELLED)
def test_the_python_call_does_the_same(more: dict[str, Any]) -> None:
    body = {**BODY, **more}
    told, code = ask("trace", **body), ask("spell", **body)["python"]
    names: dict[str, Any] = {"print": lambda *_, **__: None}
    exec(compile(code, "<spelled>", "exec"), names)
    trace = names["trace"]
    assert [stage["kept"] for stage in told["stages"]] == trace.kept.tolist()
    assert [stage["entropy"] for stage in told["stages"]] == pytest.approx(trace.entropy.tolist())


def test_the_curl_command_is_one_word_of_json_for_a_shell() -> None:
    text = 'it\'s $HOME `x` \\ "q"\n日'
    body = {"source": {"text": text}, "request": REQUEST, "engine": "vllm"}
    command = ask("spell", **body)["curl"]
    script = 'curl() { for last; do :; done; printf %s "$last"; }\n' + command
    seen = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    sent = json.loads(seen)
    assert sent["messages"] == [{"role": "user", "content": text}]
    assert sent["provider"] == {"order": ["vllm"]}
    assert {key: sent[key] for key in REQUEST} == REQUEST


def npy(array: Any, version: tuple[int, int] | None = None) -> str:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array), version)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_dropped_file_is_read(dtype: str, order: Any) -> None:
    rows = np.asarray(np.random.default_rng(1).normal(size=(3, 50)), dtype, order=order)
    kept = ask("keep", npy=npy(rows))
    assert (kept["rows"], kept["vocabulary_size"]) == (3, 50)
    told = ask("trace", source={"file": kept["file"], "row": 2}, request={"top_k": 4})
    trace = ll.trace(np.asarray(rows[2], rows.dtype.newbyteorder("=")), {"top_k": 4})
    assert [stage["kept"] for stage in told["stages"]] == [50, 4]
    assert told["stages"][1]["entropy"] == pytest.approx(float(trace.entropy[1]))
    assert told["tokens"][0]["label"] == f"#{int(rows[2].argmax())}"


def test_a_file_of_a_batch_has_the_rows_that_it_has_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = np.random.default_rng(1).normal(size=(2, 3, 4))
    kept = ask("keep", npy=npy(batch))
    assert (kept["rows"], kept["vocabulary_size"]) == (6, 4)
    told = ask("trace", source={"file": kept["file"], "row": 4}, request={})
    np.save(tmp_path / "batch.npy", batch)
    assert main(["trace", "--logits", str(tmp_path / "batch.npy"), "--row", "4", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    entropy = float(ll.entropy(batch[1, 1]))
    assert told["stages"][0]["entropy"] == pytest.approx(entropy)
    assert report["stages"][0]["entropy"] == pytest.approx(entropy)


def test_pasted_lines_are_read() -> None:
    told = ask(
        "trace", source={"lines": "␣king: 2\n\na:b: 1.5\n日本: -inf\n"}, request={"top_k": 1}
    )
    assert [token["label"] for token in told["tokens"]] == ["␣king", "a:b", "日本"]
    assert told["stages"][0]["probs"][2] is None
    assert [stage["kept"] for stage in told["stages"]] == [2, 1]


def header(shape: str, dtype: str = "'<f8'") -> str:
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return base64.b64encode(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text).decode()


MISTAKES: list[tuple[str, Any, str]] = [
    ("trace", {**BODY, "request": {"top_p": 1.3}}, "top_p must be in [0, 1], got 1.3."),
    ("trace", {**BODY, "request": {"top_pp": 1}}, "Did you mean top_p?"),
    ("trace", {**BODY, "request": []}, "request must be a map of parameters, got []."),
    ("trace", {**BODY, "engine": "vlm"}, "Did you mean vllm?"),
    ("trace", {**BODY, "engine": None}, "engine must be one of"),
    ("trace", {**BODY, "top": 0}, "top must be an integer in [1, 40], got 0."),
    ("trace", {**BODY, "order": "top_p"}, "order must be a list of keys of steps, got 'top_p'."),
    ("trace", {**BODY, "order": ["a", "a"]}, "order must be a list of different keys"),
    ("trace", {**BODY, "coupling": 3}, "coupling must be one of 'inverse', 'gumbel', got 3."),
    ("trace", {}, "source must be a map with one of prompt, text, lines, file, got null."),
    ("trace", {"source": {"prompt": 99}}, "prompt must be an integer in [0, 19], got 99."),
    ("trace", {"source": {"prompt": [1]}}, "prompt must be an integer in [0, 19], got [1]."),
    ("trace", {"source": {"text": ""}}, "text must be a text"),
    ("trace", {"source": {"text": 5}}, "text must be a text, got 5."),
    ("trace", {"source": {"lines": ""}}, "lines must be 1 to 262144 lines of token: logit"),
    ("trace", {"source": {"lines": 5}}, "lines must be lines of token: logit, got 5."),
    ("trace", {"source": {"lines": "a: 1\nb"}}, "line 2 must be token: logit, got 'b'."),
    ("trace", {"source": {"lines": "a: 1_0"}}, "line 1 must be token: logit, got 'a: 1_0'."),
    ("trace", {"source": {"lines": "a: nan"}}, "lines must be"),
    ("trace", {"source": {"file": "no"}}, "Drop it once more."),
    ("trace", {"source": {"file": {}}}, "Drop it once more."),
    ("keep", {"npy": "%%"}, "file must be the bytes of a .npy, as base64, got '%%'."),
    ("keep", {}, "file must be the bytes of a .npy, as base64, got null."),
    ("keep", {"npy": "AAAA"}, "file must be a .npy of numpy, got other bytes."),
    ("keep", {"npy": header("(10000000000000,)")}, "and 0 bytes."),
    ("keep", {"npy": header("()")}, "file must be a whole .npy with rows of logits"),
    ("keep", {"npy": header("(2,)", "'|O'")}, "file must be of floats, got dtype object."),
    ("keep", {"npy": npy([1, 2])}, "file must be of floats, got dtype int64."),
    ("keep", {"npy": npy([[1.0, np.nan]])}, "file must be"),
    ("write", {"prompt": 5}, "prompt must be a text, got 5."),
    ("write", {"source": {"lines": "a: 1"}}, "source must be a text or a bundled prompt"),
    ("write", {"prompt": "a", "count": 401}, "count must be an integer in [0, 400], got 401."),
    ("write", {"prompt": "a", "output": "b"}, "output must be a list of token ids"),
    ("write", {"prompt": "a", "output": [5000]}, "output must be an integer in [0, 4095]"),
    ("write", {"prompt": "a", "sequence": -1}, "sequence must be an integer in"),
    ("write", {"prompt": "a", "request": {"top_p": 2}}, "top_p must be in [0, 1], got 2"),
    ("score", {"prompt": "a", "answer": 5}, "answer must be a text, got 5."),
    ("score", {"prompt": "a", "answer": ""}, "answer must be"),
    ("partings", {**BODY, "other": "x"}, "engine must be one of"),
    ("engine", {"engine": []}, "engine must be one of"),
    ("nothing", {}, "function must be one of 'about', 'engine'"),
    ("trace", [], "body must be a map, got []."),
]


@pytest.mark.parametrize(("name", "body", "words"), MISTAKES)
def test_mistakes_are_told_in_the_library_s_words(name: str, body: Any, words: str) -> None:
    assert words in refusal(name, body)


def test_what_stands_on_the_page_is_what_the_table_says() -> None:
    told = ask("about")
    assert [each["key"] for each in told["parameters"]] == list(PARAMETERS)
    for each in told["parameters"]:
        known = PARAMETERS[each["key"]]
        assert (each["sentence"], each["rule"]) == (known.sentence, known.rule)
        assert ("low" in each) == (known.range is not None)
        if known.range is not None:
            assert known.range.low <= each["low"] < each["high"] <= known.range.high
            assert each["default"] is None or each["low"] <= each["default"] <= each["high"]
            assert 0 < each["step"] <= (each["high"] - each["low"]) / 10
    assert [each["name"] for each in told["engines"]] == list(ENGINES)
    assert [each["text"] for each in told["prompts"]] == list(ROWS.prompts)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_an_engine_lacks_is_what_it_ignores_or_refuses(engine: str) -> None:
    told = ask("engine", engine=engine)
    assert all(isinstance(words, str) and words for words in told["lacks"].values())
    read = ENGINES[engine].reads
    for key in ("temperature", "top_p", "top_k", "min_p", "top_a"):
        if key in told["lacks"]:
            assert key in told["lacks"][key]
        else:
            assert key in read


def test_functions_are_those_that_are_told() -> None:
    assert all(callable(getattr(LAB, f"_{name}")) for name in FUNCTIONS)
    with pytest.raises(ll.ParameterError, match="model must be a Model, got 5"):
        Lab(5)  # type: ignore[arg-type]


def test_they_need_neither_a_server_nor_matplotlib() -> None:
    code = "import sys, logitlab.server.lab; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"starlette", "uvicorn", "matplotlib", "socket", "http"} & {*loaded}
