"""What differs between servers that answer in the shapes of OpenAI's API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from logitlab.checks import Range, check_choice, check_flag, check_integer

__all__ = ["Dialect"]

Endings: TypeAlias = Literal["none", "named", "all"]
Usage: TypeAlias = Literal["asked", "always", "finish", "never"]


@dataclass(frozen=True)
class Dialect:
    """How an engine's server ends an answer, as `chat` and `chat_stream` word it.

    Parameters
    ----------
    stops_after : {"none", "named", "all"}
        After which calls of functions ``finish_reason`` is "stop" in place of "tool_calls": those
        of a function that ``tool_choice`` names, or all. OpenAI does so for named ones, and vLLM
        does as OpenAI. [1]_
    usage : {"asked", "always", "finish", "never"}
        Where a stream tells its usage: in a last chunk without choices if
        ``stream_options.include_usage`` asks for it, [2]_ or unless that is false, as OpenRouter,
        whose page calls the option deprecated; [3]_ in the chunk that ends the answer; nowhere.
    holds_stops : bool
        Whether no stop string, and no repetition, ends a text before ``min_tokens``, as at vLLM:
        elsewhere that holds off end tokens alone.
    ignores_stops : bool
        Whether ``ignore_eos`` ignores ``stop_token_ids``, too, as at SGLang.
    has_two_limits : bool
        Whether ``max_completion_tokens`` counts where ``max_tokens`` stands beside it and says
        otherwise, as the servers of vLLM, llama.cpp, mlx-lm and transformers have it: seen at all
        four. Elsewhere that is refused, as OpenAI does.
    has_one_answer : bool
        Whether ``n`` is not read, and there is one answer whatever it says, as at the servers of
        mlx-lm, transformers, TGI, KoboldCpp and Ollama.
    tops : int or None
        How many of the most likely tokens stand beside each log-probability where
        ``top_logprobs`` is absent, as at llama-server: there 0 of them means no log-probabilities
        either, and ``logprobs`` may be that number itself. None is for servers that send none.

    Notes
    -----
    Read in the servers' own code for vLLM, Aphrodite, SGLang, llama.cpp, mlx-lm, transformers and
    KoboldCpp: all of whose calls end with "stop", and whose streams tell no usage. A call that
    is cut ends with "stop" or "length" everywhere. Streams that may consist of calls open with
    ``"content": null``, as OpenAI's and llama.cpp's do; those of vLLM and SGLang open with an empty
    text even then, which is not imitated.

    References
    ----------
    .. [1] "Align finish_reason when tool is called with OpenAI",
       https://github.com/vllm-project/vllm/pull/25054, with answers of both
    .. [2] OpenAI, "Chat completion chunk", https://platform.openai.com/docs/api-reference/chat-streaming
    .. [3] https://openrouter.ai/docs/client-sdks/typescript/models/chatstreamoptions

    Examples
    --------
    >>> from logitlab import engines
    >>> engines.vllm.dialect
    Dialect(stops_after='named', usage='asked', holds_stops=True, ignores_stops=False,
            has_two_limits=True, has_one_answer=False, tops=None)
    """

    stops_after: Endings = "none"
    usage: Usage = "asked"
    holds_stops: bool = False
    ignores_stops: bool = False
    has_two_limits: bool = False
    has_one_answer: bool = False
    tops: int | None = None

    def __post_init__(self) -> None:
        check_choice("stops_after", self.stops_after, get_args(Endings))
        check_choice("usage", self.usage, get_args(Usage))
        for name in ("holds_stops", "ignores_stops", "has_two_limits", "has_one_answer"):
            check_flag(name, getattr(self, name))
        if self.tops is not None:
            check_integer("tops", self.tops, Range(1, integer=True))
