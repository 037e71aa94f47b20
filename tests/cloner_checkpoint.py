"""Checkpoints of F5-TTS's and Vocos' own classes with random weights, and what f5-tts itself speaks with them.

A program that needs the packages of `make f5-tts`; tests/test_voice_cloner.py runs it as

    PYTHONPATH=.f5-tts .venv/bin/python -m tests.cloner_checkpoint DIR

DIR/f5-tts             laid out as SWivid/F5-TTS: F5TTS_v1_Base, and F5TTS_Base of another architecture in a pickle
DIR/vocos              laid out as charactr/vocos-mel-24khz
DIR/references.json    of each of CASES the texts, the speed, the steps and the tokens
DIR/references.npz     and the recording, the noise, the spectrum and the waveform

and with --full only the checkpoints, of the real ones' sizes.
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from export_scripts.voice_cloner_packages import Packages, packages

RATE = 24_000
GAIN = 1.0
SMALL = {"dim": 64, "depth": 2, "heads": 2, "dim_head": 32, "ff_mult": 2, "text_dim": 32, "conv_layers": 2}
# What differs among the architectures of F5-TTS, all at once.
OTHER = {**SMALL, "text_mask_padding": False, "pe_attn_head": 1, "qk_norm": "rms_norm", "long_skip_connection": True}
SMALL_VOCOS = {"dim": 48, "intermediate_dim": 96, "num_layers": 2}
FULL_VOCOS = {"dim": 512, "intermediate_dim": 1536, "num_layers": 8}  # charactr/vocos-mel-24khz


class Case(NamedTuple):
    seconds: float
    loudness: float
    reference_text: str
    text: str
    speed: float = 1.0
    steps: int = 12


CASES = (
    Case(
        3.217, 0.3, "Some call me nature, others call me mother nature.", "I do not mind: 7 of 10 do, 'nature' or not."
    ),
    Case(2.5, 0.03, "It was the best of times", "It was the worst of times,it was the age of wisdom.", steps=32),
    Case(4, 0.3, "Where is it? Here it is. ", "Yes."),
    Case(
        3,
        0.2,
        "对，这就是我，万人敬仰的太乙真人。",
        "突然，身边一阵笑声。我看着他们，意气风发地挺直了胸膛，hello一下。",
        1.3,
        16,
    ),
    Case(1.7, 0.2, "naïve café; “quoted” – and…", "Größe, l’été\tand C++, AT&T; ¿qué tal? 3.5% of e-mails", 0.8, 7),
)


def recording(case: Case) -> Any:
    """Buzz and noise with a little silence at both ends."""
    time_s = np.arange(int(case.seconds * RATE)) / RATE
    generator = np.random.default_rng(int(1000 * case.seconds))
    buzz = np.sign(np.sin(2 * np.pi * (90 + 40 * case.seconds) * time_s)) * np.sin(2 * np.pi * 1.3 * time_s) ** 2
    sound = case.loudness * (buzz + generator.normal(0, 0.3, time_s.size))
    sound *= (time_s > 0.2345) & (time_s < case.seconds - 0.1567)
    return np.round(32767 * np.clip(sound, -1, 1)).astype(np.int16)


def shake(module: nn.Module, gain: float) -> Any:
    """Random weights that let through what they are given: F5-TTS begins with layers that give nothing but zeros."""
    with torch.no_grad():
        for parameter in module.parameters():
            spread = gain * parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.1
            parameter.add_(torch.randn_like(parameter) * spread)
    return module.eval()


def make_model(of: Packages, arch: dict[str, Any], vocabulary: Path) -> Any:
    characters, size = of.get_tokenizer(str(vocabulary), "custom")
    dit = of.DiT(**arch, text_num_embeds=size, mel_dim=100)
    return of.CFM(
        transformer=dit,
        mel_spec_kwargs={"mel_spec_type": "vocos"},
        odeint_kwargs={"method": "euler"},
        vocab_char_map=characters,
    )


def save_model(model: Any, folder: Path, name: str, arch: dict[str, Any] | None) -> None:
    """`arch` is left to the package where it is None."""
    state = {f"ema_model.{key}": tensor.clone() for key, tensor in model.state_dict().items()}
    state |= {"initted": torch.tensor(True), "step": torch.tensor(1)}
    if name.endswith(".safetensors"):
        save_file(state, folder / name)
    else:
        # As older versions of the package left them, with what they kept of their spectra.
        state["ema_model.mel_spec.mel_stft.spectrogram.window"] = torch.hann_window(1024)
        torch.save({"ema_model_state_dict": state, "update": 7}, folder / name)
    if arch is not None:
        settings = {"model": {"backbone": "DiT", "arch": arch, "mel_spec": {"n_mel_channels": 100}}}
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))


def make_vocos(of: Packages, folder: Path, sizes: dict[str, int]) -> Any:
    parts = {
        "feature_extractor": ("feature_extractors.MelSpectrogramFeatures", {"n_mels": 100, "padding": "center"}),
        "backbone": ("models.VocosBackbone", {"input_channels": 100, **sizes}),
        "head": ("heads.ISTFTHead", {"dim": sizes["dim"], "n_fft": 1024, "hop_length": 256, "padding": "center"}),
    }
    settings = {part: {"class_path": f"vocos.{kind}", "init_args": given} for part, (kind, given) in parts.items()}
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    vocos = shake(of.Vocos.from_hparams(str(folder / "config.yaml")), GAIN)
    with torch.no_grad():
        vocos.head.out.bias[:513] -= 1.5
    torch.save(vocos.state_dict(), folder / "pytorch_model.bin")
    return vocos


def inference(of: Packages) -> ModuleType:
    """f5_tts.infer.utils_infer, whose plots and recogniser are not used here."""
    for name, used in (("matplotlib", "use"), ("matplotlib.pylab", "plot"), ("transformers", "pipeline")):
        module = ModuleType(name)
        module.__dict__[used] = lambda *arguments: None
        sys.modules[name] = module
    sys.modules["matplotlib"].__dict__["pylab"] = sys.modules["matplotlib.pylab"]
    sys.modules["f5_tts.model"].__dict__["CFM"] = of.CFM
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module("f5_tts.infer.utils_infer")


def speak(
    infer: Any, model: Any, vocos: Any, case: Case, seed: int, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was spoken, and what came of it."""
    pcm = recording(case)
    file = folder / f"recording-{seed}.wav"
    soundfile.write(file, pcm, RATE)
    heard, reference_text = infer.preprocess_ref_audio_text(str(file), case.reference_text, show_info=lambda text: None)
    samples, rate = soundfile.read(heard, dtype="float32")
    noise: list[Any] = []
    tokens: list[int] = []
    sample = type(model).sample

    def noting(**options: Any) -> Any:
        sampled, trajectory = sample(model, **options)
        noise.append(trajectory[0, 0].numpy())
        tokens.extend(model.vocab_char_map.get(character, 0) for character in options["text"][0])
        return sampled, trajectory

    model.sample = noting
    torch.manual_seed(seed)
    ((waveform, _, spectrum),) = infer.infer_batch_process(
        (torch.from_numpy(samples)[None], rate),
        reference_text,
        [case.text],
        model,
        vocos,
        progress=None,
        nfe_step=case.steps,
        speed=case.speed,
        device="cpu",
    )
    described = {name: getattr(case, name) for name in ("reference_text", "text", "speed", "steps")}
    arrays = {"pcm": pcm, "noise": noise[0], "spectrum": spectrum.T, "waveform": waveform}
    return {**described, "tokens": tokens}, arrays


def main(folder: Path, full: bool) -> None:
    torch.manual_seed(3)
    of = packages()
    checkpoints = folder / "f5-tts"
    for variant in ("F5TTS_v1_Base", "F5TTS_Base"):
        (checkpoints / variant).mkdir(parents=True)
        shutil.copy(of.folder / "infer" / "examples" / "vocab.txt", checkpoints / variant)
    base, other = checkpoints / "F5TTS_v1_Base", checkpoints / "F5TTS_Base"
    if full:
        arch = yaml.safe_load((of.folder / "configs" / "F5TTS_v1_Base.yaml").read_text())["model"]["arch"]
        model = shake(make_model(of, arch, base / "vocab.txt"), 0.3)
        save_model(model, base, "model_1250000.safetensors", None)
        make_vocos(of, folder / "vocos", FULL_VOCOS)
        return
    model = shake(make_model(of, SMALL, base / "vocab.txt"), GAIN)
    save_model(model, base, "model_1250000.safetensors", SMALL)
    save_model(shake(make_model(of, OTHER, other / "vocab.txt"), GAIN), other, "model_1200000.pt", OTHER)
    vocos = make_vocos(of, folder / "vocos", SMALL_VOCOS)
    infer = inference(of)
    references = [speak(infer, model, vocos, case, seed, folder) for seed, case in enumerate(CASES)]
    (folder / "references.json").write_text(json.dumps([described for described, _ in references]))
    arrays = {f"{name}-{seed}": array for seed, (_, of) in enumerate(references) for name, array in of.items()}
    np.savez(folder / "references.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--full" in sys.argv)
