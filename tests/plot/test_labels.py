"""Labels show every token, with the fonts there are, in the room there is."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import logitlab as ll
import pytest
from hypothesis import given, strategies as st
from logitlab.plot import labels as module
from logitlab.plot.labels import fonts, label, labels, missing_fonts, shortened
from logitlab.plot.scripts import FAMILIES, SCRIPTS
from logitlab.plot.style import fit_font, spread
from matplotlib.font_manager import findfont, get_font

from plot.pictures import distribution, logits, vocabulary


def covered(text: str) -> bool:
    maps = [get_font(findfont(name)).get_charmap() for name in fonts()]
    return all(any(ord(character) in m for m in maps) for character in text)


def test_hostile_tokens_have_labels_that_the_eye_can_tell_apart() -> None:
    shown = labels(range(24), vocabulary(24))
    assert shown[:4] == ["⏎", "⇥", "<empty>", "<0xE6><0x97>"]
    assert shown[5:10] == ["longlong…longlong", "$", "_", "$a_b$", "_x"]
    assert len(set(shown[:22])) == 22


@given(st.binary(max_size=40))
def test_any_token_is_short_and_made_of_characters_that_some_font_has(token: bytes) -> None:
    text = label(0, ll.Vocabulary([token]), 18)
    assert 0 < len(text) <= 18
    assert covered(text)


def test_scripts_that_no_font_here_has_are_code_points() -> None:
    # An unassigned block of plane 14 has no font anywhere.
    text = label(0, ll.Vocabulary(["a\U000e0fffb".encode()]))
    assert text == "a<U+E0FFF>b"


@given(st.text(max_size=60), st.integers(3, 40))
def test_shortened_texts_keep_both_ends(text: str, length: int) -> None:
    short = shortened(text, length)
    assert len(short) <= max(length, 1)
    if len(text) > length:
        head, tail = short.split("…", 1) if short.count("…") == 1 else (short[:1], short[-1:])
        assert text.startswith(head) or "…" in text
        assert text.endswith(tail) or "…" in text
    else:
        assert short == text


@given(st.lists(st.floats(0, 1), max_size=20), st.floats(0.001, 0.2))
def test_labels_that_are_spread_keep_their_order_distance_and_room(
    wanted: list[float], distance: float
) -> None:
    places = spread(wanted, distance, 0, 1)
    least = min(distance, 1 / max(len(wanted) - 1, 1))
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    for one, other in pairwise(order):
        assert places[other] - places[one] >= least - 1e-6
    assert all(-1e-6 <= place <= 1 + 1e-6 for place in places)
    if all(abs(a - b) > distance + 1e-9 for i, a in enumerate(wanted) for b in wanted[:i]):
        assert all(abs(a - b) < 1e-6 for a, b in zip(places, wanted, strict=True))


def test_more_lines_take_smaller_letters() -> None:
    assert fit_font(5, 10) == 9
    assert 4 < fit_font(5, 50) < 9
    assert fit_font(5, 10_000) == 4


def test_long_runs_are_counted_so_that_they_differ() -> None:
    words = ll.Vocabulary([b"-" * n for n in (18, 27, 28)] + [b"\n" + b" " * 31])
    assert labels(range(4), words) == ["-" * 18, "-×27", "-×28", "⏎␣×31"]


FAMILY = "👨\u200d👩\u200d👧"


@pytest.mark.parametrize(
    "texts",
    [
        ("…", "..."),
        (FAMILY, f"{FAMILY}\u200d👦"),  # too long for a label, and no font has them
        ("internationalisation of everything", "internationalization of everything"),
        ("сор", "cop"),  # Cyrillic and Latin
        ("-", "–", "—"),
        ("Il", "ll", "|l"),
        ("ﬁ", "fi"),
        ("a", "a"),
    ],
)
def test_labels_that_the_eye_cannot_tell_apart_have_their_ids(texts: tuple[str, ...]) -> None:
    words = ll.Vocabulary([text.encode() for text in (*texts, "another")])
    *alike, other = labels(range(len(texts) + 1), words)
    assert [name.split(" ")[-1] for name in alike] == [f"#{i}" for i in range(len(texts))]
    assert other == "another"
    assert max(map(len, alike)) <= 18
    assert labels([0], words) == [label(0, words)]  # alone it needs none


def test_no_two_tokens_of_a_vocabulary_have_the_same_label() -> None:
    words = ll.datasets.load("smollm2").vocabulary
    shown = labels(range(len(words)), words)
    assert len(set(shown)) == len(words)
    assert sum(" #" in name for name in shown) < len(words) / 100


def test_a_script_that_no_font_shows_says_which_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_covered", lambda: frozenset(range(0x250)))
    texts = ["తెలుగు", "日本", "😀", "plain", "\u200b", "\ue000"]
    words = ll.Vocabulary([text.encode() for text in texts])
    assert missing_fonts([3, 4, 5], words) == missing_fonts([0], None) == ""
    assert missing_fonts(range(6), words) == (
        "No font here shows Chinese characters, emoji, Telugu: "
        "install Noto Sans CJK SC, Noto Emoji, Noto Sans Telugu."
    )
    ax = distribution(logits(6), words)
    assert "install Noto Sans CJK SC, Noto Emoji" in ax.get_xlabel().replace("\n", " ")


def test_what_one_is_told_to_install_is_looked_for() -> None:
    assert set(SCRIPTS.values()) <= set(FAMILIES)
    # Each name begins those of the letters of its script, but for emoji, which have no script.
    letters = {
        name.split(" LETTER")[0].split(" SYLLABLE")[0] for name in map(name_of, range(0x30000))
    }
    assert all(
        any(one.startswith(script) for one in letters) for script in SCRIPTS.keys() - {"EMOJI"}
    )


def name_of(code: int) -> str:
    return unicodedata.name(chr(code), "")
