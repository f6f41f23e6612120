"""A reviewer sees every character that an agent wrote."""

import sys
import unicodedata

from audit_app.legible import visible

SHOWN_AS_THEY_ARE = {"\n", "\t"}


def test_whatever_formats_text_or_takes_no_room_is_drawn_as_its_code():
    hidden = [
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(character) in ("Cc", "Cf", "Co")
        and character not in SHOWN_AS_THEY_ARE
        and character in visible(character)
    ]
    assert [f"U+{ord(character):04X}" for character in hidden] == []


def test_letters_of_every_script_are_themselves():
    for text in ("Grüße", "مرحبا", "שלום", "你好", "🙂", "नमस्ते"):
        assert visible(text) == text
