"""Odd providers, by more than a fault: proxies, models that think first, half characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from logitlab.models import Model, State
from logitlab.models.model import Message, Tool

from models.tiny_llama import ALPHABET
from verification.providers import Provider
from verification.subject import subject

__all__ = ["AsMlx", "Halved", "Proxy", "Thoughtful", "running_model"]

_SURE = 40.0  # by so much a logit is above all others
_THOUGHT = "<think>\nWell. Let me see what I know of it.\n</think>\n"


class Proxy:
    """Several providers behind one address, as OpenRouter has them.

    Each answer tells its own ``provider`` and ``system_fingerprint``. A request that names one in
    ``provider.order``, with ``allow_fallbacks`` false, gets it.

    Parameters
    ----------
    behind : mapping of str to Provider
    shares : sequence of float
        How many of the requests that name none each of them gets.
    seed : int
    """

    def __init__(self, behind: Mapping[str, Provider], shares: Sequence[float], seed: int = 0):
        self.behind, self._shares = dict(behind), list(shares)
        self._rng = np.random.default_rng(seed)

    def __call__(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Pass a request on."""
        asked = body.get("provider") or {}
        order = [name for name in asked.get("order", ()) if name in self.behind]
        drawn = str(self._rng.choice(list(self.behind), p=self._shares))
        if asked.get("order") and not order and not asked.get("allow_fallbacks", True):
            return 404, {"error": {"message": "No allowed providers are available.", "code": 404}}
        name = order[0] if order else drawn
        sent = {key: value for key, value in body.items() if key != "provider"}
        status, answer = self.behind[name](sent)
        if status == 200:
            answer = {**answer, "provider": name, "system_fingerprint": f"of {name}"}
        return status, answer


class AsMlx:
    """A provider whose answers look as those of mlx_lm.server 0.32.2.

    The most likely tokens come in any order, and the entry of the token that was drawn is the first
    of these in its stead; without them it has an id alone. Tokens are spelt by letters for bytes,
    and have no bytes; the space that a text begins with is gone.
    """

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    def __call__(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer."""
        status, answer = self.provider(body)
        for choice in answer.get("choices", ()):
            choice["message"]["content"] = choice["message"]["content"].removeprefix(" ")
            if choice.get("logprobs"):
                choice["logprobs"] = {"content": [*map(self._entry, choice["logprobs"]["content"])]}
        return status, answer

    def _entry(self, entry: dict[str, Any]) -> dict[str, Any]:
        tops = [self._told(top) for top in entry["top_logprobs"]]
        if not tops:
            told = self._told(entry)
            return {"id": told["id"], "logprob": told["logprob"]}
        # Its order is that of a partition, which is the same for the same row.
        tops.sort(key=lambda top: top["id"] * 2654435761 % 2**32)
        return {**tops[0], "top_logprobs": tops}

    def _told(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        data = bytes(entry["bytes"])
        spelt = "".join(ALPHABET[byte] for byte in data)
        token = self.provider.model.vocabulary.find(data)
        return {"id": token, "token": spelt, "logprob": entry["logprob"]}


class _Begun(Model):
    """A model that is the subject, but for the first tokens of its answers."""

    def __init__(self) -> None:
        model = subject()
        self.name, self.vocabulary = model.name, model.vocabulary
        self.end_ids, self.context_length = model.end_ids, model.context_length

    def start(self) -> State:
        return subject().start()

    def encode(self, text: str) -> list[int]:
        return subject().encode(text)

    def chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        return subject().chat(messages, tools)

    def advance(self, states: Sequence[Any], tokens: Sequence[Sequence[int]]) -> Any:
        rows = subject().advance(states, tokens)
        return np.stack([self.moved(row, state) for row, state in zip(rows, states, strict=True)])

    def moved(self, row: Any, state: Any) -> Any:
        """Return the row after a text."""
        return row


class Thoughtful(_Begun):
    """It thinks first, always the same, and answers then as the subject does at once."""

    def moved(self, row: Any, state: Any) -> Any:
        thought, written = self.encode(_THOUGHT), len(state.tokens) - len(state.prompt)
        if written < len(thought):
            row = row.copy()
            row[thought[written]] = row.max() + _SURE
        elif written == len(thought):
            row = subject().first(state.prompt)
        return row


class Halved(_Begun):
    """The first bytes of characters are among its most likely first tokens."""

    def moved(self, row: Any, state: Any) -> Any:
        if len(state.tokens) > len(state.prompt):
            return row
        row = row.copy()
        for place, byte in enumerate((0xC3, 0xE2, 0xF0)):
            row[self.vocabulary.find(bytes([byte]))] = row.max() - 0.5 - place
        return row


class _Wise(Provider):
    """A provider whose model thinks unless a request says that it need not."""

    def __call__(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer."""
        template = body.get("chat_template_kwargs") or {}
        reasoning = body.get("reasoning") or {}
        is_off = (
            reasoning.get("enabled") is False
            or body.get("reasoning_effort") == "none"
            or template.get("enable_thinking") is False
        )
        self.model = subject() if is_off else Thoughtful()
        names = ("chat_template_kwargs", "reasoning", "reasoning_effort")
        return super().__call__({key: x for key, x in body.items() if key not in names})


def running_model(model: type[Model], *args: Any, **options: Any) -> Provider:
    """Return a provider that runs `Thoughtful` or `Halved`; the others are those of `Provider`."""
    if model is Thoughtful:
        return _Wise(*args, **options)
    provider = Provider(*args, **options)
    provider.model = model()
    return provider
