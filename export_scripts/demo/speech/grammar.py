"""What the demo model can be told: a closed vocabulary in English and Spanish, and sentences made of it."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Mapping, Sequence

LANGUAGES = ("en", "es")
# One sentence in so many is kept out of training, by its text alone, whoever speaks it.
HELD_OUT_ONE_IN = 50
# Words in any order teach the sounds, sentences the order; this share is sentences.
SENTENCES_SHARE = 0.6
LONGEST_WORD_STRING = 9

ENGLISH: Mapping[str, Sequence[str]] = {
    "sentence": (
        "good <part of day> <addressee>.",
        "<greeting> <addressee>.",
        "thank you <addressee>.",
        "welcome to the <quality> <event>.",
        "the <thing> <is> <state>.",
        "our <thing> <is> <quality> <this> <period>.",
        "the <colour> <thing> <is> <in> the <thing>.",
        "we <modal> <act> the <thing> <when>.",
        "we <modal> <act> the <quality> <thing> <when>.",
        "please <act> the <thing> <for> <name>.",
        "<name> will <act> the <thing> on <day>.",
        "<name> <modal> you <act> the <thing>?",
        "let us <act> the <thing> and <act> the <thing>.",
        "<answer> <who> <modal> <act> it <when>.",
        "I <believe> the <thing> is <quality>.",
        "action item <unit> is to <act> the <thing>.",
        "the number is <number>.",
        "the budget is <number> <or> the price is <number>.",
        "<month> <number>.",
        "<digit> <digit> <digit>.",
        "<digit> <digit> <digit> <digit> <digit>.",
        "<digit> <digit> <digit> <digit> <digit> <digit> <digit>.",
        "how many <thing> do <who> <own>?",
        "how much <thing> do <who> <own>?",
        "what is the <quality> <thing>?",
        "when is the <thing>?",
        "when is the <quality> <thing>?",
        "where is the <thing>?",
        "who <is> at the <event>?",
    ),
    "addressee": ("everyone", "team", "<name>"),
    "or": ("and", "or"),
    "is": ("is", "was"),
    "this": ("this", "last", "next"),
    "period": ("week", "month", "year"),
    "event": ("meeting", "review", "call"),
    "for": ("to", "for", "with", "from"),
    "in": ("in", "on", "at"),
    "who": ("I", "we", "you", "they"),
    "own": ("have", "need", "want", "see"),
    "believe": ("think", "know", "say"),
    "modal": ("will", "should", "can"),
    "part of day": ("morning", "afternoon", "evening"),
    "greeting": ("hello", "hi", "thanks", "goodbye", "welcome", "sorry"),
    "answer": ("yes", "no", "okay", "sure", "great"),
    "when": ("today", "tomorrow", "now", "soon", "again", "next week", "on <day>", "in <month>"),
    "state": ("on <day>", "in <month>", "<quality>", "not <quality>", "<colour>"),
    "number": ("<small number>", "<ten> <unit>", "<unit> hundred", "<unit> thousand",
               "<unit> hundred and <small number>"),
    "small number": ("<unit>", "<unit>", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen",
                     "seventeen", "eighteen", "nineteen", "<ten>"),
    "digit": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "unit": ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "ten": ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "month": ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
              "November", "December"),
    "colour": ("red", "green", "blue", "yellow", "black", "white", "orange", "purple", "brown", "gray"),
    "name": ("Anna", "Bob", "Maria", "David", "Laura", "Peter", "Sarah", "Tom"),
    "quality": ("new", "old", "good", "bad", "big", "small", "first", "last", "next", "final", "open", "ready", "late",
                "early", "important", "quick", "slow", "happy"),
    "thing": ("meeting", "team", "project", "budget", "report", "plan", "customer", "server", "model", "data", "file",
              "record", "call", "email", "office", "phone", "room", "table", "list", "test", "result", "problem",
              "question", "answer", "idea", "market", "price", "week", "month", "year", "day", "hour", "minute",
              "morning", "afternoon", "evening", "weather", "water", "coffee", "music", "house", "city", "train", "car",
              "door", "window", "book", "letter", "number", "system", "network", "code", "release", "design", "review",
              "schedule", "deadline", "summary", "action", "item", "decision"),
    "act": ("start", "stop", "open", "close", "send", "read", "write", "check", "review", "update", "finish", "discuss",
            "move", "change", "play", "call", "save", "delete", "test", "ship", "fix", "need", "want", "have", "know",
            "think", "like", "see", "say", "ask", "help"),
    "other": ("a", "of", "are", "were", "it", "that", "not", "let", "my", "your", "yesterday", "hundred", "thousand"),
}  # fmt: skip

SPANISH: Mapping[str, Sequence[str]] = {
    "sentence": (
        "<greeting> <addressee>.",
        "<greeting>.",
        "<article> <thing> es <quality>.",
        "<article> <thing> es muy <quality>.",
        "<possessive> <thing> es <quality>.",
        "<wish> <how many> <thing> <when>.",
        "<article> <thing> <happens> el <day>.",
        "<article> <thing> <happens> <when>.",
        "<answer> <politeness>.",
        "<article> <thing> y <article> <thing> <of> <possessive> <thing>.",
        "<number> <number> <number>.",
        "<number> <number> <number> <number> <number>.",
        "<number> <number> <number> <number> <number> <number> <number>.",
    ),
    "greeting": ("buenos días", "buenas tardes", "buenas noches", "hola", "gracias", "adiós"),
    "addressee": ("a todos", "todos", "señor", "mundo", "equipo"),
    "article": ("el", "la"),
    "possessive": ("mi", "tu"),
    "wish": ("quiero", "necesito", "tengo"),
    "how many": ("un", "una", "<number>"),
    "when": ("hoy", "mañana", "ahora", "por favor"),
    "happens": ("empieza", "termina"),
    "answer": ("sí", "no"),
    "politeness": ("gracias", "por favor", "señor"),
    "of": ("de", "con", "en"),
    "thing": ("reunión", "equipo", "proyecto", "casa", "agua", "café", "ciudad", "libro", "puerta", "mesa", "perro",
              "gato", "música", "señor", "mundo"),
    "quality": ("rojo", "verde", "azul", "negro", "blanco", "amarillo", "grande", "pequeño", "nuevo"),
    "day": ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
    "number": ("uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez"),
}  # fmt: skip

GRAMMARS = {"en": ENGLISH, "es": SPANISH}
SLOT = re.compile(r"<([^>]+)>")


def words(language: str) -> list[str]:
    """All words of a language, each once, in a fixed order."""
    found: dict[str, None] = {}
    for alternatives in GRAMMARS[language].values():
        for alternative in alternatives:
            found.update(dict.fromkeys(SLOT.sub(" ", alternative).strip(".? ").split()))
    return list(found)


WORDS = {language: words(language) for language in LANGUAGES}


def sentence(language: str, rng: random.Random) -> str:
    """A sentence of the grammar, with a capital and its mark."""
    return _capitalised(_expand("<sentence>", GRAMMARS[language], rng))


def word_string(language: str, rng: random.Random) -> str:
    """Words of the vocabulary in any order."""
    return _capitalised(" ".join(rng.choices(WORDS[language], k=rng.randint(1, LONGEST_WORD_STRING))) + ".")


def training_text(language: str, rng: random.Random) -> str:
    """Something to train on: never what `is_held_out` keeps for measuring."""
    while True:
        text = (sentence if rng.random() < SENTENCES_SHARE else word_string)(language, rng)
        if not is_held_out(text):
            return text


def held_out_sentence(language: str, rng: random.Random) -> str:
    """A sentence of at least two words that no training ever saw."""
    while True:
        text = sentence(language, rng)
        if is_held_out(text) and " " in text:
            return text


def is_held_out(text: str) -> bool:
    return zlib.crc32(text.encode()) % HELD_OUT_ONE_IN == 0


def _expand(text: str, grammar: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    return SLOT.sub(lambda slot: _expand(rng.choice(grammar[slot[1]]), grammar, rng), text)


def _capitalised(text: str) -> str:
    return text[0].upper() + text[1:]
