"""Tells what an sdist and a wheel lack or have too much, and leaves with 1 if that is anything.

``python .ci/contents.py FILES DIST``: FILES names the files of the repository, one a line, and DIST
has both. An sdist is the repository, but for ``.ci``; a wheel has the modules, what
``pyproject.toml`` names beside them, and the kernels where they were compiled.
"""

import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

files = set(Path(sys.argv[1]).read_text("utf-8").split("\n")) - {""}
dist = Path(sys.argv[2])
[sdist] = dist.glob("*.tar.gz")
[wheel] = dist.glob("*.whl")
wrong = False


def compare(archive: Path, names: set[str], wanted: set[str]) -> None:
    """Print the differences."""
    global wrong
    told = {"lacks": wanted - names, "has too much": names - wanted}
    for word, some in told.items():
        for name in sorted(some):
            print(f"{archive.name} {word}: {name}")
    wrong = wrong or any(told.values())
    print(f"{archive.name}: {len(names)} files, {archive.stat().st_size / 1e6:.1f} MB")


with tarfile.open(sdist) as archive:
    inside = {member.name.partition("/")[2] for member in archive if member.isfile()}
of_build = {name for name in inside if name.startswith("src/logitlab.egg-info/")}
of_build |= {"PKG-INFO", "setup.cfg"}  # what setuptools writes
compare(sdist, inside - of_build, {name for name in files if not name.startswith(".ci/")})

declared = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
patterns = [f"logitlab/{pattern}" for pattern in declared["package-data"]["logitlab"]]
inside = set(zipfile.ZipFile(wheel).namelist())
sources = {name.removeprefix("src/") for name in files if name.startswith("src/")}
wanted = {
    name
    for name in sources
    if name.endswith(".py") or any(PurePosixPath(name).match(pattern) for pattern in patterns)
}
wanted |= {name for name in inside if name == "logitlab/kernels/_rows.abi3.so"}
version = wheel.name.split("-")[1]
own = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")
compare(wheel, inside, wanted | {f"logitlab-{version}.dist-info/{name}" for name in own})
sys.exit(wrong)
