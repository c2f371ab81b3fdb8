"""What the page asks: functions from one JSON value to another, with no HTTP in them.

The same functions answer behind a server and in a browser's own Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logitlab.checks import ParameterError, check_choice
from logitlab.engines.registry import get
from logitlab.models.model import Model, check_model
from logitlab.server.controls import about, engine_report
from logitlab.server.remembered import Remembered
from logitlab.server.sides import compared, parted
from logitlab.server.sources import Sources
from logitlab.server.spelled import spelled
from logitlab.server.stages import traced
from logitlab.wire.errors import message_of

__all__ = ["FUNCTIONS", "Lab"]

FUNCTIONS = ("about", "engine", "keep", "trace", "engines", "partings", "write", "score", "spell")
"""What can be asked."""


class Lab:
    """Answers what the page asks.

    Parameters
    ----------
    model : Model
        What reads and writes texts; the bundled prompts are recordings of another one.

    Examples
    --------
    >>> from logitlab.models import NGram
    >>> lab = Lab(NGram.bundled())
    >>> body = {"source": {"prompt": 3}, "request": {"temperature": 0.8, "top_k": 50}}
    >>> [stage["kept"] for stage in lab.answer("trace", body)["stages"]]
    [49152, 49152, 50]
    >>> lab.answer("trace", body | {"request": {"top_p": 1.3}})["error"]["message"]
    'top_p must be in [0, 1], got 1.3.'
    """

    def __init__(self, model: Model) -> None:
        check_model(model)
        self.model = Remembered(model)
        self._sources = Sources(self.model)

    def answer(self, name: str, body: Any) -> dict[str, Any]:
        """Return the answer to one question, or ``{"error": {"message", "parameter"}}``.

        Parameters
        ----------
        name : str
            One of `FUNCTIONS`.
        body : mapping
            As parsed from JSON.
        """
        try:
            check_choice("function", name, FUNCTIONS)
            if not isinstance(body, Mapping):
                raise ParameterError("body", "a map", body)
            answer: dict[str, Any] = getattr(self, f"_{name}")(body)
        except ParameterError as error:
            return {"error": {"message": message_of(error), "parameter": error.name}}
        except ImportError as error:
            return {"error": {"message": str(error), "parameter": error.name}}
        return answer

    def _about(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return about(self.model)

    def _engine(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return engine_report(get(body.get("engine", "openrouter")))

    def _keep(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._sources.keep(body.get("npy"))

    def _trace(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return traced(self._sources.row(body.get("source")), body)

    def _engines(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return compared(self._sources.row(body.get("source")), body)

    def _partings(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return parted(self._sources.row(body.get("source")), body)

    def _write(self, body: Mapping[str, Any]) -> dict[str, Any]:
        from logitlab.server.writing import written  # generation loads when a text is written

        return written(self.model, body)

    def _score(self, body: Mapping[str, Any]) -> dict[str, Any]:
        from logitlab.server.writing import scored

        return scored(self.model, body)

    def _spell(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return spelled(self._sources.row(body.get("source")), self.model, body)
