"""What the commands take: a row of logits and a request."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, Range, Seen, check_integer, check_logits
from logitlab.datasets import load
from logitlab.engines import ENGINES
from logitlab.models import BUNDLED
from logitlab.numerics import FloatArray
from logitlab.request.params import PARAMETERS, TWENTY
from logitlab.steps.context import Context
from logitlab.vocabulary import Vocabulary

__all__ = [
    "Row",
    "add_engine",
    "add_model",
    "add_request",
    "add_row",
    "bundled",
    "joined",
    "needs_context",
    "request_of",
    "row_of",
    "whole",
]

ONE_TOKEN = ("distribution", "draw")


@dataclass(frozen=True)
class Row:
    """One row of logits and what is known of it."""

    title: str
    logits: FloatArray
    context: Context | None
    vocabulary: Vocabulary | None = None

    def label(self, token: int) -> str:
        """Return a token as something the eye can tell apart."""
        return f"#{token}" if self.vocabulary is None else self.vocabulary.label(token)

    def described(self, tokens: list[tuple[int, float, float]]) -> list[dict[str, Any]]:
        """Return (id, logit, probability) of tokens as JSON objects."""
        return [
            {"id": token, "label": self.label(token), "logit": logit, "probability": probability}
            for token, logit, probability in tokens
        ]


def joined(words: Sequence[str]) -> list[str]:
    """Return ``--key=-1e-3`` for ``--key -1e-3``, which argparse would take for an option."""
    joined: list[str] = []
    for word in words:
        before = joined[-1] if joined else ""
        is_option = before.startswith("--") and before != "--" and "=" not in before
        first = re.split("[,:]", word)[0]
        if word.startswith("-") and _literal(first) is not first and is_option:
            joined[-1] += "=" + word
        else:
            joined.append(word)
    return joined


def add_row(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a row of logits."""
    where = parser.add_argument_group("logits")
    where.add_argument("--row", metavar="N", help="row of the recording or file (default 0)")
    where.add_argument(
        "--prompt", metavar="TEXT", help="the bundled row whose prompt contains TEXT"
    )
    where.add_argument("--logits", metavar="FILE", help="your own .npy of shape (V,) or (n, V)")
    where.add_argument("--prompt-ids", metavar="IDS", help="tokens before your row: 5,17,5")


def add_request(parser: argparse.ArgumentParser, roles: Collection[str] = ONE_TOKEN) -> None:
    """Add an option for each parameter of some roles."""
    request = parser.add_argument_group("request")
    beyond = parser.add_argument_group("request, beyond the page")
    repeated = {"logit_bias": "ID=VALUE", "stop": "TEXT"}
    for parameter in PARAMETERS.values():
        if parameter.role not in roles:
            continue
        group = request if parameter.key in TWENTY else beyond
        group.add_argument(
            "--" + parameter.key.replace("_", "-"),
            dest=parameter.key,
            metavar=repeated.get(parameter.key, "VALUE"),
            action="append" if parameter.key in repeated else "store",
            help=f"{parameter.rule}: {parameter.sentence}",
        )
    request.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[],
        help="a request key of an engine's own, as JSON: repeat_last_n=32",
    )  # fmt: skip


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses a model."""
    parser.add_argument(
        "--model", metavar="FILE", default=BUNDLED,
        help=f"a .gguf file, a recorded run (.npy), or {BUNDLED} (the default)",
    )  # fmt: skip


def add_engine(parser: Any) -> None:
    """Add the option that chooses an engine, to a parser or a group of its options."""
    parser.add_argument(
        "--engine", choices=ENGINES, default="openrouter", metavar="NAME",
        help="whose chain it is: " + ", ".join(ENGINES),
    )  # fmt: skip


def needs_context(error: ParameterError) -> ParameterError:
    """Return the error in words of the command line."""
    if error.name != "context":
        return error
    hint = "A penalty counts the tokens before your row."
    return ParameterError("--prompt-ids", "given with a penalty", None, hint)


def row_of(arguments: argparse.Namespace) -> Row:
    """Return the row that the options choose."""
    if arguments.logits is None:
        if arguments.prompt_ids is not None:
            raise ParameterError(
                "--prompt-ids", "given together with --logits", arguments.prompt_ids
            )
        if arguments.prompt is not None:
            if arguments.row is not None:
                raise ParameterError("--row", "absent where --prompt is given", arguments.row)
            return bundled(_find(arguments.prompt))
        last = len(load()) - 1
        row = "0" if arguments.row is None else arguments.row
        return bundled(whole("--row", row, Range(0, last, integer=True)))
    if arguments.prompt is not None:
        hint = "A file of logits has no prompts: choose with --row."
        raise ParameterError("--prompt", "absent where --logits is given", arguments.prompt, hint)
    return _own(arguments.logits, arguments.row, arguments.prompt_ids)


def bundled(index: int) -> Row:
    """Return a row of the bundled recording."""
    rows = load()
    return Row(
        title=f"row {index}, {rows.kinds[index]}: {rows.prompts[index]!r}",
        logits=rows.logits[index],
        context=Context(prompt=rows.prompt_ids[index]),
        vocabulary=rows.vocabulary,
    )


def _find(text: str) -> int:
    prompts = load().prompts
    found = [i for i, prompt in enumerate(prompts) if text in prompt]
    if len(found) != 1:
        listing = found or range(len(prompts))
        choices = "".join(f"\n  --row {i:<3} {prompts[i][:60]!r}" for i in listing)
        hint = f"No model runs here; choose a recorded prompt:{choices}"
        raise ParameterError("--prompt", "part of exactly one bundled prompt", text, hint)
    return found[0]


def _own(file: str, row: str | None, prompt_ids: str | None) -> Row:
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # numpy passes on whatever its parsers stumble over
        reason = getattr(error, "strerror", None) or "Its contents are not those of a .npy file"
        raise ParameterError("--logits", "a readable .npy file", file, f"{reason}.") from None
    if array.ndim not in (1, 2) or not array.size:
        found = Seen(f"shape {array.shape}")
        raise ParameterError("--logits", "an array of shape (V,) or (n, V), not empty", found)
    rows = np.atleast_2d(array)
    index = whole("--row", "0" if row is None else row, Range(0, len(rows) - 1, integer=True))
    logits = check_logits(rows[index], "--logits")
    context = None
    if prompt_ids is not None:
        ids = [_literal(part.strip()) for part in prompt_ids.split(",")]
        known = Range(0, len(logits) - 1, integer=True)
        context = Context(prompt=known.check("--prompt-ids", ids))
    return Row(f"row {index} of {file}", np.array(logits), context)


def request_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the request body that the options spell."""
    request: dict[str, Any] = {}
    for key in PARAMETERS:
        given = getattr(arguments, key, None)
        if given is None:
            continue
        if key == "stop":
            request[key] = given
        elif key == "logit_bias":
            pairs = [entry.partition("=") for entry in given]
            keys = [key.strip() for key, _, _ in pairs]
            if len(set(keys)) < len(keys):
                raise ParameterError("--logit-bias", "given once for each token", " ".join(given))
            request["logit_bias"] = {key.strip(): _literal(value) for key, _, value in pairs}
        else:
            request[key] = _literal(given)
    for text in arguments.set:
        key, value = _pair(text)
        if key in request:
            raise ParameterError("--set", "of keys that are given once", text)
        request[key] = value
    return request


def _pair(text: str) -> tuple[str, Any]:
    """Return key and value of ``key=value``: JSON, or else a string."""
    key, found, value = (part.strip() for part in text.partition("="))
    if not (key and found and value):
        raise ParameterError("--set", "KEY=VALUE", text)
    try:
        parsed = json.loads(value)
        json.dumps(parsed, allow_nan=False)
    except ValueError:
        return key, value
    return key, parsed


def _literal(text: str) -> Any:
    """Return the number that a text is, or the text itself for the checks to refuse."""
    for number in (int, float):
        try:
            return text if "_" in text else number(text)
        except ValueError:
            continue
    return text


def whole(name: str, text: str, rule: Range) -> int:
    """Return the integer that an option holds."""
    return check_integer(name, _literal(text), rule)
