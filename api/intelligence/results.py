"""What the routes answer: one struct for each kind of result. Times are seconds from the start of the recording, and
`segment_order` is a place in its transcript; both are null where there is only a text."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Style = Literal["brief", "detailed", "action_items", "bullet_points", "bullets"]
AnalysisType = Literal["sentiment", "topics", "entities", "action_items", "questions", "pii_redact"]
ReadingType = Literal["sentiment", "topics", "entities", "action_items", "questions"]
"""What an author reads out of a source; personal data is found by recognisers alone."""
GenerateType = Literal[
    "blog_post",
    "social_media",
    "newsletter",
    "key_quotes",
    "show_notes",
    "meeting_notes",
    "study_guide",
    "flashcards",
    "quiz",
    "chapter_markers",
]
Share = Annotated[float, Meta(ge=0, le=1)]


class Summary(Struct, frozen=True):
    """`model` says what wrote it: a language model, or "extractive-…", which takes sentences as they are."""

    summary: str
    style: Style
    model: str


class Quoted(Struct, frozen=True, kw_only=True):
    """A sentence of the source, who said it and when."""

    text: str
    speaker: str | None = None
    start: float | None = None
    end: float | None = None
    segment_order: int | None = None


class Mood(Struct, frozen=True):
    """`score` is from -1 to 1; positive from 0.05 on, negative from -0.05 down, VADER's own limits."""

    label: Literal["positive", "neutral", "negative"]
    score: Annotated[float, Meta(ge=-1, le=1)]


class SpeakerMood(Mood, frozen=True):
    speaker: str


class QuotedMood(Quoted, frozen=True, kw_only=True):
    label: Literal["positive", "neutral", "negative"]
    score: Annotated[float, Meta(ge=-1, le=1)]


class SentimentResult(Struct, frozen=True, tag_field="type", tag="sentiment"):
    """Shares are of sentences. `strongest` are the most positive and the most negative sentences, in their order."""

    sentiment: Mood
    positive: Share
    neutral: Share
    negative: Share
    speakers: list[SpeakerMood]
    strongest: list[QuotedMood]
    model: str


class Topic(Struct, frozen=True):
    """`mentions` counts the sentences that name it; `start` is when it is first named."""

    topic: str
    relevance: Share
    mentions: int
    start: float | None = None


class TopicsResult(Struct, frozen=True, tag_field="type", tag="topics"):
    topics: list[Topic]
    model: str


class NamedEntity(Struct, frozen=True):
    """`type` is Presidio's name of the kind; `mentions` counts how often it is there."""

    text: str
    type: str
    mentions: int
    start: float | None = None


class EntitiesResult(Struct, frozen=True, tag_field="type", tag="entities"):
    entities: list[NamedEntity]
    model: str


class ActionItem(Quoted, frozen=True, kw_only=True):
    """`assignee` is who shall do it, `due` until when, both in the words of the source."""

    assignee: str | None = None
    due: str | None = None


class ActionItemsResult(Struct, frozen=True, tag_field="type", tag="action_items"):
    action_items: list[ActionItem]
    model: str


class Question(Quoted, frozen=True, kw_only=True):
    """`answer` is what somebody else said right after it, where that looks like one."""

    answer: str | None = None


class QuestionsResult(Struct, frozen=True, tag_field="type", tag="questions"):
    questions: list[Question]
    model: str


class PiiSpan(Struct, frozen=True):
    """In characters (code points) of the text that was sent; the text between them, and what stands there instead."""

    type: str
    start: int
    end: int
    text: str
    placeholder: str
    score: Share


class PiiResult(Struct, frozen=True, tag_field="type", tag="pii_redact"):
    redacted_text: str
    spans: list[PiiSpan]
    model: str


AnalysisResult = SentimentResult | TopicsResult | EntitiesResult | ActionItemsResult | QuestionsResult | PiiResult


class Section(Struct, frozen=True):
    heading: str
    paragraphs: list[str]


class BlogPost(Struct, frozen=True, tag_field="type", tag="blog_post"):
    title: str
    introduction: str
    sections: list[Section]
    conclusion: str


class Post(Struct, frozen=True):
    """Within what the platform allows: 280 characters on x, 3000 on linkedin, 500 on mastodon."""

    platform: Literal["x", "mastodon", "linkedin"]
    text: str
    hashtags: list[str]


class SocialMedia(Struct, frozen=True, tag_field="type", tag="social_media"):
    posts: list[Post]


class Newsletter(Struct, frozen=True, tag_field="type", tag="newsletter"):
    subject: str
    preview: str
    items: list[Section]
    closing: str


class KeyQuotes(Struct, frozen=True, tag_field="type", tag="key_quotes"):
    """Word for word."""

    quotes: list[Quoted]


class Chapter(Struct, frozen=True):
    title: str
    summary: str
    start: float | None = None
    end: float | None = None
    segment_order: int | None = None


class ChapterMarkers(Struct, frozen=True, tag_field="type", tag="chapter_markers"):
    chapters: list[Chapter]


class ShowNotes(Struct, frozen=True, tag_field="type", tag="show_notes"):
    title: str
    description: str
    speakers: list[str]
    topics: list[str]
    chapters: list[Chapter]
    quotes: list[Quoted]
    links: list[str]


class MeetingNotes(Struct, frozen=True, tag_field="type", tag="meeting_notes"):
    title: str
    attendees: list[str]
    summary: str
    topics: list[str]
    decisions: list[Quoted]
    action_items: list[ActionItem]
    open_questions: list[Question]


class Term(Struct, frozen=True):
    term: str
    explanation: str


class StudyGuide(Struct, frozen=True, tag_field="type", tag="study_guide"):
    title: str
    overview: str
    key_points: list[str]
    terms: list[Term]
    review_questions: list[str]


class Flashcard(Struct, frozen=True):
    front: str
    back: str


class Flashcards(Struct, frozen=True, tag_field="type", tag="flashcards"):
    flashcards: list[Flashcard]


class QuizQuestion(Struct, frozen=True):
    """`answer` is the place of the right option, from 0."""

    question: str
    options: list[str]
    answer: int
    explanation: str


class Quiz(Struct, frozen=True, tag_field="type", tag="quiz"):
    questions: list[QuizQuestion]


Content = (
    BlogPost
    | SocialMedia
    | Newsletter
    | KeyQuotes
    | ShowNotes
    | MeetingNotes
    | StudyGuide
    | Flashcards
    | Quiz
    | ChapterMarkers
)


class Generated(Struct, frozen=True):
    """`content` as data, and the same as Markdown in `text`."""

    type: GenerateType
    content: Content
    text: str
    model: str


class Turn(Struct, frozen=True):
    """One question of a chat, and what it was answered."""

    question: str
    answer: str


class ChatSource(Struct, frozen=True):
    """A segment that the answer comes from; `score` is how near in meaning it is to the question, at most 1."""

    segment_order: int
    text: str
    score: float
    start: float
    end: float
    speaker: str | None


class ChatAnswer(Struct, frozen=True):
    answer: str
    sources: list[ChatSource]
    model: str
