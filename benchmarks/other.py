"""Another copy of the package in the same process, to be measured beside this one."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import Any


def load(src: str) -> Any:
    """Return the package ``logitlab`` of another ``src`` folder, with all that `sample` needs.

    Its modules are imported under their names, and then hidden, so that this copy keeps the names.
    """
    ours = _taken()
    sys.path.insert(0, src)
    importlib.invalidate_caches()
    try:
        theirs = importlib.import_module("logitlab")
        for module in pkgutil.walk_packages(theirs.__path__, "logitlab."):
            if module.name.split(".")[1] not in ("cli", "plot", "claims", "models", "__main__"):
                importlib.import_module(module.name)
    finally:
        sys.path.remove(src)
        _taken()
        sys.modules.update(ours)
    return theirs


def _taken() -> dict[str, Any]:
    """Take the modules of the package out of the list of modules, and return them."""
    names = [name for name in sys.modules if name.split(".")[0] == "logitlab"]
    return {name: sys.modules.pop(name) for name in names}
