"""Chat templates: what transformers renders, and what goes wrong in a template's own words."""

from __future__ import annotations

import pytest
from logitlab import ParameterError
from logitlab.models.chat_template import render

from models import recorded

ASKED = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("name", recorded.TEMPLATES)
def test_conversations_are_those_of_transformers(name: str) -> None:
    answers = recorded.load()["chats"][name]
    assert len(answers) == len(recorded.CHATS)
    for chat, answer in zip(recorded.CHATS, answers, strict=True):
        template = recorded.TEMPLATES[name]
        assert render(template, chat, bos_token="<|start|>", eos_token="<|end|>") == answer


def test_the_time_is_there_and_parts_are_text() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    found = render("{{ strftime_now('%Y') }} {{ messages[0].content }}", parts)
    assert found.startswith("2")
    assert found.endswith(" Hi")


def test_a_template_refuses_in_its_own_words() -> None:
    template = "{{ raise_exception('Roles must alternate.') }}"
    with pytest.raises(ParameterError) as caught:
        render(template, ASKED)
    assert str(caught.value) == (
        "messages must be a conversation that the model's chat template accepts, "
        "got [{'role': 'user', 'content': 'Hi'}]. It says: Roles must alternate."
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content + 5 }}",
        "{{ messages[7].content.x }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    ],
)
def test_what_fails_inside_a_template_is_told(template: str) -> None:
    with pytest.raises(ParameterError, match=r"chat template accepts.* It says: "):
        render(template, ASKED)


def test_a_template_that_is_no_jinja_is_told() -> None:
    with pytest.raises(ParameterError, match=r"chat template must be Jinja, got '\{% if %\}'\. It"):
        render("{% if %}", ASKED)


def test_messages_are_checked_first() -> None:
    with pytest.raises(ParameterError, match=r"messages\[0\]\.role must be one of"):
        render("{{ raise_exception('never') }}", [{"role": "robot", "content": "Hi"}])
