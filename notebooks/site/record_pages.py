"""Pages of what is recorded in the repository: notebooks, claims, benchmarks."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from os.path import relpath
from pathlib import Path

import logitlab

from measured import Seen
from parameter_pages import claim_parts
from prose import code, contents, heading, picture, table, words

__all__ = ["COPIED", "claims_page", "notebooks_page", "relinked", "titled"]

ROOT = Path(__file__).parents[2]

# Where files of the repository stand in the site. A link from one to another leads on.
COPIED = {
    "notebooks/site/pages": "pages",
    "notebooks/gallery": "gallery",
    "notebooks": "notebooks",
    "benchmarks/results": "benchmarks/results",
    "benchmarks/README.md": "benchmarks/index.md",
    "tests/engines/README.md": "engines/recorded.md",
    "CHANGELOG.md": "changes.md",
}
_LIGHT = re.compile(r"light(?=\.\w+$)")
_LINK = re.compile(r"(?<!`)(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def place_of(path: Path) -> Path | None:
    """Return where a file of the repository stands in the site; None if it does not."""
    for source, place in COPIED.items():
        if path.is_file() and path.is_relative_to(ROOT / source):
            return Path(place) / path.relative_to(ROOT / source)
    return None


def relinked(path: Path, place: Path, text: str) -> str:
    """Return the text of a file with its links to other files as the site has them.

    A link to a file that the site has not becomes its name; what leads nowhere stays, and is found.
    A picture of which there is a dark one, too, becomes both.
    """

    def lead(match: re.Match[str]) -> str:
        mark, label, link, anchor = match.groups()
        target = (path.parent / link).resolve()
        if ":" in link or not target.exists() or target.is_relative_to(ROOT / "notebooks" / "site"):
            return match.group()
        there = place_of(target)
        if there is None:
            return label if label.startswith("`") else code(label)
        link = relpath(there, place.parent)
        if (
            mark
            and _LIGHT.search(link)
            and target.with_name(_LIGHT.sub("dark", target.name)).exists()
        ):
            return picture(*_LIGHT.split(link, maxsplit=1), says=label)
        return f"{mark}[{label}]({link}{anchor or ''})"

    return _LINK.sub(lead, text)


def titled(path: Path, text: str) -> str:
    """Return a result of a benchmark with its name as a title, where it has none."""
    if re.search(r"^# ", text, re.MULTILINE):
        return text
    return f"# {words(path.stem)}\n\n{text}"


def notebooks_page(paths: list[Path]) -> str:
    """Return the list of notebooks, with the first words of each."""
    rows = []
    for path in paths:
        first = "".join(json.loads(path.read_text("utf-8"))["cells"][0]["source"])
        title, _, rest = first.partition("\n")
        about = re.split(r"\n\s*\n", rest.strip())[0]
        rows.append((f"[{title.lstrip('# ')}]({path.name})", " ".join(about.split())))
    return "\n\n".join(
        [
            "# Notebooks",
            "As they are committed, outputs included: CI runs every one again and compares.",
            table(["notebook", "how it begins"], rows),
            contents(path.name for path in paths),
        ]
    )


def claims_page(seen: Mapping[str, Seen]) -> str:
    """Return the page of all claims: how many hold, by parameter, and those about all of them."""
    rows, total = [], Counter[str]()
    kinds = ("holds", "vague", "wrong", "not run")
    for key in logitlab.PARAMETERS:
        counts = Counter(one.verdict.partition(":")[0] for one in seen[key].claims)
        total += counts
        if counts:
            link = f"[{code(key)}](parameters/{key}.md#what-is-claimed-and-what-was-measured)"
            rows.append((link, *(str(counts[kind] or "–") for kind in kinds)))
    general = seen["general"].claims
    total += Counter(one.verdict.partition(":")[0] for one in general)
    rows.append(("all parameters", *(str(total[kind]) for kind in kinds)))
    return "\n\n".join(
        [
            "# Claims and what was measured",
            "What OpenRouter's page states about the effects of its parameters, and papers and "
            "authors about other samplers, each with an experiment that can say no. They were run "
            "while this site was built, on recorded logits of SmolLM2-135M-Instruct or on texts of "
            "a small model of the Grimms' tales. *Vague* and *wrong* are about the statement as it "
            "is written; one whose experiment fails ends the build.",
            heading("About parameters as such", *claim_parts(general, "parameters/")),
            heading("By parameter", table(["parameter", *kinds], rows)),
        ]
    )
