"""OpenRouter's parameters page: the default of this library."""

from __future__ import annotations

from logitlab.engines.dialect import Dialect
from logitlab.engines.draws import inverse
from logitlab.engines.engine import engine
from logitlab.engines.rules import InVocabulary, Values
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain
from logitlab.steps.cutoff import EpsilonCutoff, EtaCutoff, PLess
from logitlab.steps.mirostat import Mirostat
from logitlab.steps.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from logitlab.steps.sigma import TopNSigma
from logitlab.steps.tail_free import Tfs
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP, TopA
from logitlab.steps.top_h import TopH
from logitlab.steps.truncation import TopK, TopP
from logitlab.steps.typical import TypicalP
from logitlab.steps.xtc import Xtc

__all__ = ["openrouter"]


@engine(
    title="OpenRouter's parameters page",
    source="https://openrouter.ai/docs/api/reference/parameters",
    is_page=True,
    rules={"logit_bias": (InVocabulary(True, "No token has the id {}."),)},
    luck=inverse,
    luck_note="logitlab's own: the inverse of the cumulative distribution at a Philox uniform",
    dialect=Dialect(usage="always"),
)
def openrouter(p: Values) -> Chain:
    """Return the chain that OpenRouter's parameters page describes.

    Order: bias, repetition, frequency and presence penalty over prompt and output, temperature,
    then the truncations, each on the renormalised survivors of the one before. Ties go to the
    lower id. Everything is exact: float64, rounded once a step. Typical-p, XTC and mirostat are
    beyond the page: each means what its author defined.
    """
    return Chain(
        LogitBias(p.logit_bias),
        RepetitionPenalty(p.repetition_penalty),
        FrequencyPenalty(p.frequency_penalty),
        PresencePenalty(p.presence_penalty),
        Temperature(p.temperature),
        TopNSigma(p.top_n_sigma),
        TopK(p.top_k),
        TypicalP(p.typical_p),
        TopP(p.top_p),
        MinP(p.min_p),
        TopA(p.top_a),
        Tfs(p.tfs),
        EpsilonCutoff(p.epsilon_cutoff),
        EtaCutoff(p.eta_cutoff),
        TopH(p.top_h),
        PLess(int(p.p_less)),
        Xtc(p.xtc_probability, p.xtc_threshold),
        *([Mirostat(p.mirostat_tau, p.mirostat_eta)] if p.mirostat else []),
    )
