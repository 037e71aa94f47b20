"""How what was heard is written down: scripts, digits, entities, what is not seen; and the fields that ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from unicodedata import category, is_normalized

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.recognition.keywords import Keyword
from api.recognition.normalization import normalized, normalized_text
from api.recognition.romanization import romanized
from api.recognition.scripts import in_own_script
from api.recognition.wording import Wording
from api.speech import Segment, Word, text_of
from tests.business import speech
from tests.running import start_fake_service, stop_fake_service


def segment(texts: list[str], language: str | None = None) -> Segment:
    """Texts have the spaces before them."""
    words = tuple(Word(text, place, place + 0.8, 0.9) for place, text in enumerate(texts))
    return Segment(0.0, float(len(words)), text_of(words), 0.9, words, -0.1, 0.0, 1.0, language=language)


def spoken(text: str, language: str) -> Segment:
    return segment([f" {word}" for word in text.split()], language)


@pytest.mark.parametrize(
    ("devanagari", "latin"),
    [
        ("नमस्ते", "namaste"), ("लड़का", "larka"), ("समझना", "samajhna"), ("बदलना", "badalna"), ("सरकार", "sarkar"),
        ("भारतीय", "bhartiya"), ("मित्र", "mitra"), ("धर्म", "dharm"), ("दोस्त", "dost"), ("कृष्ण", "krishna"),
        ("ज़िंदगी", "zindagi"), ("संभव", "sambhav"), ("मुंबई", "mumbai"), ("मैं", "main"), ("ज्ञान", "gyan"), ("न", "na"),
        ("आज़ाद", "azad"), ("ख़बर", "khabar"), ("१२।", "12."),
    ],
)  # fmt: skip
def test_devanagari_is_romanized_as_it_is_said(devanagari: str, latin: str) -> None:
    assert romanized(devanagari) == latin


@pytest.mark.parametrize(
    ("language", "heard", "written"),
    [
        ("hi", "Main kal office ja raha hoon, kya tum bhi aa rahe ho?", "मैं कल office जा रहा हूँ, क्या तुम भी आ रहे हो?"),
        ("hi", "Mujhe yeh project bahut accha laga", "मुझे यह project बहुत अच्छा लगा"),
        ("hi", "server का log देखो, main branch में", "server का log देखो, main branch में"),
        ("hi", "is project ko Google ne banaya", "is project को Google ने बनाया"),
        ("hi", "Lena called from the main office", "Lena called from the main office"),
        ("en", "She said नमस्ते, to the लड़का।", "She said namaste, to the larka."),
        ("ru", "Она сказала नमस्ते hai", "Она сказала नमस्ते hai"),
    ],
)
def test_each_language_is_in_its_own_script(language: str, heard: str, written: str) -> None:
    before = spoken(heard, language)
    (after,) = in_own_script([before])
    assert (after.text, text_of(after.words)) == (written, written)
    assert [(word.start, word.end) for word in after.words] == [(word.start, word.end) for word in before.words]
    (without_words,) = in_own_script([Segment(0, 1, heard, 1, (), 0, 0, 1, language=language)])
    assert without_words.text == written


def test_keywords_and_terms_stay_in_their_script() -> None:
    boosted = Word(" kya", 0, 1, 0.9, "heard")
    said = spoken("kya Aap dost hai", "hi")
    said = Segment(0, 4, said.text, 0.9, (boosted, *said.words[1:]), 0, 0, 1, language="hi")
    wording = Wording((Keyword("Dost & Co"),), script_correction=True)
    (after,) = in_own_script([said], [keyword.term for keyword in wording.keywords])
    assert after.text == "kya Aap dost है"


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("१२ ٣٤ ５６ 𝟕", "12 34 56 7"),
        ("١٬٢٣٤٫٥", "1,234.5"),
        ("R&amp;D &lt;b&gt; AT&T; &notice;", "R&D <b> AT&T; &notice;"),
        ("the entity &amp;lt; is", "the entity &amp;lt; is"),
        ("\u202eabc\u202c \u2067שלום\u2069\u200f", "abc שלום"),
        ("می\u200cخواهم क्\u200dष", "می\u200cخواهم क्\u200dष"),
        ("👩\u200d💻 a\u200cb\u00ad\ufeff", "👩\u200d💻 ab"),
        ("Zoe\u0308 ﻿cafe\u0301", "Zoë café"),
        (" a \u00a0\n b\u2003c ", "a b c"),
        ("&#8238;x&#x202c; &#1635;", "x 3"),
    ],
)
def test_one_form_of_what_can_be_written_in_several(heard: str, written: str) -> None:
    assert normalized_text(heard) == written


PIECES = st.sampled_from([*"a1é٣５१&;#x\u037e ", "&amp;", "amp;", "&#38;", "lt;", "&nbsp;", "क्"])
TEXT = st.lists(st.one_of(PIECES, st.characters()), max_size=12).map("".join)


@given(TEXT)
def test_normalizing_twice_is_normalizing_once(text: str) -> None:
    once = normalized_text(text)
    assert normalized_text(once) == once
    assert is_normalized("NFC", once)
    assert " ".join(once.split()) == once
    assert not any(category(one) == "Nd" and not one.isascii() for one in once)
    assert not any(category(one) in ("Cc", "Cs") or "\u202a" <= one <= "\u202e" for one in once)


@given(st.lists(st.tuples(st.sampled_from(["", " "]), TEXT).map("".join), max_size=6))
def test_words_and_text_stay_the_same(texts: list[str]) -> None:
    before = segment(texts)
    after = normalized([before])
    assert normalized(after) == after
    for one in after:
        assert one.text == text_of(one.words)
        assert all(word.text.strip() for word in one.words)
        assert {word.start for word in one.words} <= {word.start for word in before.words}
    assert bool(after) == any(map(normalized_text, texts))


def test_the_spaces_between_words_stay() -> None:
    (after,) = normalized([segment([" one", " \u200b", "two ", "three", "-", "four"])])
    assert [word.text for word in after.words] == [" one", " two", " three", "-", "four"]


@pytest.fixture(scope="module")
def transcribe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., httpx.Response]]:
    service = start_fake_service(tmp_path_factory.mktemp("wording"), fakes={"FAKE_HEARD": "नमस्ते&amp;१"})
    recording = speech(1)
    yield lambda **fields: service.client.post("/v1/transcribe", files={"file": recording}, data=fields)
    stop_fake_service(service)


def test_a_request_chooses_how_it_is_written_down(transcribe: Callable[..., httpx.Response]) -> None:
    as_heard = transcribe().json()
    assert as_heard["text"] == "नमस्ते&amp;१"
    written = transcribe(script_correction="true", normalize="true").json()
    (of_segment,) = written["segments"]
    assert [written["text"], of_segment["text"], of_segment["words"][0]["word"]] == ["namaste&1"] * 3
    assert of_segment["words"][0]["start"] == as_heard["segments"][0]["words"][0]["start"]
    assert transcribe(normalize="true", response_format="txt").text == "नमस्ते&1\n"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"languages": ",".join(["en"] * 11)}, "at most 10"),
        ({"languages": "en,xx"}, "'xx'"),
        ({"languages": "en", "language": "es"}, "language=auto"),
        ({"keywords": "Acme:0"}, "Acme"),
        ({"min_snr_db": "61"}, "a number from -20 to 60"),
        ({"min_snr_db": "nan"}, "a number from -20 to 60"),
        ({"min_snr_db": "quiet"}, "a number from -20 to 60"),
        ({"normalize": "perhaps"}, "true or false"),
        ({"script_correction": "2"}, "true or false"),
    ],
)
def test_what_is_not_right_is_said(
    transcribe: Callable[..., httpx.Response], fields: dict[str, str], says: str
) -> None:
    answer = transcribe(**fields)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_candidates_keywords_and_a_floor_are_taken(transcribe: Callable[..., httpx.Response]) -> None:
    fields = {"languages": "es, en", "keywords": "Acme:5,XYZ Pharma", "min_snr_db": "-20", "language": "en"}
    assert transcribe(**fields).status_code == 200
    assert transcribe(**{**fields, "language": "auto", "min_snr_db": ""}).status_code == 200
