"""The vocabulary of a tokenizer's file, for logits that come without a model."""

from __future__ import annotations

import json
from os import PathLike

from logitlab.checks import ParameterError, check_path
from logitlab.models.gguf.tokenizer import gguf_vocabulary
from logitlab.models.tokenizer_bytes import described_vocabulary
from logitlab.vocabulary import Vocabulary

__all__ = ["file_vocabulary"]


def file_vocabulary(path: str | PathLike[str]) -> Vocabulary:
    """Return the vocabulary of a ``tokenizer.json`` or a ``.gguf`` file."""
    rule, place = "a tokenizer.json or a .gguf file", check_path("vocabulary", path)
    try:
        with place.open("rb") as file:
            if file.read(4) == b"GGUF":
                return gguf_vocabulary(place)
            file.seek(0)
            description = json.load(file)
        words = description["model"]["vocab"]
        if isinstance(words, list):  # of unigrams, each with its score
            words = {word: i for i, (word, _) in enumerate(words)}
        return described_vocabulary(description, words)
    except OSError as error:
        raise ParameterError("vocabulary", rule, path, f"{error.strerror}.") from None
    except ParameterError as error:
        if error.name not in ("path", "tokenizer"):  # then it names what the file holds
            raise
        raise ParameterError("vocabulary", error.rule, error.value, error.hint) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ParameterError("vocabulary", rule, path, "It is something else.") from None
