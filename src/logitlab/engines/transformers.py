"""transformers: its `generate`, and its server, which maps what it is sent in its own way."""

from __future__ import annotations

from logitlab.engines.dialect import Dialect
from logitlab.engines.engine import engine
from logitlab.engines.rules import Ignore, InVocabulary, Off, Refuse, Rename, Rule, Send, Values
from logitlab.engines.torch_sort import DEVICE, ascending_top_p
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain
from logitlab.steps.penalties import RepetitionPenalty
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP
from logitlab.steps.truncation import TopK

__all__ = ["transformers", "transformers_serve"]

_GLOBAL = "torch.multinomial on torch's global generator, whose exponential numbers come from MKL"

_POSITIVE_FLOAT = (
    "`temperature` (={}) has to be a strictly positive float, otherwise your next token scores "
    "will be invalid."
)

_GENERATE_RULES: dict[str, tuple[Rule, ...]] = {
    "temperature": (
        Refuse(
            lambda t: t <= 0,
            "a strictly positive float",
            _POSITIVE_FLOAT,
        ),
    ),
    "top_p": (
        Off(lambda p: p > 1, "above 1"),
        Refuse(
            lambda p: p < 0,
            "in [0, 1]",
            "`top_p` has to be a float > 0 and < 1, but is {}",
        ),
    ),
    "top_k": (
        Refuse(
            lambda k: k < 0,
            "a positive integer, or 0 (disable)",
            "`top_k` has to be a strictly positive integer, but is {}",
        ),
    ),
    "min_p": (
        Refuse(
            lambda p: not 0 <= p <= 1,
            "in [0, 1]",
            "`min_p` has to be a float in the [0, 1] interval, but is {}",
        ),
    ),
    "repetition_penalty": (
        Refuse(
            lambda r: r <= 0,
            "a strictly positive float",
            "`penalty` has to be a strictly positive float, but is {}",
        ),
    ),
    "frequency_penalty": (Ignore(),),
    "presence_penalty": (Ignore(),),
    "top_a": (Ignore(),),
    "logit_bias": (
        Rename("sequence_bias", "a bias of sequences of one token"),
        InVocabulary(True, "The model vocabulary size is {V}, but ids {} were being biased."),
    ),
    "seed": (Ignore("it draws from torch's global generator"),),
}


@engine(
    title="transformers 5.23.0, generate with do_sample",
    source="transformers/generation/utils.py, generation/logits_process.py",
    rules=_GENERATE_RULES,
    defaults={"top_k": 50},
    options=DEVICE,
    logprobs="processed",
    luck_note=_GLOBAL,
)
def transformers(p: Values) -> Chain:
    """Return the chain of `GenerationMixin.generate` with ``do_sample=True``.

    Order: bias, repetition penalty over prompt and output, temperature, top-k with all ties, top-p
    from below, min-p. Top-p keeps those of equal tokens that torch's sort of the row that top-k
    left puts last: up to 16 tokens the highest ids, beyond those that introsort favours. With
    ``device="cuda"``, where that sort is stable, the highest ids in every row. There is no
    frequency or presence penalty. A request without top_k gets 50. Temperature 0 is refused: greedy
    is ``do_sample=False``. Its ``output_scores`` are what is drawn from.
    """
    return Chain(
        LogitBias(p.logit_bias),
        RepetitionPenalty(p.repetition_penalty),
        Temperature(p.temperature),
        TopK(p.top_k, ties="all"),
        ascending_top_p(p),
        MinP(p.min_p, space="probs"),
        precision="mixed",
    )


def _unexpected(key: str) -> tuple[Rule, ...]:
    says = f"Unexpected fields in the request: {{{{'{key}'}}}}"
    return (Refuse(lambda value: True, "absent", says),)


_UNUSED: tuple[Rule, ...] = (Ignore("the server warns of an unsupported field, and goes on"),)
_SERVE: dict[str, tuple[Rule, ...]] = (
    _GENERATE_RULES
    | {key: _unexpected(key) for key in ("top_k", "min_p", "top_a", "repetition_penalty")}
    | dict.fromkeys(("presence_penalty", "logprobs", "top_logprobs"), _UNUSED)
    | {
        "logit_bias": (
            Refuse(
                lambda bias: any(isinstance(amount, int) for amount in bias.values()),
                "a map to numbers with a decimal point",
                "`sequence_bias` has to be a dict with floats as values",
            ),
            *_GENERATE_RULES["logit_bias"],
        ),
        "temperature": (Refuse(lambda t: t < 0, "at least 0", _POSITIVE_FLOAT),),
        "frequency_penalty": (
            Refuse(lambda f: f <= -1, "above -1", "`penalty` has to be a strictly positive float"),
            Send("repetition_penalty", lambda f: 1 + f),
        ),
        "seed": (Ignore("it seeds torch's global generator, whose stream is not repeated here"),),
    }
)


@engine(
    title="transformers 5.23.0, transformers serve",
    variant_of="transformers",
    source="transformers/cli/serving/chat_completion.py, cli/serving/utils.py",
    rules=_SERVE,
    defaults={"top_k": 50},
    options=DEVICE,
    logprobs="none",
    luck_note=_GLOBAL,
    dialect=Dialect(usage="finish"),
)
def transformers_serve(p: Values) -> Chain:
    """Return the chain of ``transformers serve``.

    As `transformers`, but a frequency penalty f becomes a repetition penalty of 1 + f, presence
    penalty and log-probabilities are ignored, top_k, min_p and repetition_penalty are unexpected
    fields, so that the model's own top_k, 50, stays, and temperature 0 is greedy. Other fields that
    OpenAI's schema does not have are refused, too. That the model's generation config says
    ``do_sample`` is assumed: without it every request is greedy.
    """
    return transformers.build(p)
