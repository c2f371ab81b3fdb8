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
from logitlab.chain import Chain, Step, Trace, Transform
from logitlab.checks import ParameterError
from logitlab.compare import Comparison, compare_engines
from logitlab.context import Context
from logitlab.draw import gumbel, uniform
from logitlab.engines import Engine, Translation, translate
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
from logitlab.params import PARAMETERS, SamplingParams
from logitlab.parting import Parting
from logitlab.sampling import Draws, Logprobs, Survivors, greedy, logprobs, plan, sample, survivors
from logitlab.sorted_chain import SortedChain
from logitlab.transforms.bias import LogitBias, logit_bias
from logitlab.transforms.normalisation import LogSoftmax
from logitlab.transforms.penalties import (
    AdditivePenalty,
    FrequencyPenalty,
    PresencePenalty,
    RepetitionPenalty,
    frequency_penalty,
    presence_penalty,
    repetition_penalty,
)
from logitlab.transforms.temperature import Temperature, temperature
from logitlab.transforms.truncation import MinP, TopA, TopK, TopP, min_p, top_a, top_k, top_p
from logitlab.version import __version__ as __version__
from logitlab.vocabulary import Vocabulary

if TYPE_CHECKING:
    from logitlab import claims, plot
    from logitlab.clients import transport
    from logitlab.generating import generate, resume, stream
    from logitlab.generation import Finish, Generation, Piece
    from logitlab.sweeps import simulate, sweep
    from logitlab.wire import chat, chat_stream

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
    "Finish": "generation",
    "Generation": "generation",
    "Piece": "generation",
    "chat": "wire",
    "chat_stream": "wire",
    "generate": "generating",
    "resume": "generating",
    "simulate": "sweeps",
    "stream": "generating",
    "sweep": "sweeps",
    "transport": "clients",
}
_MODULES = ("claims", "plot")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
