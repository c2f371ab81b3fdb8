"""Draw the pictures of the documentation, each on a light and on a dark ground.

python notebooks/gallery.py             # into notebooks/gallery
python notebooks/gallery.py --out DIR   # elsewhere
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import logitlab as ll
from logitlab.plot.style import figure_of
from matplotlib.axes import Axes

ROWS = ll.datasets.load("smollm2")
STORY = 3  # "Once upon a time, in a land far away, there lived a"


def trace(dark: bool) -> Axes:
    params = ll.SamplingParams(
        repetition_penalty=1.1, temperature=0.8, top_k=50, top_p=0.9, min_p=0.05
    )
    context = ll.Context(prompt=ROWS.prompt_ids[STORY])
    stages = ll.engines.openrouter(params).trace(ROWS.logits[STORY], context)
    ax = ll.plot.axes(8, 4.6, dark=dark)
    return ll.plot.trace(stages, ROWS.vocabulary, top=13, ax=ax)


def truncations(dark: bool) -> Axes:
    cuts = [ll.TopK(50), ll.TopP(0.9), ll.MinP(0.05), ll.TopA(0.2)]
    flat = ROWS.logits[ll.top_probability(ROWS.logits).argmin()]
    return ll.plot.ranks(flat, cuts, ax=ll.plot.axes(8, 3.8, dark=dark))


def engines(dark: bool) -> Axes:
    request = {"temperature": 2, "top_p": 0.8}
    names = ("openrouter", "vllm", "transformers", "llama_cpp", "ollama", "mlx_lm", "koboldcpp")
    compared = ll.compare_engines(ROWS.logits[STORY], request, engines=names)
    return ll.plot.engines(compared, ROWS.vocabulary, top=10, ax=ll.plot.axes(8, 4, dark=dark))


def generation(dark: bool) -> Axes:
    model = ll.models.NGram.bundled()
    request = {"temperature": 0.9, "min_p": 0.05, "seed": 7, "max_tokens": 34}
    answer = ll.generate(model, "Once upon a time", request, logprobs=True, top_logprobs=3)
    ax = ll.plot.axes(8, 3.4, dark=dark)
    return ll.plot.generation(answer, model.vocabulary, alternatives=3, ax=ax)


PICTURES: tuple[Callable[[bool], Axes], ...] = (trace, truncations, engines, generation)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "gallery")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for draw in PICTURES:
        for ground in ("light", "dark"):
            figure = figure_of(draw(ground == "dark"))
            figure.savefig(folder / f"{draw.__name__}_{ground}.png", dpi=150)


if __name__ == "__main__":
    main()
