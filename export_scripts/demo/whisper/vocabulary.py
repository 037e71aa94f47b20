"""The tokens that training knows: every word one token, a tenth of a second the grid of the time stamps.

The checkpoint has Whisper's full layout (see checkpoint.py); training leaves out what the demo model never says.
"""

from __future__ import annotations

from export_scripts.demo.speech.grammar import LANGUAGES, WORDS

UNKNOWN = 0
TIME_STEP_S = 0.1
TIME_STAMPS = 301  # 0.0 to 30.0 s


def _spellings() -> list[str]:
    """Every word as the grammar has it, and with a capital."""
    found: dict[str, None] = {}
    for language in LANGUAGES:
        for word in WORDS[language]:
            found.update(dict.fromkeys((word, word[0].upper() + word[1:])))
    return list(found)


SPELLINGS = _spellings()
MARKS = (".", "?")
SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    "<|transcribe|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
TEXT_TOKENS = ["<unknown>", *(f" {word}" for word in SPELLINGS), *MARKS, *SPECIAL]
FIRST_TIME = len(TEXT_TOKENS)
TOKENS = TEXT_TOKENS + [f"<|{step * TIME_STEP_S:.2f}|>" for step in range(TIME_STAMPS)]
TOKEN_IDS = {token: index for index, token in enumerate(TOKENS)}

# What the encoder's frames are taught to tell apart: words as they sound. 0 is no word.
SOUNDS = {word: index + 1 for index, word in enumerate(sorted({word.lower() for word in SPELLINGS}))}


def word_tokens(text: str) -> list[int]:
    """A sentence's words without its mark."""
    return [TOKEN_IDS[f" {word}"] for word in text[:-1].split()]


def mark_token(text: str) -> int:
    return TOKEN_IDS[text[-1]]


def sounds(text: str) -> list[int]:
    return [SOUNDS[word.lower()] for word in text[:-1].split()]


def time_token(step: int) -> int:
    return FIRST_TIME + step
