"""Documents as Markdown. What people said is text in it, whatever characters it has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from api.intelligence.grammar import headings_of
from api.intelligence.grammar.base import Headings
from api.intelligence.results import (
    ActionItem,
    BlogPost,
    Chapter,
    ChapterMarkers,
    Content,
    Flashcards,
    KeyQuotes,
    MeetingNotes,
    Newsletter,
    Quiz,
    Quoted,
    Section,
    ShowNotes,
    SocialMedia,
    StudyGuide,
)

ANYWHERE = re.compile(r"[\\`*\[\]<]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)|(?<=\s)#(?=#*$)|~(?=~)")
"""What would be mark-up wherever it stands."""
LEADING = re.compile(r"^(?=[#>|~=+-])|^\d{1,9}(?=[.)])")
"""What would be the beginning of a heading, list, quotation, table, fence or rule."""
OPTION_LETTERS = "ABCDEFGH"


def escape(text: str) -> str:
    """On one line, with nothing in it that is mark-up."""
    return LEADING.sub(r"\g<0>\\", ANYWHERE.sub(r"\\\g<0>", " ".join(text.split())))


def clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def markdown(content: Content, language: str = "en") -> str:
    blocks = _blocks(content, headings_of(language))
    return "\n\n".join(block for block in blocks if block)


def _blocks(content: Content, words: Headings) -> Iterable[str]:
    match content:
        case BlogPost():
            ending = [f"## {words.conclusion}", escape(content.conclusion)] if content.conclusion else []
            return [_title(content.title), escape(content.introduction), *_sections(content.sections), *ending]
        case Newsletter():
            preview = f"*{escape(content.preview)}*" if content.preview else ""
            return [_title(content.subject), preview, *_sections(content.items), escape(content.closing)]
        case SocialMedia():
            return [f"## {post.platform}\n\n{_lines(post.text)}" for post in content.posts]
        case KeyQuotes():
            return [quotation(quote) for quote in content.quotes]
        case ShowNotes():
            return _show_notes(content, words)
        case MeetingNotes():
            return _meeting_notes(content, words)
        case StudyGuide():
            return _study_guide(content, words)
        case Flashcards():
            return [f"**{escape(card.front)}**\n\n{escape(card.back)}" for card in content.flashcards]
        case Quiz():
            return _quiz(content, words)
        case ChapterMarkers():
            return [bullets(map(_marker, content.chapters))]


def _title(title: str) -> str:
    return f"# {escape(title)}"


def _sections(sections: Sequence[Section]) -> list[str]:
    return [
        block for section in sections for block in (f"## {escape(section.heading)}", *map(escape, section.paragraphs))
    ]


def _part(heading: str, body: str) -> str:
    return f"## {heading}\n\n{body}" if body else ""


def _lines(text: str) -> str:
    """Each line stays one."""
    return "  \n".join(escape(line) for line in text.splitlines() if line.strip())


def bullets(items: Iterable[str]) -> str:
    """Of what is Markdown already."""
    return "\n".join(f"- {item}" for item in items)


def _plain_bullets(items: Iterable[str]) -> str:
    return bullets(map(escape, items))


def quotation(quote: Quoted) -> str:
    return f"> {escape(quote.text)}\n>\n> {source_of(quote)}".removesuffix("\n>\n> ")


def source_of(quote: Quoted) -> str:
    """Who said it, and when."""
    time = f"[{clock(quote.start)}]" if quote.start is not None else ""
    return " ".join(part for part in (f"— {escape(quote.speaker)}" if quote.speaker else "", time) if part)


def task(item: ActionItem, words: Headings) -> str:
    due = f"{words.due}: {item.due}" if item.due else None
    details = ", ".join(escape(part) for part in (item.assignee, due) if part)
    return f"{escape(item.text)} ({details})" if details else escape(item.text)


def _marker(chapter: Chapter) -> str:
    time = f"[{clock(chapter.start)}] " if chapter.start is not None else ""
    return f"{time}**{escape(chapter.title)}**" + (f": {escape(chapter.summary)}" if chapter.summary else "")


def _show_notes(notes: ShowNotes, words: Headings) -> list[str]:
    return [
        _title(notes.title),
        escape(notes.description),
        _part(words.speakers, _plain_bullets(notes.speakers)),
        _part(words.topics, _plain_bullets(notes.topics)),
        _part(words.chapters, bullets(map(_marker, notes.chapters))),
        _part(words.quotes, "\n\n".join(map(quotation, notes.quotes))),
        _part(words.links, bullets(f"<{link}>" for link in notes.links)),
    ]


def _meeting_notes(notes: MeetingNotes, words: Headings) -> list[str]:
    return [
        _title(notes.title),
        _part(words.attendees, _plain_bullets(notes.attendees)),
        _part(words.summary, escape(notes.summary)),
        _part(words.topics, _plain_bullets(notes.topics)),
        _part(words.decisions, bullets(map(_noted, notes.decisions))),
        _part(words.action_items, bullets(task(item, words) for item in notes.action_items)),
        _part(words.open_questions, bullets(map(_noted, notes.open_questions))),
    ]


def _noted(quote: Quoted) -> str:
    return f"{escape(quote.text)} {source_of(quote)}".rstrip()


def _study_guide(guide: StudyGuide, words: Headings) -> list[str]:
    return [
        _title(guide.title),
        _part(words.overview, escape(guide.overview)),
        _part(words.key_points, _plain_bullets(guide.key_points)),
        _part(words.terms, bullets(f"**{escape(term.term)}**: {escape(term.explanation)}" for term in guide.terms)),
        _part(words.review_questions, _plain_bullets(guide.review_questions)),
    ]


def _quiz(quiz: Quiz, words: Headings) -> list[str]:
    return [
        "\n\n".join(
            [
                f"**{number}.** {escape(question.question)}",
                bullets(
                    f"{letter}. {escape(option)}"
                    for letter, option in zip(OPTION_LETTERS, question.options, strict=False)
                ),
                f"{words.answer}: {OPTION_LETTERS[question.answer]}. {escape(question.explanation)}",
            ]
        )
        for number, question in enumerate(quiz.questions, 1)
    ]
