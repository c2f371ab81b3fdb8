"""Execute the notebooks, each in a kernel of its own, and the answers to their exercises in it.

    python notebooks/execute.py                 # all, with their outputs written into them
    python notebooks/execute.py 03 05           # some
    python notebooks/execute.py --check         # writes nothing: fails where a text has changed

A notebook ends with two exercises. An answer is a block of ``python`` in a cell of prose, and what
it prints the block of ``text`` behind it. Needs ``pip install 'logitlab[notebooks]'``.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
ANSWER = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<text>.*?)```", re.DOTALL)


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
        check_form(path.name, notebook)
        execute(notebook)
        print(f"{path.name}: {time.perf_counter() - start:.1f} s", flush=True)
        if arguments.check:
            difference = list(difflib.unified_diff(before, texts(notebook), "saved", "now"))
            print(*difference, sep="\n", end="\n" if difference else "")
            changed += bool(difference)
        else:
            tidy(notebook)
            nbformat.write(notebook, path)
    return min(changed, 1)


def check_form(name: str, notebook: Any) -> None:
    """Leave where a notebook has no title or exercises, or an answer that would not be run."""
    first, last = notebook.cells[0].source, notebook.cells[-1].source
    if not first.startswith("# ") or not last.startswith("## Exercises\n"):
        sys.exit(f"{name} must begin with a title and end with exercises.")
    if last.count("<details>") != 2 or last.count("</details>") != 2:
        sys.exit(f"{name} must have two exercises with folded answers.")
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    if any(source.count("```python") != len(ANSWER.findall(source)) for source in prose):
        sys.exit(f"{name} has an answer without a block of text for what it prints.")


def execute(notebook: Any) -> None:
    """Run all cells, and after them the answers, into whose blocks of text goes what they print."""
    cells = list(notebook.cells)
    answers = [
        nbformat.v4.new_code_cell(match["code"])
        for cell in cells
        if cell.cell_type == "markdown"
        for match in ANSWER.finditer(cell.source)
    ]
    notebook.cells = cells + answers
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(HERE)}},
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
    ).execute()
    notebook.cells = cells
    printed = iter(["\n".join(lines_of(code)) for code in answers])
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = ANSWER.sub(
                lambda match: f"```python\n{match['code']}```\n\n```text\n{next(printed)}\n```",
                cell.source,
            )


def texts(notebook: Any) -> list[str]:
    """Return the lines of all text outputs and answers: other tests check what pictures show."""
    lines: list[str] = []
    for number, cell in enumerate(notebook.cells):
        found = lines_of(cell)
        if cell.cell_type == "markdown":
            found = "".join(each["text"] for each in ANSWER.finditer(cell.source)).splitlines()
        lines += [f"cell {number}: {line}" for line in found]
    return lines


def lines_of(cell: Any) -> list[str]:
    """Return what a cell put out as text."""
    lines: list[str] = []
    for output in cell.get("outputs", ()):
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        lines += str(text).splitlines()
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
