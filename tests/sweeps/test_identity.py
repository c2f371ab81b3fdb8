"""What is the same computation, and what is not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError, Transform
from logitlab.steps.truncation import TopK
from logitlab.sweeps.identity import digest

FACTOR = 2


def column(logits: Any, k: int) -> Any:
    return logits[:, k]


def closing(k: int) -> Any:
    return lambda logits: logits[:, k]


def with_default(k: int) -> Any:
    def metric(logits: Any, k: int = k) -> Any:
        return logits[:, k]

    return metric


def from_module(k: int) -> Any:
    globals()["FACTOR"] = k

    def metric(logits: Any) -> Any:
        return logits[:, FACTOR]

    return metric


class Column:
    def __init__(self, k: int) -> None:
        self.k = k

    def __call__(self, logits: Any) -> Any:
        return logits[:, self.k]

    def method(self, logits: Any) -> Any:
        return logits[:, self.k]


class Own(Transform):
    """A step that prints alike whatever it does, as users write them."""

    def __init__(self, k: int) -> None:
        self.k = k

    def __call__(self, logits: Any, context: Any = None) -> Any:
        return logits * self.k

    def __repr__(self) -> str:
        return "Own()"


MAKERS = [
    closing,
    with_default,
    from_module,
    Column,
    lambda k: Column(k).method,
    Own,
    TopK,
    lambda k: partial(column, k=k),
    lambda k: np.full(100, k),
    lambda k: {"a": [k, (k,)]},
]


@pytest.mark.parametrize("make", MAKERS)
def test_what_a_function_or_step_holds_counts(make: Any) -> None:
    one, again = digest(make(3)), digest(make(3))
    assert one == again != digest(make(9))


def test_the_code_counts_and_its_place_does_not() -> None:
    plus, minus = (eval(f"lambda x: x {sign} 1") for sign in "+-")
    assert digest(plus) != digest(minus)
    assert digest(plus) == digest(eval("lambda x: x + 1"))
    assert digest(np.exp) != digest(np.log)


def test_a_function_may_call_itself() -> None:
    def depth(n: int) -> int:
        return depth(n - 1) if n else 0

    assert digest(depth) == digest(depth)


def test_the_order_of_a_set_does_not_count() -> None:
    code = (
        "from logitlab.sweeps.identity import digest\n"
        "print(digest(lambda v: v in {'a', 'b', 'c', 'd', 'e'}).hex())\n"
    )
    digests = {
        subprocess.check_output(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_what_cannot_be_told_from_others_is_refused() -> None:
    lock = threading.Lock()
    with pytest.raises(ParameterError, match="checkpoint must be None for this metric or step"):
        digest(lambda logits: lock)
