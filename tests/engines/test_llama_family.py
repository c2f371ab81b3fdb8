"""llama.cpp, KoboldCpp and mlx-lm: single samplers, what is told, what is refused, and draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from logitlab import Context, ParameterError, engines, sample, softmax, translate
from logitlab.engines.draws import Place
from logitlab.engines.koboldcpp import Prefilter

from sampler_examples import chosen_by

NAMES = {
    "typical_p": "typ_p", "top_n_sigma": "top_n_sigma", "xtc": "xtc", "dynatemp": "temperature",
    "dry": "dry", "adaptive_p": "adaptive_p",
}  # fmt: skip
NO_KEYS = ("seed", "n_vocab", "breaker_token_sequences")
OFF = {"top_k": 0, "top_p": 1.0, "temperature": 1.0}


def of(engine: str) -> pytest.MarkDecorator:
    """Those of an engine, but for what no request can ask for.

    That is a vocabulary of another size than the row, and in KoboldCpp a slope of 0.
    """
    chosen = chosen_by(
        lambda e: (
            e["engine"] == engine
            and e["params"].get("n_vocab", 0) in (0, len(e["logits"]))
            and e["params"].get("rep_pen_slope") != 0
        )
    )
    name = lambda e: f"{e['sampler']} {list(e['params'].values())}"  # noqa: E731
    return pytest.mark.parametrize("example", chosen, ids=name)


def request(example: dict[str, Any]) -> dict[str, Any]:
    """A request with the values of an example, by the names of its engine."""
    params = {key: x for key, x in example["params"].items() if key not in NO_KEYS}
    breakers = example["params"].get("breaker_token_sequences")
    return params | ({"dry_sequence_breakers": breakers} if breakers else {})


def row(example: dict[str, Any]) -> Any:
    """The logits, ``-inf`` for null."""
    return np.array([-np.inf if x is None else x for x in example["logits"]], np.float32)


def state(example: dict[str, Any], when: str) -> dict[str, float]:
    """The state of an example, before or after a token."""
    names = {"mu": "mirostat", "weighted_sum": "weighted_sum", "total_weight": "total_weight"}
    found = {own: example.get(f"{name}_{when}") for name, own in names.items()}
    return {name: value for name, value in found.items() if value is not None}


def left(chain: Any, example: dict[str, Any]) -> Any:
    """The logits and the order that a chain leaves, where coin and state are those given."""
    chain = chain.branch([example.get("acted", True)] * len(chain.coins))
    known = state(example, "before")
    bound = chain.at(known) if known else chain
    return bound.ordered(row(example), Context(example.get("history", [])))


@of("llama.cpp")
def test_a_sampler_of_llama_cpp_alone(example: dict[str, Any]) -> None:
    asked = request(example)
    sampler = example["sampler"]
    if not sampler.startswith("mirostat"):
        asked["samplers"] = [NAMES[sampler]]
    chain = engines.llama_cpp({**asked, "temperature": asked.get("temperature", 1.0)})
    final, [order] = left(chain, example)
    after = [-np.inf if x is None else x for x in example["logits_after"]]
    alive = [token for token, x in zip(example["order"], after, strict=True) if x > -np.inf]
    assert order.tolist() == alive
    # An adaptive-p in llama.cpp shifts a row by what a softmax does not see.
    np.testing.assert_allclose(softmax(final), example["probs"], atol=2e-6)
    np.testing.assert_allclose(final[example["order"]], after, rtol=1e-5, atol=1e-5)
    if known := state(example, "before"):
        seen = chain.observed
        place = next(iter(seen.values()))
        x = chain.at(known)[:place](row(example))
        later = chain.update(known, float(np.log(softmax(x)[example["selected_id"]])))
        for name, value in state(example, "after_reference").items():
            assert later[name] == pytest.approx(value, rel=1e-5, abs=1e-6)


@of("koboldcpp")
def test_a_sampler_of_koboldcpp_alone(example: dict[str, Any]) -> None:
    chain = engines.koboldcpp(OFF | request(example))
    # Alone a sampler sees the row as it is, which the chain has sorted.
    chain = chain.of(*(step for step in chain if not isinstance(step, Prefilter)))
    final, _ = left(chain, example)
    after = np.array([-np.inf if x is None else x for x in example["logits_after"]])
    assert (final > -np.inf).sum() == len(after)
    np.testing.assert_allclose(softmax(final), example["probs"], atol=2e-6)
    np.testing.assert_allclose(final[example["order"]], after, rtol=1e-6, atol=1e-6)


@of("mlx-lm")
def test_a_sampler_of_mlx_lm_alone(example: dict[str, Any]) -> None:
    chain = engines.mlx_lm({"temperature": 1.0, **request(example)})
    final = chain.branch([True] * len(chain.coins))(row(example))
    np.testing.assert_allclose(softmax(final), example["probs"], atol=2e-6)


@pytest.mark.parametrize("engine", ["mlx_lm", "mlx_lm_server"])
def test_mlx_lm_reads_no_threshold_where_nothing_is_drawn(engine: str) -> None:
    asked = {"xtc_probability": 1.0, "xtc_threshold": 0.7}
    assert np.flatnonzero(engines.get(engine)(asked)(X) > -np.inf).tolist() == [int(X.argmax())]
    with pytest.raises(ParameterError, match=r"in the \[0, 0.5\] interval"):
        engines.get(engine)({**asked, "temperature": 1})


def test_all_examples_but_those_of_larger_vocabularies_are_there() -> None:
    counts = {name: len(of(name).args[1]) for name in ("llama.cpp", "koboldcpp", "mlx-lm")}
    assert counts == {"llama.cpp": 50, "koboldcpp": 44, "mlx-lm": 2}


X = np.array([2.0, 1.0, 0.5, 0.0, -1.0], np.float32)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [  # SAMPLERS in an order, as llama.cpp's own library left them
        ({"samplers": ["xtc", "top_k"], "xtc_probability": 1, "top_k": 2}, [2, 3]),
        ({"samplers": ["top_k", "xtc"], "xtc_probability": 1, "top_k": 2}, [1]),
        ({"samplers": ["top_k", "top_n_sigma"], "top_n_sigma": 1, "top_k": 3}, [0]),
        ({"samplers": ["top_n_sigma", "top_k"], "top_n_sigma": 1, "top_k": 3}, [0, 1]),
        ({"samplers": ["typ_p", "temp"], "typical_p": 0.5, "temperature": 2}, [0, 1]),
        ({"samplers": ["temp", "typ_p"], "typical_p": 0.5, "temperature": 2}, [1, 2, 3]),
        ({"xtc_probability": 1, "temperature": 0, "min_p": 0, "top_p": 1}, [2]),
    ],
)
def test_the_order_of_samplers_decides(asked: dict[str, Any], kept: list[int]) -> None:
    chain = engines.llama_cpp({"min_p": 0, "top_p": 1, **asked})
    chain = chain.branch([True] * len(chain.coins))
    assert np.flatnonzero(chain(X) > -np.inf).tolist() == kept


def test_min_p_sorts_all_before_it_keeps_as_many_as_it_must() -> None:
    row = np.zeros(300, np.float32)
    row[7::40], row[3::11] = 12, 9
    asked = {"min_keep": 12, "min_p": 0.5, "temperature": 1, "samplers": ["min_p"]}
    kept = np.flatnonzero(engines.llama_cpp(asked)(row) > -np.inf).tolist()
    # What llama.cpp's own functions keep: of the equal ones those that its bucket sort has first.
    assert kept == [7, 87, 127, 146, 167, 207, 247, 256, 267, 278, 287, 289]


def test_what_top_n_sigma_masks_counts_for_dynamic_temperature() -> None:
    asked = {"samplers": ["top_n_sigma", "temperature"], "top_n_sigma": 1, "dynatemp_range": 0.5}
    masked = engines.llama_cpp({**asked, "temperature": 1})(X)
    removed = engines.llama_cpp({"samplers": ["temp"], "dynatemp_range": 0.5, "temperature": 1})
    assert X[0] / masked[0] == pytest.approx(0.862, abs=5e-4)
    assert X[0] / removed(X[:2])[0] == pytest.approx(1.340, abs=5e-4)


@pytest.mark.parametrize(
    ("engine", "asked", "told"),
    [
        (
            "llama_cpp",
            {"typical_p": 0.5, "top_n_sigma": 1},
            "typical_p: at llama_cpp what top_n_sigma has masked makes the entropy NaN, so that "
            "the order of a sort decides what stays.",
        ),
        (
            "llama_cpp",
            {"samplers": ["adaptive_p", "top_k"], "adaptive_target": 0.3},
            "samplers: at llama_cpp adaptive_p acts last, wherever it is named, in place of the "
            "plain draw.",
        ),
        (
            "llama_cpp",
            {"adaptive_target": 0.3},
            "adaptive_target is ignored by llama_cpp: samplers does not name it, and does not by "
            "default.",
        ),
        (
            "llama_cpp",
            {"dry_multiplier": 0.8, "samplers": ["top_k"]},
            "dry_multiplier is ignored by llama_cpp: samplers does not name it.",
        ),
        (
            "llama_cpp",
            {"mirostat": 2, "dry_multiplier": 0.8},
            "dry_multiplier is ignored by llama_cpp: mirostat switches off all but logit_bias and "
            "temperature.",
        ),
        (
            "llama_cpp",
            {"temperature": 0, "dynatemp_range": 0.5},
            "temperature: at llama_cpp it is not greedy beside dynatemp_range, but between 0 and "
            "0.5.",
        ),
        (
            "llama_cpp",
            {"temperature": 0, "xtc_probability": 0.5},
            "temperature: at llama_cpp it takes the best of what XTC leaves, which stands before "
            "it.",
        ),
        (
            "llama_cpp",
            {"xtc_threshold": 0.6},
            "xtc_threshold: at llama_cpp no two tokens reach it, and XTC is off.",
        ),
        (
            "llama_cpp",
            {"xtc_threshold": 0},
            "xtc_threshold: at llama_cpp all but the least likely candidate go, even if that one "
            "had been removed.",
        ),
        (
            "llama_cpp",
            {"samplers": ["adaptive_p"], "adaptive_target": -1},
            "adaptive_target: at llama_cpp it is off, and adaptive_p a plain draw.",
        ),
        (
            "llama_cpp",
            {"dry_base": 0.5},
            "dry_base 0.5 counts as the default, 1.75 at llama_cpp.",
        ),
        (
            "llama_cpp",
            {"dry_sequence_breakers": [[1, 2]]},
            "dry_sequence_breakers: at llama_cpp no client can send ids, but texts alone; they "
            "act here.",
        ),
        (
            "llama_cpp_python",
            {"mirostat_mode": 2, "top_k": 5},
            "top_k is ignored by llama_cpp_python: mirostat takes the place of the truncations, "
            "and of temperature.",
        ),
        (
            "koboldcpp",
            {"typical_p": 0.5},
            "typical_p reaches koboldcpp as typical: under its own name it is ignored.",
        ),
        (
            "koboldcpp",
            {"rep_pen": 0.8},
            "repetition_penalty 0.8 counts as 1: the largest of its three keys counts, and each "
            "is 1 at koboldcpp.",
        ),
        (
            "koboldcpp",
            {"rep_pen_slope": 7.0},
            "rep_pen_slope 7 counts as 1 at koboldcpp.",
        ),
        (
            "koboldcpp",
            {"mirostat": 2, "top_k": 3},
            "mirostat: at koboldcpp the first request of the process sets mu, and none resets it.",
        ),
        (
            "koboldcpp",
            {"mirostat": 2},
            "mirostat reaches koboldcpp as mirostat_mode: its OpenAI endpoints read that alone.",
        ),
        (
            "koboldcpp",
            {"mirostat": 2, "top_k": 3},
            "top_k is ignored by koboldcpp: mirostat leaves bans, biases, DRY, penalties, "
            "temperature and smoothing alone.",
        ),
        (
            "koboldcpp",
            {"adaptive_target": 0.3, "top_p": 1.0},
            "adaptive_target: at koboldcpp it sets min_p to 0.002 where nothing else cuts.",
        ),
        (
            "mlx_lm",
            {"xtc_probability": 0.5},
            "xtc_probability is ignored by mlx_lm: temperature 0 samples nothing.",
        ),
        (
            "mlx_lm_server",
            {"xtc_probability": 0.5, "temperature": 1.0},
            "xtc_probability: mlx_lm_server protects the newline and the ends of its tokenizer; "
            "here xtc_special_tokens and eos_token_id tell which those are.",
        ),
    ],
)
def test_what_users_ask_about_is_told(engine: str, asked: dict[str, Any], told: str) -> None:
    assert told in [note.sentence for note in translate(asked, engine).notes]


@pytest.mark.parametrize(
    ("asked", "says"),
    [  # what a running llama-server answered
        ({"dry_sequence_breakers": []}, "Error: dry_sequence_breakers must be a non-empty array"),
        ({"dry_allowed_length": -1}, "between 0 <= value <= 2147483647, but got -1"),
        ({"dry_penalty_last_n": -1}, "Field 'dry_penalty_last_n': Value must be between 0 <="),
        ({"min_keep": -1}, "Field 'min_keep': Value must be between 0 <= value <= 2147483647"),
        ({"adaptive_decay": 1.5}, "between 0.000000 <= value <= 0.990000, but got 1.500000"),
        ({"adaptive_decay": -0.1}, "Field 'adaptive_decay': Value must be between 0.000000"),
        ({"repeat_penalty": 1e-45}, "penalty_repeat must be finite and greater than 0"),
        ({"samplers": [1]}, r"Field 'samplers': \[json.exception.type_error.302\] type must be"),
        ({"ignore_eos": 1}, r"type_error.302\] type must be boolean, but is number"),
        ({"ignore_eos": "true"}, r"type_error.302\] type must be boolean, but is string"),
        ({"typical_p": "0.5"}, r"type_error.302\] type must be number, but is string"),
    ],
)
def test_llama_server_refuses_in_its_words(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        translate(asked, "llama_cpp")
    # What samplers leave out is refused all the same.
    if "samplers" not in asked:
        with pytest.raises(ParameterError, match=says):
            translate({**asked, "samplers": ["top_k"]}, "llama_cpp")


@pytest.mark.parametrize(
    ("asked", "read"),
    [  # what a running llama-server answered
        ({"mirostat": 7}, 2), ({"mirostat": -7}, 0), ({"mirostat": 1.9}, 1),
        ({"mirostat": True}, 1), ({"mirostat": 2**33}, 0), ({"min_keep": 3.9}, 3),
        ({"min_keep": 2**32 + 3}, 3), ({"dry_allowed_length": 2.7}, 2),
        ({"adaptive_target": 2, "samplers": "a"}, 1),
        ({"adaptive_target": -5, "samplers": "a"}, -5),
        ({"xtc_threshold": 3}, 1), ({"xtc_probability": -1}, 0), ({"dynatemp_range": True}, 1),
        ({"samplers": "kpmtxyzasdie"}, (
            "top_k", "top_p", "min_p", "temperature", "xtc", "typ_p", "adaptive_p", "top_n_sigma",
            "dry", "infill", "penalties",
        )),
        ({"samplers": ["Top_K", "TOP-P", "minp", "typ", "temp", "nucleus", "Typical_P"]}, (
            "top_k", "top_p", "min_p", "typ_p", "temperature", "top_p",
        )),
    ],
)  # fmt: skip
def test_llama_server_reads_what_is_odd(asked: dict[str, Any], read: Any) -> None:
    assert translate(asked, "llama_cpp").values[next(iter(asked))] == read


def test_coins_are_those_of_a_generator_of_their_own() -> None:
    # Its seed is that of the draws, which take two words a token.
    coin: Any = engines.llama_cpp.coin
    words = np.frombuffer(np.random.RandomState(42).bytes(24), "<u4") / 2**32
    assert words.round(4).tolist() == [0.3745, 0.7965, 0.9507, 0.1834, 0.732, 0.7797]
    tossed = [coin(42, Place(n, 0, 0), 0.5) for n in range(6)]
    assert tossed == [bool(u <= 0.5) for u in words]


def test_sample_draws_from_the_mixture_and_an_engine_tosses_its_own_coin() -> None:
    asked = {"xtc_probability": 0.5, "temperature": 1.0, "min_p": 0, "top_p": 1.0}
    expected = engines.llama_cpp(asked).distribution(X)
    tokens = [int(engines.llama_cpp.draw(X, asked, seed=seed, step=0)) for seed in range(1, 2001)]
    ours = sample(X, asked, engine="llama_cpp", size=2000, seed=5).tokens
    for drawn in (tokens, ours):
        counts = np.bincount(np.asarray(drawn), minlength=5)
        # 2000 draws, five tokens: p < 1e-6 for a chi-square above 37.
        assert ((counts - 2000 * expected) ** 2 / (2000 * expected)).sum() < 37


def test_koboldcpp_divides_by_a_dynamic_temperature_of_0() -> None:
    body = {"temperature": 0.5, "dynatemp_range": 0.5, "top_p": 1, "top_k": 0}
    chain = engines.koboldcpp(body)
    with pytest.raises(ParameterError) as error:
        chain([200.0, 0.0, 0.0])  # no entropy: NaN there, in float32
    says = "dynatemp_range must be one that leaves no row a temperature of 0, by which it divides"
    assert str(error.value) == f"{says}, got 0.5."
    assert np.isfinite(chain([1.0, 0.0, 0.0])).all()
    # A single candidate is not looked at, and llama.cpp takes the best one.
    assert int(engines.koboldcpp(body | {"top_k": 1})([200.0, 0.0, 0.0]).argmax()) == 0
    assert int(engines.llama_cpp(body)([200.0, 0.0, 0.0]).argmax()) == 0
