"""What a language model wrote, made fit to be shown.

Whoever speaks in a recording speaks to the model that reads its transcript, too. The worst that it can be talked into
is text that makes the reader's viewer fetch an address, with something else that it has read in it. So no Markdown
image or link, no HTML and no address that the source does not have comes out of here, however it is put together. Hosts
without a scheme are left as they are: no viewer fetches them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST_TEXT_CHARS = 20_000
LONGEST_CONSTRUCT_CHARS = 500
LEFT_OUT = "…"

GAP = r"\s。，、！？；：「」『』（）"
"""Where a text can be cut without cutting through an address."""
URL = (
    r"(?:[a-z][a-z0-9+.\-]{0,30}:(?:/|\\){1,2}"
    r"|(?<![a-z0-9])(?:(?:https?|ftp|file|javascript|mailto):|data:[a-z]+/|www\.)"
    r"|//(?=\w)|\\\\(?=\w))"
    rf"[^{GAP}!<>\"`()\[\]{{}}|^]+"
)
AFTER_URL = ".,;:?'*_~"
"""Belongs to the sentence, not to the address that it ends with."""
WITHIN = rf"\n]{{0,{LONGEST_CONSTRUCT_CHARS}}}"
LINK = rf"!?\[(?P<label>[^\[\]{WITHIN})\]\([^(){WITHIN}\)"
TAG = rf"<[a-z/!?][^<>{WITHIN}>"
BEGINNING = r"!\[|\]\(|\]:|<(?=[a-z/!?\[])"
"""What is left of a construct that is not whole, or goes over lines: apart, its characters mean nothing."""
MARKUP = re.compile(f"(?P<link>{LINK})|(?P<tag>{TAG})|(?P<beginning>{BEGINNING})|(?P<url>{URL})", re.IGNORECASE)
ADDRESS = re.compile(URL, re.IGNORECASE)
WHOLE = re.compile(f"{LINK}|{TAG}", re.IGNORECASE)
OPEN = re.compile(rf"!?\[[^\[\]{WITHIN}(?:\](?:\([^(){WITHIN})?)?\Z|<[a-z/!?][^<>{WITHIN}\Z", re.IGNORECASE)
SIGN_OF_ADDRESS = re.compile(r"[:/\\]|www\.", re.IGNORECASE)
ANY_GAP = re.compile(f"[{GAP}]")
LAST_GAP = re.compile(rf".*(?=[{GAP}])", re.DOTALL)

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters, half characters, and what turns the direction of the text around it."""


Addresses = frozenset[str]


def addresses(texts: Iterable[str]) -> Addresses:
    """Those that stand in them as they are: what is in markup was hardly said."""
    likely = filter(SIGN_OF_ADDRESS.search, texts)
    found = (one for text in likely for one in MARKUP.finditer(text) if one.lastgroup == "url")
    return frozenset(one[0].rstrip(AFTER_URL) for one in found)


def clean(text: str, allowed: Addresses) -> str:
    """The text with no address but the allowed ones; a link's label stays."""
    return _clean(UNSEEN.sub("", text[:LONGEST_TEXT_CHARS]), allowed).strip()


def _clean(text: str, allowed: Addresses) -> str:
    # Nothing becomes an empty string: what stood around it would come together, and might be markup again.
    def fit(found: re.Match[str]) -> str:
        match found.lastgroup:
            case "tag":
                return " "
            case "beginning":
                return " ".join(found[0]) if len(found[0]) > 1 else f"{found[0]} "
            case "url":
                address = found[0].rstrip(AFTER_URL)
                return found[0] if address in allowed else LEFT_OUT + found[0][len(address) :]
            case _:
                return f" {_clean(found['label'], allowed)} "

    return MARKUP.sub(fit, text)


def cut(text: str, most_chars: int) -> str:
    """A clean text, still clean: an address is left out rather than cut through."""
    if len(text) <= most_chars:
        return text
    kept = text[: most_chars - len(LEFT_OUT)]
    gap = LAST_GAP.match(kept)
    if gap or ADDRESS.search(kept):
        kept = gap[0] if gap else ""
    return kept.rstrip() + LEFT_OUT


class Cleaner:
    """The same for a text that comes in pieces: what `feed` and then `finish` give is together what `clean` gives."""

    def __init__(self, allowed: Addresses) -> None:
        self._allowed = allowed
        self._held = ""
        self._room = LONGEST_TEXT_CHARS
        self._begun = False
        self._gap = ""  # white space that ends the text, if nothing comes any more

    def feed(self, piece: str) -> str:
        """What nothing that follows can change any more."""
        piece = piece[: self._room]
        self._room -= len(piece)
        self._held += UNSEEN.sub("", piece)
        if not ANY_GAP.search(piece):
            return ""
        settled = WHOLE.sub(lambda found: "x" * len(found[0]), self._held)
        if opened := OPEN.search(settled):
            settled = settled[: opened.start()]
        last_gap = LAST_GAP.match(settled)
        return self._let_go(last_gap.end() if last_gap else 0)

    def finish(self) -> str:
        return self._let_go(len(self._held))

    def _let_go(self, end: int) -> str:
        text = self._gap + _clean(self._held[:end], self._allowed)
        self._held = self._held[end:]
        shown = text.rstrip() if self._begun else text.strip()
        self._begun = self._begun or bool(shown)
        self._gap = text[len(text.rstrip()) :] if self._begun else ""
        return shown
