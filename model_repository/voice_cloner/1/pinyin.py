"""Texts as F5-TTS spells them: in characters, with a space before each word, and Chinese in pinyin with its tone.

Where a word begins is what jieba says. Of texts without Chinese it says little, so that two expressions do for them;
for the others rjieba and pypinyin must be installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# What F5-TTS's vocabularies lack.
REPLACED = str.maketrans({";": ",", "“": '"', "”": '"', "‘": "'", "’": "'"})
# jieba's words of other scripts than Chinese: letters and digits with single marks between them, and rows of marks.
WORD = re.compile(r"[a-zA-Z0-9]+(?:[._-][a-zA-Z0-9]+)*%?|[+#&._%-]+|\r\n|.", re.DOTALL)
# What needs jieba: all from the scripts of East Asia on, and the words without any of it that its dictionary has.
NEEDS_JIEBA = re.compile("[\u2e80-\U0010ffff]|[cC]#|[cC]\\+\\+|AT&T")
NO_SPACE_AFTER = " :'\""
CHINESE = re.compile("[\u3100-\u9fff]")
CHINESE_BYTES = 3  # of a character in UTF-8


class NoPinyinError(Exception):
    """The text is Chinese, and what reads Chinese is not installed."""


def spell(text: str) -> list[str]:
    """As f5_tts.model.utils.convert_char_to_pinyin. Raises NoPinyinError."""
    text = text.translate(REPLACED)
    characters: list[str] = []
    for word in _words(text):
        if word.isascii():
            if characters and len(word) > 1 and characters[-1] not in NO_SPACE_AFTER:
                characters.append(" ")
            characters += word
        else:
            for character, sound in _sounds(word):
                if CHINESE.match(character):
                    characters.append(" ")
                characters.append(sound)
    return characters


def _words(text: str) -> list[str]:
    if not NEEDS_JIEBA.search(text):
        return WORD.findall(text)
    try:
        import rjieba
    except ModuleNotFoundError as error:
        raise NoPinyinError("Chinese and its like cannot be spoken here: rjieba is not installed.") from error
    words: list[str] = rjieba.cut(text)
    return words


def _sounds(word: str) -> Iterator[tuple[str, str]]:
    """Each character with what is said for it, of Chinese in the tones that it has within the word."""
    if not NEEDS_JIEBA.search(word):
        return zip(word, word, strict=True)
    try:
        from pypinyin import Style, lazy_pinyin
    except ModuleNotFoundError as error:
        raise NoPinyinError("Chinese and its like cannot be spoken here: pypinyin is not installed.") from error
    if len(word.encode()) == CHINESE_BYTES * len(word):
        sounds = lazy_pinyin(word, style=Style.TONE3, tone_sandhi=True)
        if len(sounds) == len(word):  # what it cannot read it leaves as it is, in one piece
            return zip(word, sounds, strict=True)
    return (
        (character, lazy_pinyin(character, style=Style.TONE3)[0] if CHINESE.match(character) else character)
        for character in word
    )
