"""logitlab: a local laboratory for LLM sampling.

Give it logits, the request parameters of an OpenRouter call and a seed. It shows, and draws from,
exactly the distribution that those parameters mean, stage by stage, offline.

>>> import logitlab as ll
>>> rows = ll.datasets.load("smollm2")
>>> params = ll.SamplingParams(temperature=0.8, top_p=0.9, seed=7)
>>> ll.engines.openrouter(params)
Chain(Temperature(0.8), TopP(0.9))
>>> draws = ll.sample(rows.logits[0], params, size=3)
>>> rows.vocabulary.decode(draws.tokens)
' Paris Paris Paris'
"""

import typing as _typing
from importlib import import_module as _import_module

from logitlab import datasets as datasets, engines as engines, models as models
from logitlab.checks import ParameterError as ParameterError
from logitlab.draw import gumbel as gumbel, uniform as uniform
from logitlab.engines import Engine as Engine, Translation as Translation, translate as translate
from logitlab.engines.compare import Comparison as Comparison, compare_engines as compare_engines
from logitlab.engines.partings import Parting as Parting
from logitlab.metrics import (
    agreement as agreement,
    entropy as entropy,
    js_divergence as js_divergence,
    kl_divergence as kl_divergence,
    mass_removed as mass_removed,
    perplexity as perplexity,
    support_size as support_size,
    top_probability as top_probability,
    total_variation as total_variation,
)
from logitlab.numerics import log_softmax as log_softmax, softmax as softmax
from logitlab.request.params import PARAMETERS as PARAMETERS, SamplingParams as SamplingParams
from logitlab.sampling.logprobs import Logprobs as Logprobs, logprobs as logprobs
from logitlab.sampling.reports import (
    Survivors as Survivors,
    distribution as distribution,
    greedy as greedy,
    plan as plan,
    survivors as survivors,
    trace as trace,
)
from logitlab.sampling.sampler import (
    Draws as Draws,
    Sampler as Sampler,
    sample as sample,
    sampler as sampler,
)
from logitlab.steps.adaptive import (
    AdaptiveP as AdaptiveP,
    NearProbability as NearProbability,
    near_probability as near_probability,
)
from logitlab.steps.allow import (
    AllowedTokens as AllowedTokens,
    ForcedTokens as ForcedTokens,
    MinTokens as MinTokens,
    SuppressTokens as SuppressTokens,
    allowed_token_ids as allowed_token_ids,
    min_tokens as min_tokens,
    suppress_tokens as suppress_tokens,
)
from logitlab.steps.bias import LogitBias as LogitBias, logit_bias as logit_bias
from logitlab.steps.candidate_order.chain import SortedChain as SortedChain
from logitlab.steps.candidate_order.one_sort import OneSortChain as OneSortChain
from logitlab.steps.chain import Chain as Chain
from logitlab.steps.context import Context as Context
from logitlab.steps.cutoff import (
    EpsilonCutoff as EpsilonCutoff,
    EtaCutoff as EtaCutoff,
    PLess as PLess,
    epsilon_cutoff as epsilon_cutoff,
    eta_cutoff as eta_cutoff,
    p_less as p_less,
)
from logitlab.steps.dry import Dry as Dry, dry as dry
from logitlab.steps.guidance import Guidance as Guidance, guidance_scale as guidance_scale
from logitlab.steps.length import LengthDecay as LengthDecay, length_decay as length_decay
from logitlab.steps.mirostat import (
    MaxSurprise as MaxSurprise,
    Mirostat as Mirostat,
    MirostatOne as MirostatOne,
    ZipfTopK as ZipfTopK,
    max_surprise as max_surprise,
    zipf_top_k as zipf_top_k,
)
from logitlab.steps.ngrams import (
    NoRepeatNgram as NoRepeatNgram,
    no_repeat_ngram as no_repeat_ngram,
)
from logitlab.steps.normalisation import LogSoftmax as LogSoftmax
from logitlab.steps.penalties import (
    AdditivePenalty as AdditivePenalty,
    FrequencyPenalty as FrequencyPenalty,
    PresencePenalty as PresencePenalty,
    RepetitionPenalty as RepetitionPenalty,
    frequency_penalty as frequency_penalty,
    presence_penalty as presence_penalty,
    repetition_penalty as repetition_penalty,
)
from logitlab.steps.sequences import (
    BadWords as BadWords,
    SequenceBias as SequenceBias,
    bad_words as bad_words,
    sequence_bias as sequence_bias,
)
from logitlab.steps.sigma import TopNSigma as TopNSigma, top_n_sigma as top_n_sigma
from logitlab.steps.skew import Skew as Skew, skew as skew
from logitlab.steps.smoothing import Smoothing as Smoothing, smoothing as smoothing
from logitlab.steps.step import Step as Step, Transform as Transform
from logitlab.steps.tail_free import Tfs as Tfs, tfs as tfs
from logitlab.steps.temperature import (
    DynamicTemperature as DynamicTemperature,
    Temperature as Temperature,
    dynamic_temperature as dynamic_temperature,
    temperature as temperature,
)
from logitlab.steps.thinking import (
    ThinkingBudget as ThinkingBudget,
    thinking_token_budget as thinking_token_budget,
)
from logitlab.steps.threshold import MinP as MinP, TopA as TopA, min_p as min_p, top_a as top_a
from logitlab.steps.top_h import TopH as TopH, top_h as top_h
from logitlab.steps.trace import Trace as Trace
from logitlab.steps.truncation import TopK as TopK, TopP as TopP, top_k as top_k, top_p as top_p
from logitlab.steps.typical import TypicalP as TypicalP, typical_p as typical_p
from logitlab.steps.watermark import (
    Watermark as Watermark,
    WatermarkEvidence as WatermarkEvidence,
    detect_watermark as detect_watermark,
    watermark as watermark,
)
from logitlab.steps.xtc import (
    AveragedXtc as AveragedXtc,
    ExcludeTopChoices as ExcludeTopChoices,
    Xtc as Xtc,
    xtc as xtc,
)
from logitlab.version import __version__ as __version__
from logitlab.vocabulary import Vocabulary as Vocabulary

if _typing.TYPE_CHECKING:
    from logitlab import (
        adapters as adapters,
        claims as claims,
        constraints as constraints,
        plot as plot,
        sweeps as sweeps,
        testing as testing,
    )
    from logitlab.generation.generate import (
        generate as generate,
        generate_many as generate_many,
        resume as resume,
        stream as stream,
    )
    from logitlab.generation.result import (
        Finish as Finish,
        Generation as Generation,
        Piece as Piece,
    )
    from logitlab.generation.score import score as score
    from logitlab.generation.score_result import Removal as Removal, Score as Score
    from logitlab.sweeps import simulate as simulate, sweep as sweep
    from logitlab.verification.errors import EndpointError as EndpointError
    from logitlab.verification.result import Verification as Verification
    from logitlab.verification.verify import verify as verify
    from logitlab.wire.chat import chat as chat, chat_stream as chat_stream
    from logitlab.wire.transport import transport as transport

# Loaded when they are asked for, so that who samples does not wait for who generates.
_LATE = {
    "generation.generate": ("generate", "generate_many", "resume", "stream"),
    "generation.result": ("Finish", "Generation", "Piece"),
    "generation.score": ("score",),
    "generation.score_result": ("Removal", "Score"),
    "sweeps": ("simulate", "sweep"),
    "verification.errors": ("EndpointError",),
    "verification.result": ("Verification",),
    "verification.verify": ("verify",),
    "wire.chat": ("chat", "chat_stream"),
    "wire.transport": ("transport",),
}
_HOMES = {name: home for home, names in _LATE.items() for name in names}
_MODULES = (
    *("adapters", "claims", "constraints", "datasets", "engines", "models", "plot", "sweeps"),
    "testing",
)
_ROOMS = {
    *_MODULES,
    *("cli", "generation", "kernels", "request", "sampling", "server", "steps", "verification"),
    "wire",
}

__all__ = sorted(
    {
        name for name in globals() if name.isidentifier() and not name.startswith("_")
    }  # pytest adds "@py_builtins"
    - _ROOMS
    - {
        "arrays",
        "checks",
        "draw",
        "foreign",
        "metrics",
        "numerics",
        "progress",
        "version",
        "vocabulary",
    }
    | {*_HOMES, *_MODULES}
)


def __getattr__(name: str) -> _typing.Any:
    if name in _ROOMS:
        return _import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # from now on it is there
    return value


def __dir__() -> list[str]:
    return list(__all__)
