"""From an expanded template to text: agreement of gender, number and person, and the spelling of numbers.

mesa_f      a noun: m masculine, f feminine, a feminine that takes el, p a plural, M masculine of people
el»la       agrees with the next noun, nuevo«nueva with the one before; a third form is the plural
@4          what follows is said of us: voy/vas/va/vamos/van are I, you, she, we, they
es%está     está where a later word has ^, as ^abierto has
~           the preposition a, where the next noun is of people
+dos        a number that makes the next noun plural: gato|gatos
"""

from __future__ import annotations

import re
from collections.abc import Sequence

NEXT, BEFORE = "»", "«"
FORM = {"m": 0, "M": 0, "f": 1, "a": 1, "p": 2}
BEFORE_STRESSED_A = ("el", "un")
"""What a feminine noun that begins so, as agua, has right before it in place of la and una."""
PEOPLE = "M"
MARKED_NOUN = re.compile(r"\w_([mfapM])$")
FUSED = {
    "veinte y uno": "veintiuno", "veinte y dos": "veintidós", "veinte y tres": "veintitrés",
    "veinte y cuatro": "veinticuatro", "veinte y cinco": "veinticinco", "veinte y seis": "veintiséis",
    "veinte y siete": "veintisiete", "veinte y ocho": "veintiocho", "veinte y nueve": "veintinueve",
    "cinco cientos": "quinientos", "siete cientos": "setecientos", "nueve cientos": "novecientos", "uno mil": "mil",
}  # fmt: skip
SPELLING = (
    (re.compile(rf"\b({'|'.join(FUSED)})\b"), lambda match: FUSED[match[0]]),
    (re.compile(r"\buno cientos(?= \w)"), lambda _: "ciento"),
    (re.compile(r"\buno cientos\b"), lambda _: "cien"),
    (re.compile(r"\b(\w+) cientos\b"), lambda match: f"{match[1]}cientos"),
    (re.compile(r"\ba el\b"), lambda _: "al"),
)


def realise(template: str) -> str:
    """The text that a template with marks stands for, with a capital."""
    words = re.sub(r"([.?])", r" \1", template).split()
    words = _numbered(words)
    words = _conjugated(words)
    genders = [found[1] if (found := MARKED_NOUN.search(word)) else "" for word in words]
    words = [_agreeing(word, genders, index) for index, word in enumerate(words)]
    words = [_copula(word, words[index:]) for index, word in enumerate(words)]
    text = " ".join(re.sub(r"^[\^+]|_[mfapM]$", "", word) for word in words if word)
    for pattern, spelling in SPELLING:
        text = pattern.sub(spelling, text)
    return capitalised(text.replace("¿ ", "¿").replace(" .", ".").replace(" ?", "?"))


def capitalised(text: str) -> str:
    return re.sub(r"\w", lambda first: first[0].upper(), text, count=1)


def _numbered(words: Sequence[str]) -> list[str]:
    """The singular of each noun that has two forms, or its plural behind a number."""
    before = ["", *words]
    return [
        word.split("|")[previous.startswith("+")] if "|" in word else word
        for previous, word in zip(before, words, strict=False)
    ]


def _conjugated(words: Sequence[str]) -> list[str]:
    person = 0
    conjugated = []
    for word in words:
        if word.startswith("@"):
            person = int(word[1:])
        else:
            conjugated.append(word.split("/")[person - 1] if "/" in word else word)
    return conjugated


def _agreeing(word: str, genders: Sequence[str], index: int) -> str:
    behind = [gender for gender in genders[index + 1 :] if gender]
    if word == "~":
        return "a" if behind[0] == PEOPLE else ""
    if word == "uno" and genders[index + 1 : index + 2] not in ([], [""]):
        return "una" if behind[0] == "f" else "un"
    if NEXT in word:
        forms = word.split(NEXT)
        if genders[index + 1] == "a" and forms[0] in BEFORE_STRESSED_A:
            return forms[0]
        return forms[FORM[behind[0]]]
    if BEFORE in word:
        nouns = [gender for gender in genders[:index] if gender]
        estar = "^" if word.startswith("^") else ""
        return estar + word.removeprefix("^").split(BEFORE)[FORM[nouns[-1]]]
    return word


def _copula(word: str, words: Sequence[str]) -> str:
    if "%" not in word:
        return word
    ser, estar = word.split("%")
    return estar if any(later.startswith("^") for later in words) else ser
