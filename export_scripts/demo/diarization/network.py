"""The two demo networks, under the tensors of the real ones: waveforms in, powerset scores or embeddings out.

Both look at a window through the same log-mel frames, one each 20 ms, which are a convolution inside the network. They
work in steps of two frames.
"""

from __future__ import annotations

import numpy as np
import torch
from faster_whisper.feature_extractor import FeatureExtractor
from torch import nn
from torch.nn import functional as F  # noqa: N812  the field's name for it

from export_scripts.demo.diarization.mixing import FRAME_STEP, MAX_SPEAKERS, POWERSET
from export_scripts.demo.speech.utterances import FFT_SAMPLES, HOP_SAMPLES, MEL_BINS, QUIETEST_LOG_POWER

HOP = FRAME_STEP * HOP_SAMPLES
STEP_FRAMES = 2
DYNAMIC_RANGE = 8.0  # log10, below the window's loudest bin
# pyannote.audio's frames, of which a window of 10 s has 589: what scores and masks are counted in.
FRAME_SAMPLES, RECEPTIVE_FIELD = 270, 991
EMBEDDING = 192
CLASSES = len(POWERSET)
# The segmentation hears voices every other step: first those of so many steps on both sides, then those of whole turns.
VOICE_STRIDE, NEAR_STEPS = 2, 7
# The cosine above which two of those are more likely one person's, and how soon they are so without doubt.
ALIKE, CERTAINTY = 0.45, 12.0
REFINEMENTS = 2


class LogMel(nn.Module):
    """Log10 mel power (windows, frames, 80) of `waveforms` (windows, 1, samples)."""

    kernels: torch.Tensor
    filters: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        time = np.arange(FFT_SAMPLES) * 2 * np.pi / FFT_SAMPLES
        angles = np.arange(FFT_SAMPLES // 2 + 1)[:, None] * time
        window = np.hanning(FFT_SAMPLES + 1)[:-1]
        kernels = np.concatenate([np.cos(angles), np.sin(angles)]) * window
        self.register_buffer("kernels", torch.tensor(kernels[:, None], dtype=torch.float32), persistent=False)
        filters = FeatureExtractor().mel_filters
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32), persistent=False)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        # Half a kernel of silence on both sides, so that frame n lies around sample n * HOP.
        parts = F.conv1d(F.pad(waveforms, (FFT_SAMPLES // 2, FFT_SAMPLES // 2)), self.kernels, stride=HOP)
        half = FFT_SAMPLES // 2 + 1
        power = parts[:, :half] ** 2 + parts[:, half:] ** 2
        return torch.log10(torch.clamp(self.filters @ power, min=10**QUIETEST_LOG_POWER)).transpose(1, 2)


def normalised(log_power: torch.Tensor) -> torch.Tensor:
    """(windows, 80, frames) between -1 and 1, whatever the loudness."""
    loudest = log_power.amax(dim=(1, 2), keepdim=True)
    return ((torch.maximum(log_power, loudest - DYNAMIC_RANGE) - loudest) * (2 / DYNAMIC_RANGE) + 1).transpose(1, 2)


def convolution(inputs: int, outputs: int, width: int, *, dilation: int = 1, stride: int = 1) -> nn.Sequential:
    padding = dilation * (width - 1) // 2
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, width, stride=stride, dilation=dilation, padding=padding),
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
    )


class Trunk(nn.Module):
    """Log-mel frames (windows, 80, frames) → features (windows, channels, steps) of each block."""

    def __init__(self, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.Sequential(
            convolution(MEL_BINS, channels, 5), convolution(channels, channels, 5, stride=STEP_FRAMES)
        )
        self.blocks = nn.ModuleList([convolution(channels, channels, 3, dilation=width) for width in dilations])

    def forward(self, features: torch.Tensor) -> list[torch.Tensor]:
        x = self.down(features)
        outputs = []
        for block in self.blocks:
            x = x + block(x)
            outputs.append(x)
        return outputs


class SpeakerEmbedding(nn.Module):
    """Waveforms (windows, 1, 160000) and masks (windows, 3, 589) → embeddings (windows, 3, 192).

    A time-delay network whose features are pooled, by mean and deviation, over the frames of each mask.
    """

    def __init__(self, channels: int = 128, pooled: int = 384) -> None:
        super().__init__()
        self.mel = LogMel()
        dilations = (1, 2, 3)
        self.trunk = Trunk(channels, dilations)
        self.widen = nn.Sequential(nn.Conv1d(len(dilations) * channels, pooled, 1), nn.ReLU())
        self.embed = nn.Sequential(nn.BatchNorm1d(2 * pooled), nn.Linear(2 * pooled, EMBEDDING))

    def forward(self, waveforms: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return self.embeddings(self.mel(waveforms), masks)

    def embeddings(self, log_power: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Masks (windows, speakers, any number of frames) are stretched over the window."""
        x = self.features(log_power)
        return self.pooled(x, F.interpolate(masks, size=x.shape[2], mode="nearest"))

    def features(self, log_power: torch.Tensor) -> torch.Tensor:
        """What is pooled (windows, 384, steps)."""
        features: torch.Tensor = self.widen(torch.cat(self.trunk(normalised(log_power)), 1))
        return features.float()

    def pooled(self, features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Embeddings (windows, voices, 192): of each what is heard by its `weights` (windows or 1, voices, steps)."""
        with torch.autocast("cpu", enabled=False):  # the deviation is a small difference of large numbers
            share = weights / (weights.sum(2, keepdim=True) + 1e-6)
            mean = share @ features.transpose(1, 2)
            square = share @ (features * features).transpose(1, 2)
            deviation = torch.sqrt(torch.clamp(square - mean * mean, min=1e-5))
            statistics = torch.cat([mean, deviation], -1)
            windows, voices, width = statistics.shape
            embeddings: torch.Tensor = self.embed(statistics.reshape(-1, width))
            return embeddings.reshape(windows, voices, EMBEDDING)


class SpeakerSegmentation(nn.Module):
    """Waveforms (windows, 1, 160000) → log-probabilities (windows, 589, 7) of the powerset's classes; or shorter ones.

    It hears where turns begin, pools a trained embedding over each, clusters those, and learns to make speakers of it.
    """

    def __init__(self, channels: int = 64, hidden: int = 96) -> None:
        super().__init__()
        self.mel = LogMel()
        self.voices = SpeakerEmbedding()
        self.voices.requires_grad_(False)
        self.trunk = Trunk(channels, (1, 2))
        self.hear = nn.Linear(EMBEDDING, hidden)
        self.first = nn.LSTM(channels + hidden, hidden, bidirectional=True, batch_first=True)
        width = 2 * hidden
        self.turns = nn.Linear(width, 2)
        self.sharpness = nn.Parameter(torch.tensor(3.0))
        self.second = nn.LSTM(width + 2 * MAX_SPEAKERS, hidden, bidirectional=True, batch_first=True)
        self.classify = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, STEP_FRAMES * CLASSES))

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        frames = (waveforms.shape[2] - RECEPTIVE_FIELD) // FRAME_SAMPLES + 1
        centres = torch.arange(frames) * FRAME_SAMPLES + RECEPTIVE_FIELD // 2
        # The nearest of our own frames to each of pyannote's.
        scores, _ = self.listen(self.mel(waveforms))
        return scores[:, (centres + HOP // 2) // HOP]

    def listen(self, log_power: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities (windows, frames, 7) of the classes; logits (windows, steps, 2) of another turn's beginning
        and of just one person's speaking."""
        with torch.no_grad():
            features = self.voices.features(log_power)
            steps = features.shape[2]
            position = torch.arange(steps)
            near = (position[::VOICE_STRIDE, None] - position).abs() <= NEAR_STEPS
            briefly = self.voices.pooled(features, near.float()[None])
        x = self.trunk(normalised(log_power))[-1].transpose(1, 2)
        heard = torch.relu(self.hear(F.normalize(briefly, dim=-1)))
        y, _ = self.first(torch.cat([x, _spread(heard, steps)], -1))
        turns = self.turns(y).float()
        with torch.autocast("cpu", enabled=False):
            alone = torch.sigmoid(turns[..., 1])
            of_turn = self._same_turn(turns[..., 0]) * (alone[:, None] + 1e-3)
            voices = F.normalize(self.voices.pooled(features, of_turn[:, ::VOICE_STRIDE]), dim=-1)
            speakers = _spread(clustered(voices, alone[:, ::VOICE_STRIDE]), steps)
        z, _ = self.second(torch.cat([y, speakers], -1))
        classes = self.classify(z)
        return F.log_softmax(classes.reshape(classes.shape[0], -1, CLASSES), -1), turns

    def _same_turn(self, begins: torch.Tensor) -> torch.Tensor:
        """From logits (windows, steps) the chance (windows, steps, steps) that no turn begins between two steps."""
        begun = torch.cumsum(self.sharpness * F.softplus(begins), 1)  # minus the log of the chance that none has so far
        return torch.exp(-(begun[:, :, None] - begun[:, None, :]).abs())


def clustered(voices: torch.Tensor, alone: torch.Tensor) -> torch.Tensor:
    """Three clusters of `voices` (windows, steps, d), unit vectors: for each step the cosine with each mean, and the
    sizes, (windows, steps, 3 + 3). `alone` (windows, steps), how likely one person speaks there, is a voice's weight.

    They begin with the voice that is heard most, and then the one that is heard most of those unlike the ones before:
    k-means, but for shares in place of decisions, through which what it is given can be learnt.
    """
    alike = torch.sigmoid(CERTAINTY * (voices @ voices.transpose(1, 2) - ALIKE))
    heard = alone * (alike * alone[:, None]).mean(2)
    seeds = []
    for _ in range(MAX_SPEAKERS):
        chosen = heard.argmax(1)[:, None, None].expand(-1, 1, voices.shape[2])
        seeds.append(torch.gather(voices, 1, chosen))
        heard = heard * torch.sigmoid(CERTAINTY * (ALIKE - (voices * seeds[-1]).sum(2)))
    means = torch.cat(seeds, 1)
    for _ in range(REFINEMENTS):
        shares = torch.softmax(CERTAINTY * voices @ means.transpose(1, 2), -1) * alone[..., None]
        means = F.normalize(shares.transpose(1, 2) @ voices, dim=-1)
    sizes = shares.mean(1, keepdim=True).expand_as(shares)
    return torch.cat([voices @ means.transpose(1, 2), sizes], -1)


def _spread(x: torch.Tensor, steps: int) -> torch.Tensor:
    return F.interpolate(x.transpose(1, 2).float(), size=steps, mode="nearest").transpose(1, 2)
