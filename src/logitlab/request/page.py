"""The twenty parameters that OpenRouter's page documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from logitlab.checks import Range
from logitlab.request import values
from logitlab.request.parameter import parameter

__all__ = ["PageParameters"]


@dataclass(frozen=True, kw_only=True, repr=False)
class PageParameters:
    """The fields of `SamplingParams` that the page has."""

    temperature: float | None = parameter(
        Range(0, 2),
        "distribution",
        "Divides the logits: below 1 sharpens, above 1 flattens, 0 always takes the most "
        "likely token.",
        default=1.0,
    )
    top_p: float | None = parameter(
        Range(0, 1),
        "distribution",
        "Keeps the smallest set of most likely tokens whose probabilities add up to at least "
        "this; 0 keeps one.",
        default=1.0,
    )
    top_k: int | None = parameter(
        Range(0, integer=True),
        "distribution",
        "Keeps exactly this many of the most likely tokens; 0 keeps all.",
        default=0,
    )
    frequency_penalty: float | None = parameter(
        Range(-2, 2),
        "distribution",
        "Subtracts this from a token's logit for every time the token occurs in the context.",
        default=0.0,
    )
    presence_penalty: float | None = parameter(
        Range(-2, 2),
        "distribution",
        "Subtracts this once from the logit of every token that occurs in the context.",
        default=0.0,
    )
    repetition_penalty: float | None = parameter(
        Range(0, 2),
        "distribution",
        "Divides positive and multiplies negative logits of tokens in the context; 0 is the "
        "limit of ever smaller values.",
        default=1.0,
    )
    min_p: float | None = parameter(
        Range(0, 1),
        "distribution",
        "Keeps tokens at least this fraction as likely as the most likely one; 1 keeps only "
        "the maxima.",
        default=0.0,
    )
    top_a: float | None = parameter(
        Range(0, 1),
        "distribution",
        "Keeps tokens whose probability is at least this times the square of the highest "
        "probability.",
        default=0.0,
    )
    seed: int | None = parameter(
        Range(integer=True),
        "draw",
        "Makes the draws repeatable; when absent a fresh seed is drawn and reported.",
    )
    max_tokens: int | None = parameter(
        Range(1, integer=True),
        "ending",
        "Ends the generation after this many tokens, or earlier where the context window ends.",
    )
    logit_bias: Mapping[int, float] | None = parameter(
        values.logit_bias,
        "distribution",
        "Is added to the model's logits of the named tokens before anything else.",
        default={},
        kind="map",
        rule="token id to -100…100",
        used={0: 1.0},
        any_size=values.any_bias,
    )
    logprobs: bool | None = parameter(
        values.flag,
        "report",
        "Reports the log-probability of each output token.",
        default=False,
        kind="boolean",
    )
    top_logprobs: int | None = parameter(
        Range(0, 20, integer=True),
        "report",
        "Reports this many of the most likely tokens at each position; needs logprobs.",
        default=0,
    )
    response_format: Mapping[str, Any] | None = parameter(
        values.response_format,
        "structure",
        "Forces the text to be valid JSON, or to validate against a schema.",
        kind="map",
        rule="text, json_object, json_schema",
    )
    structured_outputs: bool | None = parameter(
        values.structured_outputs,
        "structure",
        "Says whether json_schema is available; false together with a schema is an error.",
        kind="boolean",
    )
    stop: Sequence[str] | None = parameter(
        values.stop,
        "ending",
        "Ends the generation at the earliest match of any of these strings, which is left out "
        "of the text.",
        default=(),
        kind="array",
        rule="non-empty strings (or one)",
    )
    tools: Sequence[Mapping[str, Any]] | None = parameter(
        values.tools,
        "structure",
        "Declares the functions that the model may call.",
        default=(),
        kind="array",
        rule="function tools",
    )
    tool_choice: str | Mapping[str, Any] | None = parameter(
        values.tool_choice,
        "structure",
        "Forbids, allows or forces tool calls, or forces one named function.",
        kind="string or map",
        rule="none, auto, required, one function",
    )
    parallel_tool_calls: bool | None = parameter(
        values.flag,
        "structure",
        "Allows several tool calls in one answer; false gives at most one.",
        default=True,
        kind="boolean",
    )
    verbosity: str | None = parameter(
        values.choice("low", "medium", "high"),
        "ending",
        "Makes ending more likely (low) or less likely (high) at every step.",
        default="medium",
        kind="string",
        rule="low, medium, high",
    )
