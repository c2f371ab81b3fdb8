"""The parameters beyond OpenRouter's page: what engines sample with, by their most common names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from logitlab.checks import Range
from logitlab.request import tokens, values
from logitlab.request.parameter import parameter

__all__ = ["BeyondParameters"]


@dataclass(frozen=True, kw_only=True, repr=False)
class BeyondParameters:
    """The fields of `SamplingParams` that the page does not name."""

    typical_p: float | None = parameter(
        Range(0, 1),
        "distribution",
        "Keeps the most typical tokens, whose surprise is nearest to the entropy, down to "
        "this mass.",
        default=1.0,
        origin="Meister et al., arXiv:2202.00666",
    )
    top_n_sigma: float | None = parameter(
        Range(),
        "distribution",
        "Keeps tokens whose logit is at most this many standard deviations below the largest;"
        " 0 and below keep all.",
        default=-1.0,
        origin="Tang et al., arXiv:2411.07641",
        used=1.0,
    )
    epsilon_cutoff: float | None = parameter(
        Range(0, 1),
        "distribution",
        "Keeps tokens at least this likely, and the most likely one.",
        default=0.0,
        origin="Hewitt et al., arXiv:2210.15191",
    )
    eta_cutoff: float | None = parameter(
        Range(0, 1),
        "distribution",
        "Keeps tokens at least as likely as this, or where the entropy is high as its root "
        "times exp(-entropy).",
        default=0.0,
        origin="Hewitt et al., arXiv:2210.15191",
    )
    tfs: float | None = parameter(
        Range(0, 1),
        "distribution",
        "Cuts the tail off where the curvature of the sorted probabilities adds up to this.",
        default=1.0,
        origin="Bricken, Tail Free Sampling, 2019",
    )
    top_h: float | None = parameter(
        Range(0, 1),
        "distribution",
        "Keeps the most likely tokens as long as their entropy is at most this part of that "
        "of all.",
        default=1.0,
        origin="Potraghloo et al., arXiv:2509.02510",
    )
    p_less: bool | None = parameter(
        values.flag,
        "distribution",
        "Keeps tokens at least as likely as two draws are to agree.",
        default=False,
        kind="boolean",
        origin="Tan et al., arXiv:2509.23234",
        used=True,
    )
    xtc_probability: float | None = parameter(
        Range(0, 1),
        "distribution",
        "Removes the top choices with this probability, all but the least likely of them.",
        default=0.0,
        origin="p-e-w, text-generation-webui #6335",
    )
    xtc_threshold: float | None = parameter(
        Range(0, 1),
        "distribution",
        "Says how likely a token has to be to be a top choice of XTC.",
        default=0.1,
        origin="p-e-w, text-generation-webui #6335",
        needs="xtc_probability",
    )
    dynatemp_range: float | None = parameter(
        Range(0),
        "distribution",
        "Lets the temperature vary by this much up and down, with the entropy.",
        default=0.0,
        origin="kalomaze, koboldcpp #600",
    )
    dynatemp_exponent: float | None = parameter(
        Range(),
        "distribution",
        "Says how the dynamic temperature bends between its ends.",
        default=1.0,
        origin="kalomaze, llama.cpp #4972",
        used=2.0,
        needs="dynatemp_range",
    )
    smoothing_factor: float | None = parameter(
        Range(0),
        "distribution",
        "Bends the logits into a parabola below the largest one.",
        default=0.0,
        origin="kalomaze, text-generation-webui #5403",
    )
    smoothing_curve: float | None = parameter(
        Range(),
        "distribution",
        "Adds a cubic part to smoothing; 1 is the parabola alone.",
        default=1.0,
        origin="kalomaze, koboldcpp #652",
        used=2.0,
        needs="smoothing_factor",
    )
    temperature_last: bool | None = parameter(
        values.flag,
        "distribution",
        "Moves temperature and smoothing behind the truncations.",
        default=False,
        kind="boolean",
        origin="oobabooga, text-generation-webui",
        used=True,
    )
    skew: float | None = parameter(
        Range(),
        "distribution",
        "Raises the cumulative probabilities, from the most likely token down, to the power "
        "exp(skew).",
        default=0.0,
        origin="turboderp, exllamav2",
        used=0.5,
    )
    dry_multiplier: float | None = parameter(
        Range(),
        "distribution",
        "Penalises tokens that would go on repeating a sequence, more the longer it is; 0 "
        "does not.",
        default=0.0,
        origin="p-e-w, text-generation-webui #5677",
        used=0.5,
    )
    dry_base: float | None = parameter(
        Range(0),
        "distribution",
        "Is the base of DRY's penalty: multiplier * base ** (length - allowed length).",
        default=1.75,
        origin="p-e-w, text-generation-webui #5677",
        needs="dry_multiplier",
    )
    dry_allowed_length: int | None = parameter(
        Range(0, integer=True),
        "distribution",
        "Is the length from which on DRY penalises a repeated sequence.",
        default=2,
        origin="p-e-w, text-generation-webui #5677",
        needs="dry_multiplier",
    )
    dry_penalty_last_n: int | None = parameter(
        Range(-1, integer=True),
        "distribution",
        "Lets DRY look at the last tokens only; 0 at none, -1 at all.",
        default=64,
        origin="llama.cpp #9702",
        needs="dry_multiplier",
    )
    dry_sequence_breakers: Sequence[str | Sequence[int]] | None = parameter(
        tokens.breakers,
        "distribution",
        "Are texts, or token ids, that no repeated sequence reaches across.",
        default=("\n", ":", '"', "*"),
        kind="array",
        rule="texts or arrays of token ids",
        origin="p-e-w, text-generation-webui #5677",
        used=((0,),),
        needs="dry_multiplier",
    )
    no_repeat_ngram_size: int | None = parameter(
        Range(0, integer=True),
        "distribution",
        "Bans tokens that would repeat a sequence of this many tokens; 0 bans none.",
        default=0,
        origin="Paulus et al., arXiv:1705.04304",
    )
    exponential_decay_length_penalty: Sequence[float] | None = parameter(
        tokens.length_decay,
        "distribution",
        "Makes ending more likely from a token on, by a factor to the power of the tokens since.",
        kind="array",
        rule="start and factor",
        origin="transformers",
        used=(1, 1.5),
    )
    allowed_token_ids: Sequence[int] | None = parameter(
        tokens.some_ids,
        "distribution",
        "Leaves these tokens alone.",
        kind="array",
        rule="token ids",
        origin="vLLM",
        used=(0,),
        any_size=tokens.ids,
    )
    suppress_tokens: Sequence[int] | None = parameter(
        tokens.ids,
        "distribution",
        "Removes these tokens.",
        default=(),
        kind="array",
        rule="token ids",
        origin="transformers",
        used=(0,),
    )
    bad_words: Sequence[str | Sequence[int]] | None = parameter(
        tokens.phrases,
        "distribution",
        "Bans phrases, texts or token ids: the last token of each where the others stand before.",
        default=(),
        kind="array",
        rule="texts or arrays of token ids",
        origin="vLLM",
        used=((0, 0),),
    )
    sequence_bias: Mapping[tuple[int, ...], float] | None = parameter(
        tokens.phrase_bias,
        "distribution",
        "Is added to the last token of a phrase where its other tokens stand before.",
        default={},
        kind="map",
        rule="token ids to a number",
        origin="transformers",
        used={(0,): 1.0},
    )
    min_tokens: int | None = parameter(
        Range(0, integer=True),
        "distribution",
        "Removes the tokens that end a text before it has this many.",
        default=0,
        origin="vLLM",
    )
    thinking_token_budget: int | None = parameter(
        Range(-1, integer=True),
        "distribution",
        "Ends the thinking of a model after this many tokens; -1 does not.",
        default=-1,
        origin="vLLM",
    )
    thinking_markers: Sequence[str | Sequence[int]] | None = parameter(
        tokens.two_phrases,
        "distribution",
        "Are the texts, or token ids, that begin and end the thinking of a model.",
        default=("<think>", "</think>"),
        kind="array",
        rule="two texts or arrays of token ids",
        origin="vLLM",
        used=((0,), (0,)),
        needs="thinking_token_budget",
    )
    guidance_scale: float | None = parameter(
        Range(),
        "distribution",
        "Moves the log-probabilities away from those after the negative prompt; 1 does not.",
        default=1.0,
        origin="Sanchez et al., arXiv:2306.17806",
        used=1.5,
    )
    watermarking_config: Mapping[str, Any] | None = parameter(
        tokens.watermarking_config,
        "distribution",
        "Adds a bias to a part of the tokens that the one before chooses, so that a detector "
        "finds it.",
        kind="map",
        rule="greenlist_ratio, bias, hashing_key, seeding_scheme, context_width",
        origin="Kirchenbauer et al., arXiv:2301.10226",
        used={},
        any_size=tokens.watermarking_fields,
    )
    mirostat: int | None = parameter(
        values.mirostat,
        "distribution",
        "Cuts at a surprise that follows what was drawn, so that the text stays near a "
        "target, by the first or second algorithm; 0 does not.",
        default=0,
        kind="integer",
        rule="0, 1 or 2",
        origin="Basu et al., arXiv:2007.14966",
        used=2,
        any_size=values.any_version,
    )
    mirostat_tau: float | None = parameter(
        Range(0),
        "distribution",
        "Is the surprise that mirostat aims at, in bits.",
        default=5.0,
        origin="Basu et al., arXiv:2007.14966",
        needs="mirostat",
    )
    mirostat_eta: float | None = parameter(
        Range(0),
        "distribution",
        "Is how fast mirostat follows.",
        default=0.1,
        origin="Basu et al., arXiv:2007.14966",
        needs="mirostat",
    )
    adaptive_target: float | None = parameter(
        Range(high=1),
        "distribution",
        "Makes tokens near a probability more likely, which follows this target; below 0 it "
        "does not.",
        default=-1.0,
        origin="MrJackSpade, llama.cpp #17927",
    )
    adaptive_decay: float | None = parameter(
        Range(0, 0.99),
        "distribution",
        "Is how long adaptive-p remembers.",
        default=0.9,
        origin="MrJackSpade, llama.cpp #17927",
        needs="adaptive_target",
    )
    eos_token_id: int | Sequence[int] | None = parameter(
        tokens.one_or_more_ids,
        "ending",
        "Ends the generation at these tokens; absent, at those of the model.",
        default=(),
        kind="array",
        rule="token id, or an array",
        origin="transformers",
        used=(0,),
    )
    stop_token_ids: Sequence[int] | None = parameter(
        tokens.ids,
        "ending",
        "Ends the generation at these tokens, too.",
        default=(),
        kind="array",
        rule="token ids",
        origin="vLLM",
        used=(0,),
    )
    ignore_eos: bool | None = parameter(
        values.flag,
        "ending",
        "Lets the generation go on after a token that ends a text.",
        default=False,
        kind="boolean",
        origin="vLLM",
        used=True,
    )
    include_stop_str_in_output: bool | None = parameter(
        values.flag,
        "ending",
        "Leaves the stop string in the text.",
        default=False,
        kind="boolean",
        origin="vLLM",
    )
    repetition_detection: Mapping[str, int] | None = parameter(
        tokens.repetition_detection,
        "ending",
        "Ends the generation where it repeats a pattern of tokens.",
        kind="map",
        rule="max_pattern_size, min_pattern_size, min_count",
        origin="vLLM",
        any_size=tokens.repetition_map,
    )
    negative_prompt: str | None = parameter(
        values.text,
        "prompt",
        "Is the prompt that guidance moves away from.",
        kind="string",
        origin="Sanchez et al., arXiv:2306.17806",
    )
    negative_prompt_ids: Sequence[int] | None = parameter(
        tokens.some_ids,
        "prompt",
        "Is that prompt as token ids.",
        kind="array",
        rule="token ids",
        origin="transformers",
    )
