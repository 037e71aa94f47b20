"""F5-TTS and its vocoder as a version that speaks a text in the voice of a short recording.

Takes a checkpoint laid out as SWivid/F5-TTS and one as charactr/vocos-mel-24khz, each from a local folder or by its hub
id. What the version speaks is compared with what the packages' own classes make of the same noise. The packages are
needed here alone: run `make f5-tts`, and this with PYTHONPATH=.f5-tts.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

from export_scripts.artifact import ExportError, add_target_arguments, place, target, write_version
from export_scripts.checkpoint import find_checkpoint
from export_scripts.voice_cloner_graphs import TOLERANCE, engine, write_graphs
from export_scripts.voice_cloner_packages import Packages, packages

VARIANT = "F5TTS_v1_Base"
VOCODER = "charactr/vocos-mel-24khz"
VOCODER_FILES = ("config.yaml", "pytorch_model.bin")
LANGUAGES = ("en", "zh")
BATCH_SIZE = 16
# A CPU is not faster with several at once, and a lone one would wait for the batch that is being worked on.
CPU_BATCH_SIZE = 1
FFT_SAMPLES = 1024  # as spectra.py beside the engine
SPECTRUM = {
    "target_sample_rate": engine.SAMPLE_RATE_HZ,
    "n_mel_channels": engine.MELS,
    "hop_length": engine.HOP_SAMPLES,
    "win_length": FFT_SAMPLES,
    "n_fft": FFT_SAMPLES,
    "mel_spec_type": "vocos",
}
VOCOS_PARTS = {
    "feature_extractor": "vocos.feature_extractors.MelSpectrogramFeatures",
    "backbone": "vocos.models.VocosBackbone",
    "head": "vocos.heads.ISTFTHead",
}
# What a checkpoint's spectra must be made with, as far as its settings say so; these are their defaults.
VOCOS_SETTINGS = {
    "feature_extractor": {
        "sample_rate": engine.SAMPLE_RATE_HZ,
        "n_fft": FFT_SAMPLES,
        "hop_length": engine.HOP_SAMPLES,
        "n_mels": engine.MELS,
        "padding": "center",
    },
    "backbone": {"input_channels": engine.MELS, "adanorm_num_embeddings": None},
    "head": {"n_fft": FFT_SAMPLES, "hop_length": engine.HOP_SAMPLES, "padding": "center"},
}
# What the version is tried on: two utterances of different lengths, one of them quiet, in one run.
TRIALS = (
    ("Some call me nature.", "Others call me mother nature; I do not mind, 7 of 10 do.", 1.5, 0.2),
    ("The beginning and the end", "It was the best of times", 1.1, 0.02),
)
TRIAL_STEPS = 5


@dataclass(frozen=True)
class Layout:
    """Of one variant of F5-TTS: its weights, its vocabulary and its settings, as the package's yaml files have them."""

    weights: Path
    vocabulary: Path
    settings: dict[str, Any]


def find_layout(folder: Path, variant: str, of_package: Path) -> Layout:
    """`folder` holds the variant's files or a folder with them. Raises ExportError."""
    inner = folder / variant
    where = inner if inner.is_dir() else folder
    candidates = [*where.glob("model_*.safetensors"), *where.glob("model_*.pt")]
    if not candidates:
        raise ExportError(f"{folder} holds no {variant}/model_….safetensors and no model_….safetensors (or .pt).")
    if not (where / "vocab.txt").exists():
        raise ExportError(f"{where} has no vocab.txt.")
    settings = where / "config.yaml"
    if not settings.exists():
        settings = of_package / "configs" / f"{variant}.yaml"
    if not settings.exists():
        raise ExportError(
            f"{where} has no config.yaml, and f5-tts knows no {variant}: put one beside the weights that says "
            "what f5_tts/configs/F5TTS_v1_Base.yaml says under `model`, or name another --variant."
        )
    return Layout(max(candidates, key=_updates), where / "vocab.txt", _yaml(settings))


def _updates(weights: Path) -> tuple[int, bool]:
    """How long it was trained, by its name; of two that are alike, safetensors."""
    return int("".join(re.findall(r"\d+", weights.stem)[-1:]) or 0), weights.suffix == ".safetensors"


def _yaml(file: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(file.read_bytes())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ExportError(f"{file} cannot be read as YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ExportError(f"{file} holds no settings.")
    return settings


def load_model(layout: Layout, of: Packages) -> Any:
    """The package's CFM with the checkpoint's EMA weights. Raises ExportError."""
    settings = layout.settings.get("model") or {}
    if settings.get("backbone") != "DiT":
        raise ExportError(f"The checkpoint's backbone is {settings.get('backbone')}; only F5-TTS's DiT can be served.")
    _check("mel_spec", settings.get("mel_spec") or {}, SPECTRUM)
    arch = {**(settings.get("arch") or {}), "attn_backend": "torch", "attn_mask_enabled": False}
    if arch.get("text_embedding_average_upsampling"):
        raise ExportError("A checkpoint that stretches its texts (text_embedding_average_upsampling) cannot be served.")
    vocabulary, size = of.get_tokenizer(str(layout.vocabulary), "custom")
    try:
        model = of.CFM(
            transformer=of.DiT(**arch, text_num_embeds=size, mel_dim=engine.MELS),
            mel_spec_kwargs=SPECTRUM,
            odeint_kwargs={"method": "euler"},
            vocab_char_map=vocabulary,
        )
        model.load_state_dict(_ema_weights(layout.weights))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ExportError(f"{layout.weights} does not fit its settings: {error}") from error
    return model.eval()


def _ema_weights(file: Path) -> dict[str, torch.Tensor]:
    """As f5_tts.infer.utils_infer.load_checkpoint takes them out. Raises ExportError."""
    state = _tensors(file) if file.suffix == ".safetensors" else _pickled(file).get("ema_model_state_dict")
    if not isinstance(state, dict) or not any(name.startswith("ema_model.") for name in state):
        raise ExportError(f"{file} holds no EMA weights (ema_model.…).")
    return {
        name.removeprefix("ema_model."): tensor
        for name, tensor in state.items()
        # Counters of the training, and what older versions of the package kept of their spectra.
        if name not in ("initted", "step") and not name.startswith("ema_model.mel_spec.")
    }


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{file} cannot be read: {error}") from error


def _pickled(file: Path) -> dict[str, Any]:
    """Raises ExportError, also of a pickle that holds more than tensors."""
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ExportError(f"{file} cannot be read: {error}") from error
    if not isinstance(loaded, dict):
        raise ExportError(f"{file} holds no weights.")
    return loaded


def load_vocoder(folder: Path, of: Packages) -> Any:
    """Vocos with a checkpoint's weights. Raises ExportError."""
    for name in VOCODER_FILES:
        if not (folder / name).exists():
            raise ExportError(f"{folder} has no {name}: it is no checkpoint of Vocos.")
    settings = _yaml(folder / "config.yaml")
    for part, kind in VOCOS_PARTS.items():
        # The package makes whatever class is named there, so what it may be is said here.
        described = settings.get(part)
        if not isinstance(described, dict) or described.get("class_path") != kind:
            raise ExportError(f"{folder / 'config.yaml'}: the {part} must be a {kind}.")
        _check(part, described.get("init_args") or {}, VOCOS_SETTINGS[part])
    try:
        vocos = of.Vocos.from_hparams(str(folder / "config.yaml"))
        vocos.load_state_dict(_pickled(folder / "pytorch_model.bin"))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ExportError(f"{folder} does not fit its settings: {error}") from error
    return vocos.eval()


def _check(part: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        if found.get(name, value) != value:
            raise ExportError(f"The checkpoint's {part} has {name} {found[name]!r}; what is served has {value!r}.")


def export_weights(model: Any, vocos: Any, weights: Path) -> float:
    """What the engine loads; the largest difference of a graph from its module. Raises ExportError."""
    # The filterbank of Vocos' own spectra, which are those of F5-TTS.
    np.save(weights / "filterbank.npy", vocos.feature_extractor.mel_spec.mel_scale.fb.numpy())
    (weights / "vocabulary.json").write_text(json.dumps(model.vocab_char_map))
    return write_graphs(model.transformer, vocos, weights)


def compare(weights: Path, model: Any, vocos: Any, of: Packages) -> dict[str, float]:
    """The engine's largest differences from the packages, as shares of the largest numbers. Raises ExportError."""
    ours = engine.VoiceClonerEngine(weights, threads=torch.get_num_threads(), sampling=engine.Sampling(TRIAL_STEPS))
    utterances = []
    for number, (reference_text, text, seconds, loudness) in enumerate(TRIALS):
        pcm = _trial_recording(seconds, loudness)
        utterance = ours.prepare(pcm, engine.SpeechOptions(reference_text, text))
        torch.manual_seed(number)
        utterances.append(replace(utterance, noise=torch.randn(utterance.frames, engine.MELS).numpy()))
    differences = {"spectrum": 0.0, "waveform": 0.0}
    for number, ((reference_text, text, seconds, loudness), utterance, mels) in enumerate(
        zip(TRIALS, utterances, ours.spectra(utterances), strict=True)
    ):
        samples, _ = engine.loud(engine.heard(_trial_recording(seconds, loudness)))
        sampled, _ = model.sample(
            cond=torch.from_numpy(samples)[None],
            text=of.convert_char_to_pinyin([engine.sentence(reference_text) + text]),
            duration=utterance.frames,
            steps=TRIAL_STEPS,
            cfg_strength=engine.Sampling().guidance,
            sway_sampling_coef=engine.Sampling().sway,
            seed=number,
        )
        spoken = sampled[:, samples.size // engine.HOP_SAMPLES :]
        waveform = vocos.decode(spoken.permute(0, 2, 1))[0].numpy() / utterance.gain
        waveform /= max(1, np.abs(waveform).max())
        for name, got, expected in (
            ("spectrum", mels, spoken[0].numpy()),
            ("waveform", ours.sound(mels, utterance.gain), waveform),
        ):
            share = (
                float(np.abs(got - expected).max() / np.abs(expected).max()) if got.shape == expected.shape else np.inf
            )
            if not share <= TOLERANCE:
                raise ExportError(
                    f"The {name} differs from that of F5-TTS's own classes by {share:.1e} of the largest."
                )
            differences[name] = max(differences[name], share)
    return differences


def _trial_recording(seconds: float, loudness: float) -> Any:
    """Buzz and noise, in 16 bits."""
    time_s = np.arange(int(seconds * engine.SAMPLE_RATE_HZ)) / engine.SAMPLE_RATE_HZ
    buzz = np.sign(np.sin(2 * np.pi * 140 * time_s)) * (1 + np.sin(2 * np.pi * 3 * time_s))
    noise = np.random.default_rng(9).normal(0, 0.3, time_s.size)
    return np.round(32767 * np.clip(loudness * (buzz + noise), -1, 1)).astype(np.int16)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tritone export voice_cloner", description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="a folder, or a hub id such as SWivid/F5-TTS")
    parser.add_argument("--revision", help="the hub revision to take")
    parser.add_argument("--variant", default=VARIANT, help="which of the checkpoint's folders (%(default)s)")
    parser.add_argument("--vocoder", default=VOCODER, help="a folder or hub id (%(default)s)")
    parser.add_argument("--vocoder-revision", help="the hub revision to take of it")
    parser.add_argument("--steps", type=int, default=32, help="from noise to speech; less is faster (%(default)s)")
    parser.add_argument("--language", action="append", help=f"what it speaks, repeated ({' '.join(LANGUAGES)})")
    parser.add_argument("--cpu-threads", type=int, help="per CPU instance; by default what suits this machine")
    parser.add_argument("--display-name", help="the name that /v1/models shows; the variant's by default")
    add_target_arguments(parser, name="voice_cloner", max_batch_size=BATCH_SIZE, cpu_batch_size=CPU_BATCH_SIZE)
    return parser


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_args(argv)
    to = target(arguments)
    for option in ("cpu_threads", "steps"):
        if getattr(arguments, option) is not None and getattr(arguments, option) < 1:
            raise ExportError(f"--{option.replace('_', '-')} must be at least 1.")
    of = packages()
    checkpoint = find_checkpoint(arguments.checkpoint, arguments.revision, [f"{arguments.variant}/*"])
    vocoder = find_checkpoint(arguments.vocoder, arguments.vocoder_revision, VOCODER_FILES)
    vocos = load_vocoder(vocoder.folder, of)
    layout = find_layout(checkpoint.folder, arguments.variant, of.folder)
    model = load_model(layout, of)
    with tempfile.TemporaryDirectory() as work:
        weights = Path(work) / "weights"
        weights.mkdir()
        differences = {"graphs": export_weights(model, vocos, weights), **compare(weights, model, vocos, of)}
        placement = place(to, weights, threads=arguments.cpu_threads)
        version = write_version(
            "voice_cloner",
            to,
            weights,
            instances=placement.instances,
            card={
                "name": arguments.display_name or arguments.variant,
                "sample_rate": engine.SAMPLE_RATE_HZ,
                "languages": arguments.language or list(LANGUAGES),
            },
            source={
                "checkpoint": checkpoint.origin,
                "revision": checkpoint.revision,
                "weights": layout.weights.name,
                "vocoder": vocoder.origin,
                "vocoder_revision": vocoder.revision,
                "largest_differences": differences,
            },
            packages=("f5-tts", "vocos", "torch", "onnx", "onnxruntime"),
            parameters={"cpu_threads": placement.threads, "steps": arguments.steps},
        )
    print(f"{to.name} version {to.version}: {version}")
