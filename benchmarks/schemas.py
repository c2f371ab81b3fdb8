"""Which schemas of a folder are accepted, and whether their instances are.

Run ``python benchmarks/schemas.py FOLDER``. Every ``.json`` file below the folder is a schema, or a
map with ``schema`` and ``tests`` (each with ``data`` and ``valid``), or a list of such maps.
Each instance is written in the one spelling that a constraint has for it (compact, keys in
the order of the schema, an integer without a point) and read byte by byte. ``--suite`` is for the
JSON-Schema-Test-Suite: its folders say the draft, which its schemas leave out. No invalid instance
may be accepted: the script exits 1 if one is.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logitlab import ParameterError
from logitlab.constraints import JsonSchema

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from constraints.writing import UnreadError, accepts, spelled

DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
NUMBERS = re.compile(r"-?\d[\d.e+]*")
QUOTED = re.compile(r"'[^']*'|/[^ ]*/|\"[^\"]*\"")


@dataclass
class Report:
    """What came of one schema."""

    place: str
    milliseconds: float = 0
    refusal: str = ""
    reason: str = ""
    accepted_valid: int = 0
    accepted_invalid: list[str] = field(default_factory=list)
    refused_valid: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    refused_invalid: int = 0


def reason(error: ParameterError) -> str:
    """Return what a refusal has in common with others."""
    words = re.findall(r"[$a-zA-Z]+", error.name)
    text = f"{error.rule} {error.hint}".strip()
    key = words[-1] if words and "cannot be enforced" in text else ""
    return f"{key} {NUMBERS.sub('N', QUOTED.sub('…', text))}".strip()[:150]


def cases(file: Path, suite: bool) -> Iterator[tuple[str, Any, list[dict[str, Any]]]]:
    """Yield the schemas of a file with their instances."""
    content = json.loads(file.read_text("utf-8"))
    for number, case in enumerate(content if isinstance(content, list) else [content]):
        tested = isinstance(case, dict) and "schema" in case and "tests" in case
        schema, tests = (case["schema"], case["tests"]) if tested else (case, [])
        if suite:
            draft = next((DRAFTS[part] for part in file.parts if part in DRAFTS), None)
            if draft is None:
                return
            if isinstance(schema, dict):
                schema = {"$schema": draft, **schema}
        yield f"{file}#{number}", schema, tests


def read(job: tuple[Path, bool, bool]) -> list[Report]:
    file, suite, instances = job
    reports = []
    for place, schema, tests in cases(file, suite):
        report = Report(place)
        reports.append(report)
        begin = time.perf_counter()
        try:
            constraint = JsonSchema(schema)
        except ParameterError as error:
            report.refusal, report.reason = str(error), reason(error)
        report.milliseconds = 1e3 * (time.perf_counter() - begin)
        if report.refusal:
            continue
        for test in tests if instances else []:
            instance = json.dumps(test["data"])
            told = f"{test.get('description', '')}: {instance[:200]}"
            try:
                exactly = not test["valid"]
                read = spelled(constraint, test["data"], exactly=exactly) is not None
                if test["valid"] and not read:  # as a text with limits of its own
                    text = json.dumps(test["data"], ensure_ascii=False, separators=(",", ":"))
                    read = accepts(constraint, text)
            except UnreadError as error:
                report.unread.append(f"{error} {told}")
                continue
            if read and not test["valid"]:
                report.accepted_invalid.append(told)
            elif test["valid"] and not read:
                report.refused_valid.append(told)
            elif read:
                report.accepted_valid += 1
            else:
                report.refused_invalid += 1
    return reports


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suite", action="store_true", help="the folder names the draft")
    parser.add_argument("--bare", action="store_true", help="compile alone, and read no instance")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="read one file in this many")
    parser.add_argument("--only", default="", help="read files whose path has this in it")
    parser.add_argument("--list", action="store_true", help="name every refusal and instance")
    options = parser.parse_args()
    files = sorted(file for file in options.folder.rglob("*.json") if options.only in str(file))
    jobs = [(file, options.suite, not options.bare) for file in files[:: options.every]]
    with ProcessPoolExecutor(options.jobs) as pool:
        reports = [one for some in pool.map(read, jobs, chunksize=8) for one in some]
    taken = [one for one in reports if not one.refusal]
    print(f"{len(reports)} schemas, {len(taken)} accepted: {len(taken) / len(reports):.1%}")
    reasons = collections.Counter(one.reason for one in reports if one.refusal)
    for text, count in reasons.most_common(None if options.list else 40):
        print(f"{count:6} {text}")
    invalid = [f"{one.place} {told}" for one in taken for told in one.accepted_invalid]
    refused = [f"{one.place} {told}" for one in taken for told in one.refused_valid]
    unread = [f"{one.place} {told}" for one in taken for told in one.unread]
    print(f"{sum(one.refused_invalid for one in taken)} invalid instances refused")
    print(f"{len(invalid)} invalid instances accepted")
    print(f"{sum(one.accepted_valid for one in taken)} valid instances accepted")
    print(f"{len(refused)} valid instances refused, {len(unread)} not read to their end")
    times = sorted(one.milliseconds for one in reports)
    high = times[int(0.99 * (len(times) - 1))]
    print(f"compiled in {statistics.median(times):.1f} ms (median), {high:.0f} ms (p99),", end=" ")
    print(f"{times[-1]:.0f} ms (most)")
    for title, lines in (("accepted", invalid), ("refused", refused), ("not read", unread)):
        for line in lines if options.list else lines[:10]:
            print(f"{title}: {line}")
    if options.list:
        for one in reports:
            if one.refusal or one.milliseconds > 1000:
                print(f"refusal: {one.place} {one.milliseconds:.0f} ms {one.refusal}")
    return int(bool(invalid))


if __name__ == "__main__":
    sys.exit(main())
