"""What a server answered, read without trusting it: texts, tokens with their log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from logitlab.verification.position import Position, Token, positions_of
from logitlab.verification.spelt import spelt
from logitlab.verification.wording import harmless

__all__ = ["Answer", "Position", "Token"]

_LONGEST = 200  # characters of a server's words


@dataclass(frozen=True)
class Answer:
    """One answer of an endpoint.

    Attributes
    ----------
    status : int
        The HTTP status. Anything but 200 is a refusal, in the words of `words`.
    body : mapping
        The JSON document.
    """

    status: int
    body: Mapping[str, Any]

    @property
    def refused(self) -> bool:
        """Whether the server did not answer with a completion."""
        return self.status != 200

    @property
    def words(self) -> str | None:
        """The server's words of a refusal, whatever the shape it gives them, in one line."""
        if not self.refused:
            return None
        said: Any = self.body
        code: Any = None
        for key in ("error", "detail", "message"):
            if isinstance(said, Mapping) and key in said:
                code = said.get("code", code)
                said = said[key]
        words = harmless(str(said))[:_LONGEST]
        is_told = type(code) is not int or code == self.status or str(code) in words
        return words if is_told else f"{words} (code {code})"

    @property
    def choices(self) -> list[Mapping[str, Any]]:
        """The choices, of chat or of plain completions; a refusal has none."""
        found = None if self.refused else self.body.get("choices")
        return [each for each in found if isinstance(each, Mapping)] if found else []

    def text(self, choice: int = 0) -> str:
        """Return the text of a choice, '' where it has none."""
        if choice >= len(self.choices):
            return ""
        message = self.choices[choice].get("message")
        told = message if isinstance(message, Mapping) else self.choices[choice]
        return str(told.get("content") or told.get("text") or "")

    def positions(self, choice: int = 0) -> list[Position]:
        """Return the tokens of a choice with what was reported of each; [] where nothing was.

        They are those of the text where the report names others, see `spelt`.
        """
        if choice >= len(self.choices):
            return []
        reported = self.choices[choice].get("logprobs")
        content = reported.get("content") if isinstance(reported, Mapping) else None
        return spelt(positions_of(content or ()), self.text(choice))

    @property
    def tokens(self) -> tuple[int, int]:
        """The tokens of the prompt and of the completion, as the server counts them, else 0."""
        usage = self.body.get("usage")
        told = usage if isinstance(usage, Mapping) else {}
        read, written = (told.get(key) for key in ("prompt_tokens", "completion_tokens"))
        return _count(read), _count(written)


def _count(told: Any) -> int:
    """Return a number of tokens that somebody tells, 0 for what is none."""
    is_number = isinstance(told, int | float) and not isinstance(told, bool)
    return int(told) if is_number and 0 <= told < 1 << 53 else 0
