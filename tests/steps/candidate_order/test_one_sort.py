"""One sort for top-k and top-p: which of equal tokens stay. Against engines: tests/engines."""

from __future__ import annotations

import pickle
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Chain, MinP, OneSortChain, ParameterError, Temperature, TopK, TopP, Xtc
from logitlab.steps.candidate_order.sorts import sort

from strategies import kinds_of_a_chain, logits, steps

FIVE = (np.arange(20) % 5).astype(np.float32)
RISING = TopK(2, ties="all"), TopP(0.3, ties="introsort", sums="ascending")


def tied(draw: Any, size: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(0, draw(st.integers(1, 6)), size).astype(np.float32)
    x[rng.random(size) < draw(st.sampled_from([0, 0.4]))] = -np.inf
    x[0] = 0
    return x


def kept(result: np.ndarray[Any, Any]) -> list[int]:
    return np.flatnonzero(result > -np.inf).tolist()


@given(st.data())
def test_without_introsort_it_is_a_chain(data: st.DataObject) -> None:
    x = data.draw(logits())
    kinds = data.draw(kinds_of_a_chain(4))
    chosen = [data.draw(steps(kind, x.shape[-1])) for kind in kinds]
    chosen = [step for step in chosen if getattr(step, "ties", "") != "introsort"]
    precision = data.draw(st.sampled_from(["double", "single", "mixed"]))
    context = ll.Context(prompt=[0], unconditional=np.zeros(x.shape[-1]))
    ours = OneSortChain(*chosen, precision=precision)(x, context)
    assert ours.tobytes() == Chain(*chosen, precision=precision)(x, context).tobytes()


@given(st.data())
def test_the_sort_comes_before_the_first_cut(data: st.DataObject) -> None:
    """Falling: the first k of the first n. Rising: the last n of what top-k leaves."""
    x = tied(data.draw, data.draw(st.integers(17, 200)))
    k, p = data.draw(st.integers(1, 40)), data.draw(st.sampled_from([0.1, 0.3, 0.5, 0.9]))
    falling = TopP(p, ties="introsort", at_p="keep"), TopK(k, ties="introsort")
    order = sort(x)
    many = np.count_nonzero(Chain(falling[0])(x) > -np.inf)
    assert kept(OneSortChain(*falling)(x)) == sorted(order[: min(many, k)].tolist())
    rising = TopK(k, ties="all"), TopP(p, ties="introsort", sums="ascending")
    many = np.count_nonzero(Chain(rising[0], TopP(p, sums="ascending"))(x) > -np.inf)
    assert kept(OneSortChain(*rising)(x)) == sorted(sort(-x)[len(x) - many :].tolist())


def test_a_chain_sorts_what_each_step_left() -> None:
    masked = np.where(FIVE == 4, FIVE, -np.inf).astype(np.float32)
    assert kept(Chain(*RISING)(FIVE)) == sorted(sort(-masked)[-2:].tolist()) == [4, 19]
    assert kept(OneSortChain(*RISING)(FIVE)) == sorted(sort(-FIVE)[-2:].tolist()) == [14, 19]


def test_probabilities_that_vanish_are_equal_to_the_sort() -> None:
    x = np.arange(30) * 7 % 5 * np.float32(200)
    chain = OneSortChain(TopK(2, ties="introsort"), precision="single", sorts="probs")
    vanished = (x == 800).astype(np.float32)
    assert kept(chain(x)) == sorted(sort(vanished)[:2].tolist())
    assert kept(chain(x)) != kept(OneSortChain(TopK(2, ties="introsort"))(x))


def test_logits_apart_whose_probabilities_round_to_one_number() -> None:
    """Introsort takes them for equal: SGLang keeps one of lower logit where it stands in front."""
    x = np.zeros(40, np.float32)
    x[7] = np.float32(1e-8)
    chain = OneSortChain(TopK(1, ties="introsort"), precision="single", sorts="probs")
    assert kept(chain(x)) == [int(sort(np.zeros(40, np.float32))[0])]
    assert kept(OneSortChain(TopK(1, ties="introsort"), precision="single")(x)) == [7]


def test_a_batch_is_its_rows_and_a_trace_its_steps() -> None:
    rows = np.stack([FIVE, FIVE[::-1], np.zeros(20, np.float32)])
    k, p = [2, 4, 0], [0.3, 0.5, 0.2]
    chain = OneSortChain(TopK(k, ties="all"), TopP(p, ties="introsort"))
    result = chain(rows)
    for i, row in enumerate(rows):
        alone = OneSortChain(TopK(k[i], ties="all"), TopP(p[i], ties="introsort"))
        assert result[i].tobytes() == alone(row).tobytes()
    trace = chain.trace(rows)
    assert trace.kept.tolist() == [[20] * 3, [4, 4, 20], [2, 2, 4]]
    assert trace.logits[-1].tobytes() == result.tobytes()


def test_the_order_is_that_of_the_sort() -> None:
    falling = OneSortChain(TopP(0.6, ties="introsort"), TopK(5, ties="introsort"))
    result, (order,) = falling.ordered(FIVE)
    assert order.tolist() == sort(FIVE)[:4].tolist() != sorted(order.tolist())
    assert result.tobytes() == falling(FIVE).tobytes()
    rising = OneSortChain(*RISING).ordered(FIVE)[1][0]
    assert rising.tolist() == sort(-FIVE)[:-3:-1].tolist()
    stable = OneSortChain(TopK(6)).ordered(FIVE)[1][0]
    assert stable.tolist() == [4, 9, 14, 19, 3, 8]
    assert OneSortChain(Temperature(0.5)).ordered(FIVE)[1][0].tolist() == list(range(20))
    with pytest.raises(ParameterError, match="chain must be free of coins where candidates are"):
        OneSortChain(Xtc(0.5, threshold=0.2), TopK(1)).ordered(FIVE)
    surprise = OneSortChain(ll.Mirostat(5.0), TopK(2)).ordered(FIVE)[1][0]
    assert surprise.tolist() == [4, 9]


def test_it_is_a_value() -> None:
    chain = OneSortChain(TopK(5), TopP(0.9), precision="single", sorts="probs")
    assert repr(chain) == "OneSortChain(TopK(5), TopP(0.9), precision='single', sorts='probs')"
    assert repr(OneSortChain(TopK(5))) == "OneSortChain(TopK(5))"
    assert eval(repr(chain), vars(ll)) == chain
    assert pickle.loads(pickle.dumps(chain)) == chain
    assert hash(chain) == hash(chain[:])
    assert chain != OneSortChain(*chain, precision="single")
    assert chain != Chain(*chain, precision="single")
    assert chain[:1] == OneSortChain(TopK(5), precision="single", sorts="probs")
    with pytest.raises(
        ParameterError, match="no chain of another kind than OneSortChain of double"
    ):
        OneSortChain(chain)
    with pytest.raises(ParameterError, match=r"In step 1, TopK\("):
        OneSortChain(TopK([1, 2], ties="introsort"))(np.zeros((3, 20)))


def test_the_fast_path_and_sweeps_leave_it_dense() -> None:
    chain = OneSortChain(*RISING, MinP(0.1))
    assert ll.survivors(FIVE, chain).tokens[0].tolist() == [14, 19]
    assert str(ll.plan(chain)).startswith("dense, on the whole vocabulary: TopK(2")
    swept = ll.sweep(FIVE[None], {"p": [0.3]}, ["support"], engine=lambda point: chain)
    assert swept.values["support"].tolist() == [2]
