"""Labels show every token, with the fonts there are, in the room there is."""

from __future__ import annotations

from itertools import pairwise

import logitlab as ll
from hypothesis import given, strategies as st
from logitlab.plot.labels import fonts, label, labels, shortened
from logitlab.plot.style import fit_font, spread
from matplotlib.font_manager import findfont, get_font

from plot.pictures import vocabulary


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
