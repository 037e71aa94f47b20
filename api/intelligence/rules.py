"""Tasks, decisions and questions, found by the words that people use for them. Rather too few than false ones."""

from __future__ import annotations

import re
from collections.abc import Sequence

from api.intelligence.grammar import GRAMMARS
from api.intelligence.grammar.base import NAME, NOTED, PLAIN, Cue, Grammar
from api.intelligence.ranking import is_question_by_mark
from api.intelligence.results import ActionItem, Question, Quoted
from api.intelligence.source import UNSPACED, Sentence, Source, word_count

VOCATIVE = re.compile(rf"^(?:[A-Za-z]+, )?(?P<first>{NAME}),|, (?P<last>{NAME})[.?!]*$")
LEAST_WORDS_OF_QUESTION = 3
SHORT_ANSWER_WORDS = 4
WORDS_BEFORE_TIME = 2
"""A sentence may begin with a time, but for words such as "so" and "well"."""
ANSWER_WITHIN = 3
"""Whoever asks may go on for a sentence or two before somebody answers."""
ARTICLES = frozenset({"the", "el"})
"""Of a team, which has no name of its own."""
ENDS = ".!…。！।"


def quoted(sentence: Sentence) -> Quoted:
    return Quoted(
        text=sentence.text,
        speaker=sentence.speaker,
        start=sentence.start,
        end=sentence.end,
        segment_order=sentence.segment_order,
    )


def action_items(source: Source) -> list[ActionItem]:
    found = (action_item(sentence, source.language) for sentence in source.sentences)
    return [item for item in found if item is not None]


def action_item(sentence: Sentence, language: str) -> ActionItem | None:
    text = sentence.text.translate(PLAIN)
    grammar = GRAMMARS.get(language)
    noted = NOTED.search(text)
    if noted is not None:
        return _item(sentence, noted["who"], _due(sentence.text, text, noted, grammar))
    if grammar is None:
        return None
    for cue in grammar.tasks:
        for match in cue.pattern.finditer(text):
            due = _due(sentence.text, text, match, grammar)
            if (due or not cue.dated) and not _is_doubtful(text, match, cue, grammar):
                who = _doer(sentence, text, match, cue, grammar)
                if who or cue.doer != "named":
                    return _item(sentence, who, due)
    return None


def _item(sentence: Sentence, assignee: str | None, due: str | None) -> ActionItem:
    return ActionItem(
        text=sentence.text,
        speaker=sentence.speaker,
        start=sentence.start,
        end=sentence.end,
        segment_order=sentence.segment_order,
        assignee=assignee,
        due=due,
    )


def _is_doubtful(text: str, match: re.Match[str], cue: Cue, grammar: Grammar) -> bool:
    if grammar.doubt.search(text, 0, match.start()):
        return True
    return cue.doer != "addressed" and is_question_by_mark(text) and grammar.asks_about.match(text) is not None


def _due(original: str, text: str, match: re.Match[str], grammar: Grammar | None) -> str | None:
    """The first time named behind the task, or else one that the sentence begins with, as the source has it."""
    if grammar is None:
        return None
    found = grammar.due.search(text, match.end()) or grammar.due.search(text, 0, match.start())
    if found is None or (found.start() < match.start() and word_count(text[: found.start()]) > WORDS_BEFORE_TIME):
        return None
    return original[found.start() : found.end()]


def _doer(sentence: Sentence, text: str, match: re.Match[str], cue: Cue, grammar: Grammar) -> str | None:
    match cue.doer:
        case "speaker":
            return sentence.speaker
        case "named":
            return _name(sentence.text, match, "who", grammar)
        case "addressed":
            called = (
                _name(sentence.text, of, group, grammar) for of in VOCATIVE.finditer(text) for group in of.groupdict()
            )
            return next((name for name in called if name), None)
        case _:
            return None


def _name(original: str, match: re.Match[str], group: str, grammar: Grammar) -> str | None:
    """As the source has it, without words before it that are written large for another reason."""
    groups = match.groupdict()
    group = group if groups.get(group) else "noted"
    if not groups.get(group):
        return None
    words = original[match.start(group) : match.end(group)].split(" ")
    if len(words) > 1 and words[0].translate(PLAIN).casefold() in ARTICLES:
        return " ".join(words)
    while words and words[0].translate(PLAIN).casefold() in grammar.no_names:
        words.pop(0)
    return " ".join(words) or None


def opens_subject(text: str, language: str) -> bool:
    grammar = GRAMMARS.get(language)
    return grammar is not None and grammar.opening.match(text.translate(PLAIN)) is not None


def decisions(source: Source) -> list[Quoted]:
    return [quoted(sentence) for sentence in source.sentences if is_decision(sentence.text, source.language)]


def is_decision(text: str, language: str) -> bool:
    plain, grammar = text.translate(PLAIN), GRAMMARS.get(language)
    found = grammar is not None and grammar.decision.search(plain) and not grammar.no_decision.search(plain)
    return bool(found) and not is_question_by_mark(plain)


def is_question(text: str, language: str) -> bool:
    plain = text.translate(PLAIN).strip()
    grammar = GRAMMARS.get(language)
    if is_question_by_mark(plain) or "¿" in plain:
        # Two characters of a script without spaces count as a word.
        enough = word_count(plain) >= (1 if UNSPACED.search(plain) else LEAST_WORDS_OF_QUESTION)
        return enough and not (grammar and grammar.no_question.search(plain))
    if grammar is None or plain.endswith(tuple(ENDS)) or word_count(plain) < LEAST_WORDS_OF_QUESTION:
        return False
    return bool(grammar.question.match(plain) or grammar.tag.search(plain)) and not grammar.no_question.search(plain)


def questions(source: Source) -> list[Question]:
    asked = [is_question(text, source.language) for text in source.texts]
    return [
        Question(
            text=sentence.text,
            speaker=sentence.speaker,
            start=sentence.start,
            end=sentence.end,
            segment_order=sentence.segment_order,
            answer=_answer(source, place, asked),
        )
        for place, sentence in enumerate(source.sentences)
        if asked[place]
    ]


def _answer(source: Source, place: int, asked: Sequence[bool]) -> str | None:
    """What the next one says who is not the one that asks; and what they say next, where it is but a word or two."""
    sentences = source.sentences
    asker = sentences[place].speaker
    others = (
        at
        for at in range(place + 1, min(place + 1 + ANSWER_WITHIN, len(sentences)))
        if sentences[at].speaker not in (None, asker)
    )
    at = next(others, None)
    grammar = GRAMMARS.get(source.language)
    if asker is None or at is None or any(asked[place + 1 : at + 1]):
        return None
    if grammar and grammar.no_answer.match(sentences[at].text.translate(PLAIN)):
        return None
    answer = sentences[at].text
    goes_on = at + 1 < len(sentences) and sentences[at + 1].speaker == sentences[at].speaker and not asked[at + 1]
    return f"{answer} {sentences[at + 1].text}" if word_count(answer) < SHORT_ANSWER_WORDS and goes_on else answer
