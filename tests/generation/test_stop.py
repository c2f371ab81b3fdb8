"""Stop strings: where a text is cut depends on its characters alone."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from logitlab.generation.stop import StoppedText

from strategies import chunked_bytes, stop_strings


def earliest(text: str, stops: list[str]) -> int:
    """Where the stop string begins that begins first, or the end of the text."""
    return min([text.index(stop) for stop in stops if stop in text], default=len(text))


@given(chunked_bytes(), stop_strings())
def test_text_is_cut_at_the_earliest_match(chunks: list[bytes], stops: list[str]) -> None:
    whole = b"".join(chunks).decode("utf-8", "replace")
    expected = whole[: earliest(whole, stops)]
    text = StoppedText(stops)
    pieces = []
    for chunk in chunks:
        pieces.append(text.add(chunk))
        assert expected.startswith("".join(pieces))  # no part of a stop string is ever shown
        if text.settled:
            break
    else:
        pieces.append(text.add(b"", final=True))
    assert "".join(pieces) == text.shown == expected
    assert (text.match is not None) == (len(expected) < len(whole) or expected != whole)
    if text.match is not None:
        assert text.match.start == len(expected)
        assert whole.startswith(text.match.stop, text.match.start)


@given(chunked_bytes(), stop_strings())
def test_borders_of_chunks_do_not_matter(chunks: list[bytes], stops: list[str]) -> None:
    results = []
    for parts in (chunks, [bytes([byte]) for byte in b"".join(chunks)], [b"".join(chunks)]):
        text = StoppedText(stops)
        for part in parts:
            text.add(part)
        text.add(b"", final=True)
        results.append((text.shown, text.match and text.match.start))
    assert results[0] == results[1] == results[2]


@given(chunked_bytes())
def test_nothing_is_held_back_without_stop_strings(chunks: list[bytes]) -> None:
    text = StoppedText()
    for i, chunk in enumerate(chunks):
        text.add(chunk)
        seen = b"".join(chunks[: i + 1]).decode("utf-8", "ignore")
        assert text.shown.replace("\ufffd", "") == seen.replace("\ufffd", "")
    assert not text.settled


def test_a_match_waits_for_one_that_begins_earlier() -> None:
    text = StoppedText(["bc", "abcd"])
    assert text.add(b"xabc") == "x"
    assert text.match == (2, "bc")
    assert not text.settled
    text.add(b"d")
    assert text.settled
    assert text.match == (1, "abcd")
    assert text.shown == "x"


def test_a_match_is_settled_once_nothing_earlier_is_possible() -> None:
    text = StoppedText(["bc", "abcd"])
    text.add(b"xabc")
    text.add(b"x")
    assert text.settled
    assert text.shown == "xa"


@pytest.mark.parametrize("stop", ["aab", "abab", "aaaa", "é日é"])
def test_periodic_stop_strings(stop: str) -> None:
    before = stop[:-1] * 2
    text = StoppedText([stop])
    text.add((before + stop).encode())
    assert text.shown == (before + stop)[: (before + stop).index(stop)]


@given(st.text(max_size=40))
def test_unfinished_characters_are_held_back(word: str) -> None:
    text = StoppedText()
    for byte in word.encode("utf-8", "replace"):
        text.add(bytes([byte]))
        assert word.startswith(text.shown)
