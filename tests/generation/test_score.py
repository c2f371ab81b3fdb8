"""A text is scored as generate would have met it, and what could not come is told with its step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from logitlab import Chain, ParameterError, Score, generate, score
from logitlab.constraints import Choice, Regex
from logitlab.models import Gguf, Model, NGram, Recorded, Recorder

from models.gguf.test_model import SMOLLM2, smollm2, with_smollm2
from models.tiny_llama import Tiny
from toys import END, FULL, NOTE, PIECES, Bigrams, Hazard

MODEL = Bigrams()
GRIMM = NGram.bundled()
NO_END = {"logit_bias": {END: -100}}

REQUESTS: dict[str, dict[str, Any]] = {
    "page": {k: v for k, v in FULL.items() if k not in ("logprobs", "top_logprobs")},
    "nothing": {},
    "coin": {"temperature": 0.7, "xtc_probability": 0.5, "xtc_threshold": 0.05},
    "mirostat": {"mirostat": 2, "mirostat_tau": 2.0},
    "mirostat 1": {"mirostat": 1, "mirostat_tau": 2.0},
    "adaptive and a coin": {"adaptive_target": 0.3, "xtc_probability": 0.5, "xtc_threshold": 0.02},
    "guidance": {"guidance_scale": 2.0, "temperature": 0.8},
    "dry": {"dry_multiplier": 0.8, "dry_allowed_length": 1, "dry_sequence_breakers": []},
    "ending": {"min_tokens": 8, "verbosity": "low", "top_k": 9},
    "watermark": {"watermarking_config": {"bias": 3}},
    "typical": {"top_k": 5, "typical_p": 0.8},
}
ENGINES = ("openrouter", "llama_cpp", "vllm", "transformers", "koboldcpp")


def assert_same(model: Model, request: dict[str, Any], engine: str, length: int = 25) -> None:
    """Hold the score of a generation's own tokens to what the generation reports, bit for bit."""
    how: dict[str, Any] = {"engine": engine, "seed": 5, "max_tokens": length}
    for mode in ("raw", "processed"):
        asked = {**request, "logprobs": True, "top_logprobs": 3}
        try:
            text = generate(model, [1, 2], asked, logprobs_mode=mode, **how)
        except ParameterError:
            assert engine != "openrouter"
            return
        result = score(
            model, text.tokens, request, prompt=[1, 2], engine=engine, seed=5, top_logprobs=3
        )
        own = result.raw if mode == "raw" else result.processed
        assert text.logprobs is not None
        for name in ("logprobs", "top_tokens", "top_logprobs"):
            here, there = getattr(own, name), getattr(text.logprobs, name)
            assert here.dtype == there.dtype
            np.testing.assert_array_equal(here, there)
        assert result.processed.possible.all()
        assert not result.processed.removals
        if text.states is not None:
            assert result.processed.states is not None
            for name, states in text.states.items():
                np.testing.assert_array_equal(result.processed.states[name], states[:-1])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", REQUESTS)
def test_it_is_what_generate_reports_bit_for_bit(name: str, engine: str) -> None:
    assert_same(MODEL, REQUESTS[name], engine)


@pytest.mark.parametrize("engine", ["openrouter", "vllm"])
@pytest.mark.parametrize("name", REQUESTS)
def test_so_it_is_with_a_model_of_many_tokens(name: str, engine: str) -> None:
    assert_same(GRIMM, REQUESTS[name], engine, 10)


def test_a_recording_scores_like_the_model_that_was_recorded(tmp_path: Path) -> None:
    request = {**REQUESTS["page"], **NO_END}
    path = tmp_path / "run.npy"
    with Recorder(MODEL, path) as recorder:
        text = generate(recorder, [1, 2], request, seed=3, max_tokens=12, logprobs=True)
        before = score(recorder, text.tokens, request, prompt=[1, 2])
    played = Recorded.open(path)
    after = score(played, text.tokens, request, prompt=[1, 2])
    assert text.logprobs is not None
    for result in (before, after):
        assert result.raw.logprobs.tobytes() == text.logprobs.logprobs.tobytes()
    assert before.processed.logprobs.tobytes() == after.processed.logprobs.tobytes()
    rows = Recorded(MODEL.table[0], MODEL.vocabulary)
    told = score(rows, [3, 5, 1], prompt=[0])
    expected = ll.log_softmax(MODEL.table[0, :3])[np.arange(3), [3, 5, 1]]
    np.testing.assert_allclose(told.raw.logprobs, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["page", "coin", "mirostat", "guidance"])
def test_a_network_of_a_gguf_file_too(tmp_path: Path, name: str) -> None:
    tiny = Tiny(layers=1)
    model = Gguf(tiny.write(tmp_path / "tiny.gguf", tiny.weights()))
    assert_same(model, REQUESTS[name], "openrouter", 12)
    ids = [5, 30, 40, 90, 12]
    alone = score(model, ids, prompt=[1, 2])
    [other, together] = score(model, [[7, 8, 9], ids], prompt=[1, 2])
    assert other.raw.logprobs.shape == (3,)
    assert alone.raw.logprobs.tobytes() == together.raw.logprobs.tobytes()


@with_smollm2
def test_a_real_network_too() -> None:
    model = smollm2()
    assert SMOLLM2
    how: dict[str, Any] = {"temperature": 0.8, "top_p": 0.9, "frequency_penalty": 0.3}
    text = generate(model, "The capital of France is", how, seed=3, max_tokens=8, logprobs=True)
    result = score(model, text.tokens, how, prompt="The capital of France is")
    assert text.logprobs is not None
    assert result.raw.logprobs.tobytes() == text.logprobs.logprobs.tobytes()
    told = score(model, " Paris", prompt="The capital of France is")
    assert told.raw.ranks.tolist() == [1]
    # Without a prompt there is nothing before the first token.
    whole = score(model, "The capital of France is Paris.")
    assert len(whole.prompt) == 1
    assert "is the prompt and not scored" in whole.notes[0].sentence


rows = st.lists(st.integers(1, len(PIECES) - 2), min_size=1, max_size=9)


@given(rows, st.sampled_from(["page", "coin", "watermark", "typical", "dry"]), st.integers(0, 3))
@settings(max_examples=40)
def test_any_text_meets_the_dense_chain_at_every_place(
    tokens: list[int], name: str, seed: int
) -> None:
    """Distribution, entropy, rank and step by definition, from rows that are asked for alone."""
    model = Bigrams(seed)
    request = {**REQUESTS[name], "top_k": 4}
    result = score(model, tokens, request, prompt=[2], top_logprobs=2)
    chain = result.processed.chain
    removals = {removal.position: removal for removal in result.processed.removals}
    for place, token in enumerate(tokens):
        row = model.advance([model.start()], [[2, *tokens[:place]]])
        context = ll.Context([2], tokens[:place])
        probs = chain.distribution(row[0], context)
        raw, ruled = (each.logprobs[place] for each in (result.raw, result.processed))
        assert math.exp(raw) == pytest.approx(ll.softmax(row[0])[token], rel=1e-9)
        assert math.exp(ruled) == pytest.approx(probs[token], rel=1e-5, abs=1e-12)
        with np.errstate(divide="ignore"):
            own = np.log(probs)
        assert result.raw.entropy[place] == pytest.approx(float(ll.entropy(row[0])))
        assert result.processed.entropy[place] == pytest.approx(float(ll.entropy(own)), rel=1e-5)
        order = np.argsort(-row[0], kind="stable").tolist()
        assert result.raw.ranks[place] == order.index(token) + 1
        final = chain(row[0], context)
        alive = [t for t in np.argsort(-final, kind="stable").tolist() if final[t] > -np.inf]
        assert result.processed.ranks[place] == (alive.index(token) + 1 if token in alive else 0)
        assert (place in removals) == (token not in alive) == (not result.processed.possible[place])
        if place in removals:
            lived = [chain[:n](row[0], context)[token] > -np.inf for n in range(len(chain) + 1)]
            removal = removals[place]
            assert removal.cause == "step"
            assert removal.token == token
            assert removal.step == max(n for n, there in enumerate(lived) if there) + 1
            assert removal.name == repr(chain[removal.step - 1])
            assert f"step {removal.step}, {removal.name}, removed it." in removal.sentence


def test_a_coin_is_averaged_and_what_one_side_leaves_is_possible() -> None:
    model = Hazard(0.1, size=4)
    model.logits = np.log([0.1, 0.5, 0.3, 0.1])
    certain = {"xtc_probability": 1.0, "xtc_threshold": 0.2}
    half = {"xtc_probability": 0.5, "xtc_threshold": 0.2}
    banned = score(model, [1, 2], certain, prompt=[1]).processed
    assert banned.possible.tolist() == [False, True]
    assert banned.removals[0].name.startswith("Xtc(1.0, threshold=0.2")
    both = score(model, [1, 2], half, prompt=[1]).processed
    assert both.possible.all()
    np.testing.assert_allclose(np.exp(both.logprobs), [0.25, 0.15 + 0.5 * 0.3 / 0.5])


def test_states_are_carried_along_and_wait_where_a_token_could_not_come() -> None:
    request = {"mirostat": 2, "mirostat_tau": 1.0, "mirostat_eta": 0.5, **NO_END}
    text = generate(MODEL, [1], request, seed=1, max_tokens=10)
    tokens = text.tokens.copy()
    row = MODEL.advance([MODEL.start()], [[1, *tokens[:4].tolist()]])[0]
    tokens[4] = row.argmin()
    result = score(MODEL, tokens, request, prompt=[1]).processed
    assert text.states is not None
    assert result.states is not None
    mu, true = result.states["mirostat"], text.states["mirostat"]
    np.testing.assert_array_equal(mu[:5], true[:5])
    assert mu[5] == mu[4]
    assert result.removals[0].name == f"MaxSurprise({mu[4].item()!r})"
    begun = score(MODEL, tokens[:2], request, prompt=[1], state={"mirostat": 9.0}).processed
    assert begun.states is not None
    assert begun.states["mirostat"][0] == 9.0


def spelled(text: str) -> list[int]:
    return [PIECES.index(part.encode()) for part in text]


def causes(result: Score) -> list[tuple[int, str, str]]:
    return [(r.position, r.cause, r.name) for r in result.processed.removals]


def test_what_ends_a_generation_ends_the_text() -> None:
    def judged(tokens: list[int], **request: Any) -> list[tuple[int, str, str]]:
        result = score(MODEL, tokens, request, prompt=[1])
        ended = [removal.position for removal in result.processed.removals]
        assert result.processed.logprobs[ended].tolist() == [-np.inf] * len(ended)
        assert np.isnan(result.processed.entropy).tolist() == [
            i in ended for i in range(len(tokens))
        ]
        return causes(result)

    a, b = spelled("ab")
    assert judged([a, END, b, a]) == [(2, "ended", "end token"), (3, "ended", "end token")]
    assert judged([a, END, b], ignore_eos=True) == []
    assert judged([a, b, a], stop_token_ids=[b]) == [(2, "ended", "stop token")]
    assert judged([a, b, a, a], stop=["ba"]) == [(3, "ended", "stop string")]
    assert judged([a, b, a, a], stop=["ba"], min_tokens=3) == []
    detect = {"max_pattern_size": 1, "min_pattern_size": 1, "min_count": 3}
    assert judged([b, b, b, a], repetition_detection=detect) == [(3, "ended", "repetition")]
    assert judged([a, b, a], max_tokens=1) == []
    result = score(MODEL, [a, END, b], prompt=[1])
    assert result.processed.verdict == (
        "Token 3, b, could not be drawn: the text had ended. "
        "The model ended the text with <end>, its token 2."
    )
    assert result.text == "ab"
    assert result.raw.byte_count == 2


def test_a_text_may_end_too_early() -> None:
    result = score(MODEL, [1, END], {"min_tokens": 3}, prompt=[1], engine="vllm")
    [removal] = result.processed.removals
    assert removal.position == 1
    assert removal.name.startswith("MinTokens(3")
    banned = score(MODEL, [1], {"logit_bias": {1: -math.inf}}, prompt=[1], engine="llama_cpp")
    assert banned.processed.removals[0].name.startswith("LogitBias(")


def test_a_structure_removes_tokens() -> None:
    a, b = spelled("ab")
    constraint = Regex("a+b")
    fits = score(MODEL, [a, a, b, END], prompt=[1], constraint=constraint)
    assert causes(fits) == []
    early = score(MODEL, [a, END], prompt=[1], constraint=constraint)
    assert causes(early) == [(1, "constraint", "the constraint Regex(pattern='a+b')")]
    assert early.processed.verdict == (
        "Token 2, <end>, could not be drawn: it has no place under the constraint "
        "Regex(pattern='a+b')."
    )
    broken = score(MODEL, [b, a], prompt=[1], constraint=constraint)
    assert [cause for _, cause, _ in causes(broken)] == ["constraint", "ended"]
    assert "could not go on after token 0 under its constraint" in str(broken.processed.removals[1])
    # A step acts on what the constraint leaves, and goes by its own name.
    likely = max((a, b), key=lambda token: MODEL.advance([MODEL.start()], [[1]])[0][token])
    first = score(MODEL, [a + b - likely], {"top_k": 1}, prompt=[1], constraint=Choice(["a", "b"]))
    assert [(place, cause) for place, cause, _ in causes(first)] == [(0, "step")]
    kept = score(MODEL, [likely], {"top_k": 1}, prompt=[1], constraint=Choice(["a", "b"]))
    assert kept.processed.logprobs.tolist() == [0.0]
    assert kept.raw.ranks[0] > 1


def test_a_structure_of_the_request_is_called_by_its_key() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    good = score(GRIMM, '{"a":12}', response_format=form, prompt="The king", end=True)
    assert good.processed.possible.all()
    bad = score(GRIMM, '{"b":12}', response_format=form, prompt="The king")
    assert causes(bad)[0][1:] == ("constraint", "response_format")
    text = generate(
        GRIMM, "Once", response_format=form, seed=1, logprobs=True, logprobs_mode="processed"
    )
    again = score(GRIMM, text.tokens, response_format=form, prompt="Once")
    assert text.logprobs is not None
    assert again.processed.logprobs.tobytes() == text.logprobs.logprobs.tobytes()


def test_what_the_model_rules_out_and_what_the_constraint_leaves_nothing_of() -> None:
    model = Hazard(0.5)
    model.logits = np.array([0.0, -np.inf, 1.0, -np.inf])
    result = score(model, [1, 2], prompt=[1])
    assert causes(result) == [(0, "model", "hazard")]
    assert str(result.processed.removals[0]) == (
        "Token 1, 1, could not be drawn: hazard gives it the logit -inf."
    )
    assert result.raw.ranks.tolist() == [0, 1]
    assert result.raw.total == -np.inf
    assert result.raw.perplexity == np.inf
    nothing = score(model, [3, 2], prompt=[1], constraint=Choice(["3", "1"]))
    assert [cause for _, cause, _ in causes(nothing)] == ["constraint", "ended"]
    assert (
        "no token has a place under the constraint Choice(options=('3', '1')). logits must"
        in str(nothing.processed.removals[0])
    )


def test_totals_are_those_of_their_definitions() -> None:
    text = " there was a king. Étude"
    result = score(GRIMM, text, {"temperature": 0.9}, prompt="Once upon a time", end=True)
    assert result.tokens[-1] in GRIMM.end_ids
    assert result.text == text
    for part in (result.raw, result.processed):
        assert part.byte_count == len(text.encode())
        assert part.total == pytest.approx(math.fsum(part.logprobs))
        assert part.perplexity == pytest.approx(math.exp(-part.total / len(result.tokens)))
        bits = -sum(part.logprobs) / math.log(2) / len(text.encode())
        assert part.bits_per_byte == pytest.approx(bits)
    special = score(MODEL, [NOTE, END], prompt=[1])
    assert special.text == ""
    assert math.isnan(special.raw.bits_per_byte)


def test_alone_in_a_list_and_in_any_batch_the_bits_are_the_same() -> None:
    texts: list[Any] = [[1, 2, 3], "ab a", np.array([4, END]), [5] * 9, "b"]
    request = {**REQUESTS["page"], "mirostat": 2, "mirostat_tau": 2.0}
    prompts: list[Any] = [[1], "ab", [3, 4], [1], [2]]
    alone = [score(MODEL, t, request, prompt=p) for t, p in zip(texts, prompts, strict=True)]
    for size in (1, 2, 64):
        many = score(MODEL, texts, request, prompt=prompts, batch_size=size)
        for one, other in zip(alone, many, strict=True):
            for a, b in ((one.raw, other.raw), (one.processed, other.processed)):
                for name in ("logprobs", "ranks", "entropy"):
                    assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
            assert one.processed.removals == other.processed.removals
    square: Any = np.array([[1, 2], [3, 4]])
    assert [each.tokens.tolist() for each in score(MODEL, square, prompt=[1])] == square.tolist()
    assert isinstance(score(MODEL, ["a"], prompt=[1]), list)


def test_engines_side_by_side_share_one_pass_and_refuse_alone() -> None:
    model = Bigrams()
    names = ("openrouter", "vllm", "llama_cpp")
    request = {"temperature": 2.0, "top_p": 0.5, "guidance_scale": 1.5}
    result = score(model, [1, 2, 3, 4], request, prompt=[1, 5], engine=names)
    assert tuple(result.engines) == names
    for name, own in result.engines.items():
        alone = score(MODEL, [1, 2, 3, 4], request, prompt=[1, 5], engine=name)
        assert alone.processed.logprobs.tobytes() == own.logprobs.tobytes()
        assert own.engine == name
    # One text with the prompt and one without, whatever the number of engines.
    assert model.calls == [[2, 1], [1, 1], [1, 1], [1, 1]]
    refused = score(MODEL, [1, 2], {"top_p": 0}, prompt=[1], engine=["vllm", "openrouter"])
    assert list(refused.engines) == ["openrouter"]
    assert refused.refused["vllm"].startswith("top_p must be in (0, 1], got 0")
    none = score(MODEL, [1, 2], {"top_p": 0}, prompt=[1], engine=["vllm"])
    with pytest.raises(ParameterError, match=r"got none. Why is in score.refused"):
        _ = none.processed
    with pytest.raises(ParameterError, match=r"^top_p must be in \(0, 1\], got 0"):
        score(MODEL, [1, 2], {"top_p": 0}, prompt=[1], engine="vllm")
    with pytest.raises(ParameterError) as caught:
        _ = result.processed
    assert str(caught.value) == (
        "processed must be asked for where one engine is, got openrouter, vllm, llama_cpp. "
        "Take them by name: score.engines['vllm']."
    )
    state = {"mirostat": 4.0}
    partly = score(
        MODEL, [1], {"mirostat": 2}, prompt=[1], engine=("vllm", "llama_cpp"), state=state
    )
    assert partly.engines["vllm"].states is None
    own_states = partly.engines["llama_cpp"].states
    assert own_states is not None
    assert own_states["mirostat"].tolist() == [4.0]


def test_an_engine_whose_chain_fails_at_a_token_is_refused_there() -> None:
    request = {"suppress_tokens": [*range(2, 20), 0], "no_repeat_ngram_size": 2}
    names = ("transformers", "openai")  # without a guard, and without these parameters
    result = score(MODEL, [1, 1, 1], request, prompt=[2], engine=names)
    assert list(result.engines) == ["openai"]
    assert "one token at least is left" in result.refused["transformers"]
    with pytest.raises(ParameterError, match=r"one token at least is left.*the logits of bigrams"):
        score(MODEL, [1, 1, 1], request, prompt=[2], engine="transformers")


def test_a_text_is_split_as_what_follows_its_prompt() -> None:
    joined = score(GRIMM, " upon a time", prompt="Once")
    whole = GRIMM.encode("Once upon a time")
    assert joined.prompt.tolist() + joined.tokens.tolist() == whole
    assert joined.notes == ()
    apart = score(GRIMM, "ng went", prompt="The ki")
    assert apart.tokens.tolist() == GRIMM.encode("ng went")
    assert [note.sentence for note in apart.notes] == [
        "Prompt and text are split apart: together the tokenizer splits them otherwise."
    ]
    chat = score(GRIMM, "Once", prompt=[{"role": "user", "content": "Tell"}])
    assert chat.prompt.tolist() == GRIMM.chat([{"role": "user", "content": "Tell"}])
    begun = score(GRIMM, "Once upon")
    assert begun.prompt.tolist() == [GRIMM.tokenizer.end]
    assert begun.tokens.tolist() == GRIMM.encode("Once upon")
    assert score(GRIMM, [GRIMM.tokenizer.end, 300, 301]).tokens.tolist() == [300, 301]


def test_given_tokens_are_scored_as_they_are() -> None:
    usual = GRIMM.encode(" there")
    letters = [GRIMM.vocabulary.find(letter) for letter in " there"]
    result = score(GRIMM, letters, prompt="Once")
    assert result.tokens.tolist() == letters
    assert result.text == " there"
    assert [note.sentence for note in result.notes] == [
        f"The tokenizer would split the text into {len(usual)} tokens, not these 6, which are "
        "scored as they are."
    ]
    assert score(GRIMM, usual, prompt="Once").notes == ()


class Lossy(Bigrams):
    """Knows small letters alone, and puts a token first."""

    def encode(self, text: str) -> list[int]:
        return [NOTE, *super().encode(text.lower())]


def test_what_a_tokenizer_loses_and_puts_first_is_seen() -> None:
    result = score(Lossy(), "AB a")
    assert result.prompt.tolist() == [NOTE]
    assert result.tokens.tolist() == spelled("ab a")
    assert [note.sentence for note in result.notes] == [
        "The tokenizer of bigrams spells it 'ab a', and that is scored."
    ]
    assert score(Lossy(), [NOTE, 1]).tokens.tolist() == [1]
    assert score(Lossy(), "a", prompt="b").prompt.tolist() == [NOTE, 2]
    assert score(Lossy(), "a", prompt="b").tokens.tolist() == [1]


def test_without_a_token_to_begin_with_the_first_one_is_the_prompt() -> None:
    result = score(MODEL, "ab a")
    assert result.prompt.tolist() == spelled("a")
    assert result.tokens.tolist() == spelled("b a")
    assert [note.sentence for note in result.notes] == [
        "The first token, a, is the prompt and not scored: nothing is before it."
    ]


def test_what_is_not_used_is_told() -> None:
    result = score(MODEL, [1, 2], {"max_tokens": 1, "n": 2}, prompt=[1])
    assert [n.sentence for n in result.processed.notes if n.key in ("max_tokens", "n")] == [
        "max_tokens is ignored: the text is there, and scored to its end.",
        "n is ignored: the text is there, and scored to its end.",
    ]


def test_it_shows_itself() -> None:
    assert repr(score(MODEL, "ab", prompt=[1])).startswith("<Score of 'ab': 2 tokens, perplexity ")
    assert score(MODEL, [1], prompt=[1]).processed.verdict == "The token could have been drawn."
    two = score(MODEL, [1, 2], prompt=[1])
    assert two.processed.verdict == "Each of the 2 tokens could have been drawn."
    greedy = score(MODEL, [5] * 6, {"temperature": 0}, prompt=[1]).processed
    assert greedy.verdict.endswith(f"removed it. Nor could {len(greedy.removals) - 1} more.")


def test_a_chain_and_a_resolved_request_are_requests() -> None:
    chain = Chain(ll.TopK(2))
    assert score(MODEL, [1], chain, prompt=[1]).processed.chain == chain
    sampler = ll.sampler({"top_k": 2}, engine="vllm")
    assert score(MODEL, [1], sampler, prompt=[1]).processed.engine == "vllm"


TOO_LONG = [1] * 64
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model must be a Model, got None."),
    ({"text": ""}, "text must be a text, or token ids, not empty, got ''."),
    ({"text": []}, "text must be a text, or token ids, not empty, got []."),
    ({"text": None}, "text must be a text, or token ids, not empty, got None."),
    ({"text": b"ab"}, "text must be a text, or token ids, not empty, got b'ab'."),
    ({"text": 5}, "text must be a text, or token ids, not empty, got 5."),
    ({"text": {"a": 1}}, "text must be a text, or token ids, not empty, got {'a': 1}."),
    ({"text": [1, 20]}, "text must be an integer in [0, 19], got 20. It is element (1,)."),
    ({"text": [1, -1]}, "text must be an integer in [0, 19], got -1. It is element (1,)."),
    ({"text": [1.5]}, "text must be an integer in [0, 19], got [1.5]."),
    ({"text": [True]}, "text must be an integer in [0, 19], got [True]."),
    ({"text": np.zeros((1, 2, 2), int)},
     "text must be one sequence of token ids, got shape (2, 2). (In text 0.)"),
    ({"text": ["a", ""]}, "text must be a text, or token ids, not empty, got ''. (In text 1.)"),
    ({"text": "x"}, "text must be the whole text of one token of this vocabulary, got 'x'."),
    ({"text": "a\ud800"},
     "text must be a text that UTF-8 can spell, got the lone surrogate '\\ud800'."),
    ({"text": "a", "model": Hazard(0.5)},
     "text must be token ids: hazard has no tokenizer, got 'a'."),
    ({"text": TOO_LONG},
     "text must be within the context of 64 tokens, 1 of them before it, got 64 tokens."),
    ({"text": [1] * 61, "guidance_scale": 2, "negative_prompt_ids": [1, 2, 3, 4]},
     "text must be at most 60 tokens after the prompts of guidance, got 61."),
    ({"text": "a", "prompt": None},
     "prompt must be given for a single token: texts of bigrams have no token to begin with, got "),
    ({"prompt": ""}, "prompt must be a text, token ids or chat messages, not empty, got ''."),
    ({"prompt": [[1], [2]]}, "prompt must be one prompt, got a list of 2."),
    ({"text": ["a", "b"], "prompt": [[1], [2], [3]]},
     "prompt must be one, or a list of 2, got a list of 3."),
    ({"engine": "vlm"}, "engine must be one of "),
    ({"engine": 5}, "engine must be the name of an engine, an engine, or several, got 5."),
    ({"engine": ()}, "engine must be different names, one at least, got []."),
    ({"engine": ("vllm", "vllm")},
     "engine must be different names, one at least, got ['vllm', 'vllm']."),
    ({"engine": ("vllm", "sglang"), "request": Chain(ll.TopK(2))},
     "engine must be one where a chain is given, got ['vllm', 'sglang']. No engine makes anything"),
    ({"end": 1}, "end must be True or False, got 1."),
    ({"end": True, "model": Lossy()}, ""),
    ({"top_logprobs": -1}, "top_logprobs must be an integer in [0, 20], got -1."),
    ({"top_logprobs": 21}, "top_logprobs must be an integer in [0, 20], got 21."),
    ({"seed": "x"}, "seed must be an integer"),
    ({"sequence": -1}, "sequence must be an integer in [0, "),
    ({"state": {"mirostat": 3}},
     "state must be absent where no step has one, got {'mirostat': 3.0}."),
    ({"state": {"mirostat": "x"}, "mirostat": 2}, "state['mirostat'] must be a finite number"),
    ({"state": {"mirostat": [1, 2]}, "mirostat": 2},
     "state must be a map with one number for each"),
    ({"constraint": "a+"}, "constraint must be a Constraint or None, got 'a+'."),
    ({"coupling": "gumbel"}, "coupling must be absent: nothing is drawn here, got 'gumbel'."),
    ({"trace": True}, "trace must be absent: nothing is drawn here, got True."),
    ({"top_pp": 0.5}, "keywords must be request parameters, got top_pp=0.5. Did you mean top_p?"),
    ({"top_p": 2}, "top_p must be in [0, 1], got 2"),
    ({"request": [{}]}, "request must be SamplingParams, a map, a chain or None, got [{}]."),
    ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0."),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_what_is_wrong_is_said(arguments: dict[str, Any], message: str) -> None:
    whole: dict[str, Any] = {"model": MODEL, "text": [1, 2], "prompt": [1], **arguments}
    if not message:
        assert score(**whole).tokens[-1] == END
        return
    with pytest.raises(ParameterError) as caught:
        score(**whole)
    assert str(caught.value).startswith(message)


def test_an_end_that_is_none_or_one_of_several_is_said() -> None:
    model = Bigrams()
    model.end_ids = frozenset([END, NOTE])
    with pytest.raises(ParameterError) as caught:
        score(model, [1], prompt=[1], end=True)
    assert str(caught.value) == (
        "end must be False where bigrams has 2 end tokens, got True. "
        "Score token ids, with the one that is meant among them."
    )
    model.end_ids = frozenset()
    with pytest.raises(ParameterError, match=r"has 0 end tokens, got True\.$"):
        score(model, [1], prompt=[1], end=True)


def test_a_model_that_breaks_its_word_is_named() -> None:
    class Wrong(Bigrams):
        def advance(self, states: Any, tokens: Any) -> Any:
            return np.full_like(super().advance(states, tokens), np.nan)

    with pytest.raises(ParameterError, match=r"logits must be free of NaN.*the logits of bigrams"):
        score(Wrong(), [1], prompt=[1])
