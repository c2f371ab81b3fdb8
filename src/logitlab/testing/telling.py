"""`SamplerError`: what is wrong in one sentence, and the lines that show it again."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from logitlab.request.params import SamplingParams
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.step import Transform

__all__ = ["SamplerError"]

_MANY = 64


class SamplerError(AssertionError):
    """What a sampler got wrong.

    Attributes
    ----------
    sentence : str
        Such as "keeps token 7, whose mass before it is exactly 0.75".
    row : ndarray of float32, shape (V,)
        The row; or a batch of them, shape (n, V), where it is wrong in that alone.
    context : Context or None
    request : object
        What the sampler was to do.
    engine : str
    chain : Chain
        What that means.

    Examples
    --------
    >>> from logitlab import testing
    >>> try:
    ...     testing.check(lambda row: row, {"top_k": 1}, rows="ties")
    ... except testing.SamplerError as error:
    ...     print(error.sentence)
    ...     print(error.row.shape, error.engine, error.chain)
    keeps token 1, number 2 of the most likely: top_k is 1
    (2,) openrouter Chain(TopK(1))
    """

    def __init__(
        self, sentence: str, row: Any, context: Any, request: Any, engine: str, chain: Chain
    ) -> None:
        super().__init__(sentence, row, context, request, engine, chain)
        self.sentence, self.row, self.context = sentence, row, context
        self.request, self.engine, self.chain = request, engine, chain

    def __str__(self) -> str:
        lines = ["import logitlab as ll", "import numpy as np", f"row = {_literal(self.row)}"]
        more = ""
        if isinstance(self.context, Context):
            lines.append(f"context = ll.{self.context!r}")
            more = ", context=context"
        own = "" if self.engine == "openrouter" else f", engine={self.engine!r}"
        if isinstance(self.request, Transform):
            own = ""
        lines.append(f"print(ll.trace(row, {_code(self.request)}{own}{more}))  # what is right")
        text = "\n".join(f"    {line}" for line in lines)
        return f"{self.sentence}.\n\n{text}"


def _literal(row: Any) -> str:
    """Return code that makes a row."""
    array = np.asarray(row, np.float32)
    if array.size <= _MANY:
        return f"np.array({_list(array)}, np.float32)"
    starts = np.flatnonzero(np.append(True, array[1:] != array[:-1])) if array.ndim == 1 else array
    if array.ndim == 1 and len(starts) <= _MANY // 2:
        counts = np.diff(np.append(starts, len(array))).tolist()
        return f"np.repeat(np.array({_list(array[starts])}, np.float32), {counts})"
    return f"error.row  # {' times '.join(map(str, array.shape))} numbers, of this error"


def _list(array: Any) -> str:
    """Return a list of numbers, or of lists, in no more digits than a float32 has."""
    if array.ndim:
        return f"[{', '.join(map(_list, array))}]"
    return str(array).replace("inf", "np.inf")


def _code(request: Any) -> str:
    """Return code that makes a request."""
    if isinstance(request, Transform | SamplingParams):
        return re.sub(r"\b([A-Z]\w*)\(", r"ll.\1(", repr(request))
    return repr(request)
