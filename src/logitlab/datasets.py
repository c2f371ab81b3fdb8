"""Bundled recordings of next-token logits, and bundled texts with tokens learned from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, check_choice
from logitlab.numerics import rounded_to_bfloat16
from logitlab.vocabulary import Vocabulary
from numpy.typing import NDArray

__all__ = ["DTYPES", "NAMES", "TEXTS", "Recording", "load", "merges", "texts"]

NAMES = ("smollm2",)
TEXTS = ("grimm",)
DTYPES = ("float32", "bfloat16")


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
    dtype : {"float32", "bfloat16"}
        Whose numbers the logits are. numpy has no bfloat16: the array holds its values in float32.
    """

    logits: NDArray[np.float32]
    prompts: tuple[str, ...]
    kinds: tuple[str, ...]
    prompt_ids: tuple[NDArray[np.int64], ...]
    vocabulary: Vocabulary
    bos_id: int
    eos_id: int
    source: str
    dtype: str = "float32"

    def __len__(self) -> int:
        return len(self.prompts)

    def __repr__(self) -> str:
        rounded = "" if self.dtype == "float32" else f" rounded to {self.dtype}"
        shape = f"logits {self.logits.shape}{rounded}"
        return f"<Recording of {len(self)} prompts, {shape}: {self.source}>"


def load(name: str = "smollm2", *, dtype: str = "float32") -> Recording:
    """Load a bundled recording.

    Parameters
    ----------
    name : {"smollm2"}
        "smollm2": 20 prompts (factual, creative, code, JSON, lists, repetition, multilingual,
        chat) and the float32 logits of SmolLM2-135M-Instruct over its 49 152 tokens.
    dtype : {"float32", "bfloat16"}
        "bfloat16": every logit rounded to the nearest number of bfloat16, ties to even, as a model
        reports it whose last layer answers in bfloat16. With 8 bits of precision many tokens are
        equal: 300 to 2500 different numbers are left of 49 000 in a row.

    Returns
    -------
    Recording
        Loaded once a process and dtype; its arrays are read-only, and float32 always.

    Raises
    ------
    ParameterError
        For an unknown name or dtype.

    Examples
    --------
    >>> rows = load("smollm2")
    >>> rows.prompts[0], rows.kinds[0], rows.logits.shape
    ('The capital of France is', 'factual', (20, 49152))
    >>> rows.vocabulary.label(int(rows.logits[0].argmax()))
    '␣Paris'
    >>> tied = load("smollm2", dtype="bfloat16")
    >>> tied.dtype, len(np.unique(rows.logits[0])), len(np.unique(tied.logits[0]))
    ('bfloat16', 49100, 2392)
    """
    check_choice("name", name, NAMES)
    if isinstance(dtype, str) and dtype == "float16":
        hint = "numpy rounds to it: load(name).logits.astype(dtype)."
        raise ParameterError("dtype", f"one of {', '.join(map(repr, DTYPES))}", dtype, hint)
    check_choice("dtype", dtype, DTYPES)
    return _load_once(name, dtype)


@cache
def _load_once(name: str, dtype: str) -> Recording:
    if dtype == "bfloat16":
        rows = _load_once(name, "float32")
        logits = rounded_to_bfloat16(rows.logits)
        logits.flags.writeable = False
        return replace(rows, logits=logits, dtype=dtype)
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
