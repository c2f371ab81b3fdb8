"""Steps that look at the tokens so far see them in a text that grows, in batches and resumed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from logitlab import (
    Chain,
    Context,
    Dry,
    FrequencyPenalty,
    LengthDecay,
    NoRepeatNgram,
    RepetitionPenalty,
    Temperature,
    Transform,
    engines,
    generate,
    generate_many,
    models,
    resume,
)
from logitlab.arrays import FloatArray

MODEL = models.NGram.bundled()
END = min(MODEL.end_ids)
PROMPTS = ["Once upon a time", "The king", "The king went out and the king went home"]
REQUESTS: list[Any] = [
    {"dry_multiplier": 2.0, "dry_penalty_last_n": -1, "temperature": 0.5},
    {"dry_multiplier": 2.0, "dry_penalty_last_n": 8, "dry_allowed_length": 1},
    {"no_repeat_ngram_size": 2, "temperature": 0.3},
    {"exponential_decay_length_penalty": [3, 0.8], "eos_token_id": [END]},
    {"dynatemp_range": 0.4, "smoothing_factor": 0.1, "temperature_last": True, "top_k": 50},
    Chain(RepetitionPenalty(1.5, last_n=4, decay=6), FrequencyPenalty(0.5, amount="share")),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_a_batch_a_text_alone_and_one_resumed_are_the_same(request_: Any) -> None:
    alone = [
        generate(MODEL, prompt, request_, seed=5, max_tokens=24, sequence=0) for prompt in PROMPTS
    ]
    many = generate_many(MODEL, PROMPTS, request_, seed=5, max_tokens=24, batch_size=2)
    begun = generate_many(MODEL, PROMPTS, request_, seed=5, max_tokens=7)
    whole = resume(MODEL, begun, max_tokens=24)
    for one, other, third in zip(alone, many, whole, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist() == third.tokens.tolist()


@pytest.mark.parametrize("request_", REQUESTS[:4], ids=str)
def test_the_text_is_that_of_the_steps_applied_by_hand(request_: Any) -> None:
    chain = engines.openrouter({**request_, "temperature": 0})
    text = generate(MODEL, PROMPTS[2], {**request_, "temperature": 0}, max_tokens=20)
    prompt, output = text.prompt.tolist(), list[int]()
    for token in text.tokens.tolist():
        [logits] = MODEL.advance([MODEL.start()], [[*prompt, *output]])
        assert int(chain(logits, Context(prompt, output)).argmax()) == token
        output.append(token)


def test_no_bigram_comes_twice() -> None:
    text = generate(MODEL, PROMPTS[2], {"no_repeat_ngram_size": 2}, seed=3, max_tokens=60)
    tokens = [*text.prompt.tolist(), *text.tokens.tolist()]
    pairs = list(pairwise(tokens))
    new = pairs[len(text.prompt) - 1 :]
    assert len(set(new)) == len(new)
    assert not set(new) & set(pairs[: len(text.prompt) - 1])


class Counted(Transform):
    """A user's own transform, which is always given the tokens so far."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, logits: Any, context: Context | None = None) -> FloatArray:
        assert context is not None
        self.seen.append(context.output.shape[-1])
        return np.array(logits)


def test_who_needs_the_context_gets_it() -> None:
    for step in (Dry(1.0), NoRepeatNgram(2), LengthDecay(1.5), RepetitionPenalty(1.1), Counted()):
        assert step.needs_context
    assert not Temperature(0.5).needs_context
    own = Counted()
    generate(MODEL, PROMPTS[0], Chain(own), seed=1, max_tokens=3)
    assert own.seen == [0, 1, 2]
