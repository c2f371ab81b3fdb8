"""A model behind HTTP: `app` is the application, ``logitlab serve`` runs it.

The pieces, from the socket inwards: `guard` lets in who may come, `application` has the routes,
`entry` reads a request outside of the event loop, and `writer` is the one thread that owns the
model and writes all answers in one batch. What the answers look like is the wire's affair.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logitlab.server.application import app as app
    from logitlab.server.run import Background as Background

__all__ = ["Background", "app"]

_HOMES = {"Background": "run", "app": "application"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
