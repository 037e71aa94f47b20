"""Keyword boosting: what it may change and what it must leave, alone and through the whole service."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.client import connect

from api.errors import InvalidRequest
from api.inference.fake import FakeAnalyzer
from api.intelligence.redaction import Redactor
from api.recognition.keywords import Keyword, boosted, hotwords, parse_keywords
from api.recognition.keywords.boosting import LONGEST_PAUSE_S, SURE
from api.recognition.keywords.matching import terms_of
from api.speech import Segment, Transcript, Word, text_of
from api.transcripts.correction import correct
from tests.business import customer, pcm, speech
from tests.running import FakeService, start_fake_service, stop_fake_service

UNSURE = 0.4


def segment(*words: Word) -> Segment:
    return Segment(words[0].start, words[-1].end, text_of(words), 0.5, words, -0.1, 0.0, 1.0)


def heard(text: str, sure: str = "", pauses: str = "") -> Segment:
    """A word every half second; of the words in `sure` the recogniser was, after those in `pauses` is one."""
    words, clock = list[Word](), 0.0
    for word in text.split(" "):
        words.append(Word(f" {word}", clock, clock + 0.4, SURE if word in sure.split() else UNSURE))
        clock += 0.5 + (LONGEST_PAUSE_S if word in pauses.split() else 0)
    return segment(*words)


def said(text: str, keywords: str, sure: str = "", pauses: str = "") -> str:
    return boosted([heard(text, sure, pauses)], parse_keywords(keywords))[0].text


@pytest.mark.parametrize(
    ("text", "keywords", "expected"),
    [
        ("We met akmi last week.", "Acme:5", "We met Acme last week."),
        ("call x y z farma, today", "XYZ Pharma:8", "call XYZ Pharma, today"),
        ("akmi's team", "Acme:5", "Acme's team"),
        ("“Akmi,” he said", "Acme:5", "“Acme,” he said"),
        ("The koo burn ettys cluster", "Kubernetes:5", "The Kubernetes cluster"),
        ("Of side again", "off-side", "Off-side again"),
        ("ask Vandameer and mander mere", "Vandermeer:5", "ask Vandermeer and Vandermeer"),
        ("con la señora ximenes", "Jiménez:8", "con la señora Jiménez"),
        ("trabaja en el vanko sabadel", "Banco Sabadell:5", "trabaja en el Banco Sabadell"),
        ("está en keretaro hoy", "Querétaro:5", "está en Querétaro hoy"),
        ("un vuelo a guadala jarra", "Guadalajara:5", "un vuelo a Guadalajara"),
        ("встреча с ковольским завтра", "Ковальским:5", "встреча с Ковальским завтра"),
        ("elastic past is slow", "Elastic Path:5", "Elastic Path is slow"),
        ("xyz pharma called", "XYZ Pharma", "XYZ Pharma called"),
        ("the doitsche- bank", "Deutsche Bank:9", "the Deutsche Bank"),
        ("at prokter gamble now", "Procter & Gamble:9", "at Procter & Gamble now"),
        ("he knows it", "NoSQL:10,IT:10,Ed:10", "he knows it"),
    ],
)
def test_what_was_meant(text: str, keywords: str, expected: str) -> None:
    assert said(text, keywords) == expected


def test_words_of_a_script_without_spaces() -> None:
    words = [
        Word(text, place / 2, place / 2 + 0.5, UNSURE)
        for place, text in enumerate(["我", "在", "北", "亰", "大学", "学习"])
    ]
    after = boosted([segment(*words)], parse_keywords("北京大学:5"))[0]
    assert [word.text for word in after.words] == ["我", "在", "北京大学", "学习"]
    assert after.words[2] == Word("北京大学", 1.0, 2.5, after.words[2].probability, "北亰大学")


def test_the_whole_of_a_term_goes_before_its_parts() -> None:
    assert said("deutscher bank and doitsche bank", "Bank:10,Deutsche Bank:5") == "Deutsche Bank and Deutsche Bank"
    # Two that fit well beat one between them that fits best.
    assert said("kowalsky cassandre", "Kowalski:5,Cassandra:5,Skikassan:5") == "Kowalski Cassandra"


def test_a_sure_word_stays() -> None:
    assert said("met akmi today", "Acme:10", sure="akmi") == "met akmi today"
    assert said("deutscher bank", "Deutsche Bank:10", sure="deutscher") == "deutscher bank"
    assert said("vanko de spaña", "Banco de España:10", sure="vanko de") == "vanko de spaña"
    # It may be a part of a term that is otherwise unsure, where it is right.
    after = boosted([heard("vanko de spaña", sure="de")], parse_keywords("Banco de España:5"))[0]
    assert [(word.text, word.original) for word in after.words] == [
        (" Banco", "vanko"), (" de", None), (" España", "spaña")
    ]  # fmt: skip


def test_neither_pauses_nor_segments_are_crossed() -> None:
    assert said("mander mere", "Vandermeer:5") == "Vandermeer"
    assert said("mander mere", "Vandermeer:5", pauses="mander") == "mander mere"
    assert said("mander. Mere", "Vandermeer:5") == "mander. Mere"
    apart = [heard("mander"), heard("mere")]
    assert boosted(apart, parse_keywords("Vandermeer:5")) == apart


def test_times_are_shared_by_length() -> None:
    after = boosted([heard("to x y z farma now")], parse_keywords("XYZ Pharma"))[0]
    assert [(word.text, word.original) for word in after.words[1:3]] == [
        (" XYZ", "x y z farma"), (" Pharma", "x y z farma")
    ]  # fmt: skip
    start, end = 0.5, 2.4
    assert [(word.start, word.end) for word in after.words[1:3]] == [
        (start, pytest.approx(start + (end - start) / 3)),
        (pytest.approx(start + (end - start) / 3), end),
    ]
    assert after.confidence == 0.5


TERMS = ["Acme", "XYZ Pharma", "off-side", "Kowalski", "Banco de España", "Bank", "Deutsche Bank", "Side Kick"]
SOUNDS = [
    *("akmi", "acme", "x", "y", "z", "farma", "pharma", "xyz", "of", "off", "side", "off-side", "kick", "kowal", "ski"),
    *("kowalsky's", "the", "de", "vanko", "banco", "spana", "españa", "bank", "deutsche", "doitsche", "-", "...", "'s"),
]
keyword_lists = st.lists(
    st.builds(Keyword, st.sampled_from(TERMS), st.sampled_from([0.1, 0.5, 1.5, 5.0, 10.0])),
    max_size=6,
    unique_by=lambda keyword: keyword.term,
).map(tuple)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    words, clock = list[Word](), 0
    for text in draw(st.lists(st.sampled_from(SOUNDS), min_size=1, max_size=9)):
        start = clock + draw(st.sampled_from([0, 0, 1, 9]))
        clock = start + draw(st.integers(0, 5))
        shape = draw(st.sampled_from([" {}", " {}", " {},", "{}", " “{}.”"]))
        text = draw(st.sampled_from([text, text.capitalize()]))
        words.append(
            Word(shape.format(text), start / 10, clock / 10, draw(st.sampled_from([0.0, 0.3, 0.6, SURE, 1.0])))
        )
    return segment(*words)


@given(segments(), keyword_lists)
def test_only_unsure_words_change_and_times_stay_sound(before: Segment, keywords: tuple[Keyword, ...]) -> None:
    (after,) = boosted([before], keywords)
    assert after.text == text_of(after.words)
    assert replace(after, text="", words=()) == replace(before, text="", words=())
    edges = [edge for word in after.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    # What stays is there in order; what does not was unsure, and its time is that of what stands for it.
    unchanged = [word for word in before.words if word in after.words]
    assert all(word in unchanged for word in before.words if word.probability >= SURE)
    for word in before.words:
        if word not in after.words:
            assert any(
                new.start <= word.end and new.end >= word.start for new in after.words if new not in before.words
            )
    spoken = {part for keyword in keywords for part in keyword.term.casefold().split()}
    for word in after.words:
        if word not in before.words:
            assert word.text.strip(" “”,.'’-").casefold().removesuffix("'s") in spoken
            assert word.probability < SURE
    assert boosted([after], keywords) == [after]


@given(st.lists(segments(), max_size=3), st.sampled_from(["", "rhubarb:10", "UN:10"]))
def test_without_anything_like_a_keyword_nothing_changes(before: list[Segment], keywords: str) -> None:
    assert boosted(before, parse_keywords(keywords)) == before


@given(segments(), st.sampled_from(TERMS), st.floats(0.01, 10), st.floats(0.01, 10))
def test_a_heavier_keyword_is_found_as_well(before: Segment, term: str, one: float, other: float) -> None:
    def is_found(weight: float) -> bool:
        (after,) = boosted([before], (Keyword(term, weight),))
        return any(word.original is not None for word in after.words)

    assert is_found(max(one, other)) or not is_found(min(one, other))


def test_what_was_boosted_once_stays() -> None:
    once = boosted([heard("met akmi")], parse_keywords("Acme:5"))
    assert boosted(once, parse_keywords("Akme:10,Acne:10")) == once


def test_weights_count_in_both_directions() -> None:
    assert said("send it to mandameer", "Vandermeer:0.5") == "send it to mandameer"
    assert said("send it to mandameer", "Vandermeer:9") == "send it to Vandermeer"
    assert said("a word from karlsen", "Carlsson:1,Karlson:9") == "a word from Karlson"
    assert said("a word from karlsen", "Carlsson:9,Karlson:0.1") == "a word from Carlsson"


def test_a_term_is_looked_for_in_no_more_words_than_is_cheap() -> None:
    """Letter by letter this one would be as many words as it has letters; each more is compared with all terms."""
    (term,) = terms_of([Keyword("ABCDE " * 16)])
    assert term.most_words == 12


def test_what_is_written_as_keywords() -> None:
    assert parse_keywords("Acme:5, XYZ  Pharma : 8 ,off-side,,\n") == (
        Keyword("Acme", 5.0), Keyword("XYZ Pharma", 8.0), Keyword("off-side", 1.5)
    )  # fmt: skip
    assert parse_keywords(["Smith, Jones:2", "Acme"]) == (Keyword("Smith, Jones", 2.0), Keyword("Acme"))
    assert parse_keywords("acme:2,Acme:7,ACME") == (Keyword("Acme", 7.0),)
    assert parse_keywords("Acme:50,Re:Zero,12:30:45,12:30,12:30:2,Star Wars: Andor,Acme Corp:") == (
        Keyword("Acme", 10.0), Keyword("Re:Zero"), Keyword("12:30:45"), Keyword("12:30", 2.0),
        Keyword("Star Wars: Andor"), Keyword("Acme Corp"),
    )  # fmt: skip
    assert parse_keywords(" , ") == ()
    assert hotwords(parse_keywords("a b:2,c:9,d,e:2")) == ("c", "a b", "e", "d")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ("Acme:0", "weight of 'Acme' must be above 0 and at most 10, not 0"),
        ("Acme:-2", "not -2"),
        ("x" * 101, "100 characters"),
        ("x " * 11, "10 words"),
        ("!!!", "that can be said, not '!!!'"),
        ("a\x00b", "that can be said"),
        (",".join(map(str, range(1000, 1501))), "may be 500 keywords"),
    ],
)
def test_keywords_that_are_refused(keywords: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_keywords(keywords)


@given(st.text(st.sampled_from("aé北:,. 0159-'\n"), max_size=40))
def test_whatever_is_accepted_is_a_keyword(text: str) -> None:
    try:
        keywords = parse_keywords(text)
    except InvalidRequest:
        return
    assert all(0 < keyword.weight <= 10 and keyword.term == " ".join(keyword.term.split()) for keyword in keywords)
    assert len({keyword.term.casefold() for keyword in keywords}) == len(keywords)
    assert boosted([heard("a 北 é 0 15 9")], keywords)


def test_a_correction_by_hand_is_no_boost() -> None:
    (before,) = boosted([heard("met akmi today")], parse_keywords("Acme:5"))
    assert [word.original for word in correct(before, "met Acme, today").words] == [None, "akmi", None]
    assert [word.original for word in correct(before, "met Ackermann today").words] == [None, None, None]


def test_redacted_transcripts_do_not_tell_what_was_heard() -> None:
    (after,) = boosted([heard("mail me@akmi.org or akmi")], parse_keywords("Acme:5"))
    assert after.words[-1].original == "akmi"
    transcript = Transcript("en", 1.0, 2.0, (after,), "demo")
    redacted = asyncio.run(Redactor(FakeAnalyzer()).transcript(transcript)).segments[0]
    assert [(word.text, word.original) for word in redacted.words] == [
        (" mail", None), (" [EMAIL_ADDRESS]", None), (" or", None), (" Acme", None)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    running = start_fake_service(
        tmp_path_factory.mktemp("keywords"), fakes={"FAKE_HEARD": "akmi", "FAKE_PROBABILITY": str(UNSURE)}
    )
    yield running
    stop_fake_service(running)


BOOSTED = {"word": "Acme", "start": 0.0, "end": 0.5, "speaker": "Speaker 1", "boosted": True, "original": "akmi"}
PLAIN = {"word": "akmi", "start": 0.0, "end": 0.5, "speaker": "Speaker 1"}


def test_every_answer_and_export_has_the_keyword(service: FakeService) -> None:
    with customer(service, "house").open() as client:
        first = client.transcribe(speech(1.0), keywords="Acme:5,off-side")
        assert first.status_code == 200, first.text
        body = first.json()
        assert (body["text"], body["segments"][0]["words"]) == ("Acme", [BOOSTED])
        without = client.transcribe(speech(1.0)).json()
        assert (without["text"], without["segments"][0]["words"]) == ("akmi", [PLAIN])
        for format_ in ("txt", "srt", "vtt"):
            answer = client.transcribe(speech(1.0), keywords="Acme:5", response_format=format_).text
            assert "Acme" in answer
            assert "akmi" not in answer
        stored = f"/api/v1/transcripts/{body['id']}/"
        assert client.client.get(stored).json()["segments"][0]["words"] == [BOOSTED]
        assert client.client.get(f"{stored}export/json/").json()["words"] == [BOOSTED | {"probability": UNSURE}]
        for format_ in ("txt", "srt", "vtt", "csv", "docx"):
            exported = client.client.get(f"{stored}export/{format_}/").content
            if format_ == "docx":
                exported = ZipFile(io.BytesIO(exported)).read("word/document.xml")
            assert b"Acme" in exported, format_
            assert b"akmi" not in exported, format_
        refused = client.transcribe(speech(1.0), keywords="Acme:0")
        assert refused.status_code == 400
        assert "weight of 'Acme'" in refused.json()["error"]


@pytest.mark.parametrize("keywords", ["Acme:5", ["Acme:5", "Smith, Jones"]])
def test_live_phrases_have_the_keyword(service: FakeService, keywords: str | list[str]) -> None:
    with connect(service.url.replace("http", "ws", 1) + "/v1/stream") as client:
        client.send(json.dumps({"language": "en", "model": "small", "keywords": keywords}))
        client.send(pcm(1.0))
        client.send('{"action": "stop"}')
        messages = [json.loads(message) for message in client]
    (final,) = [message for message in messages if "words" in message]
    assert final["text"] == messages[-1]["text"] == "Acme"
    assert final["words"] == [{name: value for name, value in BOOSTED.items() if name != "speaker"}]


def test_a_live_session_refuses_what_is_no_keyword(service: FakeService) -> None:
    with connect(service.url.replace("http", "ws", 1) + "/v1/stream?keywords=Acme:0") as client:
        assert "weight of 'Acme'" in json.loads(client.recv(timeout=10))["error"]
