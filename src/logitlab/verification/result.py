"""What an examination came to: `Verification`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from logitlab.checks import counted
from logitlab.verification.names import required_names
from logitlab.verification.outcome import Outcome
from logitlab.verification.report import document, markdown, terminal

__all__ = ["Verification"]


@dataclass(frozen=True, eq=False, repr=False)
class Verification(Outcome):
    """Which parameters an endpoint honours, how that is known, and with which error.

    It prints as a table; `markdown` and `to_dict` say the same in other forms. Two are equal where
    they say the same, whenever that was asked, and whether it came from a log.

    Attributes
    ----------
    parameters : mapping of str to Finding
        What was found of each parameter, in the order of the examination.
    url : str or None
        The base URL; None of a function.
    model : str or None
        As it was asked for.
    identities : mapping of Identity to (int, int)
        Who answered: model, provider and fingerprint as the answers name them, with how many
        answers, and the number of the first one.
    alpha : float
        The error of each race.
    meaning : str
        What the reported log-probabilities are: raw, penalised, tempered, processed, filtered or
        unknown.
    neutral : mapping
        The keys that the server takes, with the values that change nothing.
    others : mapping of str to Finding
        What is no parameter: ``dialects``, ``order``, ``defaults`` and the like.
    spending : Spending
    notes : tuple of str
        What a reader has to know.
    stopped : str or None
        Why it ended before its end.

    Examples
    --------
    >>> from logitlab.verification.finding import Finding
    >>> result = Verification({"top_k": Finding("ignored", "proven", 0.001, requests=3)})
    >>> result
    <Verification of a function: 1 ignored; 0 requests>
    >>> result.to_dict()["parameters"]["top_k"]["verdict"]
    'ignored'
    """

    def honoured(self, keys: str | Iterable[str]) -> bool | None:
        """Return whether all of some parameters are honoured; None where that cannot be told.

        Parameters
        ----------
        keys : str or iterable of str
            One that is not honoured makes it False, whatever is unknown of others. A parameter
            that was not examined cannot be told.

        Returns
        -------
        bool or None

        Raises
        ------
        ParameterError
            For no parameter, one that no examination knows, and ``"beyond"``, which stands for
            several.

        Examples
        --------
        >>> from logitlab.verification.finding import Finding
        >>> found = {key: Finding("honoured", "proven") for key in ("temperature", "top_p")}
        >>> result = Verification(found)
        >>> result.honoured("temperature,top_p"), result.honoured("seed")
        (True, None)
        """
        names = required_names("keys", keys, found=self.parameters)
        verdicts = [
            self.parameters[key].verdict if key in self.parameters else "cannot_tell"
            for key in names
        ]
        if all(verdict == "honoured" for verdict in verdicts):
            return True
        return None if {*verdicts} <= {"honoured", "cannot_tell"} else False

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return document(self)

    def markdown(self) -> str:
        """Return the table as Markdown."""
        return markdown(self)

    def __str__(self) -> str:
        return terminal(self)

    def __repr__(self) -> str:
        counts = Counter(found.verdict.replace("_", " ") for found in self.parameters.values())
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
        of = self.url or "a function"
        requests = counted(self.spending.requests, "request")
        return f"<Verification of {of}: {told or 'nothing found'}; {requests}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Verification):
            return NotImplemented
        return self._findings_alone() == other._findings_alone()

    __hash__ = None  # type: ignore[assignment]

    def _findings_alone(self) -> tuple[Any, ...]:
        """Return what was found, without when, how fast, and from where."""
        spending = self.spending._replace(recorded=0, retries=0, seconds=0.0)
        same = replace(self, spending=spending, started="", log=None)
        return tuple(getattr(same, each.name) for each in fields(same))

    def _repr_markdown_(self) -> str:
        return self.markdown()
