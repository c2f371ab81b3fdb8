"""Bundled recordings of next-token logits, and bundled texts with tokens learned from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from logitlab.checks import check_choice
from logitlab.vocabulary import Vocabulary
from numpy.typing import NDArray

__all__ = ["NAMES", "TEXTS", "Recording", "load", "merges", "texts"]

NAMES = ("smollm2",)
TEXTS = ("grimm",)


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """Next-token logits of a real model for a number of prompts.

    Attributes
    ----------
    logits : ndarray of float32, shape (n, V)
        Row i holds the model's logits for the token after prompt i. Read-only.
    prompts : tuple of str
        The prompts as text.
    kinds : tuple of str
        What sort of prompt each is: "factual", "creative", "code" …
    prompt_ids : tuple of ndarray of int64
        The prompts as token ids, of different lengths: ready for `Context`.
    vocabulary : Vocabulary
        The model's tokens.
    bos_id, eos_id : int
        Token ids of the beginning and the end of a text.
    source : str
        Where the logits come from, and their licence.
    """

    logits: NDArray[np.float32]
    prompts: tuple[str, ...]
    kinds: tuple[str, ...]
    prompt_ids: tuple[NDArray[np.int64], ...]
    vocabulary: Vocabulary
    bos_id: int
    eos_id: int
    source: str

    def __len__(self) -> int:
        return len(self.prompts)

    def __repr__(self) -> str:
        return f"<Recording of {len(self)} prompts, logits {self.logits.shape}: {self.source}>"


def load(name: str = "smollm2") -> Recording:
    """Load a bundled recording.

    Parameters
    ----------
    name : {"smollm2"}
        "smollm2": 20 prompts (factual, creative, code, JSON, lists, repetition, multilingual,
        chat) and the float32 logits of SmolLM2-135M-Instruct over its 49 152 tokens.

    Returns
    -------
    Recording
        Loaded once a process; its arrays are read-only.

    Raises
    ------
    ParameterError
        For an unknown name.

    Examples
    --------
    >>> rows = load("smollm2")
    >>> rows.prompts[0], rows.kinds[0], rows.logits.shape
    ('The capital of France is', 'factual', (20, 49152))
    >>> rows.vocabulary.label(int(rows.logits[0].argmax()))
    '␣Paris'
    """
    check_choice("name", name, NAMES)
    return _load_once(name)


@cache
def _load_once(name: str) -> Recording:
    arrays = _bundled_arrays(f"{name}_next_token_logits.npz")
    words = _bundled_arrays(f"{name}_vocabulary.npz")
    logits = arrays["logits"]
    ids = arrays["prompt_ids"].astype(np.int64)
    for array in (logits, ids):
        array.flags.writeable = False
    return Recording(
        logits=logits,
        prompts=tuple(arrays["texts"].tolist()),
        kinds=tuple(arrays["kinds"].tolist()),
        prompt_ids=tuple(np.split(ids, arrays["prompt_offsets"][1:-1])),
        vocabulary=Vocabulary.from_blob(words["blob"], words["offsets"], words["special"].tolist()),
        bos_id=int(arrays["bos_id"]),
        eos_id=int(arrays["eos_id"]),
        source=str(arrays["source"]),
    )


def texts(name: str = "grimm") -> tuple[str, ...]:
    r"""Load a bundled collection of texts.

    Parameters
    ----------
    name : {"grimm"}
        "grimm": 62 fairy tales of the Brothers Grimm, 516 kB in English, each with its title in
        capitals as the first line and a paragraph a line (Project Gutenberg 2591, in the public
        domain).

    Raises
    ------
    ParameterError
        For an unknown name.

    Examples
    --------
    >>> tales = texts("grimm")
    >>> len(tales), tales[0][:41]
    (62, 'THE GOLDEN BIRD\nA certain king had a beau')
    """
    check_choice("name", name, TEXTS)
    # A blank line stands before each title and nowhere else; the first of all is the book's.
    return tuple(_bundled_text("grimm_fairy_tales.txt").strip().split("\n\n")[1:])


def merges(name: str = "grimm") -> tuple[tuple[int, int], ...]:
    """Load the merges that `BPE.train` learns from a bundled collection of texts.

    Parameters
    ----------
    name : {"grimm"}
        "grimm": 3839 merges, which make 4096 tokens. ``python benchmarks/merges.py`` wrote them.

    Raises
    ------
    ParameterError
        For an unknown name.

    Examples
    --------
    >>> bytes(merges("grimm")[0])
    b'he'
    """
    check_choice("name", name, TEXTS)
    numbers = [int(number) for number in _bundled_text("grimm_merges.txt").split()]
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _bundled_text(file: str) -> str:
    from importlib.resources import files

    return (files("logitlab") / "data" / file).read_bytes().decode()


def _bundled_arrays(file: str) -> dict[str, NDArray[Any]]:
    from importlib.resources import as_file, files  # a tenth of the time of the whole import

    with as_file(files("logitlab") / "data" / file) as path, np.load(path) as archive:
        return dict(archive)
