"""Prints ``name==version`` for the lowest versions that pyproject.toml allows, one a line.

They are those of the build, of the dependencies and of the extra "test" with the extras that it
takes in. Two bounds on one package give the higher one, as an installer would do.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

DECLARED = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
PROJECT = DECLARED["project"]


def requirements(extra: str) -> Iterator[str]:
    """Yield the requirements of an extra and of the extras that it takes in."""
    for line in PROJECT["optional-dependencies"][extra]:
        if own := re.fullmatch(rf"{PROJECT['name']}\[(.+)\]", line):
            for name in own[1].split(","):
                yield from requirements(name)
        else:
            yield line


def release(version: str) -> tuple[int, ...]:
    """Return a version as numbers, which compare as versions do."""
    return tuple(map(int, version.split(".")))


floors: dict[str, str] = {}
build = DECLARED["build-system"]["requires"]
for line in [*build, *PROJECT["dependencies"], *requirements("test")]:
    # Constraints cannot have extras.
    name, version = re.sub(r"\[.*?\]", "", line).split(">=")
    floors[name] = max(version, floors.get(name, "0"), key=release)
print(*(f"{name}=={version}" for name, version in floors.items()), sep="\n")
