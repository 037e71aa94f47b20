"""What the engine finds in texts, without Triton; the tests through Triton send it requests."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spacy.training import Example

from bench.personal_data import ENGLISH_ONLY, TENS, TYPES, WRITTEN_ONLY, personal_datum
from export_scripts import text_analysis
from export_scripts.artifact import ExportError
from export_scripts.engines import load_engine
from tests.running import PROJECT

analysis = load_engine("text_analysis")

CARRIERS = {
    "en": {
        "PHONE_NUMBER": ("Well, my phone number is {}, as you know.", "{}, call me there."),
        "US_SSN": ("The social security number is {} in this file.",),
        "": ("Please write {} down.", "{} is what it says.", "Is that right: {}?", "So, {}"),
    },
    "es": {
        "PHONE_NUMBER": ("Pues mi teléfono es {}, como sabes.", "{}, llama cuando quieras."),
        "": ("Apunta {} por favor.", "{} es lo que pone.", "Aquí está: {}.", "Pues {}"),
    },
}
KINDS = [
    (type_, form, language)
    for type_ in TYPES
    for form in ("written", "spoken")
    for language in ("en", "es")
    if not (form == "spoken" and type_ in WRITTEN_ONLY) and not (language == "es" and type_ in ENGLISH_ONLY)
]
# "Twenty seven" may be 27, or 20 and 7; "a" is a letter or a word before one; and what is said goes on behind "dot me".
AMBIGUOUS = re.compile("|".join(["^a ", "dot me$", *TENS["en"], *TENS["es"]]))
BEFORE = st.lists(st.sampled_from(["😀", "👩‍👧", "été", "nin\u0303o", "¿", "—\t", "🇪🇸"]), max_size=5).map(
    lambda words: " ".join([*words, "\n"] if words else words)
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return analysis.TextAnalysisEngine(tmp_path_factory.mktemp("weights"))


def entities(engine: Any, text: str, language: str = "en") -> list[tuple[str, str]]:
    """Their types and what they say."""
    (answer,) = engine.analyze([analysis.Request([text], analysis.AnalysisOptions(("entities",), language))])
    return [(entity.type, text[entity.start : entity.end]) for entity in answer.entities[0]]


@settings(max_examples=300)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32), carrier=st.integers(0, 9), before=BEFORE)
def test_all_of_an_entity_and_nothing_else_is_found(
    engine: Any, kind: tuple[str, str, str], seed: int, carrier: int, before: str
) -> None:
    type_, form, language = kind
    datum = personal_datum("dev", type_, form, language, random.Random(seed))
    assume(form == "written" or not AMBIGUOUS.search(datum))
    carriers = CARRIERS[language].get(type_, CARRIERS[language][""])
    text = before + carriers[carrier % len(carriers)].format(datum)
    (answer,) = engine.analyze([analysis.Request([text], analysis.AnalysisOptions(("entities",), language))])
    (found,) = answer.entities[0]
    start = text.index(datum)
    assert (found.type, found.start, found.end) == (type_, start, start + len(datum))
    assert 0.5 <= found.score <= 1


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("EMAIL_ADDRESS", "Ask [john at example.com]."),
        ("EMAIL_ADDRESS", "It's [j-o-h-n underscore smith at gmail dot com]"),
        ("EMAIL_ADDRESS", "Your email is [john smith at gmail dot com]?"),
        ("EMAIL_ADDRESS", "[Support at acme widgets dot com] knows"),
        ("URL", "Look at [example dot com]."),
        ("URL", "Look at [example.com]."),
        ("URL", "[https colon slash slash example dot com slash a]"),
        ("URL", "See [http://localhost:8080/x?y=1]."),
        ("PHONE_NUMBER", "Call [(555) 123-4567] today"),
        ("PHONE_NUMBER", "call me at [five five five, one two three four]"),
        ("PHONE_NUMBER", "[plus forty nine, one seventy, 1234567]"),
        ("PHONE_NUMBER", "[+44 (0)20 7946 0958] it is"),
        ("CREDIT_CARD", "[four double one one, 1-1-1-1, uh, 1111 1 1 1 1], 12 30"),
        ("CREDIT_CARD", "[5111111111111118] points"),
        ("US_SSN", "It says [4-3-1 0-5 0-6-0-8] here"),
        ("IBAN_CODE", "[g b 82 w e s t one two three four 5698 7654 32] yes"),
        ("IP_ADDRESS", "Reach [225.73.181.90] by phone"),
        ("IP_ADDRESS", "at [one hundred ninety two dot one sixty eight dot oh dot one]"),
        ("IP_ADDRESS", "[2001:db8::1]"),
    ],
)
def test_what_is_said_is_found(engine: Any, type_: str, text: str) -> None:
    """What stands in brackets here."""
    said = text[text.index("[") + 1 : text.index("]")]
    assert entities(engine, text.replace("[", "").replace("]", "")) == [(type_, said)]


@pytest.mark.parametrize(
    "text",
    [
        "We sold 1,200 units at 3 30 in 2024, plus 20 percent.",
        "Call me at five.",
        "Order number 415-555-2671 has shipped.",
        "The years 2019 2020 2021 2022 were good.",
        "The dot com bubble, and a dot in the middle.",
        "The meeting at Red Dot in Berlin went well.",
        "One two three four five six seven eight nine ten!",
        "We are done.So let us look at main.py and README.md.",
        "Scores were 74, 11, 42, 10 and 74.",
        "The card 4111 1111 1111 1112 is wrong, and so is DE89 3704 0044 0532 0130 01.",
        "Between 200-3000 people on 2024-05-12, two plus two, John Smith.",
        "user@localhost, 1.2.3, 300.1.1.1, a.m., U.S., e.g. this",
    ],
)
def test_what_only_looks_like_it_is_not(engine: Any, text: str) -> None:
    assert entities(engine, text) == []


def test_spanish_points_are_no_domains(engine: Any) -> None:
    text = "El punto es que este punto es importante, más o menos a un punto de 2024."
    assert entities(engine, text, "es") == []
    assert entities(engine, "Sumas 84, 84, 7, 84 y 84 y ya está.", "es") == []
    assert entities(engine, "visita www punto ejemplo punto es hoy", "es") == [("URL", "www punto ejemplo punto es")]


def test_other_languages_have_what_is_written(engine: Any) -> None:
    assert entities(engine, "Appelez le 06 12 34 56 78 ou écrivez à a@exemple.fr.", "fr-CA") == [
        ("PHONE_NUMBER", "06 12 34 56 78"),
        ("EMAIL_ADDRESS", "a@exemple.fr"),
    ]
    assert entities(engine, "电话13800138000是", "zh") == [("PHONE_NUMBER", "13800138000")]
    assert entities(engine, "call ٥٥٥-١٢٣-٤٥٦٧ now") == [("PHONE_NUMBER", "٥٥٥-١٢٣-٤٥٦٧")]


@given(digits=st.integers(10**12, 10**19 - 1).map(str))
def test_a_card_has_right_check_digits(engine: Any, digits: str) -> None:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    right = sum(map(sum, (map(int, str(number)) for number in doubled))) % 10 == 0
    found = entities(engine, f"The card is {digits}.")
    assert right or ("CREDIT_CARD", digits) not in found
    wrong = str(9 - int(digits[-1]))
    assert right or digits[-1] == wrong or not {("CREDIT_CARD", digits[:-1] + wrong)} & set(found)


@given(
    st.lists(
        st.sampled_from(["j@x.com", "word", "4111", "1111", "1111", "1111", "dot", "com", "at", ","]), max_size=2000
    )
)
@settings(max_examples=20)
def test_a_long_text_is_cut_where_nothing_is(engine: Any, words: list[str]) -> None:
    """What is found in a text in the middle of long ones is what is found in it alone."""
    middle = " ".join(words[:40])
    filler = "Nothing here. " * 400
    alone = entities(engine, f"Nothing here. {middle} Nothing here.")
    assert entities(engine, f"{filler}{middle} {filler}") == alone


HOSTILE = (
    "a|a.|a-|at |1|1 |1, |1 1, |212 555 1234 |.|@|a@|a.a@|1:|DE11 |a.com/|+1 |(1|dot com |a at b dot com |https://|"
)
HOSTILE += "twenty-|one hundred and |😀|don't |\n"


@pytest.mark.parametrize("part", HOSTILE.split("|"))
def test_hostile_texts_are_read_to_their_end(engine: Any, part: str) -> None:
    """Quadratic time would take minutes for these."""
    text = part * (20_000 // len(part))
    tasks = ("entities", "sentiment", "key_phrases")
    (answer,) = engine.analyze([analysis.Request([text], analysis.AnalysisOptions(tasks))])
    assert [len(answer.entities), len(answer.sentiment)] == [1, 1]
    for entity in answer.entities[0]:
        assert 0 <= entity.start < entity.end <= len(text)


def test_no_connection_is_opened() -> None:
    """tldextract would look for the public suffix list on the internet, once in a process."""
    program = """
import socket, sys
from pathlib import Path
sys.modules["torch"] = sys.modules["transformers"] = None  # seconds that nothing here needs
def connect(*_):
    print("a connection")
    raise OSError
socket.socket.connect = socket.getaddrinfo = connect
from export_scripts.engines import load_engine
analysis = load_engine("text_analysis")
text = "a@example.co.uk, a@example.nothing, example.com.mx, example.nothing"
request = analysis.Request([text], analysis.AnalysisOptions(("entities", "key_phrases")))
(answer,) = analysis.TextAnalysisEngine(Path("weights")).analyze([request])
print(*(text[entity.start : entity.end] for entity in answer.entities[0]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "a@example.co.uk example.com.mx\n"


def test_a_wrong_request_fails_alone(engine: Any) -> None:
    def request(texts: list[str], *tasks: Any, language: str = "en") -> Any:
        return analysis.Request(texts, analysis.AnalysisOptions(tasks, language))

    cases: list[tuple[Any, str | None]] = [
        (request(["Good.", "Bad."], "sentiment"), None),
        (request(["Bueno."], "entities", "sentiment", language="es"), "English alone; the language of these texts"),
        (request(["x"] * 20_001, "entities"), "TEXTS may be 20,000 at most; these are 20,001"),
        (request(["é" * 500_001], "key_phrases"), "1,000,000 bytes together; these have 1,000,002"),
        (request([], "entities", "sentiment", "key_phrases"), None),
        (request(["", " ", "Mail a@b.com"], "entities", language="en-GB"), None),
    ]  # fmt: skip
    answers = engine.analyze([one for one, _ in cases])
    for (_, problem), answer in zip(cases, answers, strict=True):
        if problem is None:
            assert isinstance(answer, analysis.Analysis)
        else:
            assert isinstance(answer, analysis.RequestError)
            assert problem in str(answer)
    assert [sentiment.compound > 0 for sentiment in answers[0].sentiment] == [True, False]
    assert answers[4] == analysis.Analysis()
    assert [len(found) for found in answers[5].entities] == [0, 0, 1]


def test_sentiment_has_shares(engine: Any) -> None:
    texts = ["This is wonderful, I love it!", "Terrible, I hate it.", "The room is on the left.", "", "good but " * 900]
    (answer,) = engine.analyze([analysis.Request(texts, analysis.AnalysisOptions(("sentiment",)))])
    for sentiment in answer.sentiment:
        assert sentiment.positive + sentiment.neutral + sentiment.negative == pytest.approx(1)
        assert -1 <= sentiment.compound <= 1
    best, worst, plain, empty, long = answer.sentiment
    assert best.compound > 0.5 > -0.5 > worst.compound
    assert (plain.compound, empty.compound) == (0, 0)
    assert long.compound > 0.5
    assert answer.entities == []


def test_key_phrases_are_as_the_texts_write_them(engine: Any) -> None:
    texts = [
        "The quarterly budget review moved to Lisbon",
        "Nobody likes the Quarterly budget\nreview, but the budget review matters.",
        "El resumen. We'll see what O'Brien's launch plan costs!",
    ]
    (answer,) = engine.analyze([analysis.Request(texts, analysis.AnalysisOptions(("key_phrases",)))])
    phrases = [phrase.text for phrase in answer.key_phrases]
    everything = " | ".join(" ".join(text.split()) for text in texts)
    assert "quarterly budget review" in {phrase.casefold() for phrase in phrases}
    assert all(phrase in everything for phrase in phrases)
    assert len({phrase.casefold() for phrase in phrases}) == len(phrases) <= 30
    relevances = [phrase.relevance for phrase in answer.key_phrases]
    assert relevances == sorted(relevances, reverse=True)
    assert all(0 < relevance <= 1 for relevance in relevances)
    # The words that its language's list leaves out.
    (spanish,) = engine.analyze(
        [analysis.Request(["El plan y la casa"], analysis.AnalysisOptions(("key_phrases",), "es"))]
    )
    assert {phrase.text for phrase in spanish.key_phrases} <= {"plan", "casa"}


NAMES = ("Anna Schmidt", "John Smith", "Maria Lopez", "Peter Hall", "Lucy Brown", "Omar Haddad")
PLACES = ("Madrid", "Berlin", "Lima", "Oslo")
SENTENCES = (
    "{} will send the report",
    "I spoke with {} today",
    "{} lives in <>",
    "ask {} in <> about it",
    "the train to <>",
)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spaCy pipeline that was taught a few names."""
    rng = random.Random(3)
    spacy.util.fix_random_seed(3)
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    examples = []
    for sentence in SENTENCES * 10:
        text = sentence.replace("{}", rng.choice(NAMES)).replace("<>", rng.choice(PLACES))
        spans = [(match.start(), match.end(), label) for label, known in (("PERSON", NAMES), ("GPE", PLACES))
                 for match in re.finditer("|".join(known), text)]  # fmt: skip
        examples.append(Example.from_dict(nlp.make_doc(text), {"entities": spans}))
    nlp.initialize(lambda: examples)
    for _ in range(40):
        nlp.update(examples)
    nlp.meta.update(name="names", version="0.1")
    folder = tmp_path_factory.mktemp("pipeline") / "names"
    nlp.to_disk(folder)
    return folder


def test_names_are_found_by_an_exported_pipeline(pipeline: Path, tmp_path: Path) -> None:
    text_analysis.main(["--to", str(tmp_path), "--ner", str(pipeline)])
    version = tmp_path / "text_analysis" / "1"
    config = (version / "config.pbtxt").read_text()
    assert "Presidio, VADER, YAKE, en_names 0.1" in config
    assert '\\"PERSON\\", \\"LOCATION\\"]' in config
    engine = analysis.TextAnalysisEngine(version / "weights")
    assert engine.entity_types[-2:] == ["PERSON", "LOCATION"]
    assert entities(engine, "I spoke with Anna Schmidt today") == [("PERSON", "Anna Schmidt")]
    assert entities(engine, "Peter Hall lives in Oslo") == [("PERSON", "Peter Hall"), ("LOCATION", "Oslo")]
    mail = ("EMAIL_ADDRESS", "Schmidt at example dot com")
    assert entities(engine, "I spoke with Anna Schmidt at example dot com today") == [mail]
    assert entities(engine, "I spoke with Anna Schmidt", "es") == []


def test_an_export_without_names(tmp_path: Path) -> None:
    text_analysis.main(["--to", str(tmp_path)])
    assert '\\"PERSON\\"' not in (tmp_path / "text_analysis" / "config.pbtxt").read_text()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: folder / "nowhere", "neither a folder nor an installed package"),
        (lambda folder: folder.parent / "..", "holds no spaCy pipeline"),
        (lambda folder: _without(folder, "meta.json"), "cannot be read"),
        (lambda folder: _without(folder, "ner/model"), "cannot be loaded"),
        (lambda folder: _replaced(folder / "meta.json", '"ner"', '"tagger"'), "no component ner"),
    ],
    ids=["nowhere", "no pipeline", "no meta", "no model", "no ner"],
)
def test_what_is_no_pipeline_is_refused(
    pipeline: Path, tmp_path: Path, spoil: Callable[[Path], Path], message: str
) -> None:
    copy = tmp_path / "copy" / "names"
    shutil.copytree(pipeline, copy)
    with pytest.raises(ExportError, match=message):
        text_analysis.main(["--to", str(tmp_path / "out"), "--ner", str(spoil(copy))])
    assert not list(tmp_path.rglob("manifest.json"))


def _without(folder: Path, file: str) -> Path:
    (folder / file).unlink()
    return folder


def _replaced(file: Path, old: str, new: str) -> Path:
    file.write_text(file.read_text().replace(old, new))
    return file.parent
