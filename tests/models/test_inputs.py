from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from logitlab.models import LlamaCpp, Transformers

NETWORK = SimpleNamespace(
    forward=print,
    config=SimpleNamespace(get_text_config=print, is_encoder_decoder=False),
)


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("torch", lambda: Transformers(NETWORK), "transformers"),
        ("transformers", lambda: Transformers.load("anything"), "transformers"),
        ("llama_cpp", lambda: LlamaCpp(__file__), "llama-cpp"),
    ],
)
def test_a_missing_library_says_how_to_install_it(
    module: str, make: Callable[[], Any], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError) as error:
        make()
    assert str(error.value) == f"{module} is not installed: pip install 'logitlab[{extra}]'"
