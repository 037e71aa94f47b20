"""Documents made of what was said. All sentences in them are the source's own; ours are headings alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal

from api.intelligence.cards import definitions, flashcards, quiz
from api.intelligence.extracts import brief, key_points
from api.intelligence.grammar import headings_of
from api.intelligence.reading import TITLE_CHARS, Reading, capitalised, shortened
from api.intelligence.results import (
    BlogPost,
    ChapterMarkers,
    Content,
    Flashcards,
    GenerateType,
    KeyQuotes,
    MeetingNotes,
    Newsletter,
    Post,
    Quiz,
    Section,
    ShowNotes,
    SocialMedia,
    StudyGuide,
    Term,
)
from api.intelligence.source import word_count

TITLE_TOPICS: Final = 3
OVERVIEW_SENTENCES, OVERVIEW_CHARS = 5, 2000
SECTION_SHARE, SECTION_SENTENCES, SECTION_CHARS = 0.25, (1, 8), 3000
ITEM_SENTENCES, ITEM_CHARS, MOST_ITEMS = 2, 600, 5
PREVIEW_CHARS: Final = 150
ENDING_SHARE: Final = 0.2
LEAST_REVIEW_WORDS, MOST_REVIEW, MOST_OWN_REVIEW = 5, 6, 3
LIMITS: Final[dict[Literal["x", "mastodon", "linkedin"], tuple[int, int, int]]] = {
    "x": (280, 1, 2),
    "mastodon": (500, 2, 3),
    "linkedin": (3000, 6, 5),
}
"""Characters, sentences, hashtags."""
MOST_HASHTAG_CHARS: Final = 30
LINK = re.compile(r"https?://[^\s<>\"'“”]+[^\s<>\"'“”.,;:!?)\]…*_]")
MOST_LINKS: Final = 20


def document(reading: Reading, type_: GenerateType) -> Content:
    return MAKERS[type_](reading)


def title(reading: Reading) -> str:
    """Its own, or what it is most about."""
    words = headings_of(reading.source.language)
    topics = [topic.topic for topic in reading.topics[:TITLE_TOPICS]]
    if reading.source.title:
        return reading.source.title
    if topics:
        *others, last = topics
        return capitalised(f"{', '.join(others)} {words.conjunction} {last}" if others else last)
    return shortened(reading.text_of(reading.best(1, 1)), TITLE_CHARS) or words.untitled


def blog_post(reading: Reading) -> BlogPost:
    introduction, conclusion = brief(reading), _ending(reading)
    sections = [
        Section(chapter.title, _paragraphs(reading, span))
        for chapter, span in zip(reading.chapters, reading.spans, strict=True)
    ]
    return BlogPost(title(reading), introduction, sections, conclusion)


def _paragraphs(reading: Reading, span: tuple[int, int]) -> list[str]:
    """What the chapter says, a paragraph for each run of sentences that are near each other."""
    least, longest = SECTION_SENTENCES
    most = max(least, min(longest, round(SECTION_SHARE * (span[1] - span[0]))))
    chosen = reading.best(most, SECTION_CHARS, span=span)
    half = -(-len(chosen) // 2)
    return [reading.text_of(part) for part in ([chosen] if len(chosen) < 4 else [chosen[:half], chosen[half:]])]


def _ending(reading: Reading) -> str:
    """The last decision, or what says most towards the end."""
    if reading.decisions:
        return reading.decisions[-1].text
    count = len(reading.texts)
    first = int(count * (1 - ENDING_SHARE))
    return reading.text_of(reading.best(1, 1, span=(first, count))) if first else ""


def newsletter(reading: Reading) -> Newsletter:
    chapters = sorted(
        zip(reading.chapters, reading.spans, strict=True), key=lambda one: -float(reading.scores[slice(*one[1])].max())
    )[:MOST_ITEMS]
    items = [
        Section(chapter.title, [reading.text_of(reading.best(ITEM_SENTENCES, ITEM_CHARS, span=span))])
        for chapter, span in sorted(chapters, key=lambda one: one[1])
    ]
    preview = shortened(reading.text_of(reading.best(1, 1)), PREVIEW_CHARS)
    return Newsletter(subject=title(reading), preview=preview, items=items, closing=_ending(reading))


def social_media(reading: Reading) -> SocialMedia:
    posts = [_post(reading, platform, *limits) for platform, limits in LIMITS.items()]
    return SocialMedia([post for post in posts if post.text])


def _post(
    reading: Reading, platform: Literal["x", "mastodon", "linkedin"], chars: int, sentences: int, tags: int
) -> Post:
    hashtags = list(dict.fromkeys(tag for topic in reading.topics if (tag := hashtag(topic.topic))))[:tags]
    ending = " ".join(hashtags)
    left = chars - len(ending) - 2 * bool(ending)
    chosen = reading.best(sentences, left - 2 * sentences, statements=True) or reading.best(1, 1)
    gap = "\n\n" if platform == "linkedin" else " "
    text = shortened(gap.join(reading.texts[place] for place in chosen), left)
    return Post(platform, f"{text}\n\n{ending}" if text and ending else text, hashtags)


def hashtag(topic: str) -> str:
    """Empty where no word of it can be in one."""
    words = re.findall(r"[^\W_]+", topic)
    joined = "".join(map(capitalised, words))
    return f"#{joined}" if joined and not joined.isdigit() and len(joined) < MOST_HASHTAG_CHARS else ""


def key_quotes(reading: Reading) -> KeyQuotes:
    return KeyQuotes(reading.quotes)


def show_notes(reading: Reading) -> ShowNotes:
    links = dict.fromkeys(link for text in reading.texts for link in LINK.findall(text))
    return ShowNotes(
        title=title(reading),
        description=brief(reading),
        speakers=reading.source.speakers,
        topics=_topics(reading),
        chapters=reading.chapters,
        quotes=reading.quotes,
        links=list(links)[:MOST_LINKS],
    )


def _topics(reading: Reading) -> list[str]:
    return [topic.topic for topic in reading.topics]


def meeting_notes(reading: Reading) -> MeetingNotes:
    tasks = {item.text for item in reading.action_items}
    return MeetingNotes(
        title=title(reading),
        attendees=reading.source.speakers,
        summary=_overview(reading),
        topics=_topics(reading),
        decisions=reading.decisions,
        action_items=reading.action_items,
        open_questions=[one for one in reading.questions if one.answer is None and one.text not in tasks],
    )


def _overview(reading: Reading) -> str:
    most = min(OVERVIEW_SENTENCES, -(-len(reading.texts) // 3))
    return reading.text_of(reading.best(most, OVERVIEW_CHARS, statements=True) or reading.best(1, 1))


def study_guide(reading: Reading) -> StudyGuide:
    words = headings_of(reading.source.language)
    own = [one.text for one in reading.questions if word_count(one.text) >= LEAST_REVIEW_WORDS][:MOST_OWN_REVIEW]
    asked = [words.what_was_said.format(topic) for topic in _topics(reading)]
    return StudyGuide(
        title=title(reading),
        overview=_overview(reading),
        key_points=[reading.texts[place] for place in key_points(reading)],
        terms=_terms(reading),
        review_questions=[*own, *asked[: MOST_REVIEW - len(own)]],
    )


def _terms(reading: Reading) -> list[Term]:
    """Topics, each with the sentence that defines it or else says most about it; none twice."""
    defined = {term.casefold(): place for term, place in definitions(reading).items()}
    sentences = {phrase.text: phrase.sentences for phrase, _ in reading.ranked_phrases}
    terms = dict[str, Term]()
    for topic in _topics(reading):
        best = max(sentences[topic], key=lambda place: float(reading.scores[place]))
        explanation = reading.texts[defined.get(topic.casefold(), best)]
        terms.setdefault(explanation, Term(topic, explanation))
    return list(terms.values())


MAKERS: Final[dict[GenerateType, Callable[[Reading], Content]]] = {
    "blog_post": blog_post,
    "social_media": social_media,
    "newsletter": newsletter,
    "key_quotes": key_quotes,
    "show_notes": show_notes,
    "meeting_notes": meeting_notes,
    "study_guide": study_guide,
    "flashcards": lambda reading: Flashcards(flashcards(reading)),
    "quiz": lambda reading: Quiz(quiz(reading)),
    "chapter_markers": lambda reading: ChapterMarkers(reading.chapters),
}
