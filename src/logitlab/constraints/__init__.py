"""Constraints: which token may come next, so that what ends is valid."""

from __future__ import annotations

from logitlab.constraints.calls import CallParser, CallPiece, ToolCall, call_id
from logitlab.constraints.constraint import Constraint, Matcher, remove
from logitlab.constraints.kinds import Choice, JsonObject, JsonSchema, Regex
from logitlab.constraints.request import constraint_of, constraint_of_values
from logitlab.constraints.tools import Tools, marker_ids

__all__ = [
    "CallParser",
    "CallPiece",
    "Choice",
    "Constraint",
    "JsonObject",
    "JsonSchema",
    "Matcher",
    "Regex",
    "ToolCall",
    "Tools",
    "call_id",
    "constraint_of",
    "constraint_of_values",
    "marker_ids",
    "remove",
]
