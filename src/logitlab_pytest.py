"""A pytest plugin: a server for the tests of an application, and laws for a sampler of your own.

The fixture is `logitlab_server`. ``pytest --logitlab-sampler module:function`` adds one test for
each of `logitlab.testing.LAWS`; the other options are those of `logitlab.testing.check`. Until a
test asks for the one, or the command line for the other, it imports nothing but the standard
library and pytest.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from logitlab.models.model import Model
    from logitlab.server.run import Background

__all__ = ["LogitlabServer", "logitlab_model", "logitlab_server"]


class LogitlabServer:
    """A server on a free port of the loopback.

    Attributes
    ----------
    url : str
        The base URL for clients, such as ``http://127.0.0.1:40123/v1``.
    """

    def __init__(self, running: Background) -> None:
        self._running = running
        self._rules: list[Mapping[str, Any]] = []
        self.url: str = running.url

    @property
    def rules(self) -> list[Mapping[str, Any]]:
        """The rules of its script, which may be set: see ``logitlab.server.script.Script``."""
        return list(self._rules)

    @rules.setter
    def rules(self, rules: Sequence[Mapping[str, Any]]) -> None:
        from logitlab.server.script import Script

        application = self._running.application
        application.script = Script(rules, application.model)
        self._rules = list(rules)

    @property
    def journal(self) -> list[dict[str, Any]]:
        """What was asked since the test began, oldest first: path, request, status and more."""
        entries: list[dict[str, Any]] = self._running.application.journal.report()["requests"]
        return entries

    def reset(self) -> None:
        """Forget the rules and the journal."""
        self.rules = []
        self._running.application.journal.clear()


@pytest.fixture(scope="session")
def logitlab_model() -> Model:
    """Return the model that answers: the bundled one, unless a conftest.py has another."""
    from logitlab.models import load

    return load("grimm")


@pytest.fixture(scope="session")
def _logitlab_running(logitlab_model: Model) -> Iterator[Background]:
    from logitlab.server.run import Background

    with Background(logitlab_model) as running:
        yield running


@pytest.fixture
def logitlab_server(_logitlab_running: Background) -> Iterator[LogitlabServer]:
    """Yield a server of OpenAI's protocol, the same for all tests, without rules and journal."""
    server = LogitlabServer(_logitlab_running)
    server.reset()
    yield server
    server.reset()


_WORDS = {"engine": "by whose rules, such as vllm", "gives": "what it returns, if that is not to be"
          " inferred", "arrays": "what it takes: numpy, torch, jax or mlx", "arithmetic": "what it"
          " computes in, such as float32"}  # fmt: skip

_NUMBERS = {"error": "chance of a false alarm", "seed": "of the rows", "calls": "how often it is"
            " called"}  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for a sampler."""
    group = parser.getgroup("logitlab", "logitlab: laws for a sampler")
    group.addoption(
        "--logitlab-sampler",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="a sampler that is to hold to the laws; may be given several times",
    )
    group.addoption(
        "--logitlab-like",
        default=None,
        metavar="JSON",
        help="what it is to do: a request, or a list of these for one that takes a request",
    )
    for name, words in _WORDS.items():
        group.addoption(f"--logitlab-{name}", default=None, help=words)
    group.addoption("--logitlab-batch", action="store_true", help="whether it takes several rows")
    for name, words in _NUMBERS.items():  # read by `_number`, which says what is wrong
        group.addoption(f"--logitlab-{name}", default=None, metavar="N", help=words)


class _Law(pytest.Item):
    """One law for one sampler."""

    def __init__(self, *, law: str, sampler: Any, like: Any, options: Any, **more: Any) -> None:
        super().__init__(**more)
        self._call = law, sampler, like, options

    def runtest(self) -> None:
        """Hold the sampler to the law."""
        from logitlab.testing import LAWS

        law, sampler, like, options = self._call
        LAWS[law](sampler, like, **options)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the sentence and the lines that show it, without the frames of the law."""
        from logitlab.testing import SamplerError

        if isinstance(excinfo.value, SamplerError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Return where it stands, and what it is called."""
        return self.path, None, self.name


def pytest_configure(config: pytest.Config) -> None:
    """Load the samplers and check the options, before anything is collected or workers begin."""
    names = config.getoption("--logitlab-sampler")
    options = {name: config.getoption(f"--logitlab-{name}") for name in (*_WORDS, *_NUMBERS)}
    options = {name: value for name, value in options.items() if value is not None}
    if config.getoption("--logitlab-batch"):
        options["batch"] = True
    like = config.getoption("--logitlab-like")
    if not names:
        given = [*options, *(["like"] if like is not None else [])]
        if given:
            raise pytest.UsageError(f"--logitlab-{given[0]} needs --logitlab-sampler")
        return
    try:
        like = {} if like is None else json.loads(like)
    except (ValueError, RecursionError) as error:
        raise pytest.UsageError(f"--logitlab-like must be JSON: {error}") from None
    options = {
        name: _number(value) if name in _NUMBERS else value for name, value in options.items()
    }
    found = {name: _load(name, str(config.invocation_params.dir)) for name in names}
    for name, sampler in found.items():
        _check(name, sampler, like, options)
    config.stash[_SAMPLERS] = found, like, options


def _number(text: str) -> Any:
    """Return the number that a text is, or the text itself for the checks to refuse."""
    for kind in (int, float):
        try:
            return text if "_" in text else kind(text)
        except ValueError:
            continue
    return text


def _check(name: str, sampler: Any, like: Any, options: Mapping[str, Any]) -> None:
    """Raise for options that no law could take."""
    from logitlab.checks import ParameterError
    from logitlab.testing.asking import Asking

    try:
        Asking(sampler, like, **options)
    except ParameterError as error:
        if error.name == "sampler":
            raise pytest.UsageError(f"--logitlab-sampler {name}: {error}") from None
        own = error.name in options or error.name.startswith("like")
        where = f"--logitlab-{error.name}" if own else f"--logitlab-like: {error.name}"
        message = str(error).removeprefix(error.name)
        raise pytest.UsageError(f"{where}{message}") from None


_SAMPLERS = pytest.StashKey[tuple[dict[str, Any], Any, dict[str, Any]]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the laws, so that ``-k`` and ``-n`` see them as they see every test."""
    if _SAMPLERS not in config.stash:
        return
    samplers, like, options = config.stash[_SAMPLERS]
    from logitlab.testing import LAWS

    laws = [
        _Law.from_parent(
            session,
            name=f"{name}[{law}]",
            nodeid=f"logitlab::{name}[{law}]",
            law=law,
            sampler=sampler,
            like=like,
            options=options,
        )
        for name, sampler in samplers.items()
        for law in LAWS
    ]
    items += laws
    # So that the terminal counts them, too.
    report = pytest.CollectReport("logitlab", "passed", None, list(laws))
    config.hook.pytest_collectreport(report=report)


def _load(name: str, folder: str) -> Any:
    """Return a function by the name of its module and its own."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise pytest.UsageError(f"--logitlab-sampler must be MODULE:FUNCTION, got {name!r}")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = import_module(module)
    except (Exception, SystemExit) as error:  # whatever a module does where it is imported
        words = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise pytest.UsageError(
            f"--logitlab-sampler {name}: importing it raises {words}"
        ) from error
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise pytest.UsageError(f"--logitlab-sampler {name}: {error}") from None
    return found
