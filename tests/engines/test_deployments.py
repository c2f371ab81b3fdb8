"""What belongs to a deployment: options of an engine with other values, told where it matters."""

from __future__ import annotations

import pickle
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import Context, ParameterError, engines, translate
from logitlab.engines.differences import difference_tables
from logitlab.engines.rules import RefusalError

from toys import Bigrams

MODEL = Bigrams()
FILE = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "do_sample": True, "bos_token_id": 1}
READERS = [name for name, engine in engines.ENGINES.items() if engine.generation_config is not None]


def test_which_engines_read_the_file_of_a_model() -> None:
    kinds = {engines.get(name).variant_of or name for name in READERS}
    assert kinds == {"vllm", "sglang", "transformers", "aphrodite"}


@pytest.mark.parametrize("name", READERS)
def test_a_file_replaces_defaults_and_is_told_everywhere(name: str) -> None:
    plain = engines.get(name)
    engine = plain.with_options(generation_config=FILE)
    values = engine.translate({}).values
    assert (values["temperature"], values["top_k"], values["top_p"]) == (0.6, 20, 0.95)
    told = str(engine.translate({}))
    assert f"top_k is absent: {engine.name} uses 20, of generation_config." in told
    assert "reads no" in told
    assert "bos_token_id" in told.partition("reads no")[2].splitlines()[0]
    # What a request says comes first, and nothing is told of what it takes the place of.
    asked = engine.translate({"temperature": 0.5})
    assert asked.values["temperature"] == 0.5
    assert "temperature is absent" not in str(asked)
    # The engine without the file stays as it was.
    assert plain.translate({}).values["temperature"] == 1
    table = difference_tables([engine])
    assert all(words in table for words in ("temperature 0.6", "top_k 20", "top_p 0.95"))
    assert "generation_config" in str(plain)
    assert plain.variant_of or "generation_config" in (plain.__doc__ or "")


def test_a_deployment_is_an_engine_wherever_one_is_asked_for() -> None:
    llama3 = engines.vllm.with_options(generation_config=FILE)
    row = np.log([0.4, 0.3, 0.2, 0.1])
    compared = ll.compare_engines(row, {}, engines=["vllm", llama3])
    assert compared.engines == ("vllm", "vllm+generation_config")
    assert next(str(part) for part in compared.partings(*compared.engines)) == (
        "they differ at temperature: only vllm+generation_config applies it, 0.6 by default"
    )
    named = engines.vllm.with_options(name="llama 3", generation_config=FILE)
    assert ll.compare_engines(row, {}, engines=["vllm", named]).engines == ("vllm", "llama 3")
    assert ll.distribution(row, engine=llama3)[0] > ll.distribution(row, engine="vllm")[0]
    text = ll.generate(MODEL, [1], {"max_tokens": 2}, engine=llama3, seed=1)
    assert any(note.key == "top_k" and note.used == 20 for note in text.notes)
    body = ll.chat(MODEL, {"prompt": "a", "max_tokens": 2}, engine=llama3)
    assert any("of generation_config" in note for note in body["logitlab"]["notes"])
    for copied in (pickle.loads(pickle.dumps(each)) for each in (llama3, named)):
        assert copied.translate({}) == (llama3 if "+" in copied.name else named).translate({})
    assert engines.ENGINES["vllm"] is engines.vllm
    assert llama3.name not in engines.ENGINES


def test_a_files_limit_is_that_of_requests_without_one() -> None:
    short = engines.vllm.with_options(generation_config={"max_new_tokens": 3})
    assert len(ll.generate(MODEL, [1], {"top_k": 5}, engine=short, seed=1).tokens) <= 3
    text = ll.generate(MODEL, [1], {"min_tokens": 2}, engine=short, seed=1)
    assert any(note.key == "max_tokens" and note.used == 3 for note in text.notes)
    with pytest.raises(RefusalError, match=r"less than or equal to max_tokens=3, got 9"):
        ll.generate(MODEL, [1], {"min_tokens": 9}, engine=short, seed=1)


def test_what_is_wrong_with_a_file_names_its_place() -> None:
    for file, message in (
        ({"top_k": 1.5}, r"^generation_config\['top_k'\] must be an integer, got 1.5"),
        ({"temperature": "hot"}, r"^generation_config\['temperature'\] must be a finite number"),
        (5, r"^generation_config must be a map, as in generation_config.json, got 5"),
        ("{", r"^generation_config must be a map, as in generation_config.json"),
    ):
        with pytest.raises(ParameterError, match=message):
            engines.vllm.with_options(generation_config=file)
    # The server starts with what it then refuses.
    odd = engines.sglang.with_options(generation_config={"top_k": 0})
    with pytest.raises(RefusalError, match=r"^generation_config\['top_k'\] must be -1 \(disable\)"):
        odd({})
    assert odd({"top_k": 5})
    with pytest.raises(RefusalError, match="n must be 1 when using greedy sampling, got 2"):
        engines.vllm.with_options(generation_config={"temperature": 0}).translate({"n": 2})


def test_transformers_serve_samples_only_if_the_file_says_so() -> None:
    greedy = engines.transformers_serve.with_options(generation_config={"temperature": 0.6})
    assert repr(greedy({})).startswith("Chain(Temperature(0.0)")
    assert "without do_sample every request is greedy" in str(greedy.translate({}))
    sampling = engines.transformers_serve.with_options(generation_config={"do_sample": True})
    assert repr(sampling({})) == repr(engines.transformers_serve({}))
    # A request may bring a file of its own, as a text.
    body = {"generation_config": '{"do_sample": true, "top_k": 3}'}
    assert greedy.translate(body).values["top_k"] == 3
    # A frequency penalty takes the place of the file's repetition penalty.
    file = {"do_sample": True, "repetition_penalty": 1.3}
    engine = engines.transformers_serve.with_options(generation_config=file)
    assert engine.translate({}).values["repetition_penalty"] == 1.3
    assert engine.translate({"frequency_penalty": 0.5}).values["repetition_penalty"] == 1.5


def test_any_option_of_an_engine_has_a_value_per_deployment() -> None:
    short = engines.llama_cpp.with_options(repeat_last_n=2, samplers="ek")
    body = {"presence_penalty": 1, "top_k": 3, "temperature": 2}
    assert repr(short(body)) == (
        "SortedChain(AdditivePenalty(0.0, presence=1.0, last_n=2), TopK(3))"
    )
    assert "last_n=7" in repr(short({**body, "repeat_last_n": 7}))
    assert short.name == "llama_cpp+repeat_last_n+samplers"
    with pytest.raises(ParameterError, match=r"^options must be an option of vllm: generation_con"):
        engines.vllm.with_options(repeat_last_n=2)
    with pytest.raises(ParameterError, match=r"^name must be a text or None, got ''\."):
        engines.vllm.with_options(name="")
    with pytest.raises(ParameterError, match="repeat_last_n must be an integer in"):
        engines.llama_cpp.with_options(repeat_last_n=-1)


@pytest.mark.parametrize("key", ["repetition_penalty", "presence_penalty", "frequency_penalty"])
def test_mlx_lm_server_counts_no_prompt_from_its_cache_beside_a_seed(key: str) -> None:
    warm = engines.mlx_lm_server.with_options(cached_prompt=3)
    row = np.array([2.0, 1.0, 0.5, 0.25, -1.0], np.float32)
    context = Context(prompt=[0, 1, 0, 2], output=[1])
    asked = {key: 1.5, "temperature": 1, "seed": 1}
    # The last token of the prompt and the output are all that there is.
    tail = Context(prompt=[2], output=[1])
    plain = engines.mlx_lm_server(asked)
    np.testing.assert_array_equal(warm(asked)(row, context), plain(row, tail))
    assert not np.array_equal(warm(asked)(row, context), plain(row, context))
    # Without a seed the whole prompt counts, whatever is cached.
    unseeded = {key: 1.5, "temperature": 1}
    np.testing.assert_array_equal(warm(unseeded)(row, context), plain(row, context))
    assert "see cached_prompt" in str(warm.translate(asked))
    told = str(engines.mlx_lm_server.translate({**unseeded, "cached_prompt": 3}))
    assert "cached_prompt is ignored by mlx_lm_server: without a seed the whole prompt" in told
    text = ll.generate(MODEL, [1, 2, 3], {**asked, "max_tokens": 4}, engine=warm)
    assert any("see cached_prompt" in note.sentence for note in text.notes)


def test_what_belongs_to_a_deployment_acts_in_a_body_and_is_told_as_such() -> None:
    deployed: list[tuple[str, str, Any]] = [
        ("vllm", "generation_config", {"top_k": 2}),
        ("sglang", "device", "cuda"),
        ("vllm", "max_logprobs", 5),
        ("mlx_lm_server", "cached_prompt", 1),
    ]
    for name, key, value in deployed:
        body = {"prompt": "a", "max_tokens": 1, "seed": 1, "presence_penalty": 1, key: value}
        body |= {"temperature": 1}
        told = f"{key} belongs to a deployment of {name}, and to no request; it acts here."
        said = ll.chat(MODEL, body, engine=name)["logitlab"]
        assert told in said["notes"]
        assert key not in said["ignored"]
        # Whoever deploys it so is told nothing.
        engine = engines.get(name).with_options(**{key: value})
        assert told.partition(" of ")[0] not in str(engine.translate({}))
    body = {"generation_config": '{"do_sample": true}'}
    assert "belongs to" not in str(translate(body, "transformers_serve"))


SEEDS: list[tuple[str, int]] = [
    ("vllm", 2**63), ("vllm_triton", 2**63), ("vllm_triton", -(2**63) - 1), ("vllm", 2**64),
    ("aphrodite", 2**63), ("sglang", 2**63), ("mlx_lm_server", -1), ("mlx_lm_server", 2**64),
    ("transformers_serve", 2**64),
]  # fmt: skip


@pytest.mark.parametrize(("name", "seed"), SEEDS)
def test_a_seed_that_an_engine_cannot_hold_is_refused_and_draws_nothing(
    name: str, seed: int
) -> None:
    engine = engines.get(name)
    with pytest.raises(RefusalError, match="seed must be in"):
        engine.translate({"seed": seed})
    if engine.luck is not None:
        for request, keyword in (({"seed": seed}, None), ({}, seed)):
            with pytest.raises(RefusalError, match="seed must be in"):
                engine.draw([0.0, 1.0], request, seed=keyword)


def test_llama_cpp_takes_seeds_modulo_two_to_the_32() -> None:
    row = np.zeros(5000)

    def drawn(seed: int) -> Any:
        return engines.llama_cpp.draw(row, {"top_k": 0, "min_p": 0}, seed=seed)

    assert drawn(2**32 + 5) == drawn(5) == drawn(-4294967291) != drawn(6)
    for seed in (2**33 - 1, 2**64 - 1, -1):
        with pytest.raises(ParameterError, match="seed must be an integer that is a seed"):
            drawn(seed)
    assert "means a fresh one" in str(translate({"seed": 2**33 - 1}, "llama_cpp"))
