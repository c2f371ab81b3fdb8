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

from importlib import import_module
from typing import TYPE_CHECKING, Any

from logitlab import datasets, engines, models
from logitlab.checks import ParameterError
from logitlab.draw import gumbel, uniform
from logitlab.engines import Engine, Translation, translate
from logitlab.engines.compare import Comparison, compare_engines
from logitlab.engines.partings import Parting
from logitlab.metrics import (
    agreement,
    entropy,
    js_divergence,
    kl_divergence,
    mass_removed,
    perplexity,
    support_size,
    top_probability,
    total_variation,
)
from logitlab.numerics import log_softmax, softmax
from logitlab.request.params import PARAMETERS, SamplingParams
from logitlab.sampling.sample import (
    Draws,
    Logprobs,
    Survivors,
    greedy,
    logprobs,
    plan,
    sample,
    survivors,
)
from logitlab.steps.bias import LogitBias, logit_bias
from logitlab.steps.candidate_order.chain import SortedChain
from logitlab.steps.chain import Chain, Step, Trace, Transform
from logitlab.steps.context import Context
from logitlab.steps.normalisation import LogSoftmax
from logitlab.steps.penalties import (
    AdditivePenalty,
    FrequencyPenalty,
    PresencePenalty,
    RepetitionPenalty,
    frequency_penalty,
    presence_penalty,
    repetition_penalty,
)
from logitlab.steps.temperature import Temperature, temperature
from logitlab.steps.truncation import MinP, TopA, TopK, TopP, min_p, top_a, top_k, top_p
from logitlab.version import __version__ as __version__
from logitlab.vocabulary import Vocabulary

if TYPE_CHECKING:
    from logitlab import claims, plot
    from logitlab.generation.generate import generate, resume, stream
    from logitlab.generation.result import Finish, Generation, Piece
    from logitlab.sweeps import simulate, sweep
    from logitlab.wire.chat import chat, chat_stream
    from logitlab.wire.transport import transport

__all__ = [
    "PARAMETERS",
    "AdditivePenalty",
    "Chain",
    "Comparison",
    "Context",
    "Draws",
    "Engine",
    "Finish",
    "FrequencyPenalty",
    "Generation",
    "LogSoftmax",
    "LogitBias",
    "Logprobs",
    "MinP",
    "ParameterError",
    "Parting",
    "Piece",
    "PresencePenalty",
    "RepetitionPenalty",
    "SamplingParams",
    "SortedChain",
    "Step",
    "Survivors",
    "Temperature",
    "TopA",
    "TopK",
    "TopP",
    "Trace",
    "Transform",
    "Translation",
    "Vocabulary",
    "agreement",
    "chat",
    "chat_stream",
    "claims",
    "compare_engines",
    "datasets",
    "engines",
    "entropy",
    "frequency_penalty",
    "generate",
    "greedy",
    "gumbel",
    "js_divergence",
    "kl_divergence",
    "log_softmax",
    "logit_bias",
    "logprobs",
    "mass_removed",
    "min_p",
    "models",
    "perplexity",
    "plan",
    "plot",
    "presence_penalty",
    "repetition_penalty",
    "resume",
    "sample",
    "simulate",
    "softmax",
    "stream",
    "support_size",
    "survivors",
    "sweep",
    "temperature",
    "top_a",
    "top_k",
    "top_p",
    "top_probability",
    "total_variation",
    "translate",
    "transport",
    "uniform",
]

# Loaded when they are asked for, so that who samples does not wait for who generates.
_HOMES = {
    "Finish": "generation.result",
    "Generation": "generation.result",
    "Piece": "generation.result",
    "chat": "wire.chat",
    "chat_stream": "wire.chat",
    "generate": "generation.generate",
    "resume": "generation.generate",
    "simulate": "sweeps",
    "stream": "generation.generate",
    "sweep": "sweeps",
    "transport": "wire.transport",
}
_MODULES = ("claims", "plot")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
