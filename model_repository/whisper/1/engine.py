"""Whisper over CTranslate2: a batch of windows in, one recognition or error per window out.

Windows of about one length share one feature extraction and one encoder pass. Decoding is one `generate` per group of
windows whose options cannot be mixed in a call, aligning words to time is one `align` per language. No window's answer
depends on which others happened to share its batch.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import ctranslate2
import msgspec
import numpy as np
import numpy.typing as npt
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import _LANGUAGE_CODES as KNOWN_LANGUAGES
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens
from payloads import DecodingOptions, Recognition, Segment, Word
from prompts import fitting
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer as VocabularyTokenizer
from words import TextSpan, TimedWord, align_words

SAMPLE_RATE_HZ = 16_000
WINDOW_S = 30
WINDOW_SAMPLES = WINDOW_S * SAMPLE_RATE_HZ
HOP_SAMPLES = 160  # one mel frame each 10 ms
WINDOW_FRAMES = WINDOW_SAMPLES // HOP_SAMPLES
TIME_TOKEN_S = 0.02
# Windows shorter than 30 s, where the checkpoint takes them: silence behind the last sound, as it saw in training, and
# lengths in few steps, each so much longer than the one before, so that a batch has little to pad.
TAIL_FRAMES = 20
LENGTH_STEP = 1.2
DECODER_POSITIONS = 448
MAX_TEXT_TOKENS = DECODER_POSITIONS // 2  # at which CTranslate2 stops, as Whisper does

# Radford et al. 2022, section 4.5: when a decoding is repetitive or unlikely, try the next temperature.
MAX_COMPRESSION_RATIO = 2.4
MIN_AVG_LOGPROB = -1.0
SILENCE_NO_SPEECH_PROB = 0.6
SAMPLED_HYPOTHESES = 5
LEAST_CANDIDATE, MOST_CANDIDATES = 0.01, 10  # languages that an answer names: how probable, how many
MIN_ROUNDS = 4  # of the same words at the end, and the decoder has gone in circles

Pcm = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]
Key = TypeVar("Key", bound=Hashable)


class WindowError(ValueError):
    """One window or its options cannot be processed; the others in its batch can."""


@dataclass(frozen=True)
class Window:
    """At most 30 s of mono PCM (samples,) at 16 kHz, at its own length."""

    pcm: Pcm
    options: DecodingOptions


@dataclass(frozen=True)
class _Decoding:
    tokens: list[int]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float
    is_cut_off: bool
    """The decoder wrote as much as it can, and had not come to an end."""

    @property
    def is_silence(self) -> bool:
        """Unlikely words where nobody seems to speak: they are invented."""
        return self.no_speech_prob > SILENCE_NO_SPEECH_PROB and self.avg_logprob < MIN_AVG_LOGPROB

    @property
    def accepted(self) -> bool:
        good = self.compression_ratio <= MAX_COMPRESSION_RATIO and self.avg_logprob >= MIN_AVG_LOGPROB
        return good or self.is_silence


class WhisperEngine:
    """A converted checkpoint: CTranslate2 weights with tokenizer.json and preprocessor_config.json beside them.

    `min_window_frames` is the shortest window, in frames of 10 ms, that the checkpoint was measured to take; shorter
    ones are padded to it, longer ones to the next of a few lengths. Whisper as published takes 3000 alone.
    """

    def __init__(
        self,
        weights: Path,
        *,
        device: str = "cpu",
        device_index: int = 0,
        compute_type: str = "default",
        threads: int = 0,
        min_window_frames: int = WINDOW_FRAMES,
    ) -> None:
        # The mel filters are the only product that NumPy makes here, and OpenBLAS's threads spin for long after each.
        threadpool_limits(1, user_api="blas")
        self._model = ctranslate2.models.Whisper(
            str(weights), device=device, device_index=device_index, compute_type=compute_type, intra_threads=threads
        )
        self._vocabulary = VocabularyTokenizer.from_file(str(weights / "tokenizer.json"))
        preprocessor = msgspec.json.decode((weights / "preprocessor_config.json").read_bytes())
        self._features = FeatureExtractor(feature_size=preprocessor["feature_size"])
        self.mel_bins: int = preprocessor["feature_size"]
        if self.mel_bins != self._model.n_mels:
            raise ValueError(f"{weights}: preprocessor has {self.mel_bins} mel bins, the model {self._model.n_mels}.")
        self._tokenizers: dict[tuple[str, str], Tokenizer] = {}
        self._plain = self._tokenizer("en", "transcribe")
        self._suppressed = list(get_suppressed_tokens(self._plain, [-1]))
        self._lengths = window_lengths(min_window_frames)

    def recognize(self, windows: Sequence[Window]) -> list[Recognition | WindowError]:
        """One answer per window, in order. Raises only what concerns the batch as a whole (out of memory, say)."""
        answers: list[Recognition | WindowError] = []
        good: list[int] = []
        for window in windows:
            problem = self._problem(window)
            if problem is None:
                good.append(len(answers))
            answers.append(WindowError(problem or "not processed"))
        by_length = _grouped(self._padded_frames(windows[index].pcm.size) for index in good)
        for frames, positions in by_length.items():
            indices = [good[position] for position in positions]
            recognitions = self._recognize([windows[index] for index in indices], frames)
            for index, recognition in zip(indices, recognitions, strict=True):
                answers[index] = recognition
        return answers

    def _recognize(self, windows: Sequence[Window], frames: int) -> list[Recognition]:
        """Windows that are all padded to `frames`."""
        encoded = self._model.encode(_storage(np.stack([self._log_mel(window.pcm, frames) for window in windows])))
        answers = [
            Recognition(
                language=next(iter(candidates)),
                language_probability=next(iter(candidates.values())),
                segments=[],
                avg_logprob=0.0,
                no_speech_prob=0.0,
                compression_ratio=1.0,
                temperature=0.0,
                decoded_s=window.pcm.size / SAMPLE_RATE_HZ,
                candidates={} if window.options.language else candidates,
            )
            for window, candidates in zip(windows, self._languages(encoded, windows), strict=True)
        ]
        heard = [index for index, window in enumerate(windows) if window.options.task != "identify"]
        if heard:
            of_heard = [(windows[index], answers[index]) for index in heard]
            for index, answer in zip(heard, self._transcribe(_select(encoded, heard), of_heard), strict=True):
                answers[index] = answer
        return answers

    def _transcribe(
        self, encoded: ctranslate2.StorageView, windows_and_answers: Sequence[tuple[Window, Recognition]]
    ) -> list[Recognition]:
        """The answers, which have their languages, with what was said."""
        windows = [window for window, _ in windows_and_answers]
        tokenizers = [self._tokenizer(answer.language, window.options.task) for window, answer in windows_and_answers]
        decodings = self._decode(encoded, windows, tokenizers)
        spans = [
            self._spans(decoding, answer.decoded_s)
            for decoding, (_, answer) in zip(decodings, windows_and_answers, strict=True)
        ]
        words = self._words(encoded, windows, tokenizers, spans)
        return [
            msgspec.structs.replace(
                answer,
                segments=[
                    _segment(span, tokenizer.decode(span.tokens), words_of_span)
                    for span, words_of_span in zip(spans_of_window, words_of_window, strict=True)
                ],
                avg_logprob=round(decoding.avg_logprob, 4),
                no_speech_prob=round(decoding.no_speech_prob, 4),
                compression_ratio=round(decoding.compression_ratio, 4),
                temperature=decoding.temperature,
                decoded_s=spans_of_window[-1].end if decoding.is_cut_off and spans_of_window else answer.decoded_s,
            )
            for (_, answer), tokenizer, decoding, spans_of_window, words_of_window in zip(
                windows_and_answers, tokenizers, decodings, spans, words, strict=True
            )
        ]

    def _problem(self, window: Window) -> str | None:
        if not 0 < window.pcm.size <= WINDOW_SAMPLES:
            return f"PCM must hold 1 to {WINDOW_SAMPLES} samples ({WINDOW_S} s); it holds {window.pcm.size}."
        options = window.options
        for language in [*([options.language] if options.language is not None else []), *options.languages]:
            if language not in KNOWN_LANGUAGES or self._vocabulary.token_to_id(f"<|{language}|>") is None:
                return f"The model has no token for the language {language!r}."
        return None

    def _tokenizer(self, language: str, task: str) -> Tokenizer:
        if (language, task) not in self._tokenizers:
            self._tokenizers[language, task] = Tokenizer(
                self._vocabulary, self._model.is_multilingual, task=task, language=language
            )
        return self._tokenizers[language, task]

    def _padded_frames(self, samples: int) -> int:
        wanted = math.ceil(samples / HOP_SAMPLES) + TAIL_FRAMES
        return next((length for length in self._lengths if length >= wanted), WINDOW_FRAMES)

    def _log_mel(self, pcm: Pcm, frames: int) -> Floats:
        """Log-mel features (mel bins, frames) of the window followed by silence.

        Only the window itself is transformed: the frames of digital silence behind it all have the floor's value.
        """
        silence = min(frames * HOP_SAMPLES - pcm.size, self._features.n_fft)
        features = self._features(pcm.astype(np.float32) / 32768.0, padding=silence)[:, :frames]
        # In the scaled log domain the floor lies 2 below the loudest value, and never below that of an empty spectrum.
        floor = max(float(features.max()) - 2.0, -1.5)
        padded = np.full((self.mel_bins, frames), floor, dtype=np.float32)
        padded[:, : features.shape[1]] = features
        return padded

    def _languages(self, encoded: ctranslate2.StorageView, windows: Sequence[Window]) -> list[dict[str, float]]:
        """The probabilities of each window's likeliest languages, the first being the one that it is taken to be in."""
        languages = [{window.options.language or "en": 1.0} for window in windows]
        unknown = [index for index, window in enumerate(windows) if window.options.language is None]
        if unknown and self._model.is_multilingual:
            for index, ranking in zip(unknown, self._model.detect_language(_select(encoded, unknown)), strict=True):
                probabilities = {token[2:-2]: probability for token, probability in ranking}
                languages[index] = likeliest(probabilities, windows[index].options.languages)
        return languages

    def _prompt(self, options: DecodingOptions, tokenizer: Tokenizer) -> list[int]:
        """Hotwords and earlier text, as what came before this window; then the task."""
        terms = [tokenizer.encode(f" {term.strip()}") for term in options.hotwords if term.strip()]
        earlier = tokenizer.encode(f" {options.prompt.strip()}") if options.prompt.strip() else []
        before = fitting(terms, earlier)
        task = tokenizer.sot_sequence + ([] if options.segment_timestamps else [tokenizer.no_timestamps])
        return [*([tokenizer.sot_prev] if before else []), *before, *task]

    def _decode(
        self, encoded: ctranslate2.StorageView, windows: Sequence[Window], tokenizers: Sequence[Tokenizer]
    ) -> list[_Decoding]:
        prompts = [self._prompt(w.options, t) for w, t in zip(windows, tokenizers, strict=True)]
        best: list[_Decoding | None] = [None] * len(windows)
        # CTranslate2 wants the start token at one position in all prompts of a call, time stamps for all or for none,
        # and one search setting.
        groups = _grouped(
            (w.options.beam_size, w.options.temperatures, w.options.segment_timestamps, len(prompt))
            for w, prompt in zip(windows, prompts, strict=True)
        )
        for (beam_size, temperatures, *_), pending in groups.items():
            for temperature in temperatures:
                decodings = self._generate(encoded, pending, prompts, beam_size, temperature)
                for index, decoding in zip(pending, decodings, strict=True):
                    best[index] = _better(best[index], decoding)
                pending = [index for index, d in zip(pending, decodings, strict=True) if not d.accepted]
                if not pending:
                    break
        return [self._without_loop(decoding) for decoding in best if decoding is not None]

    def _without_loop(self, decoding: _Decoding) -> _Decoding:
        """One that no temperature kept from going in circles until it was cut off, with one round of its circle left.

        Somebody who does say the same again and again comes to an end; then every word stays.
        """
        if not decoding.is_cut_off or decoding.compression_ratio <= MAX_COMPRESSION_RATIO:
            return decoding
        # Time stamps move on while the words repeat.
        text = [index for index, token in enumerate(decoding.tokens) if token < self._plain.eot]
        keep = one_round([decoding.tokens[index] for index in text])
        if keep == len(text):
            return decoding
        return replace(decoding, tokens=decoding.tokens[: text[keep]])

    def _generate(
        self,
        encoded: ctranslate2.StorageView,
        indices: Sequence[int],
        prompts: Sequence[list[int]],
        beam_size: int,
        temperature: float,
    ) -> list[_Decoding]:
        sampling = temperature > 0
        results = self._model.generate(
            _select(encoded, indices),
            [prompts[index] for index in indices],
            beam_size=1 if sampling else beam_size,
            num_hypotheses=SAMPLED_HYPOTHESES if sampling else 1,
            sampling_topk=0 if sampling else 1,
            sampling_temperature=temperature if sampling else 1.0,
            max_length=DECODER_POSITIONS,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self._suppressed,
        )
        decodings = []
        for result in results:
            tokens = list(result.sequences_ids[0])
            # A score is the mean over the text's tokens; Whisper's measure counts the end token as one more.
            avg_logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)
            text = self._plain.decode(tokens).strip()
            ratio = get_compression_ratio(text) if text else 1.0
            cut_off = len(tokens) >= MAX_TEXT_TOKENS
            decodings.append(_Decoding(tokens, avg_logprob, result.no_speech_prob, ratio, temperature, cut_off))
        return decodings

    def _spans(self, decoding: _Decoding, window_s: float) -> list[TextSpan]:
        """The text between time stamps. A span that is open at the end lasts as long as the window.

        Of a decoding that was cut off, the open span is left out if there are others: it is decoded again, whole.
        """
        if decoding.is_silence:
            return []
        spans: list[TextSpan] = []
        start, text = 0.0, list[int]()
        for token in decoding.tokens:
            if token < self._plain.eot:
                text.append(token)
            elif token >= self._plain.timestamp_begin:
                time = min((token - self._plain.timestamp_begin) * TIME_TOKEN_S, window_s)
                if text:
                    spans.append(TextSpan(start, max(start, time), text))
                    text = []
                start = time
        if text and not (decoding.is_cut_off and spans):
            spans.append(TextSpan(start, window_s, text))
        return [span for span in spans if self._plain.decode(span.tokens).strip()]

    def _words(
        self,
        encoded: ctranslate2.StorageView,
        windows: Sequence[Window],
        tokenizers: Sequence[Tokenizer],
        spans: Sequence[list[TextSpan]],
    ) -> list[list[list[TimedWord]]]:
        """Words with times for every span of every window; none where they were not asked for."""
        words: list[list[list[TimedWord]]] = [[[] for _ in spans_of_window] for spans_of_window in spans]
        wanted = [i for i, w in enumerate(windows) if w.options.word_timestamps and spans[i]]
        # The start sequence, language and task, is shared by all windows of a call.
        groups = _grouped(tuple(tokenizers[index].sot_sequence) for index in wanted)
        for start_sequence, positions in groups.items():
            indices = [wanted[position] for position in positions]
            alignments = self._model.align(
                _select(encoded, indices),
                list(start_sequence),
                [[token for span in spans[index] for token in span.tokens] for index in indices],
                [math.ceil(windows[index].pcm.size / HOP_SAMPLES) for index in indices],
            )
            for index, alignment in zip(indices, alignments, strict=True):
                words[index] = align_words(
                    tokenizers[index],
                    spans[index],
                    alignment.alignments,
                    alignment.text_token_probs,
                    window_s=windows[index].pcm.size / SAMPLE_RATE_HZ,
                )
        return words


def one_round(tokens: Sequence[int]) -> int:
    """How many tokens are left when those that go in circles at the end go round only once."""
    for period in range(1, len(tokens) // MIN_ROUNDS + 1):
        start = len(tokens) - period
        while start > 0 and tokens[start - 1] == tokens[start - 1 + period]:
            start -= 1
        if len(tokens) - start >= MIN_ROUNDS * period:
            return start + period
    return len(tokens)


def likeliest(probabilities: Mapping[str, float], among: Sequence[str]) -> dict[str, float]:
    """The languages worth naming, the likeliest first, out of `among` if there are any."""
    share = {language: probabilities.get(language, 0.0) for language in among} if among else dict(probabilities)
    total = sum(share.values()) if among else 1.0
    ranking = sorted(share, key=lambda language: -share[language])[:MOST_CANDIDATES]
    # Of candidates that are all impossible, one is as good as another.
    shares = [share[language] / total if total > 0 else 1 / len(share) for language in ranking]
    named = {language: round(p, 4) for language, p in zip(ranking, shares, strict=True) if p >= LEAST_CANDIDATE}
    return named or {ranking[0]: round(shares[0], 4)}


def window_lengths(shortest: int) -> list[int]:
    """The lengths in frames that windows are padded to, from `shortest` to 30 s; even, as the encoder halves them."""
    if not 1 <= shortest <= WINDOW_FRAMES:
        raise ValueError(f"The shortest window must have 1 to {WINDOW_FRAMES} frames, not {shortest}.")
    lengths = [shortest + shortest % 2]
    while lengths[-1] < WINDOW_FRAMES:
        lengths.append(min(2 * math.ceil(lengths[-1] * LENGTH_STEP / 2), WINDOW_FRAMES))
    return lengths


def _segment(span: TextSpan, text: str, words: list[TimedWord]) -> Segment:
    """Words know their times better than the time stamps, whose grid can be coarse."""
    return Segment(
        start=round(words[0].start if words else span.start, 2),
        end=round(words[-1].end if words else span.end, 2),
        text=text.strip(),
        words=[Word(w.text, round(w.start, 2), round(w.end, 2), round(w.probability, 4)) for w in words],
    )


def _better(best: _Decoding | None, new: _Decoding) -> _Decoding:
    """The accepted one; while none is, the likelier among those that do not repeat themselves."""
    if best is None or new.accepted:
        return new
    return max(best, new, key=lambda d: (d.compression_ratio <= MAX_COMPRESSION_RATIO, d.avg_logprob))


def _grouped(keys: Iterable[Key]) -> dict[Key, list[int]]:
    groups: defaultdict[Key, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    return groups


def _storage(array: npt.NDArray[np.generic]) -> ctranslate2.StorageView:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(array))


def _select(encoded: ctranslate2.StorageView, indices: Sequence[int]) -> ctranslate2.StorageView:
    """Some windows' encoder output; the whole batch, which is the common case, is passed on untouched."""
    if len(indices) == encoded.shape[0]:
        return encoded
    on_host = encoded if encoded.device == "cpu" else encoded.to_device(ctranslate2.Device.cpu)
    return _storage(np.asarray(on_host)[list(indices)])
