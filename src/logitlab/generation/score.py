"""`score`: how likely a text was, token by token, and at which step it died."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, overload

import numpy as np
from logitlab.arrays import FloatArray, IntArray
from logitlab.checks import MOST_TEXTS, ParameterError, Range, Seen, check_integer, plain_array
from logitlab.constraints import Constraint
from logitlab.draw import SeedLike, resolve_seed
from logitlab.engines.engine import Engine
from logitlab.engines.given import read_request
from logitlab.engines.registry import EngineLike, get
from logitlab.engines.resolve import Request, Resolved
from logitlab.engines.spelling import SpellingError
from logitlab.foreign import is_array
from logitlab.generation.forced import Forced, raw_places
from logitlab.generation.options import VERBOSITY_BIAS, Options
from logitlab.generation.preparation import Prepared, prepare
from logitlab.generation.prompts import Prompt, are_prompts
from logitlab.generation.reading import Reading, next_logits
from logitlab.generation.score_result import Likelihood, Place, Score, columns_of
from logitlab.generation.written import Written, written
from logitlab.models.model import Model, check_model
from logitlab.progress import Progress
from logitlab.request.params import SamplingParams
from logitlab.steps.state import State, check_state
from logitlab.steps.step import Transform

__all__ = ["score"]

Text: TypeAlias = "str | Sequence[int] | IntArray"
Texts: TypeAlias = "list[str] | list[list[int]] | list[IntArray] | list[Text]"

_OTHERS = ("coupling", "logprobs_mode", "trace")  # of generate


@overload
def score(model: Model, text: Texts, request: Request = None, **keywords: Any) -> list[Score]: ...


@overload
def score(model: Model, text: Text, request: Request = None, **keywords: Any) -> Score: ...


def score(
    model: Model,
    text: Any,
    request: Request = None,
    *,
    prompt: Prompt | Sequence[Prompt] | None = None,
    engine: EngineLike | Iterable[EngineLike] = "openrouter",
    end: bool = False,
    top_logprobs: int | None = None,
    seed: SeedLike = None,
    sequence: int = 0,
    constraint: Constraint | None = None,
    state: State | None = None,
    verbosity_bias: float = VERBOSITY_BIAS,
    batch_size: int = 64,
    progress: bool | None = None,
    **parameters: Any,
) -> Any:
    """Force a text through a model, and tell how likely each token was, and whether it could come.

    The model reads the text once, a token at a time as in `generate`, for all engines. Each token
    is judged after those before it, whatever became of them.

    Parameters
    ----------
    model : Model
    text : str or token ids, or a list of those
        Token ids are scored as they are, also where the tokenizer would split their text
        otherwise, which a note tells. A string is split as what follows the prompt.
    request : SamplingParams, mapping, Chain or None
        What would have been asked; ``max_tokens`` and ``n`` say nothing of a text that is there.
    prompt : as of `generate`, or a list of those, optional
        What comes before: one for each text, or one for all. Without it the text begins as the
        model's texts do; where these have no token of their beginning, the first token of the text
        is the prompt, and not scored.
    engine : str or Engine, or an iterable of these
        Whose chain the request means. Several judge the same logits of the model side by side;
        those that refuse the request are in ``refused``, the others go on.
    end : bool
        Whether the model's end token is scored after each text. Among token ids it is scored
        where it stands.
    top_logprobs : int, optional
        How many of the most likely tokens to report at each place, 0 to V. None takes the
        request's, or 0.
    seed, sequence : as of `generate`
        Only for steps with a state beside steps with a coin: the state has seen what fell in
        `generate`. None takes the request's seed, or else the average over the coins.
    constraint, state, verbosity_bias, batch_size, progress
        As of `generate`.
    **parameters
        Request parameters, in place of those of the request.

    Returns
    -------
    Score, or list of Score where ``text`` is a list
        Each has the same bits alone and in a list.

    Raises
    ------
    ParameterError
        For a text that is empty, cannot be encoded, has ids outside the vocabulary, or is longer
        than the context; and for whatever is wrong with the prompt or the request.

    Notes
    -----
    A generation's own tokens have the log-probabilities that it reports, bit for bit, wherever
    neighbours change no bit of a model's rows: all of these models but `Transformers` with
    ``rows_together``. That, and a prompt that ends at another token where the pieces of a text
    matter to the model, move a network in float32 by some 1e-5 nats, and by 1e-4 at most.

    Under the request, coins are averaged: a token has its probability summed over all ways in
    which XTC's coins fall, and could have been drawn if any of them leaves it.

    What ends a generation ends the text here, too: after an end token, a stop token, a whole stop
    string or a repetition nothing can be drawn, and neither after a token that breaks the
    constraint. After a token that a step removed the text goes on; steps with a state keep the one
    they had, which no engine was ever in.

    Examples
    --------
    >>> from logitlab import models
    >>> model = models.NGram.bundled()
    >>> result = score(model, " was a king", {"top_k": 3}, prompt="Once upon a time there")
    >>> result.raw.logprobs.round(2), result.raw.ranks
    (array([-0.12, -0.44, -4.62]), array([ 1,  1, 27]))
    >>> print(result.processed.verdict)
    Token 3, ␣king, could not be drawn: step 1, TopK(3), removed it.
    """
    check_model(model, "text")
    for key in _OTHERS:
        if key in parameters:
            raise ParameterError(key, "absent: nothing is drawn here", parameters[key])
    if not isinstance(end, bool | np.bool_):
        raise ParameterError("end", "True or False", end)
    if top_logprobs is not None:
        counts = Range(0, len(model.vocabulary), integer=True)
        top_logprobs = check_integer("top_logprobs", top_logprobs, counts)
    is_list = are_prompts(text)
    texts, prompts = _listed("text", text), _listed("prompt", prompt)
    if len(prompts) not in (1, len(texts)):
        rule = f"one, or a list of {len(texts)}" if is_list else "one prompt"
        raise ParameterError("prompt", rule, Seen(f"a list of {len(prompts)}"))
    if len(texts) > MOST_TEXTS:
        raise ParameterError("text", f"at most {MOST_TEXTS} texts", Seen(f"{len(texts)}"))
    engines, is_one = _engines_of(engine, request)
    options = Options(
        engine=engines[0],
        sequence=sequence,
        constraint=constraint,
        state=state,
        verbosity_bias=verbosity_bias,
        batch_size=batch_size,
        progress=progress,
        parameters=parameters,
    )
    used = None if seed is None else resolve_seed(seed)
    ready, refused = _prepared(model, request, options, engines, is_one)
    tools = ready[0].tools if ready else ()
    known: list[_Text] = []
    for i, one in enumerate(texts):
        try:
            spelled = written(model, one, prompts[i % len(prompts)], tools, bool(end))
            known.append(_Text(model, spelled, ready, used, options.sequence, top_logprobs))
        except ParameterError as error:
            raise (error.inside(f"text {i}") if is_list else error) from None
    _read(model, known, options, is_one)
    results = [each.score(refused) for each in known]
    return results if is_list else results[0]


def _listed(name: str, value: Any) -> list[Any]:
    """Return texts, or prompts, as a list: the rows of an array with several are some."""
    if not are_prompts(value):
        return [value]
    return list(plain_array(name, value, "token ids") if is_array(value) else value)


def _engines_of(
    engine: EngineLike | Iterable[EngineLike], request: Request
) -> tuple[list[Engine], bool]:
    """Return the engines, and whether it is one that was asked, not a list."""
    if isinstance(engine, str | Engine):
        return [get(engine)], True
    if not isinstance(engine, Iterable) or isinstance(engine, bytes | np.ndarray):
        raise ParameterError("engine", "the name of an engine, an engine, or several", engine)
    chosen = [get(each) for each in engine]
    names = [each.name for each in chosen]
    if len(set(names)) < len(names) or not names:
        raise ParameterError("engine", "different names, one at least", names)
    if isinstance(request, Transform | Resolved):
        rule = "one where a chain is given"
        raise ParameterError("engine", rule, names, "No engine makes anything of it.")
    return chosen, False


def _prepared(
    model: Model, request: Request, options: Options, engines: Sequence[Engine], is_one: bool
) -> tuple[list[Prepared], dict[str, str]]:
    """Return the request made ready for each engine that takes it, and why others do not."""
    ready: list[Prepared] = []
    refused: dict[str, str] = {}
    if not is_one and isinstance(request, SamplingParams | Mapping):
        read_request(request)  # what no engine could read is no refusal
    for each in engines:
        try:
            own = prepare(model, request, replace(options, engine=each, state=None))
        except SpellingError:
            raise
        except ParameterError as error:
            if is_one:
                raise
            refused[each.name] = str(error)
        else:
            ready.append(own)
    state = check_state(options.state, {name for own in ready for name in own.chain.stateful})
    for i, own in enumerate(ready):
        part = {name: state[name] for name in own.chain.stateful if name in state} or None
        own.chain.at(part)  # says what is wrong with it
        ready[i] = replace(own, options=replace(own.options, state=part))
    return ready, refused


class _Text:
    """A text on its way through the model, and every request that judges it."""

    def __init__(
        self,
        model: Model,
        spelled: Written,
        ready: Sequence[Prepared],
        seed: int | None,
        sequence: int,
        top: int | None,
    ) -> None:
        self.spelled = spelled
        self.length = 0
        self.reading = Reading(spelled.prompt)
        self.judges: list[Forced] = []
        self.refused: dict[str, str] = {}
        self.negatives: dict[bytes, Reading] = {}
        self._model = model
        self._places: list[Place] = []
        self.top = max((each.top_logprobs for each in ready), default=0) if top is None else top
        for each in ready:
            own = each.resolved.seed if seed is None else seed
            judge = Forced(model, each, spelled.prompt, spelled.tokens, own, sequence, top)
            if judge.row.limit < len(spelled.tokens):
                rule = f"at most {judge.row.limit} tokens after the prompts of guidance"
                raise ParameterError("text", rule, Seen(f"{len(spelled.tokens)}"))
            self.judges.append(judge)
            if judge.negative is not None:  # that of another engine is the same, as a rule
                key = judge.negative.prompt.tobytes()
                judge.negative = self.negatives.setdefault(key, judge.negative)

    @property
    def token(self) -> int:
        """The next token."""
        return int(self.spelled.tokens[self.length])

    @property
    def output(self) -> IntArray:
        """The tokens before it."""
        return self.spelled.tokens[: self.length]

    @property
    def is_done(self) -> bool:
        """Whether there is no next token."""
        return self.length == len(self.spelled.tokens)

    def take(
        self, place: Place, logits: FloatArray, others: Mapping[int, FloatArray], is_one: bool
    ) -> None:
        """Judge the next token by the logits after the prompt, and those of other readings."""
        self._places.append(place)
        for judge in list(self.judges):
            try:
                judge.judge(logits, others.get(id(judge.negative)))
            except ParameterError as error:
                if is_one:
                    raise
                self.judges.remove(judge)
                self.refused[judge.row.prepared.resolved.engine.name] = str(error)
        self.length += 1
        if self.is_done:  # what is kept of a text can be large
            self.reading, self.negatives = Reading(self.spelled.prompt), {}

    def score(self, refused: Mapping[str, str]) -> Score:
        """Return the result for the tokens that were read."""
        vocabulary, tokens = self._model.vocabulary, self.spelled.tokens
        data = b"".join(vocabulary[i] for i in tokens.tolist() if i not in vocabulary.special)
        judged = [judge.processed(len(data)) for judge in self.judges]
        return Score(
            text=data.decode("utf-8", "replace"),
            tokens=tokens,
            prompt=self.spelled.prompt,
            raw=Likelihood(**columns_of(self._places), byte_count=len(data)),
            engines={each.engine: each for each in judged},
            refused={**refused, **self.refused},
            notes=self.spelled.notes,
            model=self._model.name,
            vocabulary_size=len(vocabulary),
        )


def _read(model: Model, texts: Sequence[_Text], options: Options, is_one: bool) -> None:
    """Read all texts, so many at a time; one that is finished makes room."""
    waiting, active = deque(texts), list[_Text]()
    done, total = 0, sum(len(text.spelled.tokens) for text in texts)
    with Progress("tokens", options.progress) as bar:
        while waiting or active:
            while waiting and len(active) < options.batch_size:
                active.append(waiting.popleft())
            asked = [(text.reading, text.output) for text in active]
            avoided = [(reading, text) for text in active for reading in text.negatives.values()]
            asked += [(reading, text.output) for reading, text in avoided]
            logits = next_logits(model, asked)
            own, rest = logits[: len(active)], logits[len(active) :]
            others = {id(reading): row for (reading, _), row in zip(avoided, rest, strict=True)}
            try:
                tokens = [text.token for text in active]
                places = raw_places(own, tokens, max(text.top for text in active))
            except ParameterError as error:
                raise error.inside(f"the logits of {model.name}") from None
            for text, place, row in zip(active, places, own, strict=True):
                text.take(place, row, others, is_one)
            done += len(active)
            bar.update(done, total)
            active = [text for text in active if not text.is_done]
