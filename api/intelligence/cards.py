"""Flashcards and quizzes out of what was said: its own questions and definitions, and sentences with a gap."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from api.intelligence import names
from api.intelligence.grammar import GRAMMARS, headings_of
from api.intelligence.grammar.base import PLAIN
from api.intelligence.ranking import is_question_by_mark, select
from api.intelligence.reading import Reading
from api.intelligence.results import Flashcard, QuizQuestion
from api.intelligence.source import word_count
from api.intelligence.topics import may_be_topic

MOST_CARDS, MOST_ANSWERED, MOST_DEFINED = 12, 5, 5
MOST_QUESTIONS: Final = 10
DISTRACTORS: Final = 3
CARD_WORDS: Final = (6, 40)
LEAST_QUESTION_WORDS, LEAST_ANSWER_WORDS = 4, 4
GAP: Final = "(…)"
GOOD_PHRASES: Final = 20
NUMBER = re.compile(r"(?<![\w.,:/$€£-])[$€£]?\d+(?:[.,]\d+)*(?: ?%)?(?![\w:/]|[.,-]\d)")
ARTICLE = re.compile(r"^(?:the|an?|el|la|los|las|una?) ", re.IGNORECASE)


def flashcards(reading: Reading) -> list[Flashcard]:
    tasks = {item.text for item in reading.action_items}
    answered = [
        Flashcard(question.text, question.answer)
        for question in reading.questions
        if question.answer
        and question.text not in tasks
        and word_count(question.text) >= LEAST_QUESTION_WORDS
        and word_count(question.answer) >= LEAST_ANSWER_WORDS
    ]
    what_is = headings_of(reading.source.language).what_is
    defined = [Flashcard(what_is.format(term), reading.texts[place]) for term, place in definitions(reading).items()]
    cards = [*answered[:MOST_ANSWERED], *defined[:MOST_DEFINED]]
    used = {card.back for card in cards}
    for place in statements(reading):
        phrase = next(_phrases_in(reading, place), None)
        if phrase and len(cards) < MOST_CARDS and reading.texts[place] not in used:
            cards.append(Flashcard(with_gap(reading.texts[place], phrase), reading.texts[place]))
    return cards


def definitions(reading: Reading) -> dict[str, int]:
    """The terms that a sentence defines, as it writes them, and its place."""
    grammar = GRAMMARS.get(reading.source.language)
    if grammar is None:
        return {}
    found = dict[str, int]()
    for place, text in enumerate(reading.texts):
        match = grammar.definition.match(text.translate(PLAIN))
        if match is not None and word_count(text) >= CARD_WORDS[0]:
            term = text[match.start("term") : match.end("term")]
            if may_be_topic(ARTICLE.sub("", term), reading.source.language, reading.source.speakers):
                found.setdefault(term[:1].lower() + term[1:] if ARTICLE.match(term) else term, place)
    return found


def statements(reading: Reading) -> list[int]:
    """Sentences that stand by themselves, those first that say most."""
    least, longest = CARD_WORDS
    asked = {question.text for question in reading.questions}
    unfit = {
        place
        for place, text in enumerate(reading.texts)
        if not least <= word_count(text) <= longest or text in asked or is_question_by_mark(text) or GAP in text
    }
    return select(reading.vectors, reading.scores, 3 * MOST_CARDS, without=unfit)


def with_gap(text: str, phrase: str) -> str:
    """Wherever the phrase stands in it."""
    return _whole(phrase).sub(GAP, text)


def _whole(phrase: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)", re.IGNORECASE)


def _phrases_in(reading: Reading, place: int) -> Iterator[str]:
    """As the sentence writes them."""
    for phrase, _ in reading.ranked_phrases[:GOOD_PHRASES]:
        if place in phrase.sentences:
            match = _whole(phrase.text).search(reading.texts[place])
            if match:
                yield match[0]


def quiz(reading: Reading) -> list[QuizQuestion]:
    numbers = list(dict.fromkeys(number for text in reading.texts for number in NUMBER.findall(text)))
    named = names.mentions(reading.texts, reading.source.language, reading.source.speakers)
    people = list(dict.fromkeys(mention.name for mention in named))
    phrases = [phrase.text for phrase, _ in reading.ranked_phrases[:GOOD_PHRASES]]
    found = list[QuizQuestion]()
    for place in statements(reading):
        text = reading.texts[place]
        kinds = (
            (NUMBER.findall(text), numbers, _kind_of_number),
            ([mention.name for mention in named if mention.sentence == place], people, _no_kind),
            (list(_phrases_in(reading, place)), phrases, _words_of),
        )
        options = (
            _question(text, answer, [other for other in others if kind(other) == kind(answer)])
            for answers, others, kind in kinds
            for answer in answers
        )
        question = next((option for option in options if option is not None), None)
        if question is not None and len(found) < MOST_QUESTIONS:
            found.append(question)
    return found


def _kind_of_number(number: str) -> tuple[str, bool, int]:
    """Currency, whether it is a percentage or has a point, and about how large it is."""
    return number.strip("0123456789., "), "." in number, min(len(re.sub(r"\D", "", number)), 3)


def _no_kind(_: str) -> None:
    return None


def _words_of(phrase: str) -> int:
    return word_count(phrase)


def _question(text: str, answer: str, others: Sequence[str]) -> QuizQuestion | None:
    """None where there are not enough wrong answers: none is in the sentence, or like another."""
    question = with_gap(text, answer)
    options = [answer]
    for other in sorted(others, key=partial(_shuffled, question)):
        if len(options) <= DISTRACTORS and not any(_alike(other, one) for one in [text, *options]):
            options.append(other)
    if len(options) <= DISTRACTORS or GAP not in question:
        return None
    at = zlib.crc32(question.encode()) % len(options)
    return QuizQuestion(question, [*options[1 : at + 1], answer, *options[at + 1 :]], at, text)


def _alike(text: str, other: str) -> bool:
    text, other = text.casefold(), other.casefold()
    return text in other or other in text


def _shuffled(question: str, option: str) -> int:
    """An order that differs from question to question, and is always the same."""
    return zlib.crc32(f"{question}{option}".encode())
