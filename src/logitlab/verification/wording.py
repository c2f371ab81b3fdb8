"""How messages and reports word what a server has said."""

from __future__ import annotations

import re

__all__ = ["harmless"]

_STEERING = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")


def harmless(text: str) -> str:
    r"""Return what somebody else has written as one line that steers no terminal.

    Whole escape sequences go; line breaks, tabs and whatever else does not print become spaces.

    Examples
    --------
    >>> harmless("\x1b[31mtop_k\x1b[0m is\n not\x00 allowed")
    'top_k is not allowed'
    """
    text = _STEERING.sub("", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
