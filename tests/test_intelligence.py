"""Summaries, analyses and documents without a language model: whatever is sent, they are made of what was said."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.errors import InvalidRequest
from api.inference.fake import FakeAnalyzer, FakeEmbedder
from api.intelligence import documents
from api.intelligence.cards import GAP
from api.intelligence.classical import Classical
from api.intelligence.extracts import BRIEF_CHARS, BULLETS_CHARS, DETAILED_CHARS
from api.intelligence.markdown import clock, escape
from api.intelligence.reading import MOST_SENTENCES, shortened
from api.intelligence.results import (
    AnalysisResult,
    BlogPost,
    ChapterMarkers,
    ChatSource,
    Content,
    EntitiesResult,
    Flashcards,
    Generated,
    GenerateType,
    KeyQuotes,
    MeetingNotes,
    Newsletter,
    Quiz,
    ReadingType,
    SentimentResult,
    ShowNotes,
    SocialMedia,
    StudyGuide,
    Style,
    Summary,
    TopicsResult,
)
from api.intelligence.source import Sentence, Source, from_text
from bench.meetings import meetings, written
from bench.summaries import MiniLm, minilm

T = TypeVar("T")

STYLES: tuple[Style, ...] = get_args(Style)
READING_TYPES: tuple[ReadingType, ...] = get_args(ReadingType)
TYPES: tuple[GenerateType, ...] = get_args(GenerateType)
CHARACTERS = {"brief": BRIEF_CHARS, "detailed": DETAILED_CHARS, "bullet_points": BULLETS_CHARS}
WORDS = (
    "the roof costs 48,000 pounds 12 % and Maria Lopez will send it by Friday what is good bad we decided Berlin "
    "library books children 120 215 grant photosynthesis <b> # | - * [x](y) `code` _a_ > 1. ~~~ I'll please can you "
    "TODO: ¿qué cuesta el tejado voy a enviar https://example.org/a 屋根は高い。 …"
)
ENDINGS = ["", ".", "?", "!", "…"]
LANGUAGES = ["en", "es", "de", "ja"]


@st.composite
def sources(draw: st.DrawFn) -> Source:
    said = st.tuples(st.lists(st.sampled_from(WORDS.split()), min_size=1, max_size=18), st.sampled_from(ENDINGS))
    texts = [" ".join(words) + ending for words, ending in draw(st.lists(said, max_size=14))]
    people = draw(st.lists(st.sampled_from(["Maria", "Tom <i>", None]), min_size=1, max_size=3))
    timed = draw(st.booleans())
    sentences = [
        Sentence(text, people[place % len(people)], *((4.0 * place, 4.0 * place + 3, place) if timed else ()))
        for place, text in enumerate(texts)
    ]
    return Source(tuple(sentences), draw(st.sampled_from(LANGUAGES)), draw(st.sampled_from(["", "A # title"])))


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def classical() -> Classical:
    return Classical(FakeEmbedder(), FakeAnalyzer(), "all-MiniLM-L6-v2")


def assert_sound(value: msgspec.Struct, kind: Any) -> None:
    """As bounded as its type says, and the same when it comes back."""
    assert msgspec.json.decode(msgspec.json.encode(value), type=kind) == value


def assert_made_of(source: Source, *texts: str) -> None:
    """Of whole sentences, and nothing between them."""
    whole = "|".join(map(re.escape, sorted(source.texts, key=len, reverse=True)))
    for text in texts:
        assert re.fullmatch(rf"(?:(?:{whole})\s*)*", text), text


def assert_begins_one(source: Source, text: str) -> None:
    assert any(one.startswith(text.removesuffix("…")) for one in [*source.texts, " ".join(source.texts)]), text


@given(sources(), st.sampled_from(STYLES))
def test_summaries_are_sentences_in_their_order(source: Source, style: Style) -> None:
    made = run(classical().summarize(source, style))
    assert_sound(made, Summary)
    assert (made.style, made.model) == (style, "extractive-minilm-l6-v2")
    assert made.summary
    assert len(made.summary) <= CHARACTERS.get(style, 10**5)
    if not source.sentences or style == "action_items":
        return
    if style in ("brief", "detailed"):
        assert_made_of(source, made.summary)
        # Read from left to right, no sentence comes before one that is further ahead in the source.
        rest = " ".join(source.texts)
        for paragraph in made.summary.split("\n\n"):
            assert_subsequence(paragraph.split(), rest.split())
    else:
        lines = made.summary.splitlines()
        assert all(line.removeprefix("- ") in map(escape, source.texts) for line in lines)
        assert len(lines) <= 8


def assert_subsequence(words: Sequence[str], of: Sequence[str]) -> None:
    left = iter(of)
    assert all(word in left for word in words)


@given(sources(), st.sampled_from(READING_TYPES))
def test_analyses_are_sound(source: Source, type_: ReadingType) -> None:
    made = run(classical().analyze(source, type_))
    assert_sound(made, AnalysisResult)
    whole = " ".join(source.texts).casefold()
    match made:
        case SentimentResult():
            assert made.positive + made.neutral + made.negative == pytest.approx(1 if source.sentences else 0)
            assert [one.speaker for one in made.speakers] == source.speakers
            assert len(made.strongest) <= 6
        case TopicsResult():
            assert all(topic.topic.casefold() in whole and topic.mentions >= 1 for topic in made.topics)
            assert len({topic.topic.casefold() for topic in made.topics}) == len(made.topics)
        case EntitiesResult():
            assert all(entity.text.casefold() in whole for entity in made.entities)


@given(sources(), st.sampled_from(TYPES))
@settings(max_examples=300)
def test_documents_are_made_of_what_was_said(source: Source, type_: GenerateType) -> None:
    made = run(classical().generate(source, type_))
    assert_sound(made, Generated)
    assert msgspec.to_builtins(made.content)["type"] == made.type == type_
    assert "<b>" not in made.text.replace("\\<b>", "")
    assert "<i>" not in made.text.replace("\\<i>", "")
    check(source, made.content)


def check(source: Source, content: Content) -> None:
    match content:
        case BlogPost():
            paragraphs = [paragraph for section in content.sections for paragraph in section.paragraphs]
            assert_made_of(source, content.introduction, content.conclusion, *paragraphs)
        case Newsletter():
            assert_made_of(source, content.closing, *(text for item in content.items for text in item.paragraphs))
            assert_begins_one(source, content.preview)
        case SocialMedia():
            for post in content.posts:
                assert len(post.text) <= documents.LIMITS[post.platform][0]
                assert all(re.fullmatch(r"#\w+", tag) and tag in post.text for tag in post.hashtags)
                said = post.text.removesuffix(" ".join(post.hashtags))
                if not said.strip().endswith("…"):
                    assert_made_of(source, said)
        case KeyQuotes():
            assert all(quote.text in source.texts for quote in content.quotes)
        case ShowNotes():
            check(source, ChapterMarkers(content.chapters))
            check(source, KeyQuotes(content.quotes))
            assert content.speakers == source.speakers
            assert set(content.links) <= {"https://example.org/a"}
        case MeetingNotes():
            assert_made_of(source, content.summary)
            listed = [*content.decisions, *content.action_items, *content.open_questions]
            assert all(one.text in source.texts for one in listed)
        case StudyGuide():
            assert_made_of(source, content.overview, *(term.explanation for term in content.terms))
            assert all(point in source.texts for point in content.key_points)
        case Flashcards():
            assert_made_of(source, *(card.back for card in content.flashcards))
        case Quiz():
            check_quiz(source, content)
        case ChapterMarkers():
            assert_made_of(source, *(chapter.summary for chapter in content.chapters))
            starts = [chapter.start for chapter in content.chapters if chapter.start is not None]
            assert starts == sorted(starts)
            assert bool(content.chapters) == bool(source.sentences)


def check_quiz(source: Source, content: Quiz) -> None:
    for question in content.questions:
        right = question.options[question.answer]
        assert len({option.casefold() for option in question.options}) == len(question.options) == 4
        assert question.explanation in source.texts
        assert all(option in " ".join(source.texts) for option in question.options)
        assert question.question.casefold().replace(GAP, right.casefold()) == question.explanation.casefold()
        sentence = question.explanation.casefold()
        assert [option.casefold() in sentence for option in question.options].count(True) == 1


def test_one_sentence_is_its_own_summary() -> None:
    source = from_text("The roof costs 48,000 pounds.")
    made = [run(classical().summarize(source, style)).summary for style in STYLES]
    assert made == [
        "The roof costs 48,000 pounds.",
        "The roof costs 48,000 pounds.",
        "No action items were found.",
        "- The roof costs 48,000 pounds.",
        "- The roof costs 48,000 pounds.",
    ]


def test_tasks_are_listed_with_who_and_when() -> None:
    source = from_text("Maria: Tom, can you send me the *list* by Friday?\nTom: Hay. We need to order chairs.")
    made = run(classical().summarize(source, "action_items")).summary
    assert made == (
        "- Tom, can you send me the \\*list\\* by Friday? (Tom, due: by Friday)\n- We need to order chairs."
    )


def test_headings_are_in_the_language_of_the_text() -> None:
    source = from_text("Ana: Voy a enviar el acta mañana.\nLuis: Hemos decidido cerrar la oficina.", "es")
    text = run(classical().generate(source, "meeting_notes")).text
    assert re.findall(r"^## (.*)$", text, re.MULTILINE)[-2:] == ["Decisiones", "Tareas"]
    assert "- Voy a enviar el acta mañana. (Ana, plazo: mañana)" in text


def test_what_is_open_in_a_meeting_is_what_nobody_answered_and_nobody_was_asked_to_do() -> None:
    source = from_text(
        "Ann: Who has the key to the roof?\nBob: It hangs in the hall.\n"
        "Ann: Bob, can you oil the lock? I'll buy oil today.\n"
        "Ann: Can you check the door by Friday?\nAnn: Where does the second key hang?"
    )
    notes = run(classical().generate(source, "meeting_notes")).content
    assert isinstance(notes, MeetingNotes)
    assert [one.text for one in notes.open_questions] == [
        "Bob, can you oil the lock?",
        "Where does the second key hang?",
    ]
    assert [item.text for item in notes.action_items] == ["I'll buy oil today.", "Can you check the door by Friday?"]
    assert "oil today" not in notes.summary


def test_flashcards_are_answers_then_definitions_then_gaps() -> None:
    source = from_text(
        "Ann: Bob, can you send me the list today?\nBob: With pleasure, I have it here.\n"
        "Ann: How long does the work on the roof take?\nBob: The work takes about five weeks.\n"
        "Ann: A stoma is a pore in the leaf through which gases pass.\nBob: The leaf closes its pores without water."
    )
    cards = run(classical().generate(source, "flashcards")).content
    assert isinstance(cards, Flashcards)
    assert [(card.front, card.back) for card in cards.flashcards[:2]] == [
        ("How long does the work on the roof take?", "The work takes about five weeks."),
        ("What is a stoma?", "A stoma is a pore in the leaf through which gases pass."),
    ]
    assert all(GAP in card.front and GAP not in card.back for card in cards.flashcards[2:])


def test_a_sentiment_is_per_sentence_speaker_and_whole() -> None:
    source = from_text(
        "Ann: good good.\nBob: bad bad.\nAnn: It is a very long text without any of it.\nBob: bad it is."
    )
    made = run(classical().analyze(source, "sentiment"))
    assert isinstance(made, SentimentResult)
    assert (made.positive, made.neutral, made.negative) == (0.25, 0.25, 0.5)
    assert [(one.speaker, one.label) for one in made.speakers] == [("Ann", "positive"), ("Bob", "negative")]
    assert [one.text for one in made.strongest] == ["good good.", "bad bad.", "bad it is."]
    assert made.model == "vader"


def test_too_many_sentences_are_refused() -> None:
    source = Source((Sentence("a"),) * (MOST_SENTENCES + 1))
    with pytest.raises(InvalidRequest, match="50,001"):
        run(classical().summarize(source, "brief"))


@given(st.text(st.sampled_from("ab1 *_`[]()<>#-+=~|\\!&;.:\n"), max_size=30))
def test_escaped_text_reads_as_it_was_and_holds_no_markup(text: str) -> None:
    escaped = escape(text)
    assert html.unescape(re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", escaped)) == html.unescape(" ".join(text.split()))
    assert not re.search(r"(?<!\\)(?:\\\\)*[<`*\[\]]", escaped)
    assert not re.match(r"[#>|~=+-]|\d+[.)]", escaped)


def test_times_and_cuts() -> None:
    assert [clock(0), clock(59.9), clock(3661.5)] == ["0:00:00", "0:00:59", "1:01:01"]
    assert [shortened("one two three", 13), shortened("one two three", 9), shortened("onetwo", 4)] == [
        "one two three",
        "one two…",
        "one…",
    ]


@pytest.fixture(scope="module")
def embedder() -> MiniLm:
    return minilm()


def test_an_answer_is_what_is_nearest_to_the_question(embedder: MiniLm) -> None:
    by_meaning = Classical(embedder, FakeAnalyzer(), "sentence-transformers/all-MiniLM-L6-v2")
    source = written()[1].meeting().source
    passages = [
        ChatSource(place, one.text, 0.5, 10.0 * place, 10.0 * place + 5, one.speaker)
        for place, one in enumerate(source.sentences)
    ][20:70]
    made = run(by_meaning.answer("How many young readers joined in this summer?", passages))
    assert "Helen: “This summer 215 children took part, that is sixty more than last year.” [0:" in made.answer
    assert all(one.text in made.answer for one in made.sources)
    assert made.model == "extractive-minilm-l6-v2"
    nothing = run(by_meaning.answer("¿Cuál es la capital de Mongolia y cuánta gente vive en ella?", passages[:5]))
    assert (nothing.answer, nothing.sources) == ("No se encontró nada que responda a esto.", [])


def test_a_stream_is_the_whole_answer() -> None:
    source = next(iter(meetings(1))).source

    async def streamed() -> str:
        return "".join([piece async for piece in classical().tell_summary(source, "brief") if isinstance(piece, str)])

    assert run(streamed()) == run(classical().summarize(source, "brief")).summary


def test_a_meeting_is_embedded_once() -> None:
    counting = FakeEmbedder()
    source = written()[0].meeting().source
    run(Classical(counting, FakeAnalyzer(), "x").generate(source, "show_notes"))
    assert len(source.sentences) < counting.embedded < 2 * len(source.sentences) + 50
