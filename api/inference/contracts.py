"""Names, tensors and payloads that the service shares with model_repository.

Each model's config.pbtxt and engine.py state the same from the other side; the two are kept equal by a test, not by an
import, because what is served must stand by itself.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

WHISPER_PREFIX: Final = "whisper-"
"""A Triton model whisper-X is offered under the public id X."""
VOICE_ACTIVITY: Final = "voice_activity"
SPEAKER_SEGMENTATION: Final = "speaker_segmentation"
SPEAKER_EMBEDDING: Final = "speaker_embedding"
TEXT_EMBEDDING: Final = "text_embedding"
TEXT_ANALYSIS: Final = "text_analysis"
LANGUAGE_MODEL: Final = "language_model"
TRANSLATOR: Final = "translator"
SPEECH_ENHANCER: Final = "speech_enhancer"
VOICE_CLONER: Final = "voice_cloner"


def kind_of(model: str) -> str:
    """What a deployed model is, whatever its own name: there are as many kinds as names above."""
    return WHISPER_PREFIX.rstrip("-") if model.startswith(WHISPER_PREFIX) else model


LOCAL_SPEAKERS: Final = 3
"""Speakers that segmentation tells apart within one window."""
SPEAKER_WINDOW_SAMPLES: Final = 10 * 16_000
SPEAKER_FRAMES: Final = 589
"""Of a window. Frame n lies around sample 270 n + 495, pyannote.audio's PyanNet having a receptive field of 991."""
SPEAKER_FRAME_SAMPLES: Final = 270
SPEAKER_FRAME_CENTRE: Final = 495

TENSORS: Final = {
    "whisper": {
        "inputs": {"PCM": ("INT16", [-1]), "OPTIONS": ("STRING", [1])},
        "outputs": {"RECOGNITION": ("STRING", [1])},
    },
    VOICE_ACTIVITY: {
        "inputs": {"PCM": ("INT16", [-1]), "STATE": ("FP32", [320])},
        "outputs": {"PROBABILITIES": ("FP32", [-1]), "NEXT_STATE": ("FP32", [320])},
    },
    SPEAKER_SEGMENTATION: {
        "inputs": {"PCM": ("INT16", [-1])},
        "outputs": {"ACTIVITY": ("UINT8", [SPEAKER_FRAMES, LOCAL_SPEAKERS])},
    },
    SPEAKER_EMBEDDING: {
        "inputs": {"PCM": ("INT16", [-1]), "MASKS": ("UINT8", [-1, SPEAKER_FRAMES])},
        "outputs": {"EMBEDDINGS": ("FP32", [-1, -1]), "PLDA": ("FP32", [-1, -1])},
    },
    TEXT_EMBEDDING: {
        "inputs": {"TEXTS": ("STRING", [-1])},
        "outputs": {"EMBEDDINGS": ("FP32", [-1, -1])},
    },
    TEXT_ANALYSIS: {
        "inputs": {"TEXTS": ("STRING", [-1]), "OPTIONS": ("STRING", [1])},
        "outputs": {"ANALYSIS": ("STRING", [1])},
    },
    LANGUAGE_MODEL: {
        "inputs": {"REQUEST": ("STRING", [1])},
        "outputs": {"CHUNK": ("STRING", [1])},
    },
    TRANSLATOR: {
        "inputs": {"TEXTS": ("STRING", [-1]), "OPTIONS": ("STRING", [1])},
        "outputs": {"TRANSLATIONS": ("STRING", [-1])},
    },
    SPEECH_ENHANCER: {
        "inputs": {"PCM": ("FP32", [-1]), "STATE": ("FP32", [-1])},
        "outputs": {"ENHANCED": ("FP32", [-1]), "NEXT_STATE": ("FP32", [-1])},
    },
    VOICE_CLONER: {
        "inputs": {"REFERENCE": ("INT16", [-1]), "OPTIONS": ("STRING", [1])},
        "outputs": {"SPEECH": ("FP32", [-1])},
    },
}

WINDOW_SAMPLES: Final = 30 * 16_000
ACTIVITY_FRAME_SAMPLES: Final = 512
ACTIVITY_STATE_SIZE: Final = 320


class DecodingOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to decode one window. `language` None means: detect it, among `languages` if there are any. The task
    `identify` does no more than that."""

    language: str | None = None
    languages: Annotated[tuple[str, ...], msgspec.Meta(max_length=100)] = ()
    task: Literal["transcribe", "translate", "identify"] = "transcribe"
    prompt: Annotated[str, msgspec.Meta(max_length=10_000)] = ""
    hotwords: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=200)], ...], msgspec.Meta(max_length=1000)] = ()
    """What may well be said, the most important first; as many of them as there is room for are used."""
    segment_timestamps: bool = True
    """False asks for text without time stamps: a window is one segment then."""
    word_timestamps: bool = True
    beam_size: Annotated[int, msgspec.Meta(ge=1, le=16)] = 5
    temperatures: Annotated[
        tuple[Annotated[float, msgspec.Meta(ge=0, le=1)], ...], msgspec.Meta(min_length=1, max_length=8)
    ] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class Word(msgspec.Struct, frozen=True):
    """A word with the punctuation that belongs to it; times in seconds from the window's start."""

    word: str
    start: float
    end: float
    probability: float


class Segment(msgspec.Struct, frozen=True):
    start: float
    end: float
    text: str
    words: list[Word]


class Recognition(msgspec.Struct, frozen=True):
    """What was said in one window, and how sure the model is of it.

    `decoded_s` is the window's length, or less where it held more words than the model can write at once. Where the
    language was detected, `candidates` has the probabilities of the likeliest ones, which `language` is the first of.
    """

    language: str
    language_probability: float
    segments: list[Segment]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float
    decoded_s: float
    candidates: dict[str, float] = {}


class AnalysisOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to find out about texts; `language` is that of all of them."""

    tasks: Annotated[tuple[Literal["entities", "sentiment", "key_phrases"], ...], msgspec.Meta(min_length=1)]
    language: str = "en"


class Entity(msgspec.Struct, frozen=True):
    """`type` is Presidio's name of it (EMAIL_ADDRESS, PERSON, …); the span is in characters of the text."""

    type: str
    start: int
    end: int
    score: float


class Sentiment(msgspec.Struct, frozen=True):
    """`compound` is from -1 to 1; the others are shares of the text, with a sum of 1."""

    compound: float
    positive: float
    neutral: float
    negative: float


class KeyPhrase(msgspec.Struct, frozen=True):
    """As the text writes it; a `relevance` from 0 to 1, the larger the better."""

    text: str
    relevance: float


class Analysis(msgspec.Struct, frozen=True):
    """`entities` and `sentiment` have one entry for each text, in order; `key_phrases` are of all texts together, the
    best first. What was not asked for is empty."""

    entities: list[list[Entity]] = []
    sentiment: list[Sentiment] = []
    key_phrases: list[KeyPhrase] = []


PROMPT_TOO_LONG: Final = "PROMPT_TOO_LONG: "
"""What a language model's message begins with where a request does not fit into its context."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str


class CompletionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a language model is asked. Temperature 0 takes the likeliest token each time."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=8192)] = 512
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0.0
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0


class CompletionChunk(msgspec.Struct, frozen=True):
    """A piece of an answer. The last one has `finish`: at its own end, or where `max_tokens` or the context ended."""

    text: str = ""
    finish: Literal["stop", "length"] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class TranslationOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`target` is one of the languages in the model's card."""

    target: str


class SpeechOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a cloned voice says. The same `seed` gives the same speech."""

    reference_text: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    """What is said in the reference."""
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    speed: Annotated[float, msgspec.Meta(ge=0.5, le=2)] = 1.0
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 0


class Clustering(msgspec.Struct, frozen=True):
    """How a diarization model's embeddings become speakers. The defaults are pyannote/speaker-diarization-3.1's."""

    method: Literal["centroid", "vbx"] = "centroid"
    threshold: Annotated[float, msgspec.Meta(gt=0, le=2)] = 0.7045654963945799
    """Clusters are merged while the means of their unit vectors are no further apart."""
    min_cluster_size: Annotated[int, msgspec.Meta(ge=1)] = 12
    fa: Annotated[float, msgspec.Meta(gt=0)] = 0.07
    """VBx: how much an embedding counts; less than one, because those of overlapping windows repeat each other."""
    fb: Annotated[float, msgspec.Meta(gt=0)] = 0.8
    """VBx: the more, the fewer speakers."""
    plda_variances: list[float] = []
    """VBx: between speakers, of each PLDA feature; within a speaker they are 1."""
    constrained: bool = False
    """The local speakers of one window are different people."""


class ModelCard(msgspec.Struct, frozen=True):
    """What an exporter found out about a checkpoint; it travels in the model's config."""

    kind: str = ""
    name: str = ""
    languages: list[str] = []
    speed: str = "standard"
    min_window_frames: int = 3000
    prompts: bool = True
    """Of a Whisper: what was said before a window helps it."""
    clustering: Clustering = Clustering()
    """Of a speaker embedding: what its distances mean."""
    step_s: Annotated[float, msgspec.Meta(ge=0.1, le=9)] = 1.0
    """Of a speaker segmentation: from the start of one window to that of the next."""
    context_tokens: int = 0
    """Of a language model: how many tokens a request and its answer may have together."""
    entities: list[str] = []
    """Of a text analysis: the types that it finds."""
    sample_rate: Annotated[int, msgspec.Meta(ge=0, le=192_000)] = 0
    """Of a speech enhancer or a voice cloner, in Hz."""
    hop_samples: Annotated[int, msgspec.Meta(ge=1, le=48_000)] = 1
    """Of a speech enhancer: what it takes is a whole number of these."""
    delay_samples: Annotated[int, msgspec.Meta(ge=0, le=192_000)] = 0
    """Of a speech enhancer: how much later than its input its output is."""
    state_size: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
