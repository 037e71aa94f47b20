"""Devanagari in Latin letters without diacritics, as people write Hindi on a keyboard: नमस्ते is namaste.

The letters are a library's, in ISO 15919. What that has not is Hindi's silent vowel: लड़का is laṛakā by its letters, and
larka as it is said.
"""

from __future__ import annotations

import re
from typing import Final
from unicodedata import normalize

VOWELS: Final = {
    "ai": "ai", "au": "au", "ā": "a", "ī": "i", "ū": "u", "ē": "e", "ō": "o", "ê": "e", "ô": "o", "e": "e", "o": "o",
    "a": "a", "i": "i", "u": "u", "r̥̄": "ri", "r̥": "ri", "l̥": "li",
}  # fmt: skip
CONSONANTS: Final = {
    "k͟h": "kh", "kh": "kh", "gh": "gh", "ch": "chh", "jh": "jh", "ṭh": "th", "ḍh": "dh", "th": "th", "dh": "dh",
    "ph": "ph", "bh": "bh", "ṛh": "rh", "jñ": "gy", "ś": "sh", "ṣ": "sh", "c": "ch", "ṭ": "t", "ḍ": "d", "ṛ": "r",
    "ṅ": "n", "ñ": "n", "ṇ": "n", "ġ": "g", "ḷ": "l", "ḻ": "l", "ṟ": "r", "ṉ": "n", "m̐": "n", "ṁ": "n", "ḥ": "h",
    **{plain: plain for plain in "kgjtdnpbmyrlvshqzfw"},
}  # fmt: skip
PHONEME: Final = re.compile("|".join(sorted((*VOWELS, *CONSONANTS), key=len, reverse=True)))
SCHWA: Final = "a"
KEEPS_FINAL_SCHWA: Final = frozenset({"y", "r", "l", "v", "ṇ"})
"""At the end of a cluster: mitra, rajya, krishna; but dost, dharm."""
JOINERS: Final = re.compile("[\u200c\u200d]")


def romanized(text: str) -> str:
    """A run of Devanagari letters, digits or marks."""
    from indic_transliteration import sanscript  # 13 MB, where somebody asks

    iso: str = sanscript.transliterate(JOINERS.sub("", text), sanscript.DEVANAGARI, sanscript.ISO)
    return _plain(normalize("NFC", iso))


def _plain(iso: str) -> str:
    parts, end = list[str](), 0
    for run in re.finditer(f"(?:{PHONEME.pattern})+", iso):
        parts += [iso[end : run.start()], _said(PHONEME.findall(run[0]))]
        end = run.end()
    rest = "".join([*parts, iso[end:]]).replace("\u0964", ".").replace("\u0965", ".")
    return normalize("NFKD", rest).encode("ascii", "ignore").decode()


def _said(phonemes: list[str]) -> str:
    """Without the vowels that are written and not said (after Ohala 1983): at the end, and from there backwards where
    one consonant is on each side and a vowel behind both."""
    left = phonemes[:-1] if _ends_silently(phonemes) else phonemes[:]
    place = len(left) - 3
    while place >= 2:
        before, consonant, vowel, following, behind = left[place - 2 : place + 3]
        if (
            vowel == SCHWA
            and consonant in CONSONANTS
            and following in CONSONANTS
            and following not in ("ṁ", "m̐", "ḥ")
            and before in VOWELS
            and behind in VOWELS
        ):
            del left[place]
        place -= 1
    return "".join(
        "m" if phoneme == "ṁ" and after[:1] in {"p", "b", "m"} else (VOWELS | CONSONANTS)[phoneme]
        for phoneme, after in zip(left, [*left[1:], ""], strict=True)
    )


def _ends_silently(phonemes: list[str]) -> bool:
    if phonemes[-1] != SCHWA or not any(phoneme in VOWELS for phoneme in phonemes[:-1]):
        return False
    *_, before, consonant = ["", "", *phonemes[:-1]]
    if consonant not in CONSONANTS:
        return False
    if before in CONSONANTS and before not in ("ṁ", "m̐"):
        return consonant not in KEEPS_FINAL_SCHWA
    return not (consonant == "y" and before in ("i", "ī"))
