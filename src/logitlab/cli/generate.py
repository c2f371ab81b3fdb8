"""``logitlab generate``: a model writes, here and now."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, Seen
from logitlab.cli.arguments import (
    COUNT,
    ONE_TOKEN,
    SEQUENCES,
    add_command,
    add_coupling,
    add_engine,
    add_model,
    add_options,
    add_request,
    add_state,
    json_of,
    request_of,
    state_of,
    whole,
)
from logitlab.cli.colours import coloured, has_colours
from logitlab.cli.text import as_json, columns
from logitlab.draw import resolve_seed
from logitlab.generation.generate import generate_many, stream
from logitlab.generation.result import Generation, Piece
from logitlab.models import Model, load
from logitlab.progress import interruptible
from logitlab.request.whole import check_answers

__all__ = ["add", "add_json_schema", "add_schema", "text_of"]

_MAX_TOKENS = 256
_INTERRUPTED = 130  # the status that shells give to Ctrl-C


def add(commands: Any) -> None:
    """Add the command ``generate``: a model writes."""
    parser = add_command(
        commands,
        "generate",
        _generate,
        help="let a model write: the bundled one, or your own",
        description="Let a model write, at most 256 tokens unless --max-tokens says otherwise. The "
        "bundled model has read the Grimms' fairy tales.",
    )
    parser.add_argument("prompt", help="the beginning of the text; - reads it from standard input")
    add_model(parser)
    add_options(
        parser,
        ("--chat", None, "the prompt is what a user says to the model"),
        ("--n", "N", "how many answers (1)"),
    )
    add_request(parser, (*ONE_TOKEN, "ending", "prompt"))
    add_json_schema(parser)
    show = parser.add_argument_group("output")
    add_engine(show)
    add_coupling(show)
    add_state(show)
    colours = "colour each token by the model's own probability; one token a line in a file"
    add_options(show, ("--sequence", "N", "the first random sequence of the seed (0)", "0"))
    add_options(
        show.add_mutually_exclusive_group(),
        ("--show-probs", None, colours),
        ("--json", None, "print JSON, with every token"),
    )


def _generate(arguments: argparse.Namespace) -> str | Iterator[str]:
    request: dict[str, Any] = {"max_tokens": _MAX_TOKENS, **request_of(arguments)}
    add_schema(request, arguments)
    if arguments.n is not None:
        if "n" in request:
            raise ParameterError("--set", "of keys that are given once", f"n={request['n']}")
        request["n"] = check_answers("--n", whole("--n", arguments.n, COUNT))
    sequence = whole("--sequence", arguments.sequence, SEQUENCES)
    text = text_of("prompt", arguments.prompt)
    model = load(arguments.model)
    options: dict[str, Any] = {
        "engine": arguments.engine,
        "coupling": arguments.coupling,
        "sequence": sequence,
        "state": state_of(arguments),
    }
    prompt: Any = [{"role": "user", "content": text}] if arguments.chat else text
    if arguments.show_probs or arguments.json:
        request["logprobs"], options["logprobs_mode"] = True, "raw"
    elif request.get("n") is None:
        seed = resolve_seed(request.get("seed"))
        pieces = stream(model, prompt, request, seed=seed, **options)
        return _text_of(pieces, text, arguments.chat, seed)
    # A list, whether there are several or one.
    answers = generate_many(model, [prompt], request, **options)
    if arguments.json:
        return _report(answers, model, {"prompt": text, "request": request})
    return _blocks(answers, model, arguments.show_probs)


def add_json_schema(parser: argparse.ArgumentParser) -> None:
    """Add the option that asks for JSON."""
    words = "the text is JSON that is valid under this schema"
    add_options(parser, ("--json-schema", "FILE", words))


def add_schema(request: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Put the schema that ``--json-schema`` names into a request."""
    if arguments.json_schema is None:
        return
    schema = json_of("--json-schema", arguments.json_schema)
    if not isinstance(schema, dict | bool):
        raise ParameterError("--json-schema", "a file with a JSON schema", schema)
    if "response_format" in request:
        rule, seen = "of keys that are given once", Seen("response_format")
        raise ParameterError("--set", rule, seen, "--json-schema is one.")
    form = {"name": "schema", "schema": schema}
    request["response_format"] = {"type": "json_schema", "json_schema": form}


def text_of(name: str, words: str) -> str:
    """Return a text that an argument holds: "-" is what standard input says."""
    if words != "-":
        return words
    try:
        return sys.stdin.read().removeprefix("\ufeff").removesuffix("\n")
    except (AttributeError, OSError, UnicodeDecodeError):
        raise ParameterError(name, "a text on standard input", Seen("none")) from None


def _blocks(answers: Sequence[Generation], model: Model, shows: bool) -> Iterator[str]:
    """Yield one answer after the other; where Ctrl-C came, leave with its status."""
    _tell_notes(answers[0])
    for i, answer in enumerate(answers):
        if len(answers) > 1 and answer.finish_reason == "interrupted":
            continue
        head = f"--- {i + 1} of {len(answers)}\n" if len(answers) > 1 else ""
        yield f"{head}{_colours_of(answer, model) if shows else answer.text}\n"
        if answer.finish_reason != "interrupted":
            _tell(answer)
    _leave_if_interrupted(answers)


def _report(answers: Sequence[Generation], model: Model, asked: dict[str, Any]) -> Iterator[str]:
    """Yield all answers that were begun, as JSON."""
    entries = [_answer_entry(answer, model) for answer in answers if len(answer.tokens)]
    yield as_json({"model": model.name, **asked, "answers": entries}) + "\n"
    _leave_if_interrupted(answers)


def _leave_if_interrupted(answers: Sequence[Generation]) -> None:
    """Say how far it came, and leave with the status of Ctrl-C, where that was pressed."""
    done = sum(answer.finish_reason != "interrupted" for answer in answers)
    if done < len(answers):
        line = f"Interrupted: {done} of {len(answers)} answers are finished"
        print(f"{line} (seed {answers[0].seed}).", file=sys.stderr)
        raise SystemExit(_INTERRUPTED)


def _text_of(pieces: Iterator[Piece], text: str, chat: bool, seed: int) -> Iterator[str]:
    """Yield the text as it comes, after the prompt where somebody reads along."""
    if sys.stdout.isatty() and not chat:
        yield text
    with interruptible() as is_interrupted:
        for count, piece in enumerate(pieces, 1):
            if piece.text:
                yield piece.text
            if piece.generation is not None:
                yield "\n"
                _tell_notes(piece.generation)
                _tell(piece.generation)
            elif is_interrupted():
                yield "\n"
                print(f"Interrupted after token {count} (seed {seed})", file=sys.stderr)
                raise SystemExit(_INTERRUPTED)


def _tell_notes(answer: Generation) -> None:
    """Say on standard error what the engine made of the request."""
    for note in answer.notes:
        print(note.sentence, file=sys.stderr)


def _tell(answer: Generation) -> None:
    """Say on standard error why an answer ended, and what repeats it."""
    usage = answer.usage
    print(
        f"{answer.finish} ({usage.prompt_tokens} + {usage.completion_tokens} tokens, "
        f"seed {answer.seed})",
        file=sys.stderr,
    )


def _answer_entry(answer: Generation, model: Model) -> dict[str, Any]:
    """Return an answer as a JSON object."""
    assert answer.logprobs is not None
    pairs = zip(answer.tokens.tolist(), answer.logprobs.logprobs.tolist(), strict=True)
    return {
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "finish": answer.finish.sentence,
        "seed": answer.seed,
        "sequence": answer.sequence,
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": answer.usage.completion_tokens,
        "tokens": [
            {"id": token, "label": model.vocabulary.label(token), "logprob": logprob}
            for token, logprob in pairs
        ],
        **({} if answer.state is None else {"state": answer.state}),
        "notes": [note.sentence for note in answer.notes],
    }


def _colours_of(answer: Generation, model: Model) -> str:
    """Return the text with every token in the colour of its probability, or a line for each."""
    assert answer.logprobs is not None
    probabilities = np.exp(answer.logprobs.logprobs).tolist()
    tokens = answer.tokens.tolist()
    if not has_colours():
        labels = map(model.vocabulary.label, tokens)
        pairs = zip(labels, probabilities, strict=True)
        return "\n".join(columns([[label, f"{p:.4f}"] for label, p in pairs]))
    return coloured(tokens, probabilities, model.vocabulary, len(answer.text))
