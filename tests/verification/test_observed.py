"""What was learnt of a prompt: envelopes are suprema over every rest, compared with whole rows."""

from __future__ import annotations

import math

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError
from logitlab.verification.answer import Position
from logitlab.verification.completion import Rest
from logitlab.verification.envelope import FOREIGN
from logitlab.verification.observed import ASSUMPTIONS, Observed
from logitlab.verification.settings import Settings

STEPS = {
    "temperature": ll.Temperature,
    "top_k": ll.TopK,
    "top_p": ll.TopP,
    "min_p": ll.MinP,
    "top_a": ll.TopA,
}
ORDERS = (
    ("temperature", "top_k", "top_p", "min_p", "top_a"),
    ("top_k", "top_p", "min_p", "top_a", "temperature"),
    ("temperature", "min_p", "top_k", "top_p", "top_a"),
    ("top_p", "top_a", "top_k", "min_p", "temperature"),
)


def whole_row(rng: np.random.Generator, reported: int) -> np.ndarray:
    """Return the log-probabilities of a row, the likeliest first, with a rest of some kind."""
    size = reported + int(rng.integers(50, 400))
    if rng.random() < 0.5:
        logits = rng.normal(0, rng.uniform(0.3, 3), size)
    else:
        alpha = rng.choice([0.05, 0.3, 3])
        logits = np.log(rng.dirichlet(np.full(size, alpha)) + 1e-12)
    found = np.exp(ll.log_softmax(np.sort(logits)[::-1]))
    if rng.random() < 0.3:
        # A rest of equal tokens, of any size.
        rest = 1 - found[:reported].sum()
        count = max(math.ceil(rest / found[reported - 1]), int(rng.integers(1, 4900)))
        found = np.append(found[:reported], np.full(count, rest / count))
    return np.log(np.maximum(found, 1e-300))


def values(rng: np.random.Generator) -> dict[str, float]:
    return {
        "temperature": float(rng.choice([1, 1, 0.3, 0.7, 1.1, 1.25, 1.5, 2])),
        "top_k": int(rng.choice([0, 0, 2, 5, 15, 40])),
        "top_p": float(rng.choice([1, 1, 0.5, 0.8, 0.95])),
        "min_p": float(rng.choice([0, 0, 0.05, 0.2])),
        "top_a": float(rng.choice([0, 0, 0, 0.2])),
    }


def without_foreign(envelope: np.ndarray, reference: np.ndarray) -> np.ndarray:
    strange = np.minimum(1, 2 * reference + 2 / len(reference))
    own = (envelope - FOREIGN * strange) / (1 - FOREIGN)
    return np.where(envelope >= 1, 1, own)


def test_an_envelope_holds_for_every_rest_of_a_row() -> None:
    rng = np.random.default_rng(0)
    tried = 0
    for _ in range(500):
        reported = int(rng.integers(2, 12))
        row = whole_row(rng, reported)
        names = tuple(map(str, range(reported)))
        seen = Observed("prompt", names, row[:reported], vocabulary=5000)
        if seen.is_too_flat:
            continue
        value, order = values(rng), ORDERS[rng.integers(len(ORDERS))]
        chain = ll.Chain(*(STEPS[key](value[key]) for key in order)).without_neutral()
        final = np.exp(ll.log_softmax(chain(row)))
        truth = np.append(final[:reported], final[reported:].sum())
        found = seen.predict([chain], [value["temperature"]])
        bound = without_foreign(found.envelope, seen.probabilities)
        assert (truth <= bound + 1e-9).all(), (chain, reported)
        among = truth[:-1] / truth[:-1].sum()
        known = seen.probabilities[:-1] / seen.probabilities[:-1].sum()
        assert (among <= without_foreign(found.among_envelope, known) + 1e-9).all(), chain
        assert (found.envelope >= found.central).all()
        assert (found.among_envelope >= found.among).all()
        tried += 1
    assert tried > 380


def whole_vocabulary(rng: np.random.Generator, reported: int) -> np.ndarray | None:
    """Return log-probabilities of thousands of tokens, of which few have most of the rest, or not.

    None where the rest does not fit below the last of the reported ones.
    """
    rest, beyond = rng.uniform(0.01, 0.6), int(rng.choice([2_000, 20_000, 190_000]))
    head = np.sort(rng.dirichlet(np.full(reported, rng.uniform(0.3, 3))))[::-1] * (1 - rest)
    # Few of a size near that of the last reported one, or many, or something between.
    share = rng.uniform()
    least = min(math.ceil(rest / head[-1]), beyond - 1)
    few = int(np.exp(rng.uniform(math.log(least), math.log(beyond))))
    tail = np.full(beyond, (1 - share) * rest / beyond)
    tail[:few] += share * rest / few
    return None if tail[0] > head[-1] else np.log(np.concatenate([head, tail]))


def test_what_a_cut_sees_above_temperature_1_is_bounded_by_the_vocabulary() -> None:
    rng = np.random.default_rng(2)
    tried, told = 0, 0
    for _ in range(1500):
        reported = int(rng.integers(3, 21))
        row = whole_vocabulary(rng, reported)
        if row is None:
            continue
        seen = Observed("prompt", tuple(map(str, range(reported))), row[:reported])
        value = {
            "temperature": float(rng.choice([1.05, 1.15, 1.4, 2])),
            "top_p": float(rng.choice([0.05, 0.3, 0.6, 0.95])),
            "min_p": float(rng.choice([0, 0, 0.01, 0.1])),
            "top_a": float(rng.choice([0, 0, 0.05, 0.5])),
            "top_k": int(rng.choice([0, 0, 0, 5, 12, 40, 100])),
        }
        order = rng.choice(["top_p", "min_p", "top_a", "top_k"], 4, replace=False).tolist()
        steps = [STEPS[key](value[key]) for key in ("temperature", *order)]
        chain = ll.Chain(*steps).without_neutral()
        if seen.is_too_flat:
            continue
        final = np.exp(ll.log_softmax(chain(row)))
        truth = np.append(final[:reported], final[reported:].sum())
        envelope = seen.predict([chain], [value["temperature"]]).envelope
        bound = without_foreign(envelope, seen.probabilities)
        assert (truth <= bound + 1e-9).all(), (chain, reported)
        told += bound[-1] < 0.9
        tried += 1
    assert tried > 200
    assert told > tried / 4


def test_the_envelope_of_spans_holds_for_every_value_and_order_between() -> None:
    rng = np.random.default_rng(1)
    spans = {"temperature": (0.4, 1.5), "top_p": (0.5, 0.9), "top_k": (3, 9), "min_p": (0.02, 0.2)}
    tried = 0
    for _ in range(60):
        row = whole_row(rng, 8)
        seen = Observed("prompt", tuple("abcdefgh"), row[:8], vocabulary=5000)
        if seen.is_too_flat:
            continue
        for keys in (("temperature",), ("top_p",), ("temperature", "top_p"), ("top_k", "min_p")):
            setting = {key: spans[key] for key in keys}
            cell = Settings([[setting]]).cell(seen)
            bound = without_foreign(cell.envelope[0], seen.probabilities)
            for _ in range(4):
                value = {key: float(rng.uniform(*spans[key])) for key in keys}
                order = ORDERS[rng.integers(len(ORDERS))]
                steps = [
                    STEPS[key](round(value[key]) if key == "top_k" else value[key])
                    for key in order
                    if key in keys
                ]
                final = np.exp(ll.log_softmax(ll.Chain(*steps)(row)))
                truth = np.append(final[:8], final[8:].sum())
                assert (truth <= bound + 1e-9).all(), (value, order)
                tried += 1
    assert tried > 500


def test_a_bet_is_what_the_chain_leaves_where_nothing_is_unknown() -> None:
    row = np.log([0.5, 0.3, 0.15, 0.05])
    seen = Observed("prompt", ("a", "b", "c"), row[:3])
    found = seen.predict([ll.Chain(ll.TopK(2), ll.Temperature(0.5))], [0.5])
    expected = np.array([0.25, 0.09, 0, 0]) / 0.34
    own = (found.central - FOREIGN * seen.probabilities) / (1 - FOREIGN)
    np.testing.assert_allclose(own, expected, atol=1e-9)


def test_noise_moves_tokens_over_a_cut() -> None:
    row = np.log([0.4, 0.2, 0.199, 0.1])
    still = Observed("prompt", ("a", "b", "c", "d"), row)
    noisy = Observed("prompt", ("a", "b", "c", "d"), row, replies=2, sigma=0.05)
    chain = [ll.Chain(ll.TopK(2))]
    assert still.predict(chain, [1.0]).central[2] < 0.01
    assert noisy.predict(chain, [1.0]).central[2] > 0.05
    assert noisy.doubt == pytest.approx(2.5 * 0.05 / math.sqrt(2))


def test_a_rest_is_read_from_the_steps() -> None:
    assert Rest.of([("top_k", 5), ("top_p", 0.5)], 20, 0.1) == Rest()
    assert Rest.of([("temperature", 0.5), ("top_p", 0.5)], 20, 0.1) == Rest(True, 0.0, True)
    assert Rest.of([("temperature", 2), ("top_p", 0.5)], 20, 0.1).opens == 2
    assert Rest.of([("min_p", 0.2), ("top_p", 0.5)], 20, 0.1) == Rest()
    assert Rest.of([("min_p", 0.05), ("top_p", 0.5)], 20, 0.1).vanishes
    assert Rest.of([("Xtc", 0.5)], 20, 0.1) == Rest(True, math.inf, True)
    chain = ll.Chain(ll.Temperature(2.0), ll.TopK(40), ll.MinP(0.1), ll.TopA(0.1), ll.TopP(0.5))
    assert Rest.after(chain, 20, 0.5).opens


def test_a_prompt_is_described() -> None:
    seen = Observed.of("Is it?", [{"yes": -0.5, "no": -1.5}, {"no": -1.7, "yes": -0.7, "x": -9.0}])
    assert seen.tokens == ("yes", "no")
    np.testing.assert_allclose(seen.logprobs, [-0.6, -1.6])
    assert seen.rest == pytest.approx(1 - math.exp(-0.6) - math.exp(-1.6))
    p = np.array([math.exp(-0.6), math.exp(-1.6), seen.rest])
    assert seen.entropy == pytest.approx(-(p * np.log(p)).sum())
    assert seen.replies == 2
    assert not seen.is_too_flat
    assert Observed("", ("a",), np.array([math.log(1e-4)])).is_too_flat


def test_a_draw_is_a_category() -> None:
    seen = Observed("", ("a", "b", "c"), np.log([0.5, 0.3, 0.1]), sigma=0.05)
    own = seen.narrowed({"b": -0.8, "a": -1.0, "z": -2.0, "c": -3.0})
    assert own is not None
    assert own.tokens == ("b", "a")
    assert seen.drawn(Position("b"), own) == 1
    assert seen.drawn(Position("c"), own) == seen.drawn(None) == 3
    assert seen.drawn(Position("c")) == 2
    np.testing.assert_allclose(
        own.spread(np.array([[0.6, 0.3, 0.1]]), seen), [[0.3, 0.6, 0.0, 0.1]]
    )
    np.testing.assert_allclose(own.spread(np.array([0.6, 0.4]), seen), [0.4, 0.6, 0.0])
    assert seen.narrowed({"z": -0.1, "a": -0.2}) is None


def test_a_report_of_another_distribution_is_not_the_own() -> None:
    x = np.log([0.4, 0.3, 0.1, 0.05])
    seen = Observed("", ("a", "b", "c", "d"), x, sigma=0.02)
    noisy: dict[bytes | str, float] = dict(
        zip("abcd", x + np.array([0.02, -0.04, 0.03, 0.0]), strict=True)
    )
    assert seen.narrowed(noisy) is not None
    assert seen.narrowed(dict(zip("abcd", x / 0.5, strict=True))) is None  # cooled
    assert seen.narrowed({"a": -0.1}) is None  # cut


def test_what_was_not_observed_is_told() -> None:
    with pytest.raises(ParameterError) as caught:
        Observed("", ("a", "b"), np.array([-1.0]))
    rule = "as many log-probabilities as tokens, and at least one"
    assert str(caught.value) == f"logprobs must be {rule}, got {[np.float64(-1.0)]}."


def test_assumptions_are_sentences() -> None:
    assert ASSUMPTIONS
    assert all(each.endswith(".") for each in ASSUMPTIONS)
