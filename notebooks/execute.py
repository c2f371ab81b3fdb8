"""Execute the notebooks, each in a kernel of its own.

    python notebooks/execute.py                 # all, with their outputs written into them
    python notebooks/execute.py 03 05           # some
    python notebooks/execute.py --check         # writes nothing: fails where a text has changed

Needs ``pip install 'logitlab[notebooks]'``.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="how their names begin; default all")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    chosen = [
        path
        for path in sorted(HERE.glob("*.ipynb"))
        if not arguments.names or path.name.startswith(tuple(arguments.names))
    ]
    if not chosen:
        parser.error(f"no notebook begins with {', '.join(arguments.names)}")
    changed = 0
    for path in chosen:
        start = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        before = texts(notebook)
        NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            resources={"metadata": {"path": str(HERE)}},
            record_timing=False,
            coalesce_streams=True,
            store_widget_state=False,
        ).execute()
        print(f"{path.name}: {time.perf_counter() - start:.1f} s", flush=True)
        if arguments.check:
            difference = list(difflib.unified_diff(before, texts(notebook), "saved", "now"))
            print(*difference, sep="\n", end="\n" if difference else "")
            changed += bool(difference)
        else:
            tidy(notebook)
            nbformat.write(notebook, path)
    return min(changed, 1)


def texts(notebook: Any) -> list[str]:
    """Return the lines of all text outputs: what a picture shows is checked by other tests."""
    lines: list[str] = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            lines += [f"cell {number}: {line}" for line in str(text).splitlines()]
    return lines


def tidy(notebook: Any) -> None:
    """Keep what belongs to the notebook, not to the machine it ran on."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {}
        for output in cell.get("outputs", ()):
            # Ids of widgets are drawn anew in every run.
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
            output.pop("metadata", None)
            if output.output_type in ("execute_result", "display_data"):
                output["metadata"] = {}


if __name__ == "__main__":
    sys.exit(main())
