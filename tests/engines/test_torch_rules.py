"""What the torch engines refuse, leave out and tell of keys beyond the page.

Recorded answers have the refusals of values; here is what no recording shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from logitlab import Chain, Context, Vocabulary, engines, translate
from logitlab.engines.rules import RefusalError


@pytest.mark.parametrize(
    ("engine", "request_", "says"),
    [
        (
            "vllm",
            {"repetition_detection": {"min_pattern_size": 2}},
            "max_pattern_size, min_pattern_size must be >=0, with min_pattern_size <= ",
        ),
        (
            "vllm",
            {"repetition_detection": {"max_pattern_size": 2, "min_count": 1}},
            "min_count must be >= 2 to detect repetitive patterns in engine output.",
        ),
        (
            "vllm",
            {"bad_words": ["a", ""]},
            "bad_words cannot contain an empty string. Got bad_words=",
        ),
        (
            "vllm",
            {"bad_words": [[i] for i in range(129)]},
            "Too many bad words after tokenization: 129. The max number is 128.",
        ),
        (
            "vllm",
            {"bad_words": [[7]]},
            "were specified as bad: [7]. All token id values should be integers",
        ),
        ("vllm_triton", {"allowed_token_ids": [0] * 1025}, "Model Runner V2 holds 1024"),
        ("vllm_triton", {"stop_token_ids": [0] * 129}, "Model Runner V2 holds 128"),
        ("aphrodite", {"dynatemp_min": -1.0}, "dynatemp values must be non-negative."),
        ("aphrodite", {"dynatemp_exponent": 0.0}, "dynatemp_exponent must be positive."),
        ("aphrodite", {"dry_max_ngram": -1}, "DRY ngram/occurrence values must be non-negative."),
        (
            "aphrodite",
            {"dry_early_exit_match_len": -1},
            "dry_early_exit_match_len must be non-negative.",
        ),
        ("aphrodite", {"mirostat_eta": -1.0}, "mirostat parameters must be non-negative."),
        ("aphrodite", {"mirostat_mode": 1}, "mirostat_mode must be 0 or 2."),
        ("aphrodite", {"dry_base": 1.0}, "dry_base must be greater than 1."),
        ("aphrodite", {"dry_range": -1}, "dry_range must be non-negative."),
        (
            "aphrodite",
            {"thinking_token_budget": -2},
            "must be a non-negative integer or -1 for unlimited.",
        ),
        (
            "transformers",
            {"bad_words_ids": ["a"]},
            "`bad_words_ids` has to be a list of lists, but is ",
        ),
        (
            "transformers",
            {"bad_words_ids": []},
            "`bad_words_ids` has to be a non-empty list, but is [].",
        ),
        ("transformers", {"sequence_bias": []}, "`sequence_bias` has to be a non-empty dictionary"),
        (
            "transformers",
            {"bad_words_ids": [[7, 0]]},
            "vocabulary size is 5, but the following tokens were being biased: [7]",
        ),
        ("transformers", {"top_h": 0.0}, "`top_h` must be in the range (0, 1]."),
        (
            "transformers",
            {"forced_eos_token_id": 3, "suppress_tokens": [3]},
            "Every token in `forced_eos_token_id` ",
        ),
        (
            "transformers",
            {"watermarking_config": {"greenlist_ratio": 1.5}},
            "should be in range between 0.0 and 1.0` but found lefthash",
        ),
        (
            "sglang",
            {"min_new_tokens": -1},
            "min_new_tokens must be in [0, max_new_tokens], got -1.",
        ),
    ],
)
def test_refusals_have_the_engines_words(engine: str, request_: dict[str, Any], says: str) -> None:
    with pytest.raises(RefusalError) as error:
        translate(request_, engine, vocabulary_size=5)
    assert f"{engine} refuses the request" in str(error.value)
    assert says in str(error.value)


def effects(request: dict[str, Any], engine: str) -> dict[str, set[str]]:
    told: dict[str, set[str]] = {}
    for note in translate(request, engine).notes:
        told.setdefault(note.key, set()).add(note.effect)
    return told


def test_aphrodites_mirostat_sleeps_unless_the_request_wakes_it() -> None:
    asked = {"mirostat_mode": 2, "mirostat_tau": 3.0, "mirostat_eta": 0.1, "top_k": 5, "skew": 0.5}
    assert "mirostat" not in engines.aphrodite(asked).init()
    told = effects(asked, "aphrodite")
    assert "ignored" in told["mirostat"]
    assert "ignored" not in told["skew"]
    for penalty in (
        {"presence_penalty": 0.1},
        {"repetition_penalty": 1.1},
        {"dry_multiplier": 1},
        {"no_repeat_ngram_size": 2},
        {"bad_words": [[0, 1]]},
    ):
        chain = engines.aphrodite(asked | penalty)
        assert chain.init() == {"mirostat": 6.0}
        assert not {"TopK", "Skew", "Dry"} & {type(step).__name__ for step in chain}
        told = effects(asked | penalty, "aphrodite")
        assert "ignored" in told["skew"]
        assert "ignored" in told["top_k"]


def test_what_aphrodite_does_beside_a_request_is_told() -> None:
    told = effects({"nsigma": 1.0, "tfs": 0.9, "temperature": 0.5}, "aphrodite")
    assert "beside" in told["top_n_sigma"] & told["tfs"]
    sentences = str(translate({"nsigma": 1.0, "tfs": 0.9}, "aphrodite"))
    assert sentences.count("The V2 runner, which it prefers on a GPU, ignores it.") == 1
    assert "top_n_sigma: at aphrodite its neighbours in a batch keep their most likely" in sentences
    assert str(translate({"temperature": 0.5}, "aphrodite")) == "everything arrives as it is"
    assert "dynatemp_min and dynatemp_max" in str(translate({"dynatemp_range": 0.5}, "aphrodite"))


def test_what_counts_beside_another_key_is_told() -> None:
    for alone, switch in (
        ({"dry_base": 1.5, "dry_range": 20}, {"dry_multiplier": 0.8}),
        ({"xtc_threshold": 0.3}, {"xtc_probability": 0.5}),
        ({"smoothing_curve": 2.0}, {"smoothing_factor": 0.3}),
    ):
        assert all("ignored" in kinds for kinds in effects(alone, "aphrodite").values())
        assert not any(
            "ignored" in kinds for kinds in effects(alone | switch, "aphrodite").values()
        )
    assert effects({"min_length": 3, "min_new_tokens": 2}, "transformers")["min_length"] == {
        "ignored"
    }
    assert "min_length" not in effects({"min_length": 3, "eos_token_id": 1}, "transformers")


def test_names_of_others_are_told_and_own_ones_are_not() -> None:
    for engine, own, other in (
        ("aphrodite", "nsigma", "top_n_sigma"),
        ("transformers", "min_new_tokens", "min_tokens"),
    ):
        assert "renamed" in effects({other: 1}, engine)[other]
        assert "renamed" not in effects({own: 1}, engine).get(other, set())


def test_texts_are_spelt_as_each_engine_spells_them() -> None:
    vocabulary = Vocabulary([b"a", b"b", b" b", b"c"])
    words = engines.vllm({"bad_words": ["b"]}, vocabulary=vocabulary)
    assert words == engines.vllm({"bad_words": [[1], [2]]})
    left = words(np.zeros(4), Context([0]))
    np.testing.assert_array_equal(left > -np.inf, [True, False, False, True])


def test_transformers_keeps_ends_of_a_text_that_are_bad_words() -> None:
    chain = engines.transformers({"bad_words_ids": [[0], [1], [0, 1]], "eos_token_id": 0})
    left = chain(np.zeros(3, np.float32), Context([2]))
    np.testing.assert_array_equal(left > -np.inf, [True, False, True])


def test_a_top_h_of_one_keeps_a_hundred() -> None:
    row = np.linspace(0, 1, 300, dtype=np.float32)
    left = engines.transformers({"top_h": 1.0, "top_k": 0})(row)
    assert 98 <= np.count_nonzero(left > -np.inf) <= 100
    assert engines.transformers({"top_k": 0}) == Chain(precision="mixed")


def test_forced_tokens_of_transformers_come_first_and_last() -> None:
    row = np.array([3.0, 2.0, 1.0], np.float32)
    first = engines.transformers({"forced_bos_token_id": 2})
    assert np.flatnonzero(first(row, Context([0])) > -np.inf).tolist() == [2]
    assert np.count_nonzero(first(row, Context([0], [1])) > -np.inf) == 3
    last = engines.transformers({"forced_eos_token_id": [1, 2], "max_length": 4})
    assert np.flatnonzero(last(row, Context([0, 0], [1])) > -np.inf).tolist() == [1, 2]
    default = engines.transformers({"forced_eos_token_id": 1})
    assert np.flatnonzero(default(row, Context([0], [0] * 19)) > -np.inf).tolist() == [1]


def test_sglangs_processors_are_known_by_name() -> None:
    asked = {"custom_logit_processor": "DisallowedTokensLogitsProcessor"}
    chain = engines.sglang(asked | {"custom_params": {"token_ids": [0]}})
    assert np.flatnonzero(chain([3.0, 2.0]) > -np.inf).tolist() == [1]
    with pytest.raises(RefusalError, match="custom_logit_processor must be one of"):
        engines.sglang({"custom_logit_processor": "Mine"})
    with pytest.raises(RefusalError, match="free of what no processor of SGLang's own reads"):
        engines.sglang(asked | {"custom_params": {"ids": [0]}})
    qwen = engines.sglang(
        {
            "custom_logit_processor": "Qwen3ThinkingBudgetLogitProcessor",
            "custom_params": {"thinking_budget": 3},
        }
    )
    assert "start=(151667,), end=(151668,), newline=198" in repr(qwen)


def test_a_models_file_says_what_ends_a_text() -> None:
    file: dict[str, Any] = {
        "generation_config": {"eos_token_id": [1], "suppress_tokens": [2], "do_sample": True}
    }
    asked = {"min_tokens": 2}
    for name in ("vllm", "sglang", "aphrodite", "transformers"):
        deployed = engines.get(name).with_options(**file)
        left = deployed(asked)(np.zeros(4, np.float32), Context([0]))
        banned = {1, 2} if name == "transformers" else {1}
        assert set(np.flatnonzero(left == -np.inf).tolist()) == banned


def test_transformers_looks_for_green_ones_among_40_tokens() -> None:
    body = {"watermarking_config": {"seeding_scheme": "selfhash"}}
    with pytest.raises(RefusalError) as error:
        translate(body, "transformers", vocabulary_size=39)
    assert error.value.hint.endswith(
        "IndexError: index 39 is out of bounds for dimension 0 with size 39"
    )
    told = translate(body, "transformers", vocabulary_size=40)
    assert "stops at an IndexError where none of the 40 most likely tokens is green" in str(told)
    left = {"watermarking_config": {"seeding_scheme": "lefthash"}}
    assert "IndexError" not in str(translate(left, "transformers", vocabulary_size=39))
