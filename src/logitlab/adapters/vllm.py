"""A request as a logits processor of vLLM's V1 engine."""

from __future__ import annotations

import copyreg
import json
from collections import deque
from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from logitlab.adapters.adapter import check_sequence
from logitlab.adapters.shaping import Shaping, Text
from logitlab.arrays import check_array
from logitlab.checks import ParameterError, Seen
from logitlab.draw import SeedLike
from logitlab.engines.registry import EngineLike
from logitlab.engines.resolve import Request
from logitlab.engines.spelling import VocabularyLike
from logitlab.foreign import back

__all__ = ["KEY", "vllm"]

KEY = "logitlab"
"""Where a request to vLLM says what is asked of logitlab, in its ``extra_args``."""

_OPTIONS = ("engine", "sequence", "coupling", "state")
_LEFT = 1024  # texts that vLLM has put aside, and may take up again


class _Asked(NamedTuple):
    """What a request asks for, and its random sequence."""

    shaping: Shaping
    sequence: int


class _Running(NamedTuple):
    """A text in vLLM's batch, and vLLM's own list of its output."""

    asked: _Asked
    text: Text
    output: list[int]


def vllm(
    request: Request = None,
    *,
    engine: EngineLike = "openrouter",
    seed: SeedLike = None,
    sequence: int = 0,
    coupling: Any = "inverse",
    vocabulary: VocabularyLike = None,
) -> Any:
    """Return a class for the ``logits_processors`` of vLLM, V1.

    Every request to vLLM is treated as ``request`` says, or as its own ``extra_args`` say: a map,
    or its JSON, under "logitlab", with the keys of a request and, where they are wanted, engine,
    sequence, coupling and state. Without ``request`` only those with such a map are treated; this
    class has a name for the command line and for servers, where it is asked for in ``vllm_xargs``:
    ``--logits-processors logitlab.adapters.vllm:PerRequest``.

    vLLM's own parameters act, too: its logit bias and its min_tokens before, its penalties,
    temperature and the others behind. Leave them out, with ``temperature=1.0``. With a seed none
    of this matters: one token is left.

    Parameters
    ----------
    request : SamplingParams of logitlab, mapping, Transform or None
        What is asked for by those that do not say.
    engine : str or Engine
        Whose chain the parameters mean, where a request of its own does not say another.
    seed, sequence, coupling
        As of `adapters.plain`, for ``request`` alone. All texts have the same luck unless they say
        a seed or a sequence of their own; several answers to one prompt are refused.
    vocabulary : Model or Vocabulary, optional
        As of `adapters.plain`. With it requests are checked against the number of tokens
        before they reach vLLM's engine, which ends if one turns out wrong there.

    Returns
    -------
    type
        A subclass of vLLM's ``LogitsProcessor``, which can be pickled. What vLLM checks before it
        takes a request, is checked: a wrong one is refused in our words.

    Raises
    ------
    ImportError
        Where vLLM is not installed.
    ParameterError
        For whatever is wrong with the request.

    Examples
    --------
    >>> llm = vllm.LLM(  # doctest: +SKIP
    ...     "facebook/opt-125m",
    ...     logits_processors=[logitlab.adapters.vllm({"temperature": 0.8, "min_p": 0.05})],
    ... )
    >>> own = {"logitlab": {"temperature": 0.5, "engine": "llama_cpp", "seed": 7}}
    >>> llm.generate("Hello", vllm.SamplingParams(extra_args=own))  # doctest: +SKIP
    """
    default = None
    if request is not None:
        shaping = Shaping(
            request, "vLLM", engine=engine, seed=seed, coupling=coupling, vocabulary=vocabulary
        )
        default = _Asked(shaping, _one_sequence(sequence, shaping))
    else:
        absent = {"seed": None, "sequence": 0, "coupling": "inverse"}
        for name, value in {"seed": seed, "sequence": sequence, "coupling": coupling}.items():
            if value is not absent[name] and value != absent[name]:
                hint = "Each request says its own in extra_args."
                raise ParameterError(name, "absent without a request", value, hint)
        Shaping(None, "vLLM", engine=engine, vocabulary=vocabulary)  # says what is wrong with these
    made = _subclass("Logitlab", default, engine, vocabulary)
    options = {"seed": seed, "sequence": sequence, "coupling": coupling, "vocabulary": vocabulary}
    made._made_by = partial(vllm, request, engine=engine, **options)
    return made


def __getattr__(name: str) -> Any:
    if name == "PerRequest":
        return _per_request()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _per_request() -> Any:
    return vllm()


def _one_sequence(sequence: Any, shaping: Shaping) -> int:
    number = check_sequence(sequence, shaping)
    if not isinstance(number, int):
        raise ParameterError("sequence", "one number for each request", sequence)
    return number


def _read(params: Any, engine: EngineLike, vocabulary: VocabularyLike) -> _Asked | None:
    """Return what a request to vLLM asks for in a map of its own, if it does."""
    body = (getattr(params, "extra_args", None) or {}).get(KEY)
    if body is None:
        return None
    name, rule = f"extra_args[{KEY!r}]", "a map, or its JSON"
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError as error:
            raise ParameterError(name, rule, body, f"It says: {error}.") from None
    if not isinstance(body, Mapping):
        raise ParameterError(name, rule, body)
    try:
        own = {key: body[key] for key in _OPTIONS if key in body}
        request = {key: value for key, value in body.items() if key not in own}
        sequence = own.pop("sequence", 0)
        shaping = Shaping(request, "vLLM", vocabulary=vocabulary, **{"engine": engine, **own})
        return _Asked(shaping, _one_sequence(sequence, shaping))
    except ParameterError as error:
        raise error.inside(name) from None


class _Requests:
    """The methods of the class that vLLM makes an object of, beside its own base."""

    _default: _Asked | None
    _engine: EngineLike
    _vocabulary: VocabularyLike
    _made_by: partial[type]

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raise for what is wrong with a request, before vLLM takes it."""
        asked = cls._asked(sampling_params)
        answers = getattr(sampling_params, "n", 1)
        if asked is not None and asked.shaping.seed is not None and answers not in (None, 1):
            hint = "All answers would be the same: ask for each with a sequence of its own."
            raise ParameterError("n", "1 where the adapter draws", answers, hint)

    @classmethod
    def _asked(cls, params: Any) -> _Asked | None:
        return _read(params, cls._engine, cls._vocabulary) or cls._default

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        self._width = vllm_config.model_config.get_vocab_size()
        self._running: dict[int, _Running] = {}
        self._aside: deque[_Running] = deque(maxlen=_LEFT)

    def is_argmax_invariant(self) -> bool:
        """Say that greedy requests, too, need what is done here."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """See which requests stand in which row from now on."""
        if batch_update is None:
            return
        for index in batch_update.removed:
            self._put_aside(index)
        for index, params, prompt, output in batch_update.added:
            self._put_aside(index)
            asked = self._asked(params)
            if asked is not None:
                self._running[index] = self._taken_up(asked, prompt, output)
        for one, other, direction in batch_update.moved:
            first, second = self._running.pop(one, None), self._running.pop(other, None)
            if first is not None:
                self._running[other] = first
            if second is not None and direction.name == "SWAP":
                self._running[one] = second

    def _put_aside(self, index: int) -> None:
        running = self._running.pop(index, None)
        if running is not None and running.asked.shaping.chain.stateful:
            self._aside.append(running)

    def _taken_up(self, asked: _Asked, prompt: list[int] | None, output: list[int]) -> _Running:
        """Return a text that begins, or one that was put aside for others."""
        for running in self._aside:
            if running.output is output:  # the list itself: vLLM goes on writing into it
                self._aside.remove(running)
                return running
        asked.shaping.fit(self._width)
        text = asked.shaping.text(np.array(prompt or (), np.int64), asked.sequence)
        return _Running(asked, text, output)

    def apply(self, logits: Any) -> Any:
        """Change the rows of the requests that ask for it, in place.

        Parameters
        ----------
        logits : tensor of float32, shape (n, V)
        """
        groups: dict[int, list[int]] = {}
        for index, running in sorted(self._running.items()):
            text, chain = running.text, running.asked.shaping.chain
            output = running.output
            if len(output) < text.length or -1 in output[text.length :]:
                rule = f"the {text.length} tokens of before, and those that came"
                seen = Seen(f"{len(output)} with {output.count(-1)} unknown")
                raise ParameterError("output_token_ids", rule, seen)
            for token in output[text.length :]:
                text.grow(token, chain)
            groups.setdefault(id(running.asked.shaping), []).append(index)
        for places in groups.values():
            shaping = self._running[places[0]].asked.shaping
            shaping.fit(logits.shape[-1])
            texts = [self._running[place].text for place in places]
            rows = shaping.rows(texts, check_array(logits[places].cpu()))
            logits[places] = back(rows, logits, False).to(logits.device)
        return logits


def _subclass(
    name: str, default: _Asked | None, engine: EngineLike, vocabulary: VocabularyLike
) -> Any:
    try:
        base = import_module("vllm.v1.sample.logits_processor").LogitsProcessor
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "vllm":
            raise
        raise ImportError("vllm is not installed: pip install vllm", name="vllm") from None
    body = {
        "__module__": __name__,
        "__doc__": "What vLLM makes an object of: a request, or that of each request, of logitlab.",
        "_default": default,
        "_engine": engine,
        "_vocabulary": vocabulary,
    }
    kind: Any = type(base)
    return _kind(kind)(name, (_Requests, base), body)


@cache
def _kind(base: type) -> Any:
    """Return a class of classes that are pickled as the call that makes them."""
    kind = type("_Kind", (base,), {})
    copyreg.pickle(kind, lambda made: (made._made_by, ()))
    return kind
