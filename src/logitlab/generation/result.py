"""What a generation is: text, tokens, why it ended, and what it takes to repeat or resume it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from logitlab.arrays import IntArray
from logitlab.constraints import ToolCall
from logitlab.engines.resolve import Request
from logitlab.engines.rules import Note
from logitlab.generation.options import Options
from logitlab.sampling.logprobs import Logprobs
from logitlab.steps.chain import Chain
from logitlab.steps.state import State
from logitlab.steps.trace import Trace
from numpy.typing import NDArray

__all__ = ["Finish", "Generation", "Piece", "Usage"]


@dataclass(frozen=True)
class Finish:
    """Why a generation ended.

    Attributes
    ----------
    reason : {"stop", "length", "tool_calls", "repetition", "interrupted", "error"}
        As on OpenRouter's wire; "repetition" is vLLM's; "interrupted" where it was broken off, see
        `resume`; "error" where the text could not be continued under its constraint.
    cause : {"end token", "stop token", "stop string", "repetition", "max_tokens", "context", \
"interrupted", "constraint", "forced"}
        Which of the limits it was; "forced" where the text was given, and ends.
    sentence : str
        The same in words.
    stop : str, optional
        The stop string that was found.
    is_cut : bool
        Whether max_tokens broke it off, so that more of them could change it: also a text in
        which a stop string was found while one that begins earlier was still possible.
    complete : bool
        Whether the text is one of its constraint's: JSON or calls that a stop string or a limit
        broke off are not.
    """

    reason: Literal["stop", "length", "tool_calls", "repetition", "interrupted", "error"]
    cause: Literal[
        "end token",
        "stop token",
        "stop string",
        "repetition",
        "max_tokens",
        "context",
        "interrupted",
        "constraint",
        "forced",
    ]
    sentence: str
    stop: str | None = None
    is_cut: bool = False
    complete: bool = True

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class Usage:
    """How many tokens were read and drawn.

    Attributes
    ----------
    prompt_tokens, completion_tokens, total_tokens : int
        An end token, and the tokens of a stop string, have been drawn and count.
    """

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """Tokens of the prompt and of the answer."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, eq=False, repr=False)
class Generation:
    """One answer of a model.

    Attributes
    ----------
    text : str
        Without special tokens and without the stop string or stop token, unless
        ``include_stop_str_in_output`` keeps it; bytes that are no UTF-8 are U+FFFD.
        Calls of tools are part of it, as they were written.
    tokens : ndarray of int64, shape (T,)
        Every drawn token, an end token and those of the stop string included.
    prompt : ndarray of int64, shape (P,)
        The tokens before them.
    finish : Finish
        Why it ended, in a word and in a sentence.
    seed, sequence : int
        Token t was drawn with the random number of (seed, sequence, t), whatever else was
        generated beside it.
    logprobs : Logprobs or None
        If the request has ``logprobs``: of the drawn tokens, shape (T,), and of the most likely
        ones, shape (T, n).
    traces : tuple of Trace, or None
        With ``trace=True``: every stage of every token's distribution.
    content : str or None
        The text before all calls of tools; None if it consists of calls.
    tool_calls : tuple of ToolCall
        The calls; the last one is not complete where the text was cut off.
    notes : tuple of Note
        What the engine ignored, changed or filled in.
    model : str
        Name of the model.
    vocabulary_size : int
        How many tokens it has: V.
    params : SamplingParams, mapping, Transform or None
        The request as it was given.
    options : Options
        What else the generation depends on.
    chain : Chain
        What was done to the logits, in each state.
    states : mapping of str to ndarray of float64, shape (T + 1,), or None
        Where a step has a state, each of its numbers: as every token was drawn, and after the last.
    observed : mapping of str to ndarray of float64, shape (T,), or None
        The log-probability of every token in what the step of that name looks at: in what it was
        drawn from, for mirostat.
    """

    text: str
    tokens: IntArray
    prompt: IntArray
    finish: Finish
    seed: int
    sequence: int
    logprobs: Logprobs | None
    traces: tuple[Trace, ...] | None
    content: str | None
    tool_calls: tuple[ToolCall, ...]
    notes: tuple[Note, ...]
    model: str
    vocabulary_size: int
    params: Request
    options: Options
    chain: Chain
    states: Mapping[str, NDArray[np.float64]] | None = None
    observed: Mapping[str, NDArray[np.float64]] | None = None

    @property
    def state(self) -> State | None:
        """The state after the last token, where a step has one."""
        states = self.states
        return None if states is None else {key: float(each[-1]) for key, each in states.items()}

    @property
    def finish_reason(self) -> str:
        """The word for why it ended, see `Finish`."""
        return self.finish.reason

    @property
    def usage(self) -> Usage:
        """How many tokens were read and drawn."""
        return Usage(len(self.prompt), len(self.tokens))

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        count = f"{len(self.tokens)} token{'' if len(self.tokens) == 1 else 's'}"
        return f"<Generation {text!r}: {count}, {self.finish.cause}, seed {self.seed}>"


@dataclass(frozen=True, eq=False)
class Piece:
    """One token of a stream.

    Attributes
    ----------
    index : int
        Which of the answers it belongs to: its place in the list that `generate` returns.
    text : str
        What can be shown now. Characters that are not complete, and whatever could become a stop
        string, are held back; so it may be empty. All pieces together are the text.
    token : int or None
        None in the last piece of an answer that could not be continued under its constraint.
    logprobs : Logprobs or None
        Of this token: a number, and arrays of shape (n,).
    generation : Generation or None
        The whole answer, with its last token.
    """

    index: int
    text: str
    token: int | None
    logprobs: Logprobs | None
    generation: Generation | None
