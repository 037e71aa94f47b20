"""The languages that a model writes, and which of them is meant by a code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

from api.errors import InvalidRequest
from api.languages import name_of

SUGGESTIONS: Final = 3
FEW: Final = 5
"""So many languages can all be named."""
FARTHEST: Final = 60
"""In the distance of the Unicode CLDR's language matching that langcodes computes; from about 80 on, nobody would take
one language for the other."""
LONGEST_CODE: Final = 35  # RFC 5646, section 4.4.1


def find_target(asked: str, codes: Sequence[str]) -> str:
    """The one of the model's codes that is meant: that code, or the same language in the same script.

    `ES`, `spa` and `es-MX` are es; zh-TW is not zh, which would be written otherwise. Raises InvalidRequest with the
    nearest that there are.
    """
    wanted = asked.strip()
    if len(wanted) <= LONGEST_CODE:
        for alike in (_spelling, _identity):
            known = {alike(code): code for code in reversed(codes)}
            if (identity := alike(wanted)) is not None and identity in known:
                return known[identity]
    near = nearest(asked, codes) or (list(codes) if len(codes) <= FEW else [])
    did_you_mean = f" Did you mean {_listed([f'{code} ({name_of(code)})' for code in near])}?" if near else ""
    raise InvalidRequest(
        f"There is no translation into {asked!r:.40}.{did_you_mean} All {len(codes)} are at /v1/translate/languages."
    )


def nearest(asked: str, codes: Sequence[str]) -> list[str]:
    """The few that come closest: related languages, and those that are called or written nearly so."""
    names = {name_of(code).casefold(): code for code in reversed(codes)}
    lowered = {code.casefold(): code for code in codes}
    wanted = asked.strip().casefold()[:LONGEST_CODE]
    if not wanted.isprintable():
        return []
    found = [
        *_named(wanted, codes),
        *_related(wanted, codes),
        *(lowered[code] for code in get_close_matches(wanted, lowered, SUGGESTIONS)),
        *(names[name] for name in get_close_matches(wanted, names, SUGGESTIONS)),
    ]
    return list(dict.fromkeys(found))[:SUGGESTIONS]


def is_language(code: str) -> bool:
    """Whether that can be the code of a language at all."""
    return len(code) <= LONGEST_CODE and _identity(code) is not None


def _spelling(code: str) -> str:
    return code.replace("_", "-").casefold()


@lru_cache(maxsize=4096)
def _identity(code: str) -> tuple[str | None, str | None] | None:
    """The language and its script; None of what is the code of none."""
    from langcodes import Language
    from langcodes.tag_parser import LanguageTagError

    try:
        language = Language.get(code.replace("_", "-"))
        if not code.isascii() or not language.is_valid() or language.language in (None, "und", "zxx", "mis", "mul"):
            return None
        likely = language.prefer_macrolanguage().maximize()
        return likely.language, likely.script
    except LanguageTagError:
        return None


def _named(name: str, codes: Iterable[str]) -> list[str]:
    """By its name in any language: español, Deutsch."""
    from langcodes import find

    try:
        identity = _identity(find(name).to_tag())
    except LookupError:
        return []
    return [code for code in codes if identity is not None and _identity(code) == identity][:1]


def _related(asked: str, codes: Iterable[str]) -> list[str]:
    from langcodes import closest_match
    from langcodes.tag_parser import LanguageTagError

    tags = {code.replace("_", "-"): code for code in codes if _identity(code) is not None}
    try:
        tag, _ = closest_match(asked, list(tags), max_distance=FARTHEST)
    except LanguageTagError:
        return []
    return [tags[tag]] if tag in tags else []


def _listed(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
