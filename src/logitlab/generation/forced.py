"""A text that is forced, token by token: what a request makes of each, and of the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from logitlab import metrics
from logitlab.arrays import FloatArray, IntArray
from logitlab.checks import ParameterError, Seen
from logitlab.constraints import Tools, remove
from logitlab.engines.rules import Note
from logitlab.generation.history import at_states, context_of
from logitlab.generation.observing import observed
from logitlab.generation.preparation import Prepared
from logitlab.generation.row import Row
from logitlab.generation.score_result import Place, Processed, Removal, columns_of
from logitlab.models.model import Model
from logitlab.sampling.fast_path import Final, run_chain
from logitlab.sampling.logprobs import Logprobs, logprobs_of
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context

__all__ = ["Forced", "raw_places"]

_UNUSED = ("max_tokens", "n")


class Forced:
    """A text that is forced under one request: a `Row` of `generate` to which nothing is drawn.

    Parameters
    ----------
    model : Model
    prepared : Prepared
    prompt, tokens : ndarray of int64
    seed : int or None
        With it the coins that states have seen fall as in `generate`.
    sequence : int
    top : int or None
        How many of the most likely tokens are reported; None takes the request's number.

    Attributes
    ----------
    negative : Reading or None
        The text after what guidance moves away from.
    """

    def __init__(
        self,
        model: Model,
        prepared: Prepared,
        prompt: IntArray,
        tokens: IntArray,
        seed: int | None,
        sequence: int,
        top: int | None,
    ) -> None:
        self.row = Row(0, model, replace(prepared, max_tokens=len(tokens)), prompt, 0, sequence)
        self.negative = self.row.readings[1] if prepared.guides else None
        self.row.readings = []  # whoever forces the text reads it, once for all requests
        self._model = model
        self._prepared = prepared
        self._tokens = tokens
        self._seed = seed
        self._top = prepared.top_logprobs if top is None else top
        self._places: list[Place] = []
        self._removals: list[Removal] = []
        self._states: list[dict[str, float]] = []

    def judge(self, logits: FloatArray, avoided: FloatArray | None) -> None:
        """Say what the request makes of the next token, and append it.

        Parameters
        ----------
        logits : ndarray, shape (V,)
            The model's, after the tokens so far.
        avoided : ndarray, shape (V,), or None
            What guidance moves away from.
        """
        row, token = self.row, int(self._tokens[len(self._places)])
        self._states.append(dict(row.chain_state))
        if row.finish is not None:
            self._remove("ended", row.finish.cause, f"the text had ended. {row.finish}")
            return
        try:
            allowed = self._allowed(logits)
        except ParameterError as error:
            row.fail(error)
            name = self._constraint_name
            self._remove("constraint", name, f"no token has a place under {name}. {error}")
            return
        chain, context = at_states(row.prepared.chain, [row]), None
        if row.prepared.counts:
            context = context_of([row], None if avoided is None else avoided[None])
        ids = np.array([[token]])
        try:
            [report] = logprobs_of(allowed[None], ids, chain, context, self._top)
            rank, entropy = _rank_and_entropy(allowed[None], token, chain, context)
            self._places.append(Place(report, rank, entropy))
            if not rank:
                self._explain(logits, allowed, avoided)
            elif row.prepared.observed:
                whose = row.prepared, self._seed, row.place
                seen = observed(*whose, logits[None], allowed[None], ids, chain, context)
                if seen is not None:
                    row.observe(seen)
        except ParameterError as error:
            raise error.inside(f"the logits of {self._model.name}") from None
        row.add(token)

    def _allowed(self, logits: FloatArray) -> FloatArray:
        """Leave the tokens that the constraint lets come next, one at least, or raise."""
        if self.row.matcher is None:
            return logits
        allowed = logits.copy()
        remove(allowed, self.row.matcher.allowed())
        if allowed.max() == -np.inf:
            rule = "finite for a token that the constraint allows"
            raise ParameterError("logits", rule, Seen("only -inf among them"))
        return allowed

    def _explain(self, logits: FloatArray, allowed: FloatArray, avoided: FloatArray | None) -> None:
        """Say what removed the next token."""
        row, token = self.row, int(self._tokens[self.row.length])
        if logits[token] == -np.inf:
            name = self._model.name
            self._tell("model", name, f"{name} gives it the logit -inf")
            return
        if allowed[token] == -np.inf:
            name = self._constraint_name
            self._tell("constraint", name, f"it has no place under {name}")
            return
        chain = row.prepared.chain.at(row.chain_state)
        stages = chain.trace(allowed, Context(row.prompt, row.output, avoided)).logits
        # A step can bring back what one before it has removed.
        last = int(np.flatnonzero(stages[:, token] > -np.inf)[-1])
        name, number = repr(chain[last]), last + 1
        self._tell("step", name, f"step {number}, {name}, removed it", number)

    def _remove(self, cause: Literal["constraint", "ended"], name: str, reason: str) -> None:
        """Append a token of which there is no distribution."""
        nothing = np.full(self._top, -np.inf)
        none = Logprobs(np.array(-np.inf), np.arange(self._top), nothing)
        self._places.append(Place(none, 0, np.nan))
        self._tell(cause, name, reason)

    def _tell(
        self,
        cause: Literal["step", "constraint", "ended", "model"],
        name: str,
        reason: str,
        step: int | None = None,
    ) -> None:
        position = len(self._places) - 1
        token = int(self._tokens[position])
        head = f"Token {position + 1}, {self._model.vocabulary.label(token)}, could not be drawn"
        sentence = f"{head}: {reason}{'' if reason.endswith('.') else '.'}"
        self._removals.append(Removal(position, token, cause, step, name, sentence))

    @property
    def _constraint_name(self) -> str:
        """What the constraint is called: after the key that asks for it."""
        constraint = self._prepared.constraint
        if self._prepared.options.constraint is not None:
            return f"the constraint {constraint!r}"
        return "tools" if isinstance(constraint, Tools) else "response_format"

    def processed(self, byte_count: int) -> Processed:
        """Return what the request made of the whole text."""
        given = self._prepared.resolved.given
        notes = [
            Note(key, "ignored", f"{key} is ignored: the text is there, and scored to its end.")
            for key in _UNUSED
            if given.get(key) is not None
        ]
        names = self._states[0]
        return Processed(
            **columns_of(self._places),
            byte_count=byte_count,
            engine=self._prepared.resolved.engine.name,
            removals=tuple(self._removals),
            chain=self._prepared.chain,
            states={name: np.array([each[name] for each in self._states]) for name in names}
            or None,
            notes=(*self._prepared.notes, *notes),
        )


def raw_places(logits: FloatArray, tokens: Sequence[int], top: int) -> list[Place]:
    """Return what the model's own distributions make of one token each.

    Parameters
    ----------
    logits : ndarray, shape (n, V)
    tokens : sequence of n int
    top : int
    """
    ids = np.array(tokens)[:, None]
    reports = logprobs_of(logits, ids, Chain(), None, top)
    own = np.take_along_axis(logits, ids, axis=-1)
    earlier = (logits == own) & (np.arange(logits.shape[-1]) < ids)
    ranks = 1 + np.count_nonzero((logits > own) | earlier, axis=-1)
    ranks[own[:, 0] == -np.inf] = 0
    columns = reports, ranks.tolist(), metrics.entropy(logits).tolist()
    return [Place(*each) for each in zip(*columns, strict=True)]


def _rank_and_entropy(
    logits: FloatArray, token: int, chain: Chain, context: Context | None
) -> tuple[int, float]:
    """Return the rank of a token in what a chain makes of a row, and the entropy of that."""
    results: list[tuple[int, float]] = []

    def measure(final: Final) -> None:
        line = final.logits[0]
        alive = np.flatnonzero(line > -np.inf)
        ids = alive if final.tokens is None else final.tokens[0, alive]
        line, place = line[alive], int(ids.searchsorted(token))
        rank = 0
        if place < len(ids) and ids[place] == token:
            earlier = np.count_nonzero(line[:place] == line[place])
            rank = 1 + int(np.count_nonzero(line > line[place])) + int(earlier)
        results.append((rank, float(metrics.entropy(line))))

    run_chain(measure, logits, chain, context)
    return results[0]
