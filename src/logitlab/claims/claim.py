"""What a claim is: a statement, an experiment that can say no, and what it measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from logitlab.checks import needs
from logitlab.claims.lab import Lab
from logitlab.claims.truth import changed_bits

__all__ = [
    "GENERAL",
    "PAGE",
    "SECTIONS",
    "Claim",
    "Family",
    "Finding",
    "Measured",
    "Picture",
    "Source",
]

PAGE = "https://openrouter.ai/docs/api/reference/parameters"

GENERAL = "general"
"""Stands where a claim is about every parameter."""

SECTIONS = {
    GENERAL: "Parameters",
    "temperature": "Temperature",
    "top_p": "Top P",
    "top_k": "Top K",
    "frequency_penalty": "Frequency Penalty",
    "presence_penalty": "Presence Penalty",
    "repetition_penalty": "Repetition Penalty",
    "min_p": "Min P",
    "top_a": "Top A",
    "seed": "Seed",
    "max_tokens": "Max Tokens",
    "logit_bias": "Logit Bias",
    "logprobs": "Logprobs",
    "top_logprobs": "Top Logprobs",
    "response_format": "Response Format",
    "structured_outputs": "Structured Outputs",
    "stop": "Stop",
    "tools": "Tools",
    "tool_choice": "Tool Choice",
    "parallel_tool_calls": "Parallel Tool Calls",
    "verbosity": "Verbosity",
}
"""The headings of the page, by parameter, in its order."""

Wording: TypeAlias = Literal["exact", "vague", "wrong"]
Experiment: TypeAlias = "Callable[[Lab], Measured]"

_EXTRA_MODULES = {"structured": "llguidance"}  # which module an extra brings


@dataclass(frozen=True)
class Picture:
    """What a figure shows of an experiment.

    Attributes
    ----------
    title, x_label, y_label : str
    x : sequence of float or str
        Numbers are places on an axis, words are names of bars.
    y : mapping of str to sequence of float
        One curve, or one bar beside the other, for each name; all as long as ``x``.
    kind : {"line", "points", "bars"}
    log_x, log_y : bool
        Whether an axis is logarithmic.
    """

    title: str
    x_label: str
    y_label: str
    x: Any
    y: Mapping[str, Any]
    kind: Literal["line", "points", "bars"] = "line"
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Measured:
    """What one run of an experiment measured.

    Attributes
    ----------
    holds : bool
        Whether the effect is there. Of a statement that is wrong: whether the counter-example is.
    told : str
        A sentence with the names of ``numbers`` in braces.
    numbers : mapping of str to float
        All of them, unrounded.
    picture : Picture or None

    Examples
    --------
    >>> Measured(True, "{share:.0%} of {rows} rows", {"share": 0.25, "rows": 20}).sentence
    '25% of 20 rows'
    """

    holds: bool
    told: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    picture: Picture | None = None

    @property
    def sentence(self) -> str:
        """What was measured, in words and numbers."""
        return self.told.format(**self.numbers)


@dataclass(frozen=True)
class Source:
    """A paper or a thread that states something, beyond the page.

    Attributes
    ----------
    title : str
        Who states it, and where.
    url : str
    """

    title: str
    url: str

    @classmethod
    def paper(cls, authors: str, number: str) -> Source:
        """Return a paper of arXiv.

        Examples
        --------
        >>> Source.paper("Tang et al.", "2411.07641").title
        'Tang et al., arXiv:2411.07641'
        """
        return cls(f"{authors}, arXiv:{number}", f"https://arxiv.org/abs/{number}")

    @classmethod
    def thread(cls, author: str, repository: str, number: int) -> Source:
        """Return a pull request, which is where a sampler without a paper is described.

        Examples
        --------
        >>> Source.thread("p-e-w", "oobabooga/textgen", 6335).title
        'p-e-w, textgen #6335'
        """
        title = f"{author}, {repository.partition('/')[2]} #{number}"
        return cls(title, f"https://github.com/{repository}/pull/{number}")


@dataclass(frozen=True)
class Claim:
    """A statement about the effect of a parameter, and an experiment that puts it to the test.

    Attributes
    ----------
    name : str
        The parameter and what is claimed, ``"top_a.direction"``.
    parameter : str
        The request key, or "general".
    statement : str
        What the page states, or another source, in our own words.
    wording : {"exact", "vague", "wrong"}
        How good the statement is as it is written. The experiment of a vague one shows what it
        means here, that of a wrong one a counter-example.
    remark : str
        What is vague or wrong about it.
    experiment : callable
        ``experiment(lab)`` returns `Measured`.
    extra : str or None
        The extra that has to be installed.
    source : Source or None
        Where the statement stands; None is the page.
    """

    name: str
    parameter: str
    statement: str
    wording: Wording
    remark: str
    experiment: Experiment = field(repr=False)
    extra: str | None = None
    source: Source | None = None

    @property
    def section(self) -> str:
        """Heading on the page, or who states it elsewhere."""
        return SECTIONS[self.parameter] if self.source is None else self.source.title

    @property
    def url(self) -> str:
        """The address of the page, paper or thread that states it."""
        if self.source is not None:
            return self.source.url
        return f"{PAGE}#{self.section.lower().replace(' ', '-')}"

    def run(self, lab: Lab) -> Finding:
        """Run the experiment; without an extra that it needs, say how to get it."""
        if self.extra is not None:
            try:
                needs(self.extra, _EXTRA_MODULES[self.extra])
            except ImportError as error:
                return Finding(self, None, f"{error}")
        result = self.experiment(lab)
        # Numbers of Python's own, which JSON has words for.
        numbers = {name: np.asarray(value).item() for name, value in result.numbers.items()}
        return Finding(self, bool(result.holds), result.sentence, numbers, result.picture)


@dataclass(frozen=True)
class Finding:
    """What became of a claim.

    Attributes
    ----------
    claim : Claim
    holds : bool or None
        None if the experiment could not be run.
    sentence : str
        What was measured, or what is missing.
    measured : mapping of str to float
        The numbers, unrounded.
    picture : Picture or None
    """

    claim: Claim
    holds: bool | None
    sentence: str
    measured: Mapping[str, float] = field(default_factory=dict)
    picture: Picture | None = field(default=None, repr=False)

    @property
    def verdict(self) -> str:
        """The verdict: holds, fails, not run, or what is vague or wrong about the statement.

        Examples
        --------
        >>> vague = Claim("top_p.x", "top_p", "A little.", "vague", "how little is not said", print)
        >>> Finding(vague, True, "").verdict
        'vague: how little is not said'
        >>> Finding(vague, False, "").verdict
        'FAILS'
        """
        if self.holds is None:
            return "not run"
        if not self.holds:
            return "FAILS"
        if self.claim.wording == "exact":
            return "holds"
        return f"{self.claim.wording}: {self.claim.remark}"


class Family(list[Claim]):
    """The claims of one file, declared by its experiments.

    Examples
    --------
    >>> claims = Family()
    >>> @claims.about("top_k", "small", "It keeps few tokens.")
    ... def _few(lab):
    ...     return Measured(True, "Yes.")
    >>> claims[0].name, claims[0].wording, claims[0].run(Lab()).verdict
    ('top_k.small', 'exact', 'holds')
    """

    def about(
        self,
        parameter: str,
        short: str,
        statement: str,
        *,
        vague: str = "",
        wrong: str = "",
        extra: str | None = None,
        source: Source | None = None,
    ) -> Callable[[Experiment], Experiment]:
        """Declare a claim whose experiment is the decorated function.

        Parameters
        ----------
        parameter, short, statement : str
            Request key, the rest of the claim's name, and what is stated.
        vague, wrong : str
            What is vague, or wrong, about the statement as it is written.
        extra : str, optional
            What has to be installed.
        source : Source, optional
            Where the statement stands; by default on the page.
        """
        wording: Wording = "wrong" if wrong else "vague" if vague else "exact"

        def declare(experiment: Experiment) -> Experiment:
            about = f"{parameter}.{short}", parameter, statement, wording, wrong or vague
            self.append(Claim(*about, experiment, extra, source))
            return experiment

        return declare

    def add_neutral(self, parameter: str, value: float, statement: str) -> None:
        """Declare that a value of a parameter changes not one bit of one logit."""

        @self.about(parameter, "neutral", statement)
        def _neutral(lab: Lab) -> Measured:
            rows = lab.rows.logits
            changed, absent = (
                changed_bits(lab.logits(rows, request, lab.context), rows)
                for request in ({parameter: value}, {})
            )
            return Measured(
                changed == absent == 0,
                f"{parameter} {value:g} changes {{changed}} of {{logits}} real logits by a bit, "
                "and an absent one {absent}.",
                {"changed": changed, "absent": absent, "logits": rows.size},
            )
