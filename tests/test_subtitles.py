"""Subtitles a person can read, over any words."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from api.formats import subtitles
from api.speech import Segment, Transcript, Word


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    """Segments of words in order, with pauses between them, times on the 10 ms grid that recognition gives."""
    clock = 0
    segments = []
    for _ in range(draw(st.integers(0, 6))):
        words = []
        for _ in range(draw(st.integers(1, 25))):
            clock += draw(st.sampled_from([0, 0, 0, 5, 30, 79, 80, 200]))
            length = draw(st.integers(1, 45))
            text = draw(st.text("abcdefg<&é你", min_size=1, max_size=15)) + draw(
                st.sampled_from(["", "", ".", ",", "?"])
            )
            words.append(Word(f" {text}", clock / 100, (clock + length) / 100, 0.9))
            clock += length
        text = "".join(word.text for word in words).strip()
        segments.append(Segment(words[0].start, words[-1].end, text, 0.9, tuple(words), -0.1, 0.0, 1.0))
    return Transcript("en", 1.0, clock / 100, tuple(segments), "demo")


def words_of(transcript: Transcript) -> list[str]:
    return [word.text.strip() for segment in transcript.segments for word in segment.words]


@given(transcripts())
def test_cues_are_readable_and_lose_nothing(transcript: Transcript) -> None:
    cues = subtitles.cues_of(transcript)
    assert [word for cue in cues for line in cue.lines for word in line.split(" ")] == words_of(transcript)
    for cue in cues:
        assert 1 <= len(cue.lines) <= 2
        assert all(len(line) <= 42 for line in cue.lines)
        assert 0 < cue.end - cue.start <= subtitles.CUE_MAX_S + 1e-9
    for cue, after in pairwise(cues):
        assert cue.end <= after.start
        # A cue too short for its text is so only because the next one begins.
        enough = max(subtitles.CUE_MIN_S, sum(map(len, cue.lines)) / subtitles.READING_CHARS_PER_S)
        assert cue.end - cue.start >= min(enough, subtitles.CUE_MAX_S, after.start - cue.start) - 1e-9


@given(transcripts())
def test_srt_and_vtt_parse_back(transcript: Transcript) -> None:
    cues = subtitles.cues_of(transcript)
    srt = subtitles.write_srt(transcript).decode()
    blocks = [block for block in srt.split("\n\n") if block.strip()]
    assert len(blocks) == len(cues)
    for number, (block, cue) in enumerate(zip(blocks, cues, strict=True), start=1):
        head, times, *lines = block.strip("\n").split("\n")
        assert (int(head), tuple(lines)) == (number, cue.lines)
        assert [round(seconds(time), 3) for time in times.split(" --> ")] == [round(cue.start, 3), round(cue.end, 3)]

    vtt = subtitles.write_vtt(transcript).decode()
    assert vtt.startswith("WEBVTT\n")
    text = vtt.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert all(line in text for cue in cues for line in cue.lines)
    assert "<" not in vtt


def seconds(clock: str) -> float:
    match = re.fullmatch(r"(\d\d):(\d\d):(\d\d),(\d\d\d)", clock)
    assert match is not None
    hours, minutes, whole, thousandths = map(int, match.groups())
    return 3600 * hours + 60 * minutes + whole + thousandths / 1000


def test_without_word_times_a_segment_is_a_cue() -> None:
    segment = Segment(1.0, 2.5, "Good morning everyone.", 0.9, (), -0.1, 0.0, 1.0)
    cues = subtitles.cues_of(Transcript("en", 1.0, 3.0, (segment,), "demo"))
    assert cues == [subtitles.Cue(1.0, 2.5, ("Good morning everyone.",))]


def spoken(name: str, *starts: float, word_s: float = 0.5) -> Segment:
    words = tuple(Word(f" {name}{start:g}", start, start + word_s, 1.0) for start in starts)
    text = " ".join(word.text.strip() for word in words)
    return Segment(starts[0], starts[-1] + word_s, text, 1.0, words, -0.1, 0.0, 1.0, speaker=name)


def test_who_speaks_while_another_does_is_shown_beside_them() -> None:
    """Each cue stays for as long as its words take, and nobody's words are shown as another's."""
    segments = (spoken("A", 0, 1, 2, 3, 4, word_s=1), spoken("B", 0, 2, word_s=1.5), spoken("A", 5, 6, word_s=1))
    cues = subtitles.cues_of(Transcript("en", 1.0, 8.0, segments, "demo", ("A", "B")))
    assert [(cue.speaker, cue.start, cue.end, cue.lines) for cue in cues] == [
        ("A", 0, 5, ("A0 A1 A2 A3 A4",)),
        ("B", 0, 3.5, ("B0 B2",)),
        ("A", 5, 7, ("A5 A6",)),
    ]


def test_who_speaks_between_anothers_words_is_shown_there() -> None:
    transcript = Transcript("en", 1.0, 30.0, (spoken("A", 0, 10, 20), spoken("B", 5, 6, 10.6)), "demo", ("A", "B"))
    vtt = subtitles.write_vtt(transcript).decode()
    heard = [("A", "A0"), ("B", "B5 B6"), ("A", "A10"), ("B", "B10.6"), ("A", "A20")]
    assert re.findall(r"<v (.)>(.*)", vtt) == heard
    assert all(cue.end <= after.start for cue, after in pairwise(subtitles.cues_of(transcript)))
