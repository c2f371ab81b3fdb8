"""Candidates in an order: which of equal tokens stay, and in which place."""

from __future__ import annotations

import pickle
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import assume, given, reject, strategies as st
from logitlab import (
    Chain,
    Context,
    Dry,
    ExcludeTopChoices,
    MinP,
    ParameterError,
    PresencePenalty,
    SortedChain,
    Temperature,
    Tfs,
    TopA,
    TopK,
    TopNSigma,
    TopP,
    TypicalP,
)
from logitlab.datasets import load
from logitlab.steps.step import Truncation

from strategies import TRUNCATIONS, contexts, kinds_of_a_chain, logits, steps

ORDERED = tuple(kind for kind in TRUNCATIONS if kind.reorder is not Truncation.reorder)


def bare(step: Any) -> Any:
    """Return a step without the options that an order overrules."""
    return type(step)(step.value) if isinstance(step, ORDERED) else step


@given(st.data())
def test_it_is_a_chain_up_to_equal_tokens(data: st.DataObject) -> None:
    """As many tokens stay as in a plain chain of single precision, with the same logits."""
    x = data.draw(logits(dtype=np.float32))
    kinds = data.draw(st.lists(st.sampled_from([TopK, MinP, Temperature]), max_size=4))
    chosen = [data.draw(steps(kind, x.shape[-1])) for kind in kinds]
    chosen = [bare(step) for step in chosen]
    ours, plain = SortedChain(*chosen)(x), Chain(*chosen, precision="single")(x)
    np.testing.assert_array_equal(np.sort(ours), np.sort(plain))


@given(st.data())
def test_the_order_holds_the_survivors(data: st.DataObject) -> None:
    x = data.draw(logits(dtype=np.float32))
    context = data.draw(contexts(x.shape[:-1], x.shape[-1]))
    kinds = data.draw(kinds_of_a_chain(4))
    drawn = (data.draw(steps(kind, x.shape[-1])) for kind in kinds)
    chain = SortedChain(*map(bare, drawn))
    assume(not chain.coins)  # of which each side has an order of its own
    try:
        result = chain(x, context)
    except ParameterError as error:  # bans that leave none, a token that is forced and banned
        if "left" not in str(error) and "free to force" not in str(error):
            raise
        reject()
    rows = result.reshape(-1, x.shape[-1])
    _, order = chain.ordered(x, context)
    assert len(order) == len(rows)
    for row, tokens in zip(rows, order, strict=True):
        assert sorted(tokens.tolist()) == np.flatnonzero(row > -np.inf).tolist()
    trace = chain.trace(x, context)
    np.testing.assert_array_equal(trace.logits[-1], result)


@pytest.mark.parametrize(
    ("chain", "row", "order"),
    [  # as llama.cpp's own library left them
        (SortedChain(TopP(0.5)), [0, 0, 0, 0], [1, 3]),
        (SortedChain(TopK(2)), [3, 1, 1, 1, 0, -1], [0, 1]),
        (SortedChain(TopK(6), TopK(2)), [3, 1, 1, 1, 0, -1], [0, 3]),
        (SortedChain(Temperature(0.0)), [1, 3, 3, 2, 3], [1]),
        (SortedChain(TopK(5), Temperature(0.0)), [1, 3, 3, 2, 3], [4]),
        (SortedChain(MinP(0.5)), [1, 3, 3, 2, 3], [1, 2, 4]),
    ],
)
def test_ties_go_as_in_llama_cpp(chain: SortedChain, row: list[float], order: list[int]) -> None:
    x = np.array(row, np.float32)
    assert chain.ordered(x)[1][0].tolist() == order
    assert np.flatnonzero(chain(x) > -np.inf).tolist() == sorted(order)


def test_a_penalty_makes_it_unsorted() -> None:
    x = np.zeros(8, np.float32)
    context = Context(prompt=[7])
    before = SortedChain(TopK(6), TopP(0.4)).ordered(x)[1][0]
    after = SortedChain(TopK(6), PresencePenalty(1.0), TopP(0.4)).ordered(x, context)[1][0]
    assert before.tolist() != after.tolist()


def test_without_ties_it_is_a_chain_of_single_precision() -> None:
    steps_ = Temperature(0.7), TopK(300), TopP(0.9), MinP(0.01)
    rows = load().logits[:, ::7]
    result = SortedChain(*steps_)(rows)
    np.testing.assert_array_equal(result, Chain(*steps_, precision="single")(rows))
    order = SortedChain(*steps_).ordered(rows)[1]
    for row, tokens in zip(result, order, strict=True):
        assert (np.diff(row[tokens]) <= 0).all()


def test_it_is_a_value() -> None:
    chain = SortedChain(TopK(5), TopP(0.9))
    assert repr(chain) == "SortedChain(TopK(5), TopP(0.9))"
    assert eval(repr(chain), vars(ll)) == chain
    assert pickle.loads(pickle.dumps(chain)) == chain
    assert chain[:1] == SortedChain(TopK(5))
    assert chain != Chain(TopK(5), TopP(0.9))
    assert SortedChain(TopK(0), TopP(0.9)).without_neutral() == SortedChain(TopP(0.9))
    with pytest.raises(ParameterError, match="step must be without ties, at_p and sums here"):
        SortedChain(TopK(5, ties="all"))
    with pytest.raises(ParameterError, match="no chain of another kind than SortedChain"):
        SortedChain(Chain(TopK(5)))


def test_it_can_be_koboldcpps_and_have_a_least_number() -> None:
    chain = SortedChain(TopP(0.5), TopNSigma(0.5), like="koboldcpp", min_keep=2)
    assert repr(chain) == "SortedChain(TopP(0.5), TopNSigma(0.5), like='koboldcpp', min_keep=2)"
    assert eval(repr(chain), vars(ll)) == chain
    assert pickle.loads(pickle.dumps(chain)) == chain
    assert chain[:1] == SortedChain(TopP(0.5), like="koboldcpp", min_keep=2)
    assert chain != SortedChain(TopP(0.5), TopNSigma(0.5), like="koboldcpp")
    with pytest.raises(ParameterError, match="like must be one of 'llama"):
        SortedChain(like="vllm")
    with pytest.raises(ParameterError, match=r"min_keep must be an integer >= 0, got -1"):
        SortedChain(min_keep=-1)
    with pytest.raises(ParameterError, match="no chain of another kind than SortedChain on cand"):
        SortedChain(chain)


X = np.array([2.0, 1.0, 0.5, 0.0, -1.0], np.float32)


@pytest.mark.parametrize(
    ("chain", "kept"),
    [
        (SortedChain(TopP(0.1), min_keep=3), [0, 1, 2]),
        (SortedChain(MinP(1.0), min_keep=3), [0, 1, 2]),
        (SortedChain(MinP(1.0), min_keep=9), [0, 1, 2, 3, 4]),
        (SortedChain(MinP(0.1), min_keep=2), [0, 1, 2, 3]),
        (SortedChain(TypicalP(0.2), min_keep=2), [0, 1]),
        (SortedChain(ExcludeTopChoices(0.1), min_keep=3), [2, 3, 4]),
        (SortedChain(ExcludeTopChoices(0.1), min_keep=4), [0, 1, 2, 3, 4]),
        (SortedChain(TopK(1), min_keep=3), [0]),
        (SortedChain(Tfs(0.9, crossing="drop", last="keep", flat="spread")), [0]),
        (SortedChain(TopA(0.3)), [0, 1, 2]),
        # Masked by one, a token can be the one that the other leaves: it is drawn.
        (SortedChain(TopNSigma(1.0), ExcludeTopChoices(0.0)), [2]),
        (SortedChain(TopNSigma(1.0), ExcludeTopChoices(0.0), like="koboldcpp"), [0, 1]),
        (SortedChain(TopNSigma(1.0), TopK(3), ExcludeTopChoices(0.2)), [1]),
    ],
)
def test_what_its_samplers_leave(chain: SortedChain, kept: list[int]) -> None:
    assert np.flatnonzero(chain(X) > -np.inf).tolist() == kept


def test_koboldcpps_lowers_where_llama_cpps_removes() -> None:
    acting = ExcludeTopChoices(0.1)
    np.testing.assert_array_equal(
        SortedChain(acting, like="koboldcpp")(X), np.array([-997, -998, 0.5, 0, -1], np.float32)
    )
    assert SortedChain(acting)(X)[:2].tolist() == [-np.inf, -np.inf]
    assert SortedChain(TopNSigma(1.0)).ordered(X)[1][0].tolist() == [0, 1]


def test_a_window_of_none_sorts_nothing_anew() -> None:
    x = np.zeros(9, np.float32)
    short = Context(prompt=[3])
    dry = Dry(1.0, allowed_length=1)
    before = SortedChain(TopK(7), TopP(0.4)).ordered(x, short)[1][0].tolist()
    assert SortedChain(TopK(7), dry, TopP(0.4)).ordered(x, short)[1][0].tolist() == before
    long = Context(prompt=[3, 8, 3])
    assert SortedChain(TopK(7), dry, TopP(0.4)).ordered(x, long)[1][0].tolist() != before


def test_sample_and_survivors_take_it() -> None:
    chain = SortedChain(TopP(0.5))
    x = np.zeros(4, np.float32)
    assert ll.survivors(x, chain).tokens[0].tolist() == [1, 3]
    assert set(ll.sample(x, chain, size=50, seed=1).tokens.tolist()) == {1, 3}
    assert str(ll.plan(chain)) == "dense, on the whole vocabulary: TopP(0.5)"
