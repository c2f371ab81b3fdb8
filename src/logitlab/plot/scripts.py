"""Fonts for scripts: which ones are looked for, and which one to install."""

from __future__ import annotations

__all__ = ["FAMILIES", "SCRIPTS", "SPOKEN"]

_CJK = "Noto Sans CJK SC"

SCRIPTS = {
    "CJK": _CJK,
    "HIRAGANA": _CJK,
    "KATAKANA": _CJK,
    "HANGUL": _CJK,
    "BOPOMOFO": _CJK,
    "YI": "Noto Sans Yi",
    "ARABIC": "Noto Sans Arabic",
    "HEBREW": "Noto Sans Hebrew",
    "SYRIAC": "Noto Sans Syriac",
    "THAANA": "Noto Sans Thaana",
    "NKO": "Noto Sans NKo",
    "DEVANAGARI": "Noto Sans Devanagari",
    "BENGALI": "Noto Sans Bengali",
    "GURMUKHI": "Noto Sans Gurmukhi",
    "GUJARATI": "Noto Sans Gujarati",
    "ORIYA": "Noto Sans Oriya",
    "TAMIL": "Noto Sans Tamil",
    "TELUGU": "Noto Sans Telugu",
    "KANNADA": "Noto Sans Kannada",
    "MALAYALAM": "Noto Sans Malayalam",
    "SINHALA": "Noto Sans Sinhala",
    "THAI": "Noto Sans Thai",
    "LAO": "Noto Sans Lao",
    "TIBETAN": "Noto Serif Tibetan",
    "MYANMAR": "Noto Sans Myanmar",
    "KHMER": "Noto Sans Khmer",
    "MONGOLIAN": "Noto Sans Mongolian",
    "JAVANESE": "Noto Sans Javanese",
    "GEORGIAN": "Noto Sans Georgian",
    "ARMENIAN": "Noto Sans Armenian",
    "ETHIOPIC": "Noto Sans Ethiopic",
    "CHEROKEE": "Noto Sans Cherokee",
    "CANADIAN SYLLABICS": "Noto Sans Canadian Aboriginal",
    "BRAILLE": "Noto Sans Symbols2",
    "EMOJI": "Noto Emoji",
}
"""By the first words of Unicode's names of its characters: a font that has the script.

They are those of Google's Noto project, https://fonts.google.com/noto, all free. That of emoji is
the one without colours, which matplotlib cannot draw.
"""

SPOKEN = {"CJK": "Chinese characters", "EMOJI": "emoji", "NKO": "N'Ko", "BRAILLE": "braille"}
"""What scripts are called where that is not their name with a capital letter."""

FAMILIES = tuple(
    dict.fromkeys(
        (
            "DejaVu Sans",  # comes along with matplotlib
            "Noto Sans CJK SC",
            "Noto Sans CJK JP",
            "Noto Sans CJK KR",
            "Source Han Sans SC",
            "WenQuanYi Micro Hei",
            "Microsoft YaHei",
            "Yu Gothic",
            "Malgun Gothic",
            "PingFang SC",
            "Hiragino Sans",
            "Arial Unicode MS",
            "Noto Sans",
            "Noto Sans Symbols",
            "Noto Sans Symbols 2",
            *SCRIPTS.values(),
        )
    )
)
"""What is looked for, the first one that has a character shows it."""
