"""Tasks, decisions, questions and names: labelled sentences, and the two meetings that were written by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.inference.contracts import Entity
from api.intelligence import rules
from api.intelligence.extracts import PROPER_NOUN, entities
from api.intelligence.names import mentions
from api.intelligence.source import Sentence, Source, from_text
from bench.meetings import Written, written

SPEAKER = "Eve"

# Who shall do it, and until when; the speaker is Eve.
TASKS = [
    ("en", "I'll send the slides by Friday.", SPEAKER, "by Friday"),
    ("en", "i will book the room tomorrow", SPEAKER, "tomorrow"),
    ("en", "I’m going to call the landlord before the end of the month.", SPEAKER, "before the end of the month"),
    ("en", "By next Tuesday I need to finish the draft.", SPEAKER, "By next Tuesday"),
    ("en", "I can have a look, and I'll get back to you within two days.", SPEAKER, "within two days"),
    ("en", "Maria will update the budget by March 3rd.", "Maria", "by March 3rd"),
    ("en", "Tom and Maria are going to prepare the demo for Monday.", "Tom and Maria", "for Monday"),
    (
        "en",
        "The design team needs to deliver the icons by the end of the week.",
        "The design team",
        "by the end of the week",
    ),
    ("en", "So Priya has to review the contract.", "Priya", None),
    ("en", "Could you share the numbers with me, Tom?", "Tom", None),
    ("en", "Tom, can you check the invoices by noon?", "Tom", "by noon"),
    ("en", "Please write to the school this week.", None, "this week"),
    ("en", "If possible, please send me the list today.", None, "today"),
    ("en", "We need to order new chairs.", None, None),
    ("en", "We still need to fix the login before the release.", None, "before the release"),
    ("en", "Let's schedule a call for next Wednesday.", None, "for next Wednesday"),
    ("en", "The contract has to be signed by the 15th of October.", None, "by the 15th of October"),
    ("en", "TODO: clean up the wiki.", None, None),
    ("en", "Action item for Ben: ask the bank.", "Ben", None),
    ("en", "Ben, send me the photos as soon as possible.", "Ben", "as soon as possible"),
    ("es", "Voy a enviar el informe antes del viernes.", SPEAKER, "antes del viernes"),
    ("es", "Tenemos que comprar sillas para la semana que viene.", None, "para la semana que viene"),
    ("es", "Hay que revisar el contrato.", None, None),
    ("es", "María va a preparar la presentación para el lunes.", "María", "para el lunes"),
    ("es", "Luis enviará las facturas mañana.", "Luis", "mañana"),
    ("es", "Ana, ¿puedes llamar al banco hoy?", "Ana", "hoy"),
    ("es", "Por favor, confirma la reserva cuanto antes.", None, "cuanto antes"),
    ("es", "Prepararé el acta esta tarde.", SPEAKER, "esta tarde"),
    ("es", "Si puedes, por favor envía el acta.", None, None),
    ("de", "TODO: Protokoll schreiben", None, None),
]
NO_TASKS = [
    ("en", "I sent the slides on Friday."),
    ("en", "I had to call the landlord twice."),
    ("en", "Maria was going to update the budget."),
    ("en", "I'll be honest, that was hard."),
    ("en", "We need to talk about how great this was."),
    ("en", "I would send it if I had it."),
    ("en", "If we get the money, I'll hire two people."),
    ("en", "Maybe we should write a book."),
    ("en", "Can you hear me?"),
    ("en", "Can you check if you can hear me?"),
    ("en", "Let's move on to the next point."),
    ("en", "Please go ahead."),
    ("en", "Will Maria send it by Friday?"),
    ("en", "Do you think I'll finish it by Friday?"),
    ("en", "What do we need to buy for Monday?"),
    ("en", "I won't send it tomorrow."),
    ("en", "I'll tell you a story."),
    ("en", "Everyone will share this view."),
    ("en", "I hope Tom will fix it tomorrow."),
    ("en", "I have to say that I like it."),
    ("en", "I'll share my screen."),
    ("es", "Envié el informe el viernes."),
    ("es", "Vamos a empezar."),
    ("es", "Voy a ser sincero."),
    ("es", "Si tenemos dinero, voy a comprar sillas."),
    ("es", "¿Cuándo va a llamar Luis?"),
    ("es", "Todo: eso es lo que quiero."),
    ("fr", "I'll send the slides by Friday."),
]


@pytest.mark.parametrize(("language", "text", "assignee", "due"), TASKS)
def test_tasks(language: str, text: str, assignee: str | None, due: str | None) -> None:
    item = rules.action_item(Sentence(text, SPEAKER, 1.0, 2.0, 3), language)
    assert item is not None
    assert (item.text, item.assignee, item.due, item.speaker) == (text, assignee, due, SPEAKER)
    assert (item.start, item.end, item.segment_order) == (1.0, 2.0, 3)


@pytest.mark.parametrize(("language", "text"), NO_TASKS)
def test_no_tasks(language: str, text: str) -> None:
    assert rules.action_item(Sentence(text, SPEAKER), language) is None


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "We decided to move the launch to June.", True),
        ("en", "Okay, it was agreed that nobody pays.", True),
        ("en", "Then let's go with the blue one.", True),
        ("en", "Decision: no meetings on Fridays.", True),
        ("en", "Have we decided on a date?", False),
        ("en", "We haven't decided yet.", False),
        ("en", "We decided that two years ago.", False),
        ("en", "I agreed with my brother.", False),
        ("es", "Hemos decidido cerrar la oficina.", True),
        ("es", "Se acordó pagar la mitad.", True),
        ("es", "Aún no hemos decidido nada.", False),
        ("fr", "We decided to go.", False),
    ],
)
def test_decisions(language: str, text: str, *, expected: bool) -> None:
    assert rules.is_decision(text, language) is expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "When does the train leave?", True),
        ("en", "The train leaves at nine, right?", True),
        ("en", "so when does the train leave", True),
        ("en", "and how many people do we need", True),
        ("en", "it was green, isn't it", True),
        ("en", "can we move on", True),
        ("en", "When we arrived, it rained.", False),
        ("en", "What a day.", False),
        ("en", "what he did was good", False),
        ("en", "You know?", False),
        ("en", "Really?", False),
        ("en", "Can you hear me?", False),
        ("es", "¿Cuándo sale el tren?", True),
        ("es", "cuándo sale el tren", False),
        ("es", "cuanto cuesta el tren", True),
        ("es", "Es tarde, ¿vale?", False),
        ("ja", "いつ電車が出ますか？", True),
        ("fr", "Quand part le train ?", True),
        ("fr", "quand part le train", False),
    ],
)
def test_questions(language: str, text: str, *, expected: bool) -> None:
    assert rules.is_question(text, language) is expected


def test_an_answer_is_another_speakers_and_about_the_question() -> None:
    source = from_text(
        "Ann: Who has the key? I had it once.\nBob: Me. It is in my bag.\n"
        "Ann: Where did you put the bag?\nBob: Which bag do you mean?\n"
        "Ann: What is in the blue bag?\nAnn: I forgot.\nAnn: So sad.\nAnn: Well.\nBob: Books.\n"
        "Ann: Why do we need so many?\nBob: Sorry, I was on mute.\nAnn: And what else is there?"
    )
    assert [(question.text, question.answer) for question in rules.questions(source)] == [
        ("Who has the key?", "Me. It is in my bag."),
        ("Where did you put the bag?", None),
        ("Which bag do you mean?", None),
        ("What is in the blue bag?", None),
        ("Why do we need so many?", None),
        ("And what else is there?", None),
    ]
    assert [one.answer for one in rules.questions(from_text("What is it? It is a bag."))] == [None]


@pytest.mark.parametrize("meeting", written(), ids=lambda meeting: meeting.title)
def test_all_that_is_in_a_meeting_is_found_and_nothing_else(meeting: Written) -> None:
    source = meeting.meeting().source
    assert [(one.text, one.assignee or "", one.due or "") for one in rules.action_items(source)] == [
        (task.text, task.assignee, task.due)
        for task in sorted(meeting.action_items, key=lambda task: source.texts.index(task.text))
    ]
    assert [decision.text for decision in rules.decisions(source)] == meeting.decisions


WORDS = (
    "I'll please can you we need to send book by Friday Maria , ? . : the and if it tomorrow what TODO let's go with ¿ "
    "voy a enviar mañana el decidimos is a 3 of March"
)
NAMES = "Ann of the New York I'm sees Bob's Monday U.S. a 3 . ,"


def sentences(words: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(words.split()), max_size=25).map(" ".join)


@given(sentences(WORDS), st.sampled_from(["en", "es", "de"]))
def test_a_task_is_told_in_words_of_its_sentence(text: str, language: str) -> None:
    item = rules.action_item(Sentence(text, SPEAKER), language)
    if item is not None:
        assert (item.due or "") in text
        assert item.assignee in (None, SPEAKER) or item.assignee in text


def test_names_are_words_written_large_where_none_is_due() -> None:
    source = from_text(
        "Yesterday Maria Lopez met us in New York. Berlin is large.\n"
        "I think I like Berlin on Mondays, said Maria Lopez's son. "
        "Write to eve@example.com, Tom. THIS IS ALL LARGE HERE."
    )
    mail = source.texts[3].index("eve@")
    found = [
        [],
        [],
        [],
        [Entity("EMAIL_ADDRESS", mail, mail + 15, 1.0), Entity("PERSON", mail + 17, mail + 20, 0.9)],
        [],
    ]
    assert [(one.text, one.type, one.mentions) for one in entities(source, found)] == [
        ("Maria Lopez", PROPER_NOUN, 2),
        ("Berlin", PROPER_NOUN, 2),
        ("New York", PROPER_NOUN, 1),
        ("eve@example.com", "EMAIL_ADDRESS", 1),
        ("Tom", "PERSON", 1),
    ]
    german = Source((Sentence("Wir haben den Zug und das Haus gesehen."),), "de")
    assert entities(german, [[]]) == []


@given(st.lists(sentences(NAMES), max_size=5))
def test_a_name_stands_where_it_is_said_to_stand(texts: list[str]) -> None:
    for mention in mentions(texts, "en"):
        assert texts[mention.sentence][mention.start : mention.end] == mention.name
        assert mention.name[0].isupper()
