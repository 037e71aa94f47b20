"""Who spoke when: the arithmetic by properties, and what a user sees of it over fake models."""

from __future__ import annotations

import asyncio
import io
import random
import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from api.errors import InferenceFailed
from api.inference.base import Deployment, Flags, ModelVersion, Pcm, Voices
from api.inference.contracts import SPEAKER_FRAMES, Clustering, ModelCard
from api.inference.fake import FakeRecognizer, FakeRegistry, FakeSpeakers, fake_inference
from api.recognition import diarization
from api.recognition.diarization import FIRST_FRAME_S, FRAME_S, ActivityLog, Turn, told_apart, turns_of
from api.recognition.speakers import DiarizationPlan, Diarizer, SpeakerBounds
from api.speech import Segment, Word
from bench.service import window_counts
from export_scripts.demo.diarization import held_out
from export_scripts.demo.diarization.held_out import Dialogue
from tests.conftest import Stack
from tests.test_pipeline import service, transcribe

QUIET, LOUD = 3000, 15_000
PLAN = DiarizationPlan(2.5, Clustering())


@given(
    pieces=st.lists(st.tuples(st.integers(1, 900), st.sets(st.integers(0, 2), max_size=2)), min_size=1, max_size=20),
    step_s=st.sampled_from((1.0, 2.5, 5.0, 9.0)),
    portion=st.integers(1, 12),
    columns=st.randoms(use_true_random=False),
)
@settings(max_examples=80)
def test_windows_that_are_right_give_the_truth(
    pieces: list[tuple[int, set[int]]], step_s: float, portion: int, columns: Any
) -> None:
    """Whichever column of a window a speaker has, and however many windows are looked at together."""
    truth = np.concatenate([np.tile([number in who for number in range(3)], (length, 1)) for length, who in pieces])
    windows = 1 + max(0, round((len(truth) - SPEAKER_FRAMES) * FRAME_S / step_s))
    starts = [round(window * step_s / FRAME_S) for window in range(windows)]
    truth = np.pad(truth, ((0, SPEAKER_FRAMES + 1), (0, 0)))[: starts[-1] + SPEAKER_FRAMES]
    log, labels = ActivityLog(), np.full((windows, 3), -1, dtype=np.int16)
    for window, start in enumerate(starts):
        whose = columns.sample(range(3), 3)
        active = truth[start : start + SPEAKER_FRAMES, whose]
        log.append(active.astype(np.uint8))
        labels[window] = np.where(active.any(axis=0), whose, -1)
    before, diarization.WINDOWS_AT_ONCE = diarization.WINDOWS_AT_ONCE, portion
    try:
        both, one = (turns_of(log, labels, step_s, exclusive=exclusive) for exclusive in (False, True))
    finally:
        diarization.WINDOWS_AT_ONCE = before
    assert np.array_equal(_frames(both, truth.shape), truth)
    alone = _frames(one, truth.shape)
    assert np.array_equal(alone.any(axis=1), truth.any(axis=1))
    assert alone.sum(axis=1).max() <= 1
    assert not (alone & ~truth).any()


def _frames(turns: list[Turn], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Turns of one speaker neither touch nor overlap."""
    frames = np.zeros(shape, dtype=np.bool_)
    for turn in turns:
        first, last = (round((time - FIRST_FRAME_S) / FRAME_S) for time in (turn.start, turn.end))
        assert not frames[max(0, first - 1) : last + 1, turn.speaker].any()
        frames[first:last, turn.speaker] = True
    return frames


def test_what_most_windows_say_holds() -> None:
    """One of four that look at the same frames hears somebody else, and one hears nobody."""
    log, labels = ActivityLog(), np.zeros((4, 3), dtype=np.int16)
    for window in range(4):
        active = np.zeros((SPEAKER_FRAMES, 3), dtype=np.uint8)
        active[:, 0] = window != 2
        log.append(active)
    labels[:, 1:] = -1
    labels[1, 0] = 1
    turns = turns_of(log, labels, 0.1, exclusive=False)
    assert {turn.speaker for turn in turns} == {0}
    assert turns[0].start == pytest.approx(0, abs=0.1)
    assert turns[0].end == pytest.approx(10, abs=0.2)


@given(st.lists(st.tuples(st.integers(1, 300), st.sets(st.integers(0, 2), max_size=2)), max_size=8))
def test_a_voice_is_heard_where_nobody_else_speaks(pieces: list[tuple[int, set[int]]]) -> None:
    """If there is such a place; and it is believed in if that is a fifth of the window."""
    rows = [[number in who for number in range(3)] for length, who in pieces for _ in range(length)]
    active = np.array([*rows, *[[False] * 3] * SPEAKER_FRAMES], dtype=np.uint8)[:SPEAKER_FRAMES]
    masks, who = diarization.embedding_masks(active)
    assert who.tolist() == [number for number in range(3) if active[:, number].any()]
    for mask, speaker in zip(masks, who, strict=True):
        alone = [bool(frame[speaker]) and frame.sum() == 1 for frame in active]
        assert mask.tolist() == (alone if sum(alone) >= 3 else active[:, speaker].tolist())
        assert bool(diarization.trusted(active)[speaker]) == (sum(alone) >= SPEAKER_FRAMES / 5)


@st.composite
def spoken(draw: st.DrawFn) -> tuple[list[Segment], list[Turn]]:
    """Segments of words in order, and exclusive turns, with nothing to do with each other."""
    gap, length = st.floats(0, 2), st.floats(0.05, 2)
    segments, time = [], 0.0
    for count in draw(st.lists(st.integers(0, 6), max_size=5)):
        words = []
        for number in range(count):
            start = time + draw(gap)
            time = start + draw(length)
            words.append(Word(f" word{number}", start, time, 0.5))
        bounds = (words[0].start, words[-1].end) if words else (time, time + 1)
        text = "".join(word.text for word in words).strip() or "no words"
        segments.append(Segment(*bounds, text, 0.5, tuple(words), -0.1, 0.0, 1.0))
    turns, time = [], 0.0
    for speaker in draw(st.lists(st.integers(0, 3), max_size=8)):
        start = time + draw(gap)
        time = start + draw(length)
        turns.append(Turn(start, time, speaker))
    return segments, turns


@given(spoken())
def test_words_go_to_whom_they_overlap_most(case: tuple[list[Segment], list[Turn]]) -> None:
    segments, turns = case
    named, speakers = told_apart(segments, turns)
    assert [word for segment in named for word in segment.words] == [word for one in segments for word in one.words]
    assert " ".join(segment.text for segment in named) == " ".join(segment.text for segment in segments)
    assert speakers == [f"Speaker {number}" for number in range(1, len(speakers) + 1)]
    assert list(dict.fromkeys(segment.speaker for segment in named)) == speakers
    people: dict[str | None, set[int]] = {}
    for segment in named:
        for word in segment.words:
            shares = {
                turn.speaker: sum(_shared(word, other) for other in turns if other.speaker == turn.speaker)
                for turn in turns
            }
            most = max(shares.values(), default=0.0)
            if most > 0:
                whose = {speaker for speaker, share in shares.items() if share >= most - 1e-9}
                people[segment.speaker] = people.get(segment.speaker, whose) & whose
                assert people[segment.speaker]
    origin = {word: number for number, segment in enumerate(segments) for word in segment.words}
    for before, after in pairwise(segment for segment in named if segment.words):
        assert before.speaker != after.speaker or origin[before.words[0]] != origin[after.words[0]]


def _shared(word: Word, turn: Turn) -> float:
    return max(0.0, min(word.end, turn.end) - max(word.start, turn.start))


def test_a_word_in_a_pause_goes_to_the_nearest_turn() -> None:
    words = tuple(Word(f" {start}", start, start + 0.2, 1.0) for start in (0.0, 2.1, 2.7, 9.0))
    segment = Segment(0.0, 9.2, "0.0 2.1 2.7 9.0", 1.0, words, 0.0, 0.0, 1.0)
    named, _ = told_apart([segment], [Turn(0.5, 2.0, 7), Turn(3.0, 4.0, 2)])
    assert [(part.speaker, part.text) for part in named] == [("Speaker 1", "0.0 2.1"), ("Speaker 2", "2.7 9.0")]
    assert [(part.start, part.end) for part in named] == [(0.0, words[1].end), (2.7, 9.2)]


def dialogue(*pieces: tuple[float, int]) -> Pcm:
    """A tone of so many seconds at each amplitude: a quiet speaker, a loud one, or nobody."""
    return np.concatenate(
        [
            (level * np.sign(np.sin(np.arange(int(seconds * 16_000)) * 0.2))).astype(np.int16)
            for seconds, level in pieces
        ]
    )


def diarized(pcm: Pcm, models: FakeSpeakers, portions: list[int], in_flight: int = 4) -> list[Turn]:
    async def run() -> list[Turn]:
        diarizer = Diarizer(models, PLAN, SpeakerBounds(), in_flight)
        position = 0
        while position < pcm.size:
            block = pcm[position : position + 512 * portions[0]]
            portions.append(portions.pop(0))
            speech = np.array(
                [np.abs(block[at : at + 512].astype(int)).mean() > 500 for at in range(0, block.size, 512)]
            )
            await diarizer.hear(block, speech.astype(np.float32))
            position += block.size
        await diarizer.end()
        return await diarizer.turns()

    return asyncio.run(run())


@given(portions=st.lists(st.integers(1, 900), min_size=1, max_size=4), seconds=st.floats(0.1, 60))
@settings(max_examples=25)
def test_how_the_audio_comes_makes_no_difference(portions: list[int], seconds: float) -> None:
    pcm = dialogue(*[(4.0, QUIET), (3.0, LOUD), (1.0, 0)] * 8)[: int(seconds * 16_000)]
    whole = diarized(pcm, FakeSpeakers(), [10_000])
    assert diarized(pcm, FakeSpeakers(), portions) == whole
    heard = sum(turn.end - turn.start for turn in whole)
    assert heard == pytest.approx(np.count_nonzero(pcm) / 16_000, abs=0.2 + 0.03 * len(whole))


def test_windows_are_asked_about_together_but_not_without_bound() -> None:
    models = FakeSpeakers(delay_s=0.01)
    diarized(dialogue((60, QUIET), (60, LOUD)), models, [256], in_flight=3)
    assert models.most_running == 3
    assert models.segmented == models.embedded == 1 + (120 - 10) / 2.5


def write(path: Path, *pieces: tuple[float, int]) -> Path:
    soundfile.write(path, dialogue(*pieces), 16_000, subtype="PCM_16")
    return path


CALL = [(6.0, LOUD), (7.0, QUIET), (5.0, LOUD), (3.0, 0), (8.0, QUIET)]


def test_segments_split_where_the_speaker_changes(tmp_path: Path) -> None:
    recording = write(tmp_path / "call.flac", *CALL)
    with service(fake_inference()) as client:
        body = transcribe(client, recording).json()
        assert body["speakers"] == ["Speaker 1", "Speaker 2"]
        runs = [
            (speaker, sum(len(segment["words"]) for segment in run))
            for speaker, run in groupby(body["segments"], key=lambda segment: segment["speaker"])
        ]
        assert [speaker for speaker, _ in runs] == ["Speaker 1", "Speaker 2", "Speaker 1", "Speaker 2"]
        assert [words for _, words in runs] == pytest.approx([6, 7, 5, 8], abs=1)
        for segment in body["segments"]:
            assert {word["speaker"] for word in segment["words"]} == {segment["speaker"]}
            assert segment["text"] == " ".join(word["word"] for word in segment["words"])
            assert (segment["start"], segment["end"]) == (segment["words"][0]["start"], segment["words"][-1]["end"])
        verbose = transcribe(client, recording, response_format="verbose_json").json()
        assert {word["speaker"] for word in verbose["words"]} == {"Speaker 1", "Speaker 2"}
        assert b"\n<v Speaker 2>tone" in transcribe(client, recording, response_format="vtt").content


def test_who_says_but_a_word_is_somebody_all_the_same(tmp_path: Path) -> None:
    """Nobody is heard for long enough to be sure of their voice; still it is all there is."""
    recording = write(tmp_path / "words.flac", (1.0, QUIET), (8.0, 0), (1.5, LOUD), (3.0, 0))
    with service(fake_inference()) as client:
        assert transcribe(client, recording).json()["speakers"] == ["Speaker 1", "Speaker 2"]


@pytest.mark.parametrize(
    ("fields", "named", "works"),
    [
        ({}, 2, True),
        ({"speakers": "2"}, 2, True),
        ({"max_speakers": "1"}, 1, False),
        ({"speakers": "1"}, 1, False),
        ({"diarize": "false"}, 0, False),
        ({"min_speakers": "1", "max_speakers": "5"}, 2, True),
    ],
)
def test_how_many_speakers(tmp_path: Path, fields: dict[str, str], named: int, works: bool) -> None:
    models = FakeSpeakers()
    with service(fake_inference(speakers=models)) as client:
        body = transcribe(client, write(tmp_path / "call.flac", *CALL), **fields).json()
    assert body["speakers"] == [f"Speaker {number}" for number in range(1, named + 1)]
    assert {segment["speaker"] for segment in body["segments"]} == set(body["speakers"]) or {None}
    assert (models.segmented > 0) == works
    assert "warnings" not in body


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_speakers": "3", "max_speakers": "2"}, "min_speakers must be at most max_speakers"),
        ({"speakers": "2", "max_speakers": "4"}, "not both"),
        ({"channels": "left"}, "channels must be mix, or split"),
        ({"channels": "split", "max_speakers": "2"}, "each channel is one speaker"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, fields: dict[str, str], message: str) -> None:
    with service(fake_inference()) as client:
        answer = transcribe(client, write(tmp_path / "call.flac", *CALL), **fields)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_nobody_who_speaks_costs_no_diarization(tmp_path: Path) -> None:
    """Nor does a format that does not show who does; and within one window nobody needs a voice print."""
    models = FakeSpeakers()
    with service(fake_inference(speakers=models)) as client:
        transcribe(client, write(tmp_path / "silence.flac", (25, 0)))
        transcribe(client, write(tmp_path / "call.flac", *CALL), response_format="txt")
        assert (models.segmented, models.embedded) == (0, 0)
        short = [
            write(tmp_path / "short.flac", (4, QUIET), (4, LOUD)),
            write(tmp_path / "whole.flac", (5, QUIET), (5, LOUD)),
            write(tmp_path / "yes.flac", (7, QUIET), (1.5, LOUD)),
        ]
        for number, recording in enumerate(short, 1):
            for fields in ({}, {"max_speakers": "3"}):
                assert transcribe(client, recording, **fields).json()["speakers"] == ["Speaker 1", "Speaker 2"]
            assert (models.segmented, models.embedded) == (2 * number, 0)
        models.segmented = 0
        transcribe(client, write(tmp_path / "pause.flac", (5, QUIET), (600, 0), (5, LOUD)))
        assert models.segmented <= 20


@dataclass
class FailingSpeakers(FakeSpeakers):
    asked: int = 0

    async def segment(self, pcm: Pcm, *, version: str = "", live: bool = False) -> Flags:
        self.asked += 1
        if self.segmented == 3:
            raise InferenceFailed("The model speaker_segmentation failed: out of luck")
        return await super().segment(pcm)


class FailingVoices(FakeSpeakers):
    async def embed(self, pcm: Pcm, masks: Flags, *, features: bool, version: str = "", live: bool = False) -> Voices:
        raise InferenceFailed("The model speaker_embedding failed: out of luck")


class ReplacedVoices(FakeSpeakers):
    async def embed(self, pcm: Pcm, masks: Flags, *, features: bool, version: str = "", live: bool = False) -> Voices:
        version = "1" if self.embedded < 3 else "2"
        return replace(await super().embed(pcm, masks, features=features), version=version)


class FlatVoices(FakeSpeakers):
    async def embed(self, pcm: Pcm, masks: Flags, *, features: bool, version: str = "", live: bool = False) -> Voices:
        voices = await super().embed(pcm, masks, features=features)
        return replace(voices, features=voices.embeddings if features else None)


class VbxRegistry(FakeRegistry):
    """Its card knows of three PLDA features."""

    async def deployments(self) -> list[Deployment]:
        card = ModelCard("speaker_embedding", clustering=Clustering(method="vbx", plda_variances=[3.0, 2.0, 1.0]))
        kept = [one for one in await super().deployments() if one.name != "speaker_embedding"]
        return [*kept, Deployment("speaker_embedding", "1", True, card)]


class NoSpeakerModels(FakeRegistry):
    async def deployments(self) -> list[Deployment]:
        return [one for one in await super().deployments() if not one.name.startswith("speaker_")]


def test_a_diarizer_that_fails_loses_no_transcript(tmp_path: Path) -> None:
    recording = write(tmp_path / "call.flac", *CALL)
    with service(fake_inference()) as client:
        text = transcribe(client, recording).json()["text"]
    for inference, reason in (
        (fake_inference(speakers=FailingSpeakers()), "out of luck"),
        (fake_inference(speakers=FailingVoices()), "out of luck"),
        (fake_inference(speakers=ReplacedVoices()), "Another version"),
        (fake_inference(speakers=FlatVoices(), registry=VbxRegistry()), "gives 2 PLDA features, its card 3"),
        (fake_inference(registry=NoSpeakerModels()), "no diarization models are deployed"),
    ):
        with service(inference) as client:
            answer = transcribe(client, recording)
        body = answer.json()
        assert (answer.status_code, body["text"], body["speakers"]) == (200, text, []), reason
        assert {segment["speaker"] for segment in body["segments"]} == {None}
        (warning,) = body["warnings"]
        assert warning.startswith("Who speaks could not be told")
        assert reason in warning


def test_a_diarizer_that_has_failed_is_left_alone() -> None:
    """Its answers would be waited for in vain, and the text with them."""
    models = FailingSpeakers()
    with pytest.raises(InferenceFailed):
        diarized(dialogue((300, QUIET)), models, [900], in_flight=1)
    assert models.asked == 4


def test_each_channel_is_a_speaker(tmp_path: Path) -> None:
    """A call with one side on each channel: both speak at once for a while, and nothing of it is mixed."""
    left, right = dialogue((6, QUIET), (6, 0), (4, QUIET)), dialogue((4, 0), (12, QUIET))
    soundfile.write(tmp_path / "call.wav", np.stack([left, right], axis=1), 16_000)
    recognizer, models = FakeRecognizer(), FakeSpeakers()
    with service(fake_inference(recognizer, speakers=models)) as client:
        body = transcribe(client, tmp_path / "call.wav", channels="split").json()
        assert models.segmented == 0
        assert body["speakers"] == ["Channel 1", "Channel 2"]
        assert body["duration"] == 16
        starts = [segment["start"] for segment in body["segments"]]
        assert starts == sorted(starts)
        words = {
            name: [
                word["start"] for segment in body["segments"] for word in segment["words"] if word["speaker"] == name
            ]
            for name in body["speakers"]
        }
        assert [len(of_channel) for of_channel in words.values()] == pytest.approx([10, 12], abs=2)
        assert all(start < 6.5 or start > 11 for start in words["Channel 1"])
        assert min(words["Channel 2"]) > 3.5
        mono = transcribe(client, write(tmp_path / "mono.wav", (5, QUIET)), channels="split").json()
        assert mono["speakers"] == ["Channel 1"]
        subtitles = transcribe(client, tmp_path / "call.wav", channels="split", response_format="srt").text
        cues = re.findall(r"(\S+) --> ", subtitles)
        assert len(cues) >= 3
        assert cues == sorted(cues)
        soundfile.write(tmp_path / "many.wav", np.zeros((16_000, 9), dtype=np.int16), 16_000)
        answer = transcribe(client, tmp_path / "many.wav", channels="split")
        assert answer.status_code == 400
    with service(fake_inference(), max_audio_s=20) as client:
        assert transcribe(client, tmp_path / "call.wav", channels="split").status_code == 200
    with service(fake_inference(), max_audio_s=10) as client:
        answer = transcribe(client, tmp_path / "call.wav", channels="split")
        assert answer.status_code == 400
        assert "longer than" in answer.json()["error"]


class FailingOnce(FakeRecognizer):
    failed = False

    async def recognize(self, model: ModelVersion, pcm: Pcm, options: Any, *, live: bool = False) -> Any:
        if len(self.calls) == 4 and not self.failed:
            self.failed = True
            raise InferenceFailed("The model has failed.")
        return await super().recognize(model, pcm, options)


def test_a_channel_that_fails_ends_the_others(tmp_path: Path) -> None:
    pcm = dialogue(*[(20, QUIET), (4, 0)] * 20)
    soundfile.write(tmp_path / "call.flac", np.stack([pcm, np.roll(pcm, 200_000)], axis=1), 16_000)
    with service(fake_inference(FailingOnce(delay_s=0.05)), max_decoders=1) as client:
        answer = transcribe(client, tmp_path / "call.flac", channels="split")
        assert (answer.status_code, answer.json()) == (500, {"error": "The model has failed."})
        # It would wait forever for a decoder that the first one kept.
        assert transcribe(client, tmp_path / "call.flac", channels="split").status_code == 200


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    """Two and three people in voices that no training had, for half a minute."""
    with held_out.speech() as espeak:
        return [
            held_out.dialogue(espeak, random.Random(seed), speakers=people, seconds=30, overlap=0.0)
            for seed, people in enumerate((2, 3, 2))
        ]


def flac(dialogue: Dialogue) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, dialogue.samples, 16_000, format="FLAC")
    return file.getvalue()


def test_the_demo_models_tell_people_apart(client: httpx.Client, dialogues: list[Dialogue]) -> None:
    for spoken_by in dialogues:
        body = client.post("/v1/transcribe", files={"file": flac(spoken_by)}).json()
        heard: dict[str, Counter[int]] = {}
        for segment in body["segments"]:
            for word in segment["words"]:
                middle = (word["start"] + word["end"]) / 2
                turn = min(spoken_by.turns, key=lambda turn: max(turn.start - middle, middle - turn.end))
                heard.setdefault(segment["speaker"], Counter())[turn.speaker] += 1
        assert list(heard) == body["speakers"]
        right = sum(max(of_speaker.values()) for of_speaker in heard.values())
        assert right >= 0.9 * sum(counts.total() for counts in heard.values())
        assert len({counts.most_common(1)[0][0] for counts in heard.values()}) == len(
            {t.speaker for t in spoken_by.turns}
        )


def test_windows_of_many_recordings_share_engine_calls(stack: Stack, dialogues: list[Dialogue]) -> None:
    models = ("speaker_segmentation", "speaker_embedding")
    recordings = [flac(spoken_by) for spoken_by in dialogues]
    before = [window_counts(stack.metrics_url, model) for model in models]

    async def send_all() -> None:
        async with httpx.AsyncClient(base_url=stack.url, timeout=120) as many:
            await asyncio.gather(
                *(many.post("/v1/transcribe", files={"file": recordings[number % 3]}) for number in range(16))
            )

    asyncio.run(send_all())
    for model, (windows, calls) in zip(models, before, strict=True):
        now = window_counts(stack.metrics_url, model)
        assert now[0] - windows >= 16 * 8
        assert now[0] - windows >= 1.5 * (now[1] - calls)
