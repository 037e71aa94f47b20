"""The demo translator: its parallel grammar, and the committed checkpoint behind the exporter and the engine."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_scripts import translator as exporter
from export_scripts.demo.speech.grammar import ENGLISH, SPANISH, is_held_out, sentence
from export_scripts.demo.translation import vocabulary
from export_scripts.demo.translation.__main__ import save_checkpoint
from export_scripts.demo.translation.agreement import realise
from export_scripts.demo.translation.parallel import english_sentence, held_out_pair, spanish_sentence, training_pair
from export_scripts.demo.translation.phrases import TO_ENGLISH, TO_SPANISH
from export_scripts.demo.translation.training import bare, train, training_text
from export_scripts.engines import load_engine
from tests.conftest import Clip
from tests.running import PROJECT

CHECKPOINT = PROJECT / "export_scripts" / "demo" / "translation" / "checkpoint"
MARKS = "@#<>«»_|+~%^*:/"
seeds = st.integers(0, 2**32).map(random.Random)


@pytest.mark.parametrize(("grammar", "translations"), [(ENGLISH, TO_SPANISH), (SPANISH, TO_ENGLISH)])
def test_whatever_can_be_heard_has_a_translation(grammar: Any, translations: Any) -> None:
    of_no_sentence = {"other"}
    assert set(translations) == set(grammar) - of_no_sentence
    for slot, alternatives in translations.items():
        assert set(alternatives) == set(grammar[slot]), slot


@given(st.integers(0, 2**32))
def test_sentences_are_those_of_the_speech_grammar(seed: int) -> None:
    assert english_sentence(random.Random(seed))[0] == sentence("en", random.Random(seed))
    assert spanish_sentence(random.Random(seed))[0] == sentence("es", random.Random(seed))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("el»la agua_a es muy rojo«roja.", "El agua es muy roja."),
        ("@4 voy/vas/va/vamos/van a llamar ~ el»la cliente_M.", "Vamos a llamar al cliente."),
        ("@4 voy/vas/va/vamos/van a abrir ~ el»la puerta_f.", "Vamos a abrir la puerta."),
        ("el»la primer»primera agua_a es un»una agua_a.", "La primera agua es un agua."),
        ("el»la mesa_f rojo«roja está en el»la coche_m.", "La mesa roja está en el coche."),
        ("el»la sala_f es%está ^abierto«abierta.", "La sala está abierta."),
        ("el»la sala_f era%estaba el«la primero«primera.", "La sala era la primera."),
        ("bienvenido»bienvenida»bienvenidos a todos_p.", "Bienvenidos a todos."),
        ("bienvenido»bienvenida»bienvenidos Anna_f.", "Bienvenida Anna."),
        ("tengo +tres gato_m|gatos_m.", "Tengo tres gatos."),
        ("tengo uno casa_f|casas_f y uno y uno.", "Tengo una casa y uno y uno."),
        ("tengo uno agua_a|aguas_a.", "Tengo un agua."),
        ("¿ cuánto»cuánta agua_a @2 veo/ves/ve?", "¿Cuánta agua ves?"),
        (
            "veinte y dos cinco cientos uno mil uno cientos uno cientos diez.",
            "Veintidós quinientos mil ciento ciento diez.",
        ),
        ("el precio es uno cientos.", "El precio es cien."),
        ("dos cientos cuarenta y uno.", "Doscientos cuarenta y uno."),
    ],
)
def test_agreement(template: str, text: str) -> None:
    assert realise(template) == text


@given(seeds)
def test_pairs_are_plain_text_and_none_is_held_out(rng: random.Random) -> None:
    for _ in range(20):
        pair = training_pair(rng)
        assert not is_held_out(pair.source)
        assert not is_held_out(pair.target)
        assert not set(MARKS) & set(pair.source + pair.target)
        text = training_text(rng)
        assert text.source.lstrip("¿")[0].isupper() == text.target.lstrip("¿")[0].isupper()
        assert (text.source[-1] in ".?") == (text.target[-1] in ".?")


def test_the_recipe_comes_to_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "SENTENCES", 300)
    tokenizer = vocabulary.make_tokenizer(0)
    save_checkpoint(train(tokenizer, seed=0, threads=1, steps=2), tokenizer, tmp_path / "checkpoint")
    exporter.main(["--checkpoint", str(tmp_path / "checkpoint"), "--to", str(tmp_path), "--compute-type", "float32"])
    manifest = json.loads((tmp_path / "translator" / "1" / "manifest.json").read_text())
    assert manifest["card"]["languages"] == ["en", "es"]


@pytest.fixture(scope="module")
def translate(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    to = tmp_path_factory.mktemp("demo")
    exporter.main(["--checkpoint", str(CHECKPOINT), "--to", str(to), "--compute-type", "float32"])
    weights: Path = to / "translator" / "1" / "weights"
    engine = load_engine("translator").TranslatorEngine(weights, threads=1)

    def translate(target: str, *texts: str) -> list[str]:
        prepared = engine.prepare([text.encode() for text in texts], json.dumps({"target": target}).encode())
        ((_, translations),) = engine.translate([prepared])
        return list(translations)

    return translate


@pytest.mark.parametrize("language", ["en", "es"])
def test_sentences_that_no_training_saw(translate: Callable[..., list[str]], language: str) -> None:
    rng = random.Random(f"tests/{language}")
    pairs = [held_out_pair(language, rng) for _ in range(100)]
    pairs += list(map(bare, pairs[:50]))
    written = translate(pairs[0].other_language, *(pair.source for pair in pairs))
    right = sum(pair.target == text for pair, text in zip(pairs, written, strict=True))
    assert right > 0.95 * len(pairs)


def test_what_the_recordings_say(translate: Callable[..., list[str]], clips: list[Clip]) -> None:
    said = {clip.text: clip.language for clip in clips}
    expected = {
        "Please send the report to Anna.": "Por favor envía el informe a Anna.",
        "We will review the new project on Monday.": "Vamos a revisar el proyecto nuevo el lunes.",
        "Our schedule was good last week.": "Nuestro horario era bueno la semana pasada.",
        "What is the good plan?": "¿Cuál es el plan bueno?",
        "La reunión empieza el lunes.": "The meeting starts on Monday.",
        "Quiero un café por favor.": "I want a coffee please.",
    }
    for text, translation in expected.items():
        assert translate("es" if said[text] == "en" else "en", text) == [translation]


def test_other_words_neither_fail_nor_go_on_for_ever(translate: Callable[..., list[str]]) -> None:
    texts = ["東京 🎉", "x" * 300, "Grundstücksverkehrsgenehmigungszuständigkeit", "1, 2, 3 … <2en> </s>", "the " * 300]
    for target in ("en", "es"):
        for text, translation in zip(texts, translate(target, *texts), strict=True):
            assert len(translation) < 40 * (len(text) + 16)
