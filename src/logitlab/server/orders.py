"""The steps of a chain in another order, and which engine has that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from logitlab.checks import ParameterError
from logitlab.engines.engine import Engine
from logitlab.engines.registry import ENGINES
from logitlab.engines.resolve import resolve
from logitlab.request.params import PARAMETERS
from logitlab.server.sources import Row
from logitlab.steps.chain import Chain
from logitlab.steps.penalties import AdditivePenalty
from logitlab.steps.step import Step, Transform

__all__ = ["key_of", "ordered", "owners"]

# The option by which an engine is told an order, and what it calls steps that have other names.
_TOLD: dict[str, dict[str, str]] = {
    "samplers": {
        **dict.fromkeys(
            ("repetition_penalty", "frequency_penalty", "presence_penalty"), "penalties"
        ),
        "typical_p": "typ_p",
        "xtc_probability": "xtc",
        "dry_multiplier": "dry",
    },
    "sampler_priority": {"xtc_probability": "xtc", "dry_multiplier": "dry"},
}


def key_of(step: Transform) -> str:
    """Return the request key of a step, or the name of its class where it has none."""
    return step.key if isinstance(step, Step) else type(step).__name__


def ordered(chain: Chain, order: Any) -> Chain:
    """Return a chain with its steps in another order.

    Parameters
    ----------
    chain : Chain
    order : sequence of str
        Keys of steps. Those of the chain that it names come in this order, in the places that
        they have together; all others stay where they are.

    Examples
    --------
    >>> from logitlab import Temperature, TopK, TopP
    >>> ordered(Chain(Temperature(0.8), TopK(50), TopP(0.9)), ["top_p", "temperature"])
    Chain(TopP(0.9), TopK(50), Temperature(0.8))
    """
    is_list = isinstance(order, Sequence) and not isinstance(order, str)
    if not is_list or not all(isinstance(key, str) for key in order):
        raise ParameterError("order", "a list of keys of steps", order)
    if len(set(order)) < len(order):
        raise ParameterError("order", "a list of different keys", order)
    rank = {key: place for place, key in enumerate(order)}
    places = [i for i, step in enumerate(chain) if key_of(step) in rank]
    moved = sorted(places, key=lambda i: rank[key_of(chain[i])])
    steps = list(chain)
    for place, i in zip(places, moved, strict=True):
        steps[place] = chain[i]
    return chain.of(*steps)


def keys_of(chain: Chain) -> list[str]:
    """Return the keys of a chain, penalties that are added up as the two that they are."""
    keys = []
    for step in chain:
        parts = step.apart() if isinstance(step, AdditivePenalty) else (step,)
        keys += [key_of(part) for part in parts if not (isinstance(part, Step) and part.is_neutral)]
    return keys


def _takes(engine: Engine, keys: Sequence[str], request: Mapping[str, Any], row: Row) -> bool:
    """Whether an engine takes all of some steps, and takes them in their order."""
    try:
        size, words = len(row.logits), row.vocabulary
        chain = resolve(request, engine, size=size, vocabulary=words).chain
    except ParameterError:  # it refuses the request
        return False
    return [key for key in keys_of(chain) if key in keys] == list(keys)


def _told(engine: Engine, keys: Sequence[str]) -> dict[str, Any]:
    """Return the option that tells an engine an order; none where it has no such option.

    Other samplers stay where they are by default.
    """
    for option, names in _TOLD.items():
        if option in engine.options:
            wanted = list(dict.fromkeys(names.get(key, key) for key in keys))
            order = list(engine.options[option].default)
            places = [i for i, name in enumerate(order) if name in wanted]
            if len(places) < len(wanted):  # it has not all of them
                return {}
            for place, name in zip(places, wanted, strict=True):
                order[place] = name
            return {option: order}
    return {}


def owners(
    chain: Chain, request: Mapping[str, Any], row: Row
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the engines that have the order of a chain, and those that can be told it, and how.

    Parameters
    ----------
    chain : Chain
    request : mapping
        What the engines are asked.
    row : Row

    Examples
    --------
    >>> from logitlab.models import NGram
    >>> from logitlab.server.sources import Sources
    >>> from logitlab import Temperature, TopK
    >>> row = Sources(NGram.bundled()).row({"lines": "a: 1"})
    >>> request = {"top_k": 5, "temperature": 0.5}
    >>> "ollama" in owners(Chain(TopK(5), Temperature(0.5)), request, row)[0]
    True
    >>> told = owners(Chain(Temperature(0.5), TopK(5)), request, row)[1]
    >>> told["llama_cpp"]["samplers"][3:]
    ['temperature', 'typ_p', 'top_p', 'min_p', 'xtc', 'top_k']
    """
    keys = [key for key in keys_of(chain) if key in PARAMETERS]
    theirs: list[str] = []
    told: dict[str, dict[str, Any]] = {}
    for name, engine in ENGINES.items():
        if _takes(engine, keys, request, row):
            theirs.append(name)
        else:
            option = _told(engine, keys)
            if option and _takes(engine, keys, {**request, **option}, row):
                told[name] = option
    return theirs, told
