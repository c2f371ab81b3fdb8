"""Where the engines differ, as tables made of their declarations and their chains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from logitlab.checks import ParameterError
from logitlab.engines import MAIN
from logitlab.engines.about import empty_request
from logitlab.engines.engine import Engine
from logitlab.engines.registry import EngineLike, get
from logitlab.engines.rules import Ignore, Values, brief_number
from logitlab.request.params import DISTRIBUTION, NEUTRAL, PARAMETERS, TWENTY, USED
from logitlab.steps.candidate_order.chain import SortedChain
from logitlab.steps.chain import Chain
from logitlab.steps.penalties import (
    AdditivePenalty,
    FrequencyPenalty,
    PresencePenalty,
    RepetitionPenalty,
)
from logitlab.steps.step import Step, words_of
from logitlab.steps.truncation import TopK, TopP

__all__ = ["LETTERS", "active_steps", "difference_tables"]

LETTERS = {
    "logit_bias": "B",
    "repetition_penalty": "R",
    "frequency_penalty": "F",
    "presence_penalty": "P",
    "temperature": "T",
    "top_k": "K",
    "top_p": "N",
    "min_p": "M",
    "top_a": "A",
}
"""One letter for each step; N is the nucleus."""

_PROBE: dict[str, Any] = {
    "logit_bias": {0: 1.0},
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "temperature": 0.5,
    "top_k": 5,
    "top_p": 0.5,
    "min_p": 0.1,
    "top_a": 0.1,
}


_BEYOND = tuple(
    key for key, known in PARAMETERS.items() if key not in TWENTY and known.role != "prompt"
)
# What each is tried with: all but those that leave others out, or change how others cut. Instead of
# these, what is beside them tells where they are.
_TRIED = USED | {"dry_base": 2.0, "dry_allowed_length": 3, "xtc_threshold": 0.3}
_BESIDE = {
    "mirostat": "mirostat_tau",
    "adaptive_target": "adaptive_decay",
    "xtc_probability": "xtc_threshold",
    "dry_multiplier": "dry_base",
}
_ALONE = ("mirostat", "adaptive_target", "temperature_last")
_SWITCHES = {"dynamic_temperature": True, "dynatemp_high": 2.0}  # of text-generation-webui


def difference_tables(names: Iterable[EngineLike] = MAIN) -> str:
    """Return three Markdown tables: of chains, of requests, and of what is beyond the page.

    The third has a line for each parameter, and a column for each engine that has any, but for
    variants that have the same. It says at which place of its chain a parameter acts, where all
    others act, too; its name there, and its default, where they are not the usual ones. "Yes" acts
    on no distribution.

    Parameters
    ----------
    names : iterable of str or Engine
        Engines or their names, a line each; by default one of each, without variants.

    Raises
    ------
    ParameterError
        For an unknown name.

    Examples
    --------
    >>> print(difference_tables(["openai"]).splitlines()[2])
    | `openai` | B F P T N | output | – | undocumented | undocumented | undocumented |
    """
    engines = [get(name) for name in names]
    tables = _markdown(_CHAIN, engines), _markdown(_REQUEST, engines), _beyond(engines)
    return "\n\n".join(tables)


def _markdown(head: dict[str, Callable[[Engine], str]], engines: list[Engine]) -> str:
    lines = ["| engine | " + " | ".join(head) + " |", "| --- " * (len(head) + 1) + "|"]
    for engine in engines:
        cells = (tell(engine) for tell in head.values())
        lines.append(f"| `{engine.name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _full(engine: Engine) -> Chain:
    """Return the chain of a request with every parameter that the engine takes."""
    return engine({key: value for key, value in _PROBE.items() if _answer(engine, key, value)})


def _answer(engine: Engine, key: str, value: Any) -> bool:
    try:
        engine.translate({key: value})
    except ParameterError:
        return False
    return True


def _order(engine: Engine) -> str:
    letters = []
    for step in _full(engine):
        if isinstance(step, AdditivePenalty):
            letters.append("(FP)")
        elif isinstance(step, Step) and step.key in LETTERS:
            letters.append(LETTERS[step.key])
    return " ".join(letters) or "–"


def _counted_tokens(engine: Engine) -> str:
    kinds = {
        RepetitionPenalty: "R",
        FrequencyPenalty: "F",
        PresencePenalty: "P",
        AdditivePenalty: "FP",
    }
    counted: dict[str, str] = {}
    for step in _full(engine):
        if isinstance(
            step, RepetitionPenalty | FrequencyPenalty | PresencePenalty | AdditivePenalty
        ):
            window = "" if step.last_n is None else f", last {step.last_n}"
            words = words_of(step)["scope"].short + window
            counted.setdefault(words, "")
            if kinds[type(step)] not in counted[words]:
                counted[words] += kinds[type(step)]
    if len(counted) == 1:
        return next(iter(counted))
    return "; ".join(f"{letters}: {words}" for words, letters in counted.items()) or "–"


def _word(kind: type[TopK | TopP], option: str) -> Callable[[Engine], str]:
    """Return what says how an engine's step of some kind takes an option; "–" is without one."""

    def tell(engine: Engine) -> str:
        chain = _full(engine)
        step = next((step for step in chain if isinstance(step, kind)), None)
        if step is None:
            return "–"
        if engine.logprobs == "undocumented":
            return engine.logprobs
        is_sorted = option == "ties" and isinstance(chain, SortedChain)
        return "as sorted" if is_sorted else words_of(step)[option].short

    return tell


def _used(engine: Engine, key: str, value: Any) -> str:
    """Say what a value becomes: the number that is used, off, ignored or refused."""
    try:
        translation = engine.translate({key: value}, vocabulary_size=1000)
    except ParameterError:
        return "refused"
    effects = {note.effect for note in translation.notes if note.key == key}
    if "ignored" in effects:
        return "ignored"
    used = translation.values[key]
    return "off" if used == NEUTRAL[key] else brief_number(used)


def _temperature(engine: Engine) -> str:
    zero, tiny = _used(engine, "temperature", 0), _used(engine, "temperature", 1e-3)
    return f"{'greedy' if zero == '0' else zero}; {'as it is' if tiny == '0.001' else tiny}"


def _top_p_zero(engine: Engine) -> str:
    used = _used(engine, "top_p", 0)
    return "keeps one" if used == "0" else used


def _top_k_off(engine: Engine) -> str:
    return f"{_used(engine, 'top_k', 0)}; {_used(engine, 'top_k', -1)}"


def _empty(engine: Engine) -> str:
    return empty_request(engine) or "neutral"


def _ignored(engine: Engine) -> str:
    keys = [
        f"`{key}`"
        for key in DISTRIBUTION
        if key in TWENTY
        and (
            key not in engine.reads | engine.rules.keys()
            or any(isinstance(rule, Ignore) for rule in engine.rules.get(key, ()))
        )
    ]
    return " ".join(keys) or "–"


_CHAIN: dict[str, Callable[[Engine], str]] = {
    "order": _order,
    "penalties count": _counted_tokens,
    "ties at top_k": _word(TopK, "ties"),
    "ties at top_p": _word(TopP, "ties"),
    "mass exactly p": _word(TopP, "at_p"),
    "logprobs": lambda engine: engine.logprobs,
}
_REQUEST: dict[str, Callable[[Engine], str]] = {
    "empty request": _empty,
    "T 0; T 0.001": _temperature,
    "top_p 0": _top_p_zero,
    "top_k 0; -1": _top_k_off,
    "ignores": _ignored,
    "seed": lambda engine: "repeated here" if engine.luck else "–",
}


def _beyond(engines: list[Engine]) -> str:
    columns = {engine.name: _column(engine) for engine in engines}
    variants = {engine.name: engine.variant_of for engine in engines}
    # Who has nothing, and variants that have what their engine has, would be columns in vain.
    shown = {
        name: column
        for name, column in columns.items()
        if set(column[1:]) != {"–"} and column != columns.get(variants[name])
    }
    lines = ["| beyond the page | " + " | ".join(f"`{name}`" for name in shown) + " |"]
    lines.append("| --- " * (len(shown) + 1) + "|")
    for label, *cells in zip(("steps in all", *_BEYOND), *shown.values(), strict=True):
        name = label if label == "steps in all" else f"`{label}`"
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _column(engine: Engine) -> list[str]:
    return [str(len(active_steps(engine))), *(_beyond_of(engine, key) for key in _BEYOND)]


def _beyond_of(engine: Engine, key: str) -> str:
    """Say where an engine has a parameter, by which name, and its default."""
    if any(isinstance(rule, Ignore) for rule in engine.rules.get(key, ())):
        return "ignored"
    if key not in engine.reads and key not in (engine.endings or ()):
        return "–"
    name = next((alias for alias, known in engine.aliases.items() if known == key), "")
    default = engine.defaults.get(key, NEUTRAL.get(key))
    words = [_place(engine, key) or "yes"]
    words += [f"`{name}`"] if name else []
    words += [f"= {_shown(default)}"] if key in engine.defaults else []
    return " ".join(words)


def _shown(value: Any) -> str:
    return f"{len(value)} texts" if isinstance(value, tuple) else brief_number(value)


def _place(engine: Engine, key: str) -> str:
    """Return the place of the step that a parameter is in, counted from 1; "" for none."""
    if key not in USED or key == "temperature_last":
        return ""
    beside = _BESIDE.get(key, key)
    key = beside if beside in engine.reads else key
    beside = key.partition("_")[0]
    parents = {"mirostat": "mirostat", "adaptive": "adaptive_target"}
    extra = {parents[beside]: USED[parents[beside]]} if beside in parents else {}
    chains = [active_steps(engine, extra | {key: value}) for value in (_TRIED[key], NEUTRAL[key])]
    pairs = zip(*chains, strict=False)
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(map(len, chains)))
    return str(place + 1) if place < len(chains[0]) else ""


def active_steps(engine: Engine, more: Mapping[str, Any] = MappingProxyType({})) -> list[Any]:
    """Return the steps of a chain of all that an engine has, in its order.

    What leaves others out, or changes how others cut, is not there: mirostat, adaptive-p.

    Examples
    --------
    >>> from logitlab import engines
    >>> [step.key for step in active_steps(engines.mlx_lm) if hasattr(step, "key")][-4:]
    ['min_p', 'xtc_probability', 'top_k', 'temperature']
    """
    chosen = {name: x for name, x in _TRIED.items() if name in engine.reads and name not in _ALONE}
    values = Values(**{**engine.absent, **engine.defaults, **_SWITCHES, **chosen, **more})
    return [step for step in engine.build(values) if not _is_neutral(step)]


def _is_neutral(step: Any) -> bool:
    return isinstance(step, Step) and step.is_neutral
