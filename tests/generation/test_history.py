"""What a draw looks at of a text, beside the same said in whole."""

from __future__ import annotations

import numpy as np
from logitlab import Chain, Context, Mirostat, PresencePenalty, RepetitionPenalty
from logitlab.generation.history import History, at_states, context_of


def text(prompt: list[int], output: list[int], counts: bool = True) -> History:
    history = History(np.array(prompt), 3, 5, {"mirostat": 4.0}, counts, room=2)
    for token in output:
        history.append(token)
    return history


def test_a_context_of_texts_is_that_of_their_tokens() -> None:
    pairs = [([1, 2, 2], [3, 1, 1, 4, 5]), ([6], [])]
    texts = [text(*pair) for pair in pairs]
    assert [each.output.tolist() for each in texts] == [output for _, output in pairs]
    assert [each.length for each in texts] == [5, 0]
    context = context_of(texts)
    whole = Context(*([list(part) for part in zip(*pairs, strict=True)]))
    rows = np.random.default_rng(0).normal(size=(2, 9))
    for step in (PresencePenalty(0.5, scope="output"), RepetitionPenalty(1.3, last_n=4)):
        assert np.array_equal(step(rows, context), step(rows, whole))
    other = context_of(texts, rows).unconditional
    assert other is not None
    assert np.array_equal(other, rows)


def test_a_text_whose_tokens_nobody_asks_for_is_not_counted() -> None:
    assert not hasattr(text([1], [2, 3, 4], counts=False), "counts")


def test_a_chain_is_in_the_states_of_its_texts() -> None:
    chain = Chain(Mirostat(5.0, eta=0.5))
    one, other = text([1], []), text([2], [])
    one.advance(chain, {"mirostat": float(np.log(0.25))})  # 2 bits: 4 - 0.5 * (2 - 5)
    assert one.chain_state == {"mirostat": 5.5}
    assert at_states(chain, [one, other]) == chain.at({"mirostat": [5.5, 4.0]})
    assert at_states(Chain(PresencePenalty(1.0)), [one]) == Chain(PresencePenalty(1.0))
