"""Where a name in single backticks leads to: the one rule of docstrings and pages alike.

A docstring names things as its reader would: `top_k`, `Chain.update`, `plot.axes`, a key of a
request. What is documented becomes a link, what merely exists in the package stays code, and what
does not exist is a warning, which fails the build.
"""

from __future__ import annotations

import builtins
import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import logitlab
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

__all__ = ["exists", "setup"]


@cache
def _modules() -> tuple[ModuleType, ...]:
    """Return all modules of the package that import, without what others bring."""
    found = [logitlab]
    for info in pkgutil.walk_packages(logitlab.__path__, "logitlab."):
        if info.name != "logitlab.__main__":
            try:
                found.append(importlib.import_module(info.name))
            except ImportError:  # an adapter of a library that is not here
                continue
    return tuple(found)


def _values(name: str) -> Iterator[Any]:
    head, *rest = name.removeprefix("logitlab.").split(".")
    for module in (builtins, *_modules()):
        value: Any = vars(module).get(head)
        for part in rest:
            fields = getattr(value, "__dataclass_fields__", {})
            value = getattr(value, part, fields.get(part))
        if value is not None:
            yield value


@cache
def exists(name: str) -> bool:
    """Return whether a name means something in the package."""
    modules = {module.__name__ for module in _modules()}
    if {name, f"logitlab.{name}"} & modules or name in logitlab.PARAMETERS:
        return True
    return next(_values(name), None) is not None


def _lead(app: Sphinx, env: Any, node: Any, shown: nodes.Element) -> nodes.Element | None:
    """Lead a name to what documents it, or leave it as it is."""
    if node.get("refdomain") != "py":
        return None
    name = str(node["reftarget"]).removesuffix("()")
    page = node.get("refdoc", "")
    if name in logitlab.PARAMETERS or name in logitlab.engines.ENGINES:
        folder = "parameters" if name in logitlab.PARAMETERS else "engines"
        return make_refnode(app.builder, page, f"{folder}/{name}", None, shown, name)
    objects = env.domains.python_domain.objects
    known = [full for full in objects if f".{full}".endswith(f".{name.removeprefix('logitlab.')}")]
    if not known and (parts := name.split("."))[0] == "logitlab":
        known = [full for full in objects if full in (f"logitlab.{parts[-1]}",)]
    if known:
        full = min(known, key=len)
        entry = objects[full]
        return make_refnode(app.builder, page, entry.docname, entry.node_id, shown, full)
    if exists(name) or exists(f"{node.get('py:class', '')}.{name}"):
        return shown
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Ask here for every name that Sphinx does not find by itself."""
    app.connect("missing-reference", _lead)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
