"""The engines alone, without Triton, against the libraries they are built from."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jiwer
import numpy as np
import pytest
import soundfile
from faster_whisper import WhisperModel
from faster_whisper.vad import get_vad_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_scripts.engines import load_engine
from tests.conftest import Clip

whisper = load_engine("whisper")
activity = load_engine("voice_activity")
smoke_check = load_engine("whisper", "smoke_check")
prompts = sys.modules["prompts"]


def pcm(clip: Clip) -> Any:
    return soundfile.read(clip.path, dtype="int16")[0]


@pytest.fixture(scope="module")
def engine(models: Path) -> Any:
    """As for a checkpoint that takes full windows alone."""
    return whisper.WhisperEngine(models / "whisper-demo" / "1" / "weights")


@pytest.fixture(scope="module")
def own_length_engine(models: Path) -> Any:
    return whisper.WhisperEngine(models / "whisper-demo" / "1" / "weights", min_window_frames=100)


@pytest.fixture(scope="module")
def reference(models: Path) -> WhisperModel:
    return WhisperModel(str(models / "whisper-demo" / "1" / "weights"), device="cpu", compute_type="float32")


def test_a_window_is_recognised_as_faster_whisper_does(engine: Any, reference: WhisperModel, clips: list[Clip]) -> None:
    windows = [whisper.Window(pcm(clip), whisper.DecodingOptions()) for clip in clips]
    for clip, recognition in zip(clips, engine.recognize(windows), strict=True):
        # Silence to 30 s, as OpenAI's code pads; faster-whisper itself pads the features with a value for no sound.
        audio = np.zeros(whisper.WINDOW_SAMPLES, dtype=np.float32)
        audio[: pcm(clip).size] = pcm(clip) / 32768
        expected, info = reference.transcribe(audio, word_timestamps=True, condition_on_previous_text=False)
        segments = list(expected)
        assert [segment.text for segment in recognition.segments] == [segment.text.strip() for segment in segments]
        assert recognition.language == info.language
        assert recognition.language_probability == pytest.approx(info.language_probability, abs=0.02)
        assert recognition.avg_logprob == pytest.approx(segments[0].avg_logprob, abs=0.02)
        assert recognition.no_speech_prob == pytest.approx(segments[0].no_speech_prob, abs=0.02)
        words = [word for segment in recognition.segments for word in segment.words]
        expected_words = [word for segment in segments for word in segment.words or []]
        for word, other in zip(words, expected_words, strict=True):
            assert word.word == other.word
            assert word.probability == pytest.approx(other.probability, abs=0.05)
        for word, other in zip(words[1:], expected_words[1:], strict=True):
            assert word.start == pytest.approx(other.start, abs=0.1)


def test_an_answer_does_not_depend_on_its_batch(engine: Any, clips: list[Clip]) -> None:
    """Options that cannot share a decoding call, and windows that are wrong, beside each other in one batch."""
    options = whisper.DecodingOptions
    windows = [
        whisper.Window(pcm(clips[0]), options()),
        whisper.Window(pcm(clips[8]), options(language="es", beam_size=1)),
        whisper.Window(np.zeros(480_001, dtype=np.int16), options()),
        whisper.Window(pcm(clips[1]), options(prompt="good morning everyone", word_timestamps=False)),
        whisper.Window(pcm(clips[2]), options(hotwords=("budget", "price"))),
        whisper.Window(np.concatenate([pcm(clips[0]), pcm(clips[1])]), options(segment_timestamps=False)),
        whisper.Window(pcm(clips[3]), options(language="qq")),
        whisper.Window(pcm(clips[6]), options(language="en", prompt="hello " * 500)),
        whisper.Window(np.zeros(0, dtype=np.int16), options()),
        whisper.Window(np.zeros(1, dtype=np.int16), options()),
        whisper.Window(pcm(clips[7]), options(task="identify")),
        whisper.Window(pcm(clips[7]), options(languages=("en", "de"))),
        whisper.Window(pcm(clips[7]), options(languages=("es", "qq"))),
    ]
    together = engine.recognize(windows)
    alone = [engine.recognize([window])[0] for window in windows]
    wrong = [index for index, answer in enumerate(together) if isinstance(answer, whisper.WindowError)]
    assert wrong == [2, 6, 8, 12]
    for index, (one, other) in enumerate(zip(together, alone, strict=True)):
        if index in wrong:
            assert str(one) == str(other)
        else:
            assert one == other
    assert together[3].segments[0].words == []
    assert together[1].language == "es"
    # Without time stamps a window is one segment, however much is said in it.
    assert [segment.text for segment in together[5].segments] == [f"{clips[0].text} {clips[1].text}"]


def test_a_language_is_found_among_the_candidates(engine: Any, clips: list[Clip]) -> None:
    def answer(**options: Any) -> Any:
        return engine.recognize([whisper.Window(pcm(spanish), whisper.DecodingOptions(**options))])[0]

    spanish = next(clip for clip in clips if clip.language == "es")
    free, among, without = answer(), answer(languages=("en", "es")), answer(languages=("en", "fr"))
    assert free.language == among.language == "es"
    assert next(iter(free.candidates)) == "es"
    assert without.language in ("en", "fr")
    for found in (among, without):
        assert sum(found.candidates.values()) == pytest.approx(1, abs=0.02)
        assert found.language_probability == next(iter(found.candidates.values()))
    assert answer(language="es").candidates == {}


def test_identifying_is_an_encoder_pass_and_no_decoding(
    engine: Any, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside others, whose answers are what they were without it."""
    recorder = Recorder(engine._model)
    monkeypatch.setattr(engine, "_model", recorder)
    options = whisper.DecodingOptions
    identified, heard = engine.recognize(
        [whisper.Window(pcm(clips[6]), options(task="identify")), whisper.Window(pcm(clips[0]), options())]
    )
    assert (recorder.encoded, recorder.generated, recorder.aligned) == ([2], [(1, 5, 0.0)], [1])
    assert (identified.language, identified.segments) == (clips[6].language, [])
    assert [segment.text for segment in heard.segments] == [clips[0].text]
    engine.recognize([whisper.Window(pcm(clips[6]), options(task="identify"))])
    assert (recorder.encoded, recorder.generated) == ([2, 1], [(1, 5, 0.0)])


def test_a_version_is_checked_before_it_serves(models: Path, tmp_path: Path) -> None:
    shipped = models / "whisper-demo" / "1" / "check"
    engine = smoke_check.WhisperEngine(models / "whisper-demo" / "1" / "weights")
    smoke_check.require_passed(shipped, engine)
    contents = json.loads((shipped / "check.json").read_text())
    assert contents["max_wer"] == pytest.approx(contents["measured_wer"] + 0.1)

    def failure(clip: bytes, **changed: Any) -> str:
        (tmp_path / "clip.wav").write_bytes(clip)
        (tmp_path / "check.json").write_text(json.dumps(contents | changed))
        with pytest.raises(smoke_check.CheckFailedError) as failed:
            smoke_check.require_passed(tmp_path, engine)
        return str(failed.value)

    clip = (shipped / "clip.wav").read_bytes()
    other = f"{contents['text']} And nobody said this here."
    assert "its word error rate is 0.179, above the bound of 0.100" in failure(clip, text=other)
    assert "cannot be read" in failure(clip, max_wer="much")
    assert "cannot be read" in failure(b"RIFF")
    assert "cannot be recognised" in failure(clip, language="xx")
    with pytest.raises(smoke_check.CheckFailedError, match="cannot be read"):
        smoke_check.require_passed(tmp_path / "nowhere", engine)


@given(st.lists(st.sampled_from(["a", "b", "c"])), st.lists(st.sampled_from(["a", "b", "c"]), min_size=1))
def test_word_errors_are_counted_as_others_count_them(heard: list[str], said: list[str]) -> None:
    expected = jiwer.wer(" ".join(said), " ".join(heard))
    assert smoke_check.word_error_rate(" ".join(said), " ".join(heard), "en") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("said", "heard", "language", "wer"),
    [
        ("Well, it's Zoë.", "well its ZOË", "en", 0),
        ("你好吗", "你好嘛。", "zh", 1 / 3),
        ("", "", "en", 0),
        ("", "noise", "en", 1),
    ],
)
def test_what_counts_as_a_word(said: str, heard: str, language: str, wer: float) -> None:
    assert smoke_check.word_error_rate(said, heard, language) == pytest.approx(wer)


def test_one_instance_of_a_version_is_checked() -> None:
    first = [name for name in ("m_0", "m_0_0", "m_0_1", "m_0_2", "m_0_10") if smoke_check.is_first_instance(name)]
    assert first == ["m_0", "m_0_0"]


@given(st.dictionaries(st.sampled_from(["en", "es", "hi", "de"]), st.floats(0, 1)), st.sets(st.sampled_from("ehd")))
def test_candidates_share_what_is_probable(probabilities: dict[str, float], initials: set[str]) -> None:
    among = [language for language in ("en", "es", "hi", "de") if language[0] in initials]
    if not probabilities and not among:
        return
    found = whisper.likeliest(probabilities, among)
    assert set(found) <= set(among or probabilities)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert 1 <= len(found) <= 10
    if among:
        assert 0.95 < sum(found.values()) < 1.01


@given(st.lists(st.integers(1, 40), max_size=20), st.integers(0, 60), st.integers(0, 50))
def test_terms_come_whole_and_before_what_was_said(lengths: list[int], earlier: int, room: int) -> None:
    terms = [[number] * length for number, length in enumerate(lengths)]
    prompt = prompts.fitting(terms, list(range(1000, 1000 + earlier)), room)
    used = [token for token in prompt if token < 1000]
    taken = list(dict.fromkeys(used))
    assert used == [token for number in taken for token in terms[number]]
    assert taken == sorted(taken)
    left = room - len(used)
    assert prompt[len(used) :] == list(range(1000, 1000 + earlier))[max(0, earlier - left) :]
    # Whichever is left out did not fit behind the more important ones.
    for number in set(range(len(terms))) - set(taken):
        assert sum(len(terms[other]) for other in taken if other < number) + len(terms[number]) > room


class Recorder:
    """A model that notes how often it is asked for what."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.encoded: list[int] = []
        self.frames: list[int] = []
        self.generated: list[tuple[int, int, float]] = []
        self.aligned: list[int] = []

    def encode(self, features: Any) -> Any:
        self.encoded.append(features.shape[0])
        self.frames.append(features.shape[2])
        return self._model.encode(features)

    def generate(self, features: Any, prompts: Any, **options: Any) -> Any:
        temperature = options["sampling_temperature"] if options["sampling_topk"] == 0 else 0.0
        self.generated.append((len(prompts), options["beam_size"], temperature))
        return self._model.generate(features, prompts, **options)

    def align(self, features: Any, start: Any, tokens: Any, frames: Any) -> Any:
        self.aligned.append(len(tokens))
        return self._model.align(features, start, tokens, frames)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def test_a_batch_is_one_call_where_it_can_be(engine: Any, clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(engine._model)
    monkeypatch.setattr(engine, "_model", recorder)
    options = whisper.DecodingOptions
    mixed = [
        options(),
        options(language="es"),
        options(task="translate", language="en"),
        options(beam_size=1),
        options(),
    ]
    engine.recognize([whisper.Window(pcm(clip), one) for clip, one in zip(clips, mixed, strict=False)])
    assert recorder.encoded == [5]
    assert sorted(recorder.generated) == [(1, 1, 0.0), (4, 5, 0.0)]
    assert sum(recorder.aligned) == 5


def test_short_windows_cost_little_and_say_the_same(
    own_length_engine: Any, engine: Any, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(own_length_engine._model)
    monkeypatch.setattr(own_length_engine, "_model", recorder)
    pause = np.zeros(8000, dtype=np.int16)
    together = np.concatenate([part for clip in clips[:4] for part in (pcm(clip), pause)])
    recordings = [*map(pcm, clips), together, np.zeros(10, dtype=np.int16)]
    windows = [whisper.Window(recording, whisper.DecodingOptions()) for recording in recordings]
    own, full = own_length_engine.recognize(windows), engine.recognize(windows)
    assert [[s.text for s in one.segments] for one in own] == [[s.text for s in other.segments] for other in full]
    # Every window was encoded once, in batches of one length each, with little behind its last sound.
    assert sum(recorder.encoded) == len(windows)
    assert len(set(recorder.frames)) == len(recorder.frames)
    wanted = sum(max(100, recording.size / 160) for recording in recordings)
    assert sum(n * frames for n, frames in zip(recorder.encoded, recorder.frames, strict=True)) < 1.35 * wanted


@given(st.integers(1, 3000))
def test_every_window_has_a_length_that_is_not_much_longer(shortest: int) -> None:
    lengths = whisper.window_lengths(shortest)
    assert shortest <= lengths[0] <= shortest + 1
    assert lengths[-1] == 3000
    for length, longer in pairwise(lengths):
        assert length < longer <= 1.2 * length + 2
        assert length % 2 == 0


def test_only_failing_windows_are_decoded_again(
    engine: Any, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the next temperature, as one call, on the encoder output there is."""
    noise = np.random.default_rng(1).normal(0, 3000, 160_000).astype(np.int16)
    recorder = Recorder(engine._model)
    monkeypatch.setattr(engine, "_model", recorder)
    monkeypatch.setattr(whisper, "SILENCE_NO_SPEECH_PROB", 2.0)
    monkeypatch.setattr(whisper, "MIN_AVG_LOGPROB", -0.2)
    options = whisper.DecodingOptions(temperatures=(0.0, 0.5))
    windows = [whisper.Window(audio, options) for audio in (pcm(clips[0]), noise, pcm(clips[1]))]
    answers = engine.recognize(windows)
    assert recorder.encoded == [3]
    assert recorder.generated == [(3, 5, 0.0), (1, 1, 0.5)]
    assert [segment.text for segment in answers[0].segments] == [clips[0].text]


def test_unlikely_words_in_silence_are_dropped(engine: Any, clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "SILENCE_NO_SPEECH_PROB", -1.0)
    monkeypatch.setattr(whisper, "MIN_AVG_LOGPROB", 0.0)
    (answer,) = engine.recognize([whisper.Window(pcm(clips[0]), whisper.DecodingOptions())])
    assert answer.segments == []
    assert answer.temperature == 0.0


@given(
    before=st.lists(st.integers(0, 5), max_size=12),
    phrase=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    rounds=st.integers(4, 20),
)
def test_what_goes_in_circles_goes_round_once(before: list[int], phrase: list[int], rounds: int) -> None:
    left = whisper.one_round([*before, *phrase * rounds])
    assert left <= len(before) + len(phrase)


def test_a_loop_is_heard_once_and_the_rest_is_left_to_do(
    engine: Any, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that repeats itself until it is cut off, whatever the temperature."""
    said = engine._vocabulary.encode(" Thank you everyone.", add_special_tokens=False).ids
    time = engine._plain.timestamp_begin
    real = engine._model

    class Looping(Recorder):
        def generate(self, features: Any, prompts: Any, **options: Any) -> Any:
            (result,) = real.generate(features, prompts, **options)
            tokens = [token for n in range(40) for token in (time + 50 * n, *said, time + 50 * n + 50)]
            return [SimpleNamespace(sequences_ids=[tokens[:224]], scores=[-0.1], no_speech_prob=result.no_speech_prob)]

    monkeypatch.setattr(engine, "_model", Looping(real))
    window = whisper.Window(np.tile(pcm(clips[0]), 4), whisper.DecodingOptions(language="en"))
    (answer,) = engine.recognize([window])
    assert [segment.text for segment in answer.segments] == ["Thank you everyone."]
    assert answer.decoded_s < window.pcm.size / 16_000


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(
        st.sampled_from(["Costs", "$20,000.50", "50", "%", "&", "@10:30", "3.5", "km²", "№7", "—", "C++", "50%"]),
        min_size=1,
        max_size=12,
    ).map(" ".join),
    frames=st.lists(st.integers(0, 8), min_size=200, max_size=200),
)
def test_numerals_and_symbols_are_words_with_times(engine: Any, text: str, frames: list[int]) -> None:
    """Whatever the alignment, no word is lost, and each has its place in order."""
    tokens = engine._vocabulary.encode(f" {text}", add_special_tokens=False).ids
    at = np.cumsum(frames[: len(tokens)])
    alignment = [(index, int(frame)) for index, frame in enumerate(at)]
    span = whisper.TextSpan(0.0, 30.0, tokens)
    (words,) = whisper.align_words(engine._plain, [span], alignment, [0.5] * len(tokens), window_s=30.0)
    assert "".join(word.text for word in words).split() == text.split()
    assert all(0 <= word.start <= word.end <= 30 for word in words)
    assert all(one.start <= other.start for one, other in pairwise(words))
    spoken = [piece for piece in text.split() if any(character.isalnum() for character in piece)]
    assert len(words) >= len(spoken)


def test_a_decoding_that_is_cut_off_says_how_far_it_came(
    engine: Any, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = [clips[0], clips[1], clips[3]]
    pause = np.zeros(8000, dtype=np.int16)
    audio = np.concatenate([part for clip in sentences for part in (pcm(clip), pause)])
    options = whisper.DecodingOptions(temperatures=(0.0,))
    (whole,) = engine.recognize([whisper.Window(audio, options)])
    assert whole.decoded_s == audio.size / 16_000
    assert [segment.text for segment in whole.segments] == [clip.text for clip in sentences]

    monkeypatch.setattr(whisper, "DECODER_POSITIONS", 40)
    monkeypatch.setattr(whisper, "MAX_TEXT_TOKENS", 20)
    (first,) = engine.recognize([whisper.Window(audio, options)])
    assert [segment.text for segment in first.segments] == [clip.text for clip in sentences[:2]]
    assert first.decoded_s < whole.segments[2].start + 0.3
    (rest,) = engine.recognize([whisper.Window(audio[round(first.decoded_s * 16_000) :], options)])
    assert [segment.text for segment in rest.segments] == [sentences[2].text]


@pytest.fixture(scope="module")
def detector(models: Path) -> Any:
    return activity.VoiceActivityEngine(models / "voice_activity" / "1" / "weights" / "silero_vad.onnx")


def fresh_state() -> Any:
    return np.zeros(activity.STATE_SIZE, dtype=np.float32)


def whole_frames(audio: Any) -> Any:
    return audio[: audio.size // activity.FRAME_SAMPLES * activity.FRAME_SAMPLES]


def test_speech_probabilities_are_sileros(detector: Any, clips: list[Clip]) -> None:
    streams = [(whole_frames(pcm(clip)), fresh_state()) for clip in clips]
    for (audio, _), (probabilities, _) in zip(streams, detector.detect(streams), strict=True):
        # Silero's wrapper overwrites the last context in the audio it is given; so the last frame is left out.
        expected = get_vad_model()(audio.astype(np.float32) / 32768)
        np.testing.assert_allclose(probabilities[:-1], expected[:-1], atol=1e-4)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(portions=st.lists(st.integers(1, 40), min_size=1, max_size=8), beside=st.integers(1, 60))
def test_a_stream_is_the_same_however_it_is_portioned_and_batched(
    detector: Any, clips: list[Clip], portions: list[int], beside: int
) -> None:
    audio = whole_frames(pcm(clips[2]))
    whole, _ = detector.detect([(audio, fresh_state())])[0]
    state, start, parts = fresh_state(), 0, []
    for frames in [*portions, audio.size]:
        portion = audio[start : start + frames * activity.FRAME_SAMPLES]
        if not portion.size:
            break
        neighbour = (audio[: beside * activity.FRAME_SAMPLES], fresh_state())
        probabilities, state = detector.detect([neighbour, (portion, state)])[1]
        parts.append(probabilities)
        start += portion.size
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_a_wrong_stream_gets_its_own_error(detector: Any, clips: list[Clip]) -> None:
    audio = whole_frames(pcm(clips[0]))
    streams = [(audio[:100], fresh_state()), (audio, fresh_state()), (audio, np.full(320, np.nan, dtype=np.float32))]
    first, second, third = detector.detect(streams)
    assert "512-sample frames" in str(first)
    assert second[0].size == audio.size // 512
    assert "STATE" in str(third)
