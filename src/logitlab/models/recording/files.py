"""Files of logits, whoever saved them: numpy, safetensors, torch, Arrow."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from os.path import isdir, isfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from logitlab.arrays import check_array, check_logits
from logitlab.checks import ParameterError, Seen, check_path, suggestion
from logitlab.foreign import as_numpy
from numpy.typing import ArrayLike, NDArray

__all__ = ["ENDINGS", "open_logits", "read_logits", "write_logits"]


def read_logits(path: str | PathLike[str], *, name: str | None = None) -> NDArray[Any]:
    """Open a file of logits.

    Parameters
    ----------
    path : str or path
        What it is, its ending says; of any other ending its first bytes.

        ========================================= ==================================== ============
        ending                                    what is in it                        needs
        ========================================= ==================================== ============
        ``.npy``                                  one array                            nothing
        ``.npz``                                  named arrays                         nothing
        ``.safetensors``                          named tensors                        nothing
        ``.pt``, ``.pth``, ``.bin``               one tensor, or named ones            torch >= 2.10
        ``.arrow``, ``.feather``, ``.parquet``    a column of lists, or columns of     pyarrow
                                                  numbers: one is a row, several are
                                                  the tokens
        ========================================= ==================================== ============
    name : str, optional
        Which array, tensor or column; needed where a file has several.

    Returns
    -------
    ndarray of float, shape (..., V)
        Read-only. ``.npy``, ``.safetensors``, files of torch, and files of Arrow that are one piece
        and not compressed stay on the disk: what is asked for is read. bfloat16 and the two kinds
        of float8 become float32, exactly and in memory. Whether the numbers are logits, free of
        NaN, is checked where they are used.

    Raises
    ------
    ParameterError
        For a file that is missing or damaged, has several arrays and no ``name``, holds other
        numbers than floats, or what only running code would read: pickled objects are refused.
    ImportError
        Where a package is missing, with the command that installs it.

    References
    ----------
    The format of safetensors, https://github.com/huggingface/safetensors#format.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/rows.npz"
    >>> np.savez(path, cold=np.eye(2), hot=np.zeros((3, 2)))
    >>> read_logits(path, name="cold")
    array([[1., 0.],
           [0., 1.]])
    >>> read_logits(path)
    Traceback (most recent call last):
    logitlab.checks.ParameterError: name must be one of 'cold', 'hot', got None.
    >>> folder.cleanup()
    """
    if not isinstance(name, str | None):
        raise ParameterError("name", "a text or None", name)
    return open_logits(path, name)


def write_logits(path: str | PathLike[str], logits: ArrayLike) -> None:
    """Write logits to a new ``.npy`` file, in their own dtype.

    Parameters
    ----------
    path : str or path
        A new file that ends in .npy.
    logits : array_like of float, shape (..., V)
        Also an array of another library; bfloat16 is written as float32.

    Raises
    ------
    ParameterError
        For a file that exists or cannot be written, and for what are no logits.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> write_logits(f"{folder.name}/rows.npy", np.eye(2, dtype=np.float32))
    >>> read_logits(f"{folder.name}/rows.npy")[1]
    memmap([0., 1.], dtype=float32)
    >>> folder.cleanup()
    """
    file = check_path("path", path)
    array = check_logits(logits)
    if file.suffix != ".npy":
        raise ParameterError("path", "the path of a .npy file", str(path))
    if not isdir(file.parent):
        raise ParameterError("path", "a file in an existing folder", str(path))
    try:
        output = file.open("xb")
    except FileExistsError:
        raise ParameterError("path", "a new file", str(path)) from None
    except OSError as error:
        raise _unwritten(path, error) from None
    try:
        with output:
            np.lib.format.write_array(output, array, allow_pickle=False)
    except BaseException as error:
        file.unlink()  # a part of the rows would look like all of them
        if isinstance(error, OSError):
            raise _unwritten(path, error) from None
        raise


def _unwritten(path: object, error: OSError) -> ParameterError:
    return ParameterError("path", "a file that can be written", str(path), f"{error.strerror}.")


def open_logits(
    path: str | PathLike[str],
    name: str | None = None,
    *,
    path_key: str = "path",
    name_key: str | None = "name",
) -> NDArray[Any]:
    """Open a file of logits, with errors in the names by which a caller knows path and name.

    Parameters
    ----------
    path, name
        As of `read_logits`.
    path_key : str
    name_key : str or None
        None where the caller has no such name to give.
    """
    file = check_path(path_key, path)
    if not isfile(file):  # which is no error where a folder cannot be looked into
        raise ParameterError(path_key, "an existing file of logits", str(path))
    ending = _ending(path_key, file)
    try:
        array = _READ[ending](file, _Choice(path_key, name_key, name))
        array.flags.writeable = False
    except (ParameterError, ImportError):
        raise
    except Exception as error:  # numpy and others pass on whatever their parsers stumble over
        rule = f"a {ending} file of logits"
        raise ParameterError(path_key, rule, str(path), _reason(error)) from None
    called = "logits" if path_key == "path" else path_key
    forgotten = _FORGOTTEN.get(array.dtype.str)
    if forgotten is not None:
        rule, seen = "float16, float32 or float64", Seen(f"raw bytes, {array.dtype.str!r}")
        hint = f"If it was {forgotten}, np.load(path).view(ml_dtypes.{forgotten}) gives it back."
        raise ParameterError(called, rule, seen, hint)
    # What is in the file, of another byte order, too, stays there: no row is needed to see it.
    check_array(array[:0] if array.ndim > 1 and array.size else array, called)
    return array


# What numpy writes of the dtypes of ml_dtypes: their sizes.
_FORGOTTEN = {"|V2": "bfloat16", "|V1": "float8_e4m3fn"}


def _reason(error: Exception) -> str:
    """Return why a file could not be read, as a sentence, and without advice to run its code."""
    words = " ".join(str(error).split())[:200].rstrip(".")
    if "ickle" in words or "Python objects" in words:
        return "It holds pickled objects, which could run any code: they are never read."
    if isinstance(error, OSError):
        words = error.strerror or words
    return f"{words[:1].upper()}{words[1:]}." if words else "It is damaged."


class _Choice(NamedTuple):
    """The array that a caller chose of those in a file."""

    path_key: str
    name_key: str | None
    name: str | None

    def pick(self, names: list[str]) -> str:
        """Return a name of those in the file."""
        if self.name is None and len(names) == 1:
            return names[0]
        if not names:
            raise ValueError("it holds no array of floats")
        first = ", ".join(map(repr, names[:8]))
        if len(names) > 8:
            first += f" or {len(names) - 8} others"
        if self.name_key is None:
            hint = "Open one with logitlab.models.read_logits(path, name=...)."
            raise ParameterError(
                self.path_key, "a file of one array", Seen(f"{len(names)}: {first}"), hint
            )
        if self.name not in names:
            hint = suggestion(self.name, names)
            raise ParameterError(self.name_key, f"one of {first}", self.name, hint)
        return self.name

    def pick_nothing(self) -> None:
        """Raise where a name was given for what has none."""
        if self.name is not None:
            rule = "absent for a file of one array without a name"
            raise ParameterError(str(self.name_key), rule, self.name)


def _read_npy(path: Path, choice: _Choice) -> NDArray[Any]:
    choice.pick_nothing()
    array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    return array


def _read_npz(path: Path, choice: _Choice) -> NDArray[Any]:
    with path.open("rb") as file:  # which numpy would leave open where the archive is damaged
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            raise ValueError("it is a .npy file")
        array = content[choice.pick(list(content.files))]
    if not isinstance(array, np.ndarray):
        raise ValueError("a part of it is no .npy file")
    return array


def _read_safetensors(path: Path, choice: _Choice) -> NDArray[Any]:
    from logitlab.models.recording import safetensors

    tensors = safetensors.tensors(path)
    return tensors[choice.pick(list(tensors))].read()


def _read_torch(path: Path, choice: _Choice) -> NDArray[Any]:
    from logitlab.models.recording import torch_file

    content = torch_file.tensors(path)
    if isinstance(content, Mapping):
        content = content[choice.pick(list(content))]
    else:
        choice.pick_nothing()
    return as_numpy(content, "logits")


def _read_arrow(path: Path, choice: _Choice) -> NDArray[Any]:
    from logitlab.models.recording import arrow

    return arrow.read(path, choice.pick, choice.name)


_READ = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    **dict.fromkeys((".pt", ".pth", ".bin"), _read_torch),
    **dict.fromkeys((".arrow", ".feather", ".parquet"), _read_arrow),
}


ENDINGS = tuple(_READ)
"""Of files that are opened without a look at their contents."""


def _ending(path_key: str, path: Path) -> str:
    """Return the ending of a file, or the one that its first bytes ask for."""
    ending = path.suffix.lower()
    if ending not in _READ:
        try:
            with path.open("rb") as file:
                ending = _ending_of(path, file.read(16))
        except OSError as error:
            rule = "a file that can be read"
            raise ParameterError(path_key, rule, str(path), f"{error.strerror}.") from None
    if not ending:
        raise ParameterError(path_key, f"a file of logits: {', '.join(ENDINGS)}", str(path))
    return ending


def _ending_of(path: Path, start: bytes) -> str:
    """Return the ending that a file with such a start would have, or nothing."""
    from zipfile import ZipFile

    if start.startswith(b"PK"):  # a zip of arrays, or torch's, which has a pickle in a folder
        try:
            with ZipFile(path) as archive:
                is_torch = any(name.endswith("/data.pkl") for name in archive.namelist())
        except Exception:  # of whatever kind: the file is damaged
            return ""
        return ".pt" if is_torch else ".npz"
    for magic, ending in _MAGIC.items():
        if start.startswith(magic):
            return ending
    return ".safetensors" if start[8:9] == b"{" else ""


_MAGIC = {
    b"\x93NUMPY": ".npy",
    b"\x80": ".pt",  # the start of a pickle
    b"ARROW1": ".arrow",
    b"\xff\xff\xff\xff": ".arrow",  # a stream
    b"PAR1": ".parquet",
}
