"""Text Generation Inference: its own API, and its endpoint after OpenAI's."""

from __future__ import annotations

from logitlab.engines.dialect import Dialect
from logitlab.engines.registry import engine
from logitlab.engines.rules import Ignore, Option, Refuse, Rule, Send, Values
from logitlab.engines.telling import own_luck
from logitlab.engines.torch_sort import DEVICE, ascending_top_p
from logitlab.request.values import flag
from logitlab.steps.chain import Chain
from logitlab.steps.penalties import FrequencyPenalty, RepetitionPenalty
from logitlab.steps.temperature import Temperature
from logitlab.steps.truncation import TopK
from logitlab.steps.typical import TypicalP
from logitlab.steps.watermark import Watermark

__all__ = ["tgi", "tgi_chat"]


def _fraction(key: str) -> tuple[Rule, ...]:
    says = f"`{key}` must be > 0.0 and < 1.0"
    return (Refuse(lambda p: not 0 < p < 1, "in (0, 1)", says),)


_NONE: tuple[Rule, ...] = (Ignore(),)
_SEED = Refuse(
    lambda seed: not 0 <= seed < 2**64,
    "in [0, 2**64 - 1]",
    "invalid value: integer `{}`, expected u64",
)
_RULES: dict[str, tuple[Rule, ...]] = {
    "temperature": (
        Refuse(lambda t: t <= 0, "strictly positive", "`temperature` must be strictly positive"),
    ),
    "top_p": _fraction("top_p"),
    "top_k": (
        Refuse(lambda k: k <= 0, "strictly positive", "`top_k` must be strictly positive"),
        Refuse(
            lambda k, size: k > size,
            "at most {V}",
            "index {V} is out of bounds for dimension 1 with size {V}",
            sized=True,
        ),
    ),
    "typical_p": _fraction("typical_p"),
    "repetition_penalty": (
        Refuse(
            lambda r: r <= 0, "strictly positive", "`repetition_penalty` must be strictly positive"
        ),
    ),
    "frequency_penalty": (
        Refuse(
            lambda f: not -2 <= f <= 2,
            "in [-2, 2]",
            "`frequency_penalty` must be >= -2.0 and <= 2.0",
        ),
    ),
    "presence_penalty": _NONE,
    "min_p": _NONE,
    "top_a": _NONE,
    "logit_bias": _NONE,
    "seed": (_SEED, own_luck("a generator of torch's")),
}
_UTILS = "server/text_generation_server/utils"
_SOURCE = f"{_UTILS}/tokens.py, {_UTILS}/logits_process.py, router/src/validation.rs"
_LUCK = "the largest p / e, with exponential numbers of a torch generator that has the seed"


def _chain(p: Values, samples: bool, watermark: bool = False) -> Chain:
    return Chain(
        Watermark(2.0 if watermark else 0.0, greenlist_ratio=0.5),
        RepetitionPenalty(p.repetition_penalty),
        FrequencyPenalty(p.frequency_penalty, amount="share"),
        Temperature(p.temperature),
        TopK(p.top_k, ties="all"),
        ascending_top_p(p),
        TypicalP(p.typical_p, ties="all"),
        *(() if samples else (Temperature(0.0),)),
        precision="single",
    )


@engine(
    title="Text Generation Inference 3.3.7, /generate",
    source=_SOURCE,
    rules=_RULES,
    defaults={"do_sample": False},
    options={"do_sample": Option(False, flag), "watermark": Option(False, flag)} | DEVICE,
    logprobs="processed",
    luck_note=_LUCK,
    dialect=Dialect(has_one_answer=True),
)
def tgi(p: Values) -> Chain:
    """Return the chain of Text Generation Inference for a request to its own API.

    With ``watermark`` first the bias of Kirchenbauer et al.: 2 for half of all tokens, which the
    last one chooses. Then the repetition penalty over prompt and output; a frequency penalty that
    is not OpenAI's: it takes the share of a token among all so far, 2 of 10, not how often it
    occurred; temperature, top-k with all ties, top-p from below, typical-p with all that deviate as
    much as the last one.

    Without ``do_sample`` a request samples only if temperature is not 1, or one of top_k, top_p and
    typical_p is given; an empty one is greedy. 1 is refused for top_p and typical_p, 0 for top_k.
    Equal tokens at the edge of the nucleus go as in `vllm`, and ``device`` is as there. Reported
    log-probabilities are those of what is drawn from.

    Not imitated: a batch pads shorter contexts with token 0, which both penalties then count; and a
    server computes all of this, and rounds the parameters, in the dtype of the model, mostly of 16
    bits; on a GPU the watermark has other lists. Read in commit db931fcf, and its classes were run.
    """
    samples = p.do_sample or p.temperature != 1 or p.top_k or p.top_p < 1 or p.typical_p < 1
    return _chain(p, bool(samples), p.watermark)


@engine(
    title="Text Generation Inference 3.3.7, /v1/chat/completions",
    variant_of="tgi",
    source=f"router/src/lib.rs, {_SOURCE}",
    rules=_RULES
    | dict.fromkeys(("top_k", "typical_p", "repetition_penalty"), _NONE)
    | {
        "temperature": (
            Refuse(lambda t: t < 0, "at least 0", "`temperature` must be strictly positive"),
        ),
        "presence_penalty": (
            Refuse(lambda f: f <= -2, "above -2", "`repetition_penalty` must be strictly positive"),
            Send("repetition_penalty", lambda f: f + 2),
        ),
    },
    options=DEVICE,
    logprobs="processed",
    luck_note=_LUCK,
    dialect=Dialect(stops_after="all", has_one_answer=True),
)
def tgi_chat(p: Values) -> Chain:
    """Return the chain of `tgi` for a chat completion.

    A presence penalty f becomes a repetition penalty of f + 2, so that 0 is one of 2, and -1 is
    none. Temperature 0 is greedy, and a request without one samples. It has no top_k. Only read, in
    the same commit.
    """
    return _chain(p, True)
