"""Sentences with personal data, written and said, and sentences that only look like it, from a seed.

Every number is made here and is nobody's: card numbers and IBANs have right check digits, telephone numbers an area
code that exists. The sentences around them are in bench/data/personal_data.toml.
"""

from __future__ import annotations

import hashlib
import random
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

SENTENCES: Final = Path(__file__).parent / "data" / "personal_data.toml"
Half = Literal["dev", "test"]
Form = Literal["written", "spoken"]
TYPES: Final = ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS", "URL", "CRYPTO")
WRITTEN_ONLY: Final = ("CRYPTO",)  # nobody says 34 characters of mixed case
ENGLISH_ONLY: Final = ("US_SSN",)
BARE_CHANCE: Final = 0.25
"""Of a sentence that does not say what comes."""

ENGLISH: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
SPANISH: Final = (
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete "
    "dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete "
    "veintiocho veintinueve"
)
NUMBERS: Final = {"en": ENGLISH.split(), "es": SPANISH.split()}
ENGLISH_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
SPANISH_TENS: Final = "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa"
TENS: Final = {"en": ENGLISH_TENS.split(), "es": SPANISH_TENS.split()}
SIGNS: Final = {
    "en": {".": "dot", "@": "at", "_": "underscore", "-": "dash", "/": "slash", "+": "plus", ":": "colon"},
    "es": {".": "punto", "@": "arroba", "_": "guion bajo", "-": "guion", "/": "barra", "+": "más", ":": "dos puntos"},
}
US_AREAS: Final = ("212", "415", "312", "646", "617", "305", "713", "206", "404", "503")
BANKS: Final = {"DE": "d18", "GB": "l4d14", "ES": "d20", "NL": "l4d10", "FR": "d10d11d2", "CH": "d17"}
BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True)
class Sentence:
    """`type` and the span are of what stands in it; a decoy has none."""

    text: str
    language: str
    form: Form | None = None
    type: str | None = None
    start: int = 0
    end: int = 0


def sentences(half: Half, count: int, seed: int = 0) -> Iterator[Sentence]:
    """So many with one piece of personal data, all types, forms and languages in turn."""
    rng = random.Random(f"{half} {seed}")
    kinds = [
        (type_, form, language)
        for type_ in TYPES
        for form in ("written", "spoken")
        for language in ("en", "es")
        if not (form == "spoken" and type_ in WRITTEN_ONLY) and not (language == "es" and type_ in ENGLISH_ONLY)
    ]
    for number in range(count):
        type_, form, language = kinds[number % len(kinds)]
        yield sentence(half, type_, form, language, rng)


def sentence(half: Half, type_: str, form: str, language: str, rng: random.Random) -> Sentence:
    data = _data(half, language)
    carrier = rng.choice(data["any"] if rng.random() < BARE_CHANCE else data[type_])
    said = personal_datum(half, type_, form, language, rng)
    before, after = carrier.split("{}")
    return Sentence(before + said + after, language, form, type_, len(before), len(before) + len(said))  # type: ignore[arg-type]


def decoys(half: Half, count: int, seed: int = 0) -> Iterator[Sentence]:
    rng = random.Random(f"{half} decoys {seed}")
    for number in range(count):
        language = ("en", "es")[number % 2]
        yield Sentence(_filled(rng.choice(_data(half, language)["decoys"]), rng), language)


def personal_datum(half: Half, type_: str, form: str, language: str, rng: random.Random) -> str:
    """As it stands in a sentence."""
    data = _data(half, language)
    if type_ == "EMAIL_ADDRESS":
        return _address(_email(data, rng), form, language, rng)
    if type_ == "URL":
        return _address(_url(data, form, rng), form, language, rng)
    if type_ == "IP_ADDRESS":
        octets = [rng.randint(1, 254), rng.randint(0, 255), rng.randint(0, 255), rng.randint(1, 254)]
        if form == "written":
            return ".".join(map(str, octets))
        say = rng.choice((str, lambda n: _number(n, language)))
        return f" {SIGNS[language]['.']} ".join(say(octet) for octet in octets)
    makers: dict[str, Callable[[str, random.Random], list[str]]] = {
        "PHONE_NUMBER": _phone,
        "CREDIT_CARD": lambda _, rng: _card(rng),
        "US_SSN": lambda _, rng: _ssn(rng),
        "IBAN_CODE": lambda _, rng: _iban(rng),
        "CRYPTO": lambda _, rng: [_bitcoin(rng)],
    }
    groups = makers[type_](language, rng)
    return _said_groups(groups, language, rng) if form == "spoken" else _written_groups(type_, groups, rng)


def _email(data: dict[str, Any], rng: random.Random) -> str:
    name, surname = rng.choice(data["names"]), rng.choice(data["surnames"])
    local = rng.choice(
        (f"{name}.{surname}", f"{name}_{surname}", name, f"{name[0]}.{surname}", f"{name}{rng.randint(2, 99)}")
    )
    return f"{local}@{rng.choice(data['domains'])}"


def _url(data: dict[str, Any], form: str, rng: random.Random) -> str:
    domain, path = rng.choice(data["domains"]), rng.choice(data["paths"])
    # Said without www or a path, a domain of one of these ends may be a part of the sentence.
    plain = domain if domain.endswith((".com", ".org", ".net", ".io", ".dev", ".edu")) else f"www.{domain}"
    forms = [f"www.{domain}", f"{domain}/{path}", plain, f"www.{domain}/{path}"]
    return rng.choice([*forms, f"https://{domain}/{path}"] if form == "written" else forms)


def _address(written: str, form: str, language: str, rng: random.Random) -> str:
    if form == "written":
        return written
    signs = SIGNS[language]
    local, _, domain = written.rpartition("@")
    if local and rng.random() < 0.25:
        local = " ".join(local)  # spelled
    if local and rng.random() < 0.3:
        return f"{_said_signs(local, signs)} {signs['@']} {domain}"  # Whisper writes domains
    return " ".join(filter(None, [_said_signs(local, signs), signs["@"] if local else "", _said_signs(domain, signs)]))


def _said_signs(text: str, signs: dict[str, str]) -> str:
    return " ".join("".join(f" {signs[c]} " if c in signs else c for c in text).split())


def _phone(language: str, rng: random.Random) -> list[str]:
    """Groups; the first has a plus where it is a country's code."""
    american = [rng.choice(US_AREAS), f"{rng.randint(2, 9)}{_digits(2, rng)}", _digits(4, rng)]
    spanish = [f"6{_digits(2, rng)}", _digits(3, rng), _digits(3, rng)]
    mexican = ["55", f"{rng.randint(2, 8)}{_digits(3, rng)}", _digits(4, rng)]
    abroad = [
        ["+44", "20", f"79{_digits(2, rng)}", _digits(4, rng)],
        ["+49", "170", _digits(3, rng), _digits(4, rng)],
        ["+34", *spanish],
        ["+1", *american],
    ]
    home = (
        [american, american, ["020", f"79{_digits(2, rng)}", _digits(4, rng)]]
        if language == "en"
        else [spanish, spanish, mexican]
    )
    return rng.choice([*home, *home, rng.choice(abroad)])


def _card(rng: random.Random) -> list[str]:
    prefix, length = rng.choice((("4", 16), ("4", 16), ("5" + str(rng.randint(1, 5)), 16), ("37", 15), ("6011", 16)))
    digits = prefix + _digits(length - len(prefix) - 1, rng)
    doubled = sum(sum(map(int, str(2 * int(d)))) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(digits)))
    digits += str(-doubled % 10)
    cuts = (0, 4, 10, 15) if length == 15 else (0, 4, 8, 12, 16)
    return [digits[a:b] for a, b in pairwise(cuts)]


def _ssn(rng: random.Random) -> list[str]:
    return [str(rng.randint(101, 665)), f"{rng.randint(1, 99):02}", f"{rng.randint(1, 9999):04}"]


def _iban(rng: random.Random) -> list[str]:
    country, plan = rng.choice(list(BANKS.items()))
    account = "".join(
        _digits(int(part[1:]), rng)
        if part[0] == "d"
        else "".join(rng.choices("ABCDEFGHJKLMNPRSTUVWXYZ", k=int(part[1:])))
        for part in plan.replace("d", " d").replace("l", " l").split()
    )
    checked = "".join(str(int(c, 36)) for c in f"{account}{country}00")
    iban = f"{country}{98 - int(checked) % 97:02}{account}"
    return [iban[start : start + 4] for start in range(0, len(iban), 4)]


def _bitcoin(rng: random.Random) -> str:
    body = b"\0" + rng.randbytes(20)
    number = int.from_bytes(body + hashlib.sha256(hashlib.sha256(body).digest()).digest()[:4], "big")
    text = ""
    while number:
        number, rest = divmod(number, 58)
        text = BASE58[rest] + text
    return "1" * (len(body) - len(body.lstrip(b"\0"))) + text


def _written_groups(type_: str, groups: Sequence[str], rng: random.Random) -> str:
    if type_ == "PHONE_NUMBER" and groups[0].startswith("+"):
        return rng.choice((" ", " ", "-", "")).join(groups)
    if type_ == "PHONE_NUMBER":
        if len(groups[0]) == 3 and rng.random() < 0.25:
            return f"({groups[0]}) {groups[1]}-{groups[2]}"
        return rng.choice(("-", " ", ".")).join(groups)
    return rng.choice(
        {"US_SSN": ("-", "-", " "), "CREDIT_CARD": (" ", "-", ""), "CRYPTO": ("",)}.get(type_, (" ", ""))
    ).join(groups)


def _said_groups(groups: Sequence[str], language: str, rng: random.Random) -> str:
    """Digit by digit in figures or words, or in pairs, with or without a comma between the groups."""
    between = rng.choice((", ", " "))
    style = rng.choice(("words", "words", "figures", "pairs", "doubles", "hyphens"))
    return between.join(_said_group(group, style, language) for group in groups)


def _said_group(group: str, style: str, language: str) -> str:
    if group.startswith("+"):
        return f"{SIGNS[language]['+']} {_said_group(group[1:], style, language)}"
    if style == "hyphens":
        return "-".join(group)
    if style == "figures":
        return " ".join(group)
    said: list[str] = []
    at = 0
    while at < len(group):
        digit, pair = group[at], group[at : at + 2]
        if style == "pairs" and at % 2 == 0 and len(pair) == 2 and pair.isdigit() and pair[0] != "0":
            said.append(_number(int(pair), language))
            at += 2
        elif style == "doubles" and len(pair) == 2 and pair[0] == pair[1] and pair.isdigit():
            said += [{"en": "double", "es": "doble"}[language], NUMBERS[language][int(digit)]]
            at += 2
        else:
            said.append(NUMBERS[language][int(digit)] if digit.isdigit() else digit)
            at += 1
    return " ".join(said)


def _number(number: int, language: str) -> str:
    """0 to 255, in words."""
    if number < len(NUMBERS[language]):
        return NUMBERS[language][number]
    tens, unit = divmod(number, 10)
    if number < 100:
        link = " " if language == "en" else " y "
        return TENS[language][tens - 2] + (link + NUMBERS[language][unit] if unit else "")
    hundreds, rest = divmod(number, 100)
    if language == "en":
        return f"{NUMBERS['en'][hundreds]} hundred" + (f" and {_number(rest, 'en')}" if rest else "")
    return ("cien" if number == 100 else ("ciento", "doscientos")[hundreds - 1]) + (
        f" {_number(rest, 'es')}" if rest else ""
    )


def _digits(count: int, rng: random.Random) -> str:
    return "".join(rng.choices("0123456789", k=count))


def _filled(template: str, rng: random.Random) -> str:
    small, years = [rng.randint(2, 99) for _ in range(3)], sorted(rng.sample(range(1985, 2031), 3))
    values = {
        **{f"digits{n}": str(rng.randint(1, 9)) + _digits(n - 1, rng) for n in (4, 5, 7, 8, 9, 10, 12)},
        **{"small": small[0], "small2": small[1], "small3": small[2]},
        **{"year": years[0], "year2": years[1], "year3": years[2]},
        **{"hour": rng.randint(1, 11), "hour2": rng.randint(1, 11), "minutes": rng.choice((15, 30, 45))},
        **{"month": f"{rng.randint(1, 12):02}", "day": f"{rng.randint(1, 28):02}"},
        **{"hundreds": rng.randint(1, 9) * 100, "hundreds2": rng.randint(1, 9) * 100 + 50},
        **{"thousands": f"{rng.randint(1100, 99000):,}", "thousands2": f"{rng.randint(1_100_000, 99_000_000):,}"},
        **{"price": f"{rng.randint(5, 900)}.{rng.randint(10, 99)}", "price2": f"${rng.randint(1000, 9000)}"},
    }
    return template.format(**values)


def _data(half: Half, language: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(SENTENCES.read_text())[half][language]
    return found
