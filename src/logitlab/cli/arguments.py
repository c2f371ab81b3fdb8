"""What the commands take: a row of logits and a request."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from logitlab.arrays import FloatArray, check_logits
from logitlab.checks import ParameterError, Range, Seen, check_integer
from logitlab.cli.forms import AGAIN, form_of, help_of, number_of, numbers_in, option_of
from logitlab.datasets import DTYPES, Recording, load
from logitlab.draw import COUPLINGS
from logitlab.engines.registry import ENGINES
from logitlab.engines.rules import Note
from logitlab.models import BUNDLED, load_vocabulary
from logitlab.models.recording.files import ENDINGS, open_logits
from logitlab.request.params import NEUTRAL, PARAMETERS, TWENTY
from logitlab.steps.context import Context
from logitlab.steps.penalties import AdditivePenalty
from logitlab.vocabulary import Vocabulary, check_size

__all__ = [
    "COUNT",
    "SEQUENCES",
    "Row",
    "add_command",
    "add_coupling",
    "add_dtype",
    "add_engine",
    "add_model",
    "add_options",
    "add_request",
    "add_row",
    "add_state",
    "bundled_row",
    "bundled_rows",
    "ids_of",
    "in_words_of_options",
    "join_negative_values",
    "json_of",
    "number_of",
    "numbers_in",
    "option_of",
    "request_of",
    "row_of",
    "state_of",
    "top_of",
    "uncounted",
    "whole",
]

COUNT = Range(1, integer=True)
SEQUENCES = Range(0, (1 << 62) - 1, integer=True)
ONE_TOKEN = ("distribution", "draw")
_OPTIONS = {  # of what functions of the library call otherwise
    "checkpoint": "--checkpoint",
    "context": "--prompt-ids",
    "directory": "--write",
    "draws": "--draws",
    "metrics": "--metrics",
    "model": "--model",
    "output": "--output-ids",
    "parameter": "--parameter",
    "path": "--model",
    "prompt": "--prompt-ids",
    "pyodide": "--pyodide",
    "state": "--state",
    "static": "--static",
    "vocabulary": "--vocabulary",
}


@dataclass(frozen=True)
class Row:
    """One row of logits and what is known of it."""

    title: str
    logits: FloatArray
    context: Context | None
    vocabulary: Vocabulary | None = None

    def label(self, token: int) -> str:
        """Return a token as something the eye can tell apart."""
        if self.vocabulary is None or token >= len(self.vocabulary):
            return f"#{token}"
        return self.vocabulary.label(token)

    def entries(self, tokens: list[tuple[int, float, float]]) -> list[dict[str, Any]]:
        """Return (id, logit, probability) of tokens as JSON objects."""
        return [
            {"id": token, "label": self.label(token), "logit": logit, "probability": probability}
            for token, logit, probability in tokens
        ]

    def report(self, request: dict[str, Any], **results: Any) -> dict[str, Any]:
        """Return what a request makes of the row as a JSON object."""
        size = len(self.logits)
        return {"row": self.title, "vocabulary_size": size, "request": request, **results}


def join_negative_values(words: Sequence[str]) -> list[str]:
    """Return ``--key=-1e-3`` for ``--key -1e-3``, which argparse would take for an option."""
    lines: list[str] = []
    for word in words:
        before = lines[-1] if lines else ""
        is_option = before.startswith("--") and before != "--" and "=" not in before
        first = re.split("[,:=]", word)[0]
        if word.startswith("-") and number_of(first) is not first and is_option:
            lines[-1] += "=" + word
        else:
            lines.append(word)
    return lines


def add_command(commands: Any, name: str, run: Callable[..., Any], **words: str) -> Any:
    """Add a command, with its help and description, and return its parser."""
    parser = commands.add_parser(name, **words)
    parser.set_defaults(run=run)
    return parser


def add_options(parser: Any, *options: tuple[str | None, ...]) -> None:
    """Add options to a parser or a group: name, metavar, help, and a default where there is one.

    One without a metavar is a flag.
    """
    for name, metavar, words, *default in options:
        kind: dict[str, Any] = {"action": "store_true"}
        if metavar is not None:
            kind = {"metavar": metavar, "default": default[0] if default else None}
        parser.add_argument(name, help=words, **kind)


def add_dtype(parser: Any) -> None:
    """Add the option that rounds the bundled rows, to a parser or a group of its options."""
    words = "of the bundled rows: float32, or bfloat16, with the ties that it makes (float32)"
    parser.add_argument("--dtype", choices=DTYPES, help=words)


def add_row(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a row of logits."""
    logits = parser.add_argument_group("logits")
    add_options(
        logits,
        ("--row", "N", "row of the recording or file (default 0)"),
        ("--prompt", "TEXT", "the bundled row whose prompt contains TEXT"),
        ("--logits", "FILE", f"your own, of shape (..., V): {', '.join(ENDINGS)}"),
        ("--array", "NAME", "which array of the file, if it has several"),
        ("--vocabulary", "FILE", "the tokenizer.json or .gguf that names your tokens"),
        ("--prompt-ids", "IDS", "the prompt's tokens before your row: 5,17,5"),
        ("--output-ids", "IDS", "the output's tokens after the prompt's, before the row: 8,9"),
    )
    add_dtype(logits)


def add_request(parser: argparse.ArgumentParser, roles: Collection[str] = ONE_TOKEN) -> None:
    """Add an option for each parameter of some roles."""
    request = parser.add_argument_group("request")
    beyond = parser.add_argument_group("request, beyond the page")
    for key, parameter in PARAMETERS.items():
        if parameter.role not in roles and key not in NEUTRAL:
            continue
        form = form_of(parameter)
        kind: dict[str, Any] = {"action": "store_const", "const": True}
        if key == "logit_bias":
            kind = {"action": "append", "metavar": "ID=VALUE"}
        elif form.metavar is not None:
            kind = {"action": "append" if form.repeats else "store", "metavar": form.metavar}
        words = help_of(parameter, has_model="prompt" in roles)
        group = request if key in TWENTY else beyond
        group.add_argument(option_of(key), dest=key, help=words, **kind)
    request.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a request key of an engine's own, as JSON: repeat_last_n=32; " + AGAIN,
    )


def add_state(parser: Any) -> None:
    """Add the option that chooses the state of mirostat or adaptive-p."""
    parser.add_argument(
        "--state",
        metavar="NAME=VALUE",
        action="append",
        help="the state to begin in, once for each of its numbers: mirostat=9.5 (the first one)",
    )


def state_of(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Return the state that the options spell, or None where they spell none."""
    state: dict[str, Any] = {}
    for text in arguments.state or ():
        name, _, value = (part.strip() for part in text.partition("="))
        number = number_of(value)
        if not name or isinstance(number, str):
            raise ParameterError("--state", "NAME=VALUE with a number", text, "Write mirostat=9.5.")
        if name in state:
            raise ParameterError("--state", "given once for each name", text)
        state[name] = number
    return state or None


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses a model."""
    parser.add_argument(
        "--model",
        metavar="FILE",
        default=BUNDLED,
        help=f"a .gguf file, a recorded run (.npy), or {BUNDLED} (the default)",
    )


def add_engine(parser: Any) -> None:
    """Add the option that chooses an engine, to a parser or a group of its options."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="openrouter",
        metavar="NAME",
        help="whose chain it is: " + ", ".join(ENGINES),
    )


def add_coupling(parser: Any) -> None:
    """Add the option that chooses how numbers become tokens."""
    parser.add_argument("--coupling", choices=COUPLINGS, default="inverse", help="how to draw")


def in_words_of_options(error: Exception, arguments: argparse.Namespace | None) -> Exception:
    """Return an error in words of the command that was given, if it has such an option."""
    name = error.name.partition("[")[0] if isinstance(error, ParameterError) else ""
    option = _OPTIONS.get(name)
    if not (option and isinstance(error, ParameterError) and hasattr(arguments, _dest(option))):
        return error
    if error.name == "context" and "unconditional" in error.rule:
        hint = "logitlab generate asks its model twice."
        seen = Seen(getattr(arguments, "guidance_scale", None) or "another")
        return ParameterError("--guidance-scale", "1 for a row of logits", seen, hint)
    if error.name == "context":
        hint = "A penalty counts the tokens before your row: those of the output are --output-ids."
        return ParameterError(option, "given with a penalty", None, hint)
    return ParameterError(option, error.rule, error.value, error.hint, error.where)


def _dest(option: str) -> str:
    return option[2:].replace("-", "_")


def row_of(arguments: argparse.Namespace) -> Row:
    """Return the row that the options choose."""
    row, prompt = arguments.row, arguments.prompt
    if arguments.logits is not None:
        if prompt is not None:
            hint = "A file of logits has no prompts: choose with --row."
            raise ParameterError("--prompt", "absent where --logits is given", prompt, hint)
        if arguments.dtype is not None:
            rule = "absent where --logits is given"
            raise ParameterError("--dtype", rule, arguments.dtype, "A file has its own dtype.")
        return _row_of_file(arguments)
    for option in ("--array", "--prompt-ids", "--vocabulary"):
        value = getattr(arguments, _dest(option))
        if value is not None:
            raise ParameterError(option, "given together with --logits", value)
    if prompt is not None and row is not None:
        raise ParameterError("--row", "absent where --prompt is given", row)
    rows = bundled_rows(arguments.dtype)
    index = _row_number(row, len(rows)) if prompt is None else _row_of_prompt(prompt)
    output = ids_of(arguments.output_ids, "--output-ids", rows.logits.shape[1])
    return bundled_row(index, output, rows)


def _row_number(text: str | None, count: int) -> int:
    return whole("--row", "0" if text is None else text, Range(0, count - 1, integer=True))


def bundled_rows(dtype: str | None = None) -> Recording:
    """Return the bundled recording in the dtype that an option names."""
    return load(dtype=DTYPES[0] if dtype is None else dtype)


def bundled_row(index: int, output: Any = (), rows: Recording | None = None) -> Row:
    """Return a row of the bundled recording, after some tokens of an output."""
    rows = rows or load()
    rounded = "" if rows.dtype == DTYPES[0] else f", {rows.dtype}"
    return Row(
        title=f"row {index}, {rows.kinds[index]}{rounded}: {rows.prompts[index]!r}",
        logits=rows.logits[index],
        context=Context(rows.prompt_ids[index], output),
        vocabulary=rows.vocabulary,
    )


def _row_of_prompt(text: str) -> int:
    prompts = load().prompts
    rows = [i for i, prompt in enumerate(prompts) if text in prompt]
    if len(rows) != 1:
        lines = (f"\n  --row {i:<3} {prompts[i][:60]!r}" for i in rows or range(len(prompts)))
        hint = f"No model runs here; choose a recorded prompt:{''.join(lines)}"
        raise ParameterError("--prompt", "part of exactly one bundled prompt", text, hint)
    return rows[0]


def ids_of(text: str | None, option: str, size: int | None = None) -> Any:
    """Return the token ids that an option holds, none where it is absent."""
    if text is None:
        return ()
    rule = Range(0, integer=True) if size is None else Range(0, size - 1, integer=True)
    return rule.check(option, numbers_in(text))


def _row_of_file(arguments: argparse.Namespace) -> Row:
    file, row = arguments.logits, arguments.row
    array = open_logits(file, arguments.array, path_key="--logits", name_key="--array")
    batch = array.shape[:-1]
    if not array.size:
        raise ParameterError("--logits", "of at least one row", Seen(f"shape {array.shape}"))
    index = _row_number(row, math.prod(batch))
    logits = check_logits(array[np.unravel_index(index, batch)] if batch else array, "--logits")
    vocabulary = None
    if arguments.vocabulary is not None:
        vocabulary = load_vocabulary(arguments.vocabulary)
        check_size("--vocabulary", vocabulary, len(logits))
    context = None
    if arguments.prompt_ids is not None or arguments.output_ids is not None:
        ids = (
            ids_of(getattr(arguments, name), option_of(name), len(logits))
            for name in ("prompt_ids", "output_ids")
        )
        context = Context(*ids)
    return Row(f"row {index} of {file}", np.array(logits), context, vocabulary)


def request_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the request body that the options spell."""
    request: dict[str, Any] = {}
    for key, parameter in PARAMETERS.items():
        value = getattr(arguments, key, None)
        if key == "logit_bias" and value is not None:
            entries = [_bias_of(entry) for entry in value]
            request[key] = dict(entries)
            if len(request[key]) < len(entries):
                raise ParameterError("--logit-bias", "given once for each token", " ".join(value))
        elif value is not None:
            request[key] = form_of(parameter).read(option_of(key), value)
    for text in arguments.set:
        key, value = _pair(text)
        if key in request:
            raise ParameterError("--set", "of keys that are given once", text)
        request[key] = value
    return request


def _bias_of(text: str) -> tuple[str, Any]:
    """Return token id and bias of ``5=-100``; the id is a string, as in a request body."""
    token, _, bias = (part.strip() for part in text.partition("="))
    amount = number_of(bias)
    is_finite = isinstance(amount, int) or (isinstance(amount, float) and math.isfinite(amount))
    if not (token.isascii() and token.isdigit() and is_finite):
        rule = "ID=VALUE, a token id >= 0 and a number"
        raise ParameterError("--logit-bias", rule, text, "Write 5=-100 to ban token 5.")
    return str(int(token)) if len(token) < 20 else token, amount


def _pair(text: str) -> tuple[str, Any]:
    """Return key and value of ``key=value``: JSON, or else a string."""
    key, _, value = (part.strip() for part in text.partition("="))
    if not (key and value):
        raise ParameterError("--set", "KEY=VALUE", text)
    return key, _json_or_text("--set", value)


def _json_or_text(name: str, text: str) -> Any:
    """Return the JSON that a text is, or the text itself."""
    try:
        content = _parsed(name, text)
        json.dumps(content, allow_nan=False)
    except ParameterError:
        raise
    except ValueError:
        return text
    return content


def _parsed(name: str, text: str) -> Any:
    """Return what JSON says, each key once: of two values one would be lost."""

    def entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in pairs:
            if key in made:
                raise ParameterError(name, "JSON without a key that is there twice", key)
            made[key] = value
        return made

    return json.loads(text, object_pairs_hook=entries)


def json_of(name: str, file: str) -> Any:
    """Return what a JSON file holds, or raise `ParameterError` that names the option."""
    try:
        if file == "-":
            text = sys.stdin.read() if sys.stdin else ""
        else:
            text = Path(file).read_text("utf-8")
        return _parsed(name, text.removeprefix("\ufeff"))  # a mark that some editors begin with
    except OSError as error:
        raise ParameterError(name, "a readable file", file, f"{error.strerror}.") from None
    except ParameterError:
        raise
    except (ValueError, RecursionError) as error:
        raise ParameterError(name, "a file of JSON", file, f"{error}.") from None


def whole(name: str, text: str, rule: Range) -> int:
    """Return the integer that an option holds."""
    return check_integer(name, number_of(text), rule)


def uncounted(engine: str, steps: Iterable[Any], context: Context | None) -> list[Note]:
    """Return a note where an engine counts the tokens of the output, of which there are none."""
    if context is None or (context.output >= 0).any():
        return []
    parts = (step.apart() if isinstance(step, AdditivePenalty) else (step,) for step in steps)
    keys = [
        getattr(step, "key", type(step).__name__)
        for step in itertools.chain.from_iterable(parts)
        if getattr(step, "scope", "") in ("output", "lagged")
        and not getattr(step, "is_neutral", False)
    ]
    if not keys:
        return []
    names = ", ".join(dict.fromkeys(keys))
    sentence = f"{names}: {engine} counts the output alone: 0 tokens. --output-ids gives them."
    return [Note(names, "uncounted", sentence)]


def top_of(arguments: argparse.Namespace, row: Row) -> int | None:
    """Return how many top tokens to show, or None for as many as there is room for."""
    rule = Range(0, len(row.logits), integer=True)
    return None if arguments.top is None else whole("--top", arguments.top, rule)
