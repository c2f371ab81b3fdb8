"""Chat templates: a conversation as one text, by the Jinja template that a model comes with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from logitlab.checks import ParameterError, needs
from logitlab.models.messages import check_messages
from logitlab.models.model import Message

__all__ = ["render"]


def render(template: str, messages: Sequence[Message], **names: Any) -> str:
    r"""Return a conversation as text, up to where the answer begins.

    As transformers renders templates: blocks swallow their line, and ``tojson``,
    ``raise_exception``, ``strftime_now``, ``break`` and ``continue`` are there. The template runs
    in a sandbox. [1]_

    Parameters
    ----------
    template : str
        Jinja, over ``messages`` and ``add_generation_prompt``.
    messages : sequence of mapping
        Each with a "role" and its "content".
    **names
        What else it may ask for, such as ``bos_token``.

    Raises
    ------
    ParameterError
        For messages that are none; for what the template itself refuses, in its words; for a
        template that is no Jinja.
    ImportError
        Without the extra ``gguf``.

    References
    ----------
    .. [1] https://huggingface.co/docs/transformers/chat_templating

    Examples
    --------
    >>> template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    >>> render(template, [{"role": "user", "content": "Hello"}])
    'user: Hello\nassistant:'
    """
    plain = check_messages(messages)
    program = _jinja_program(template)
    values = {"tools": None, "documents": None, "add_generation_prompt": True, **names}
    try:
        return str(program.render(messages=plain, **values))
    except Exception as error:  # whatever the template's own code comes to
        rule = "a conversation that the model's chat template accepts"
        raise ParameterError("messages", rule, messages, f"It says: {error}") from error


@lru_cache
def _jinja_program(template: str) -> Any:
    needs("gguf", "jinja2")
    from jinja2 import TemplateError, TemplateSyntaxError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks the answers for training; here it is its contents."""

        tags = {"generation"}  # noqa: RUF012 (as Jinja declares it)

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(template)
    except TemplateSyntaxError as error:
        raise ParameterError("chat template", "Jinja", template, f"It says: {error}") from None


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)
