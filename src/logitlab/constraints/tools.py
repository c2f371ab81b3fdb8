r"""Tool calls as text: which calls may be written, and how.

A call is ``<tool_call>\n{"name": "f", "arguments": {…}}\n</tool_call>``, and the next one follows
after a line end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from logitlab.checks import ParameterError, check_flag
from logitlab.constraints.calls import CLOSE, OPEN, CallParser, ToolCall
from logitlab.constraints.constraint import Constraint
from logitlab.constraints.kinds import JsonObject, JsonSchema, rule_of
from logitlab.request.params import SamplingParams
from logitlab.vocabulary import Vocabulary

__all__ = ["Tools", "marker_ids"]

_ANYTHING = r"(?s:.)*"
_UP_TO_OPEN = _ANYTHING + OPEN.replace("<", r"\x3c").replace(">", r"\x3e")
# Text that has no marker, and text up to the first one.
_TERMINALS = [
    f"TEXT: /{_ANYTHING}/ & ~/{_UP_TO_OPEN}{_ANYTHING}/",
    f"UNTIL: /{_UP_TO_OPEN}/ & ~/{_UP_TO_OPEN}(?s:.)+/",
]


def marker_ids(vocabulary: Vocabulary) -> frozenset[int]:
    """Return the special tokens that mark a tool call.

    Special tokens are no text, but the names of these are part of what `Tools.parse` and
    `CallParser` read: whoever decodes a text with calls writes out their bytes.

    Examples
    --------
    >>> vocabulary = Vocabulary([b"<end>", b"<tool_call>", b"</tool_call>"], special=[0, 1, 2])
    >>> sorted(marker_ids(vocabulary))
    [1, 2]
    """
    names = (OPEN.encode(), CLOSE.encode())
    return frozenset(token for token in vocabulary.special if vocabulary[token] in names)


@dataclass(frozen=True, init=False, repr=False)
class Tools(Constraint):
    r"""Texts that call functions.

    Parameters
    ----------
    tools : sequence of mapping
        As in a request body. Arguments are always an object, and an empty one where a function has
        no ``parameters``.
    tool_choice : str or mapping
        "none" allows text without a call; "auto" text, then calls, either of which may be absent;
        "required" calls alone; ``{"type": "function", "function": {"name": …}}`` exactly one call
        of that function.
    parallel : bool
        Whether there may be several calls.
    content : JsonSchema or JsonObject, optional
        With "auto" and "none": what a text without a call has to be. It then stands alone or calls
        do.
    strict_formats : bool
        As in `JsonSchema`, for the parameters of functions.

    Raises
    ------
    ParameterError
        For tools or choices that are none, or parameters that cannot be enforced.

    Notes
    -----
    Text is valid UTF-8 without special tokens. Where the vocabulary has ``<tool_call>`` as a
    special token, that token marks a call. The marker spelled out never occurs in a text beside
    calls.

    References
    ----------
    OpenAI, "Create chat completion", https://platform.openai.com/docs/api-reference/chat/create
    N. Research, "Hermes Function Calling", https://github.com/NousResearch/Hermes-Function-Calling

    Examples
    --------
    >>> tools = Tools([{"type": "function", "function": {"name": "now"}}], "required")
    >>> tools
    Tools(['now'], 'required', parallel=True)
    >>> tools.parse('<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>')
    (None, [ToolCall(name='now', arguments='{}', complete=True)])
    """

    functions: tuple[tuple[str, str], ...]
    tool_choice: str
    only: str | None
    parallel: bool
    content: JsonSchema | JsonObject | None
    notes: tuple[str, ...] = field(compare=False)
    name = "tools"

    def __init__(
        self,
        tools: Sequence[Mapping[str, Any]],
        tool_choice: str | Mapping[str, Any] = "auto",
        parallel: bool = True,
        content: JsonSchema | JsonObject | None = None,
        strict_formats: bool = False,
    ) -> None:
        params = SamplingParams(tools=tools, tool_choice=tool_choice)
        check_flag("parallel", parallel)
        if not params.tools:
            raise ParameterError("tools", "a non-empty array of tools", tools)
        if content is not None and not isinstance(content, JsonSchema | JsonObject):
            raise ParameterError("content", "a JsonSchema, a JsonObject or None", content)
        check_flag("strict_formats", strict_formats)
        made = self.of_values(params.tools, tool_choice, parallel, content, strict_formats)
        vars(self).update(vars(made))

    @classmethod
    def of_values(
        cls,
        tools: Sequence[Mapping[str, Any]],
        tool_choice: str | Mapping[str, Any],
        parallel: bool,
        content: JsonSchema | JsonObject | None,
        strict_formats: bool = False,
    ) -> Self:
        """Return the constraint of values that a request has checked already.

        Parameters
        ----------
        tools, tool_choice, parallel, content, strict_formats
            As above, at least one tool among them.

        Raises
        ------
        ParameterError
            For parameters of a function that cannot be enforced.
        """
        only = None if isinstance(tool_choice, str) else tool_choice["function"]["name"]
        constraint = cls.__new__(cls)
        notes = [] if content is None else list(content.notes)
        vars(constraint).update(
            functions=tuple(
                _function(f"tools[{i}]", tool, strict_formats, notes)
                for i, tool in enumerate(tools)
            ),
            notes=tuple(notes),
            tool_choice=tool_choice if isinstance(tool_choice, str) else "required",
            only=only,
            parallel=parallel and only is None,
            content=content,
        )
        constraint.check()
        return constraint

    def __repr__(self) -> str:
        names = [name for name, _ in self.functions]
        choice = self.tool_choice if self.only is None else self.only
        return f"Tools({names}, {choice!r}, parallel={self.parallel})"

    def grammar(self, vocabulary: Vocabulary | None) -> str:
        """Return the grammar: text, calls, and a rule for the arguments of each function."""
        special = {} if vocabulary is None else {vocabulary[i]: i for i in marker_ids(vocabulary)}
        opens, closes = (
            f"<[{special[mark.encode()]}]>" if mark.encode() in special else json.dumps(mark)
            for mark in (OPEN, CLOSE)
        )
        text = "TEXT" if self.content is None else "content"
        mixed = self.content is None and self.tool_choice == "auto"
        calls = "until calls" if mixed else "first calls"
        starts = {"none": text, "required": calls, "auto": f"{text} | {calls}"}
        lines = [f"start: {starts[self.tool_choice]}"]
        if mixed:
            lines.append(f"until: TEXT {opens}" if OPEN.encode() in special else "until: UNTIL")
        if self.content is not None:
            lines.append(f"content: {rule_of(self.content.text)}")
        if self.tool_choice != "none":
            again = f'("\\n" {opens} call)*' if self.parallel else ""
            functions = [one for one in self.functions if self.only in (None, one[0])]
            names = " | ".join(f"call_{i}" for i in range(len(functions)))
            lines += [f"first: {opens}", f"calls: call {again}"]
            lines.append(f'call: "\\n" ({names}) "}}\\n" {closes}')
            for i, (name, schema) in enumerate(functions):
                head = json.dumps(f'{{"name": "{name}", "arguments": ')
                lines.append(f"call_{i}: {head} arguments_{i}")
                lines.append(f"arguments_{i}: {rule_of(schema)}")
        return "\n".join([*lines, *_TERMINALS, ""])

    def parse(self, text: str) -> tuple[str | None, list[ToolCall]]:
        """Return what a text says and the functions it calls.

        Parameters
        ----------
        text : str
            With the names of special tokens that mark calls, see `marker_ids`. It may be cut off.

        Returns
        -------
        content : str or None
            The text before the calls; None if there is none.
        calls : list of ToolCall
            Their arguments are the JSON texts as they were written.

        Examples
        --------
        >>> tools = Tools([{"type": "function", "function": {"name": "now"}}])
        >>> tools.parse("It is late.")
        ('It is late.', [])
        """
        parser = self.parser()
        parser.add(text, final=True)
        return parser.content, parser.calls

    def parser(self) -> CallParser:
        """Return a parser for the pieces of one text."""
        otherwise = "either" if self.content is None else "calls"
        begins = {"none": "content", "required": "only"}
        return CallParser(begins.get(self.tool_choice, otherwise))


def _function(
    name: str, tool: Mapping[str, Any], strict_formats: bool, notes: list[str]
) -> tuple[str, str]:
    """Return the name of a function, and the schema of its arguments as JSON."""
    function = tool["function"]
    schema = function.get("parameters")
    if schema is None:
        schema = {"additionalProperties": False}
    here = f"{name}.function.parameters"
    if schema.get("type", "object") not in ("object", ["object"]):
        raise ParameterError(f"{here}.type", "'object'", schema["type"])
    arguments = JsonSchema({"type": "object", **schema}, name=here, strict_formats=strict_formats)
    notes += arguments.notes
    # What a draft makes of "type" beside a reference does not matter: arguments are an object.
    compiled = json.loads(arguments.text)
    compiled = {"type": "object"} if compiled is True else {"type": "object", **compiled}
    return function["name"], json.dumps({**compiled, "type": "object"})
