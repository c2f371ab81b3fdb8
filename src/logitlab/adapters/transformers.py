"""A request as a logits processor of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from logitlab.adapters.adapter import Adapter
from logitlab.arrays import BoolArray, IntArray, check_array
from logitlab.checks import ParameterError, Range, Seen, check_integer, plain_array
from logitlab.draw import SeedLike
from logitlab.engines.registry import EngineLike
from logitlab.engines.resolve import Request
from logitlab.engines.spelling import VocabularyLike
from logitlab.foreign import back
from logitlab.steps.state import State

__all__ = ["Transformers", "transformers"]

_IDS = Range(0, integer=True)


class Transformers(Adapter):
    """An adapter that ``generate`` of transformers takes among its ``logits_processor``."""

    library = "transformers"
    ids_name, logits_name = "input_ids", "scores"

    def __init__(
        self,
        request: Request = None,
        *,
        pad_token_id: int | None = None,
        attention_mask: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(request, **options)
        self._pad, self._mask = pad_token_id, None
        if pad_token_id is not None:
            self._pad = check_integer("pad_token_id", pad_token_id, _IDS)
        if attention_mask is not None:
            if pad_token_id is not None:
                rule = "absent where attention_mask is given"
                raise ParameterError("pad_token_id", rule, pad_token_id)
            self._mask = _read_mask(attention_mask)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return what becomes of the scores.

        Parameters
        ----------
        input_ids : tensor of int, shape (n, L)
        scores : tensor of floats, shape (n, V)

        Returns
        -------
        tensor of float32 or float64, shape (n, V)
            On the device of the scores.
        """
        for name, value in ((self.ids_name, input_ids), (self.logits_name, scores)):
            if not hasattr(value, "detach"):
                raise ParameterError(name, "a tensor of torch", value)
        # Wherever the model runs, its loop gives no other place to bring the scores here.
        rows = check_array(scores.detach().cpu(), self.logits_name)
        return back(self.rows_after(input_ids.cpu(), rows), scores, False).to(scores.device)

    def _prompts(self, ids: IntArray) -> list[IntArray]:
        if self._mask is not None:
            each, rest = divmod(len(ids), len(self._mask))
            if rest or self._mask.shape[1] != ids.shape[1]:
                rule = "that of the prompts, as generate got it"
                seen = Seen(f"shape {self._mask.shape} beside input_ids of shape {ids.shape}")
                raise ParameterError("attention_mask", rule, seen)
            # As `generate` expands it for several sequences or beams.
            mask = np.repeat(self._mask, each, axis=0)
            return [row[kept] for row, kept in zip(ids, mask, strict=True)]
        if self._pad is None:
            return list(ids)
        # Padding on the left ends before the last token, whatever that is.
        starts = (ids[:, :-1] != self._pad).cumsum(axis=1)
        return [row[(start == 0).sum() :] for row, start in zip(ids, starts, strict=True)]


def _read_mask(mask: Any) -> BoolArray:
    rule = "of shape (n, L) with ones, and zeros for padding"
    array = plain_array("attention_mask", mask, rule)
    if array.ndim != 2 or not array.size or not np.isin(array, (0, 1)).all():
        raise ParameterError("attention_mask", rule, Seen(f"shape {array.shape}"))
    return array.astype(bool)


def transformers(
    request: Request = None,
    *,
    engine: EngineLike = "openrouter",
    seed: SeedLike = None,
    sequence: int | Sequence[int] = 0,
    coupling: Any = "inverse",
    state: State | None = None,
    vocabulary: VocabularyLike = None,
    pad_token_id: int | None = None,
    attention_mask: Any = None,
) -> Transformers:
    """Return a request as a ``logits_processor`` for ``generate`` of transformers.

    transformers goes on with the scores: its own warpers come behind, and those of a model's
    generation config are on unless they are switched off. Write ``do_sample=True, temperature=1.0,
    top_p=1.0, top_k=0``. With a seed none of this matters: one token is left, and greedy search
    takes it.

    Rows of a batch are texts of their own, and finished ones are padded. Beams are followed when
    they change places or fork, unless the adapter draws: then rows in another order are refused.
    Assisted generation is refused, too, since it goes back. A ``generate`` whose prompt is exactly
    what the last one saw, or that and one token more, looks like the same text going on: call
    ``restart()`` before, or make another adapter.

    Parameters
    ----------
    request, engine, seed, sequence, coupling, state, vocabulary
        As of `adapters.plain`. Row i of a batch uses the random sequence ``sequence + i``.
        ``models.Transformers(model, tokenizer)`` as vocabulary knows what ends a text.
    pad_token_id : int, optional
        The token that stands before shorter prompts in a batch: it does not count. A prompt of
        its own that begins with that token needs ``attention_mask``.
    attention_mask : tensor, shape (n, L), optional
        As ``generate`` gets it, in place of that. It fits the prompts of that call alone.

    Returns
    -------
    Transformers
        Scores of 16 bits are read exactly, and come back in float32, on their own device. Rows
        are computed by the processor, in numpy.

    Raises
    ------
    ParameterError
        For whatever is wrong with the request, at once; for ids and scores, when they come.

    Examples
    --------
    >>> adapter = transformers({"temperature": 0.8, "min_p": 0.05}, engine="llama_cpp", seed=7)
    >>> output = model.generate(  # doctest: +SKIP
    ...     **tokenizer("The capital of France is", return_tensors="pt"),
    ...     logits_processor=[adapter],
    ...     max_new_tokens=20,
    ... )
    """
    return Transformers(
        request,
        engine=engine,
        seed=seed,
        sequence=sequence,
        coupling=coupling,
        state=state,
        vocabulary=vocabulary,
        pad_token_id=pad_token_id,
        attention_mask=attention_mask,
    )
