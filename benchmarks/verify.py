"""``ll.verify`` on simulated providers with planted faults, and on real servers of the loopback.

Run ``python benchmarks/verify.py providers [N]``, ``… engines [NAME ...]`` or ``… servers
[NAME ...]``; each writes its own part of ``results/verification.md``, and the others stay.
``--quick`` writes nothing.

providers
    N (200) of the population of ``tests/verification/population.py``: each parameter honoured,
    ignored, clamped off the grid too, or refused, in ten dialects, with noise and foreign answers.
    ``--held-out`` takes the one that nobody looks at while the verifier is made. Asked for are the
    parameters that a verifier is judged by first, or those of ``--only``. Exits 1 where a verdict
    or a claim is false.
whole
    The same, of whole examinations: penalties, samplers beyond the page and dialects as well.
engines
    Every engine of the package, or some, behind its own server: over HTTP, as by ``logitlab
    serve --engine NAME``. Exits 1 where a verdict or a claim is false.
servers
    llama.cpp's, mlx-lm's, transformers' and vLLM's own, those that are installed:
    ``--python NAME=PATH`` is the interpreter that has one, else this one is asked. ``--model
    FILE.gguf`` is what they run, else a tiny random model. What one needs, and how it is started,
    ``tests/verification/servers/running.py`` says. Exits 1 where a verdict is not what the
    dialect says.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import logitlab as ll
import numpy as np
from logitlab.engines import ENGINES
from logitlab.engines.rules import Refuse
from logitlab.server import Background
from logitlab.verification.bias import AMOUNT

import report

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from verification.population import providers
from verification.providers import PROBES, Provider, Truth, is_renamed, truth
from verification.servers.files import write_folder, write_tiny
from verification.servers.running import DIALECTS, INSTALL, SERVERS, is_installed, running
from verification.subject import subject

RESULT = report.RESULTS / "verification.md"
# What a verifier is judged by first; the others cost more, and are counted apart.
FIRST = (
    "temperature", "top_p", "top_k", "min_p", "top_a", "logit_bias", "seed", "max_tokens", "stop",
    "n",
)  # fmt: skip
KINDS = ("honoured", "ignored", "clamped", "refused", "not_honoured")


class Judged(NamedTuple):
    """A verified provider: by parameter its truth, its verdict and what that took."""

    provider: str
    verdicts: dict[str, tuple[str, str, bool | None, int]]
    claims: int
    false: list[str]
    dialect: bool | None
    alive: int
    requests: int
    tokens: int
    seconds: float


def judged(provider: Provider, url: str | None = None, **options: Any) -> Judged:
    """Verify a provider, or what answers for it at an address; compare with what was planted."""
    began = time.perf_counter()
    told = ll.verify(url or provider, **options).to_dict()
    seconds = time.perf_counter() - began
    verdicts, false, claims = {}, [], 0
    for key, found in told["parameters"].items():
        if url and is_renamed(provider.dialect, key):
            continue  # the package's server sends it on by the name that the engine has for it
        is_undocumented = key == "logprobs" and provider.dialect.logprobs == "undocumented"
        if url and is_undocumented and found["verdict"] == "refused":
            continue  # the package's server refuses what it does not know the meaning of
        expected = truth(provider, key)
        is_right = expected.is_right(found["verdict"])
        if (expected.verdict, found["verdict"]) == ("clamped", "honoured"):
            # The clamp is told of, or moves nothing that was sent: this is no verdict on it.
            sent = [claim["sent"] for claim in found["claims"]]
            moves = any(not _same(provider.used(key, value), value) for value in sent)
            is_right = None if _is_named(expected, found) or not moves else False
        verdicts[key] = expected.verdict, found["verdict"], is_right, found["requests"]
        if is_right is False:
            false.append(f"{key}: {found['verdict']}, but it is {expected}")
        if key not in PROBES or expected.loosely:
            continue
        for claim in found["claims"]:
            if claim["verdict"] != "cannot_tell":
                claims += 1
                used = provider.used(key, claim["sent"])
                if not _holds(claim, used):
                    false.append(f"{key}: {claim}, but it is {used}")
    alive = told.get("dialects", {}).get("alive", ())
    is_alive = provider.dialect.name in alive if alive else None
    tokens = sum(told["tokens"].values())
    return Judged(
        repr(provider), verdicts, claims, false, is_alive, len(alive), told["requests"], tokens,
        seconds,
    )  # fmt: skip


def _is_named(expected: Truth, found: dict[str, Any]) -> bool:
    """Whether the clamp that was planted is among what is not excluded."""
    bounds = {"most": expected.high, "least": expected.low}
    for each in found["not_excluded"]:
        for side, low, high in _BOUND.findall(each["rule"]):
            bound = bounds[side]
            if bound is not None and float(low) <= bound <= float(high or low):
                return True
    return False


_BOUND = re.compile(r"at (most|least) ([\d.]+)(?: to ([\d.]+))?")


def _holds(claim: dict[str, Any], used: Any) -> bool:
    """Whether what is claimed of a value is true, where another one is used or it itself."""
    is_refused = isinstance(used, str)
    if claim["verdict"] == "refused" or is_refused:
        return claim["verdict"] == "refused" and is_refused
    if claim["verdict"] == "honoured":
        return _same(claim["sent"], used)
    is_other = not _same(claim["sent"], used)
    return is_other and (claim["used"] is None or _same(claim["used"], used))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return bool(np.isclose(one, other, rtol=1e-3, atol=1e-6))
    if isinstance(one, dict) and isinstance(other, dict):  # JSON knows no ids but as texts
        return {str(key): each for key, each in one.items()} == {
            str(key): each for key, each in other.items()
        }
    return bool(one == other)


def _share(number: int, jobs: int, arguments: argparse.Namespace) -> list[Judged]:
    """Judge every so manieth provider."""
    population = providers(arguments.count, arguments.seed, held_out=arguments.held_out)
    options = {"alpha": arguments.alpha, "cap": arguments.cap, "only": tuple(arguments.only)}
    found = []
    for provider in islice(population, number, None, jobs):
        found.append(judged(provider, **options))
        last = found[-1]
        told = f"{last.requests} requests, {last.seconds:.1f} s"
        print(f"{provider.dialect.name}: {told}; {last.false or 'nothing false'}", flush=True)
    return found


def on_providers(arguments: argparse.Namespace) -> tuple[list[str], bool]:
    """Return the lines of the tables, and whether nothing was false."""
    jobs = arguments.jobs
    work = partial(_share, jobs=jobs, arguments=arguments)
    if jobs == 1:
        found = work(0)
    else:
        with ProcessPoolExecutor(jobs) as pool:
            found = [each for part in pool.map(work, range(jobs)) for each in part]
    lines = [
        f"{len(found)} providers, {'held out' if arguments.held_out else 'development'}, seed "
        f"{arguments.seed}; alpha {arguments.alpha:g}, at most {arguments.cap} requests each.",
        "",
    ]
    return [*lines, *_tables(found)], not any(e.false for e in found)


def on_engines(arguments: argparse.Namespace) -> tuple[list[str], bool]:
    """Return the lines of the tables, and whether nothing was false."""
    options = {"alpha": arguments.alpha, "cap": arguments.cap}
    found = []
    for name in arguments.names or ENGINES:
        with Background(subject(), engine=name) as server:
            found.append(judged(Provider(name), server.url, **options))
        last = found[-1]
        print(f"{name}: {last.requests} requests, {last.false or 'nothing false'}", flush=True)
    lines = [
        f"{len(found)} engines behind the package's own server; alpha {arguments.alpha:g}, at most "
        f"{arguments.cap} requests each.",
        "",
    ]
    return [*lines, *_tables(found)], not any(e.false for e in found)


def _tables(found: Sequence[Judged]) -> list[str]:
    keys = list(dict.fromkeys(key for each in found for key in each.verdicts))
    head = ["parameter", "right", "wrong", "cannot tell", *KINDS, "requests: median, 95 %"]
    groups = [[key for key in keys if (key in FIRST) == is_first] for is_first in (True, False)]
    lines = []
    for title, group in zip(("First", "Counted apart"), groups, strict=True):
        if group:
            rows = [_row(key, found) for key in group]
            lines += [f"{title}:", "", *report.table(head, rows), ""]
    return [*lines, *_sums(found, groups[0]), *_false(found)]


def _row(key: str, found: Sequence[Judged]) -> list[str]:
    each = [judged.verdicts[key] for judged in found if key in judged.verdicts]
    outcomes = Counter(is_right for _, _, is_right, _ in each)
    cells = [key, *(str(outcomes[outcome]) for outcome in (True, False, None))]
    for kind in KINDS:
        of_kind = [is_right for expected, _, is_right, _ in each if expected == kind]
        cells.append(f"{of_kind.count(True)}/{len(of_kind)}" if of_kind else "–")
    return [*cells, _spread([requests for *_, requests in each])]


def _spread(numbers: Sequence[float]) -> str:
    if not numbers:
        return "–"
    return f"{statistics.median(numbers):.0f}, {np.percentile(numbers, 95):.0f}"


def _sums(found: Sequence[Judged], first: Sequence[str]) -> Iterator[str]:
    """Yield what is true of all of them together."""
    verdicts = [each.verdicts[key] for each in found for key in first if key in each.verdicts]
    decided = [is_right for _, said, is_right, _ in verdicts if said != "cannot_tell"]
    of_first = [sum(e.verdicts[key][3] for key in first if key in e.verdicts) for e in found]
    yield f"* First parameters: {len(decided)} of {len(verdicts)} decided "
    yield f"  ({len(decided) / max(len(verdicts), 1):.0%}): {decided.count(True)} right, "
    yield f"  {decided.count(False)} false, {decided.count(None)} honoured as far as it was sent"
    yield f"  (a bound lies beyond). Requests of a provider: {_spread(of_first)}."
    yield f"* All: requests {_spread([each.requests for each in found])}, tokens "
    yield f"  {_spread([each.tokens for each in found])}, seconds "
    yield f"  {_spread([each.seconds for each in found])} (median, 95 %)."
    claims = sum(each.claims for each in found)
    yield f"* {claims} claims of what is used for a value that was sent."
    known = [each for each in found if each.dialect is not None]
    alive = sum(each.dialect or False for each in known)
    alone = sum(bool(each.dialect) and each.alive == 1 for each in known)
    yield f"* The true dialect is among those left in {alive} of {len(known)}, alone in {alone}."


def _false(found: Sequence[Judged]) -> Iterator[str]:
    number = sum(len(each.false) for each in found)
    yield f"* {number} false verdicts and claims{':' if number else '.'}"
    for each in found:
        for words in each.false:
            yield f"  * `{each.provider}`: {words}"


def on_servers(arguments: argparse.Namespace) -> tuple[list[str], bool]:
    """Return the lines of the table, and whether every verdict is what the dialect says."""
    pythons = dict(pair.split("=", 1) for pair in arguments.python)
    columns: dict[str, dict[str, Any]] = {}
    missing: list[str] = []
    with tempfile.TemporaryDirectory() as home:
        gguf = Path(arguments.model) if arguments.model else write_tiny(Path(home) / "tiny.gguf")
        folder = write_folder(gguf, Path(home) / gguf.stem)
        for name in arguments.names or SERVERS:
            python = pythons.get(name)
            if not is_installed(name, python):
                missing.append(f"* {name} is not installed: `{INSTALL[name]}`")
                continue
            model = gguf if name == "llama_cpp" else folder
            with running(name, model, python=python) as server:
                began = time.perf_counter()
                options = {"alpha": arguments.alpha, "cap": arguments.cap}
                result = ll.verify(server.url, model=server.model, **options)
                print(result, flush=True)
                columns[name] = {
                    "versions": server.versions,
                    "seconds": time.perf_counter() - began,
                    **result.to_dict(),
                }
    keys = list(dict.fromkeys(key for told in columns.values() for key in told["parameters"]))
    differ: list[str] = []
    rows = [[key, *(_cell(key, n, told, differ) for n, told in columns.items())] for key in keys]
    for title, words in _OTHER_ROWS.items():
        rows.append([title, *(words(told) for told in columns.values())])
    lines = [
        f"{gguf.name}; alpha {arguments.alpha:g}, at most {arguments.cap} requests each. A verdict "
        "with a star is not what the dialect says.",
        "",
        *report.table(["", *columns], rows),
        "",
        *missing,
        *(f"* {words}" for words in differ),
    ]
    return lines, not differ


def _cell(key: str, name: str, told: dict[str, Any], differ: list[str]) -> str:
    found = told["parameters"].get(key)
    if found is None:
        return "–"
    verdict, scope = found["verdict"].replace("_", " "), found.get("scope")
    words = f"{verdict}, {scope}" if scope else verdict
    words += f" ({found['requests']})"
    if key in PROBES:
        expected = truth(Provider(DIALECTS[name]), key)
        is_refused = found["verdict"] == "refused" and _refuses(DIALECTS[name], key)
        if expected.is_right(found["verdict"]) is False and not is_refused:
            differ.append(f"{name}: {key} is {verdict}; the dialect says {expected.verdict}.")
            return f"{words} *"
    return words


def _refuses(dialect: str, key: str) -> bool:
    """Whether a dialect that takes other values refuses the one that is sent to a real server."""
    rules = ENGINES[dialect].rules.get(key, ())
    refusals = [rule for rule in rules if isinstance(rule, Refuse) and not rule.sized]
    return key in _SENT and any(rule.wrong(_SENT[key]) for rule in refusals)


# An integer, which transformers refuses: it wants a decimal point.
_SENT: dict[str, Any] = {"logit_bias": {300: AMOUNT}}

_OTHER_ROWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "log-probabilities": lambda told: str(told.get("logprobs", {}).get("meaning", "–")),
    "dialects left": lambda told: ", ".join(told.get("dialects", {}).get("alive", ())) or "–",
    "requests": lambda told: str(told["requests"]),
    "tokens": lambda told: json.dumps(told["tokens"]).strip("{}").replace('"', ""),
    "seconds": lambda told: f"{told['seconds']:.0f}",
    "versions": lambda told: str(told["versions"]),
}
_PARTS = {
    "providers": "On simulated providers",
    "whole": "On simulated providers, whole examinations",
    "engines": "On the package's own server, as each engine",
    "servers": "On real servers",
}
_RUNS = {
    "providers": on_providers,
    "whole": on_providers,
    "engines": on_engines,
    "servers": on_servers,
}


def write(part: str, lines: Sequence[str]) -> None:
    """Write a part of the results file, dated, and leave the other as it is."""
    parts = dict.fromkeys(_PARTS, "")
    if RESULT.exists():
        for name, title in _PARTS.items():
            _, _, after = RESULT.read_text("utf-8").partition(f"## {title}\n")
            parts[name] = after.partition("\n## ")[0].strip()
    parts[part] = "\n".join([report.stamp(), "", *lines])
    whole = ["# `ll.verify`", ""]
    for name, title in _PARTS.items():
        if parts[name]:
            whole += [f"## {title}", "", parts[name], ""]
    report.RESULTS.mkdir(exist_ok=True)
    RESULT.write_text("\n".join([*whole, "Written by `benchmarks/verify.py`."]) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--alpha", type=float, default=1e-3)
    parser.add_argument("--cap", type=int, default=800)
    parser.add_argument("--quick", action="store_true", help="write nothing")
    parts = parser.add_subparsers(dest="part", required=True)
    for part, count, only in (("providers", 200, FIRST), ("whole", 60, ())):
        some = parts.add_parser(part)
        some.add_argument("count", type=int, nargs="?", default=count)
        some.add_argument("--seed", type=int, default=0)
        some.add_argument("--held-out", action="store_true")
        some.add_argument("--only", nargs="*", default=only, metavar="KEY")
        some.add_argument("--jobs", type=int, default=1)
    own = parts.add_parser("engines")
    own.add_argument("names", nargs="*", metavar="NAME")
    real = parts.add_parser("servers")
    real.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SERVERS))
    real.add_argument("--python", action="append", default=[], metavar="NAME=PATH")
    real.add_argument("--model", metavar="FILE.gguf")
    arguments = parser.parse_args()
    lines, is_right = _RUNS[arguments.part](arguments)
    print("\n".join(lines))
    if not arguments.quick:
        write(arguments.part, lines)
    return not is_right


if __name__ == "__main__":
    sys.exit(main())
