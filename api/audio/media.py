"""Any audio or video as PCM, by ffmpeg in a process of its own.

ffmpeg reads the upload as an already open file descriptor and may open nothing else: `fd` is the only protocol it is
allowed, and of containers only those that hold their own audio. So a playlist, a concat script or a reference inside a
file cannot make it read a path or an address. Pictures are never decoded, not even to learn their size: a cover of some
kilobytes can unpack to gigabytes.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache

import imageio_ffmpeg
import numpy as np

from api.errors import UnreadableMedia
from api.inference.base import Pcm
from api.metrics import AUDIO_SECONDS
from api.speech import SAMPLE_RATE_HZ
from api.telemetry.stages import FILE, stage

FORMATS = "MP3, WAV, FLAC, OGG, M4A, AAC, OPUS, WMA, MP4, WebM, MKV, AVI, MOV, WMV, MPG, MPEG"
DEMUXERS = "mp3,wav,w64,flac,ogg,mov,aac,asf,matroska,avi,mpeg,mpegts,mpegvideo,aiff,caf,amr,ac3,flv"
DECODERS = (
    "mp1,mp1float,mp2,mp2float,mp3,mp3float,aac,aac_latm,alac,flac,vorbis,opus,speex,wmav1,wmav2,wmapro,wmalossless,"
    "wmavoice,ac3,eac3,dca,mlp,truehd,amrnb,amrwb,gsm,gsm_ms,ilbc,g722,g723_1,g726,g726le,g729,truespeech,nellymoser,"
    "qdm2,qdmc,mace3,mace6,wavpack,tta,atrac3,atrac3plus,s302m,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_swf,"
    "adpcm_yamaha,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,"
    "pcm_s64le,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_bluray,pcm_dvd"
)
ALLOWED = ("-protocol_whitelist", "fd", "-format_whitelist", DEMUXERS, "-codec_whitelist", DECODERS)
INPUT = ("-fd", "0", "-i", "fd:")
ANNOUNCED = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d\.\d+)", re.MULTILINE)
HEADER_OUTPUT_BYTES = 64 * 1024
BYTES_PER_SAMPLE = 2
ERROR_OUTPUT_BYTES = 4096
PIPE_BYTES = 64 * 1024
OPEN_FILES = 32
BEHIND_SPEECH = 10
"""How much nicer a decoder is than what live speech waits for."""
MAX_CHANNELS = 8
STEREO = 2
# Magic number, where the samples start, how many bytes, encoding, rate, channels: the one header that says little more.
AU_HEADER = struct.Struct(">4sIIIII")
# Audio that starts late, or has a hole, keeps its place: subtitles must fit the picture. But where time stamps step
# back, as in files that were put together, they are moved on first: filling alone would drop what seems past.
# Holes are filled last, because ffmpeg holds the whole of one in memory (an hour of mono at 16 kHz: 115 MB), and fills
# none of more than 2**26 samples, which are 70 minutes there and 23 at 48 kHz.
FORWARD = "asetpts='st(1,max(PTS,ld(0)));st(0,ld(1)+NB_SAMPLES);ld(1)'"
CHANNELS = "aformat=sample_fmts=s16"
MONO = f"{CHANNELS}:channel_layouts=mono"
FILLED = "aresample=async=1:first_pts=0"
# A rate of 1 Hz, a hole, a frame of silence: a few bytes can make days of audio. In an honest recording, even silence
# takes some 25 bytes a second.
UNSUSPECTED_S = 600
SPARSEST_BYTES_PER_S = 10
# What ffmpeg says of a file that is cut short or has holes, though it goes on and ends as if all were well.
DAMAGE = re.compile("partial file|Invalid data|corrupt|truncat|Error submitting|Failed to compensate", re.IGNORECASE)


@dataclass(frozen=True)
class DecoderLimits:
    """What one recording may cost."""

    audio_s: float
    cpu_s: int
    memory_bytes: int


@cache
def ffmpeg() -> str:
    return str(imageio_ffmpeg.get_ffmpeg_exe())


@dataclass
class Audio:
    """A recording as blocks of int16, a second each, and what was wrong with it, known at its end.

    Blocks are (samples,) of one channel, all of the recording's mixed, or (samples, channels) of all by themselves.
    """

    blocks: AsyncIterator[Pcm]
    warnings: list[str]
    channels: int = 1


@asynccontextmanager
async def decode(source: int, limits: DecoderLimits, rate_hz: int = SAMPLE_RATE_HZ) -> AsyncIterator[Audio]:
    """The first audio stream of the open file `source`, mixed to mono, silence standing where its time stamps leave a
    gap.

    The process ends with the context, whatever happened in it. Raises UnreadableMedia, also in the middle, when the
    file is nothing that decodes, is longer than the limit or out of all proportion to its size.
    """
    async with _decoder(source, limits, rate_hz, MONO, "s16le", "s16le") as decoder:
        yield Audio(_blocks(decoder, 1, "<i2"), decoder.warnings)


@asynccontextmanager
async def decode_channels(source: int, limits: DecoderLimits, rate_hz: int = SAMPLE_RATE_HZ) -> AsyncIterator[Audio]:
    """The same with every channel by itself; blocks are (samples, channels). Raises UnreadableMedia."""
    async with _decoder(source, limits, rate_hz, CHANNELS, "au", "s16be") as decoder:
        channels = await _au_channels(decoder)
        if channels > MAX_CHANNELS:
            raise UnreadableMedia(f"The recording has {channels} channels; at most {MAX_CHANNELS} can be split.")
        yield Audio(_blocks(decoder, channels, ">i2"), decoder.warnings, channels)


@asynccontextmanager
async def decode_stereo(source: int, limits: DecoderLimits, rate_hz: int) -> AsyncIterator[Audio]:
    """Both channels of a stereo recording, or one of any other: more than two are mixed. Raises UnreadableMedia."""
    async with _decoder(source, limits, rate_hz, CHANNELS, "au", "s16be") as decoder:
        channels = await _au_channels(decoder)
        if channels <= STEREO:
            yield Audio(_blocks(decoder, channels, ">i2"), decoder.warnings, channels)
            return
    async with decode(source, limits, rate_hz) as audio:
        yield audio


async def announced_s(source: int, limits: DecoderLimits) -> float | None:
    """How long the open file `source` says it is, at once; None where it does not say, or ffmpeg would have to guess.

    Only a claim: what is decoded may be shorter or longer.
    """
    os.lseek(source, 0, os.SEEK_SET)
    process = await asyncio.create_subprocess_exec(
        ffmpeg(), "-nostdin", "-hide_banner", "-loglevel", "info", *ALLOWED, *INPUT,
        stdin=source, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env={},
    )  # fmt: skip
    assert process.stderr is not None
    try:
        _restrict(process.pid, limits)
        said = (await _read(process.stderr, HEADER_OUTPUT_BYTES)).decode(errors="replace")
    finally:
        if not process.stderr.at_eof():  # else it is just ending
            process.kill()
            while await process.stderr.read(HEADER_OUTPUT_BYTES):
                pass
        await process.wait()
    found = ANNOUNCED.search(said)
    if found is None or "Estimating duration" in said:
        return None
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])


@dataclass
class _Decoder:
    """A running ffmpeg and what it may still decode."""

    process: asyncio.subprocess.Process
    output: asyncio.StreamReader
    complaints: asyncio.Task[str]
    rate_hz: int
    allowed_s: float
    plausible_s: float
    warnings: list[str]


@asynccontextmanager
async def _decoder(
    source: int, limits: DecoderLimits, rate_hz: int, layout: str, container: str, encoding: str
) -> AsyncIterator[_Decoder]:
    os.lseek(source, 0, os.SEEK_SET)
    process = await asyncio.create_subprocess_exec(
        *_command(rate_hz, layout, container, encoding),
        stdin=source,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={},
        limit=2 * rate_hz * BYTES_PER_SAMPLE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    complaints = asyncio.create_task(_tail(process.stderr))
    try:
        _restrict(process.pid, limits)
        plausible_s = UNSUSPECTED_S + os.fstat(source).st_size / SPARSEST_BYTES_PER_S
        yield _Decoder(process, process.stdout, complaints, rate_hz, limits.audio_s, plausible_s, [])
    finally:
        if process.returncode is None:
            process.kill()
        # A pipe that is full is not read from, and one that is not read from never reports that the process ended.
        while await process.stdout.read(PIPE_BYTES):
            pass
        await complaints
        await process.wait()


def _command(rate_hz: int, layout: str, container: str, encoding: str) -> list[str]:
    quiet = ["-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "1"]
    audio = ["-map", "0:a:0", "-af", f"{FORWARD},aresample={rate_hz},{layout},{FILLED}"]
    output = ["-c:a", f"pcm_{encoding}", "-f", container, "-flush_packets", "1", "pipe:1"]
    return [ffmpeg(), *quiet, *ALLOWED, *INPUT, *audio, *output]


def _restrict(pid: int, limits: DecoderLimits) -> None:
    """Set from outside, right after the start: between fork and exec no Python may run in a process with threads."""
    if sys.platform != "linux":
        return
    for kind, value in (
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ProcessLookupError):  # it has ended already
            _, hard = resource.prlimit(pid, kind)
            limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.prlimit(pid, kind, (limit, limit))
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, BEHIND_SPEECH)


async def _blocks(decoder: _Decoder, channels: int, samples: str) -> AsyncIterator[Pcm]:
    decoded_s = 0.0
    second = channels * decoder.rate_hz * BYTES_PER_SAMPLE
    while block := await _block(decoder, second):
        decoded_s += len(block) / second
        AUDIO_SECONDS.labels(FILE).inc(len(block) / second)
        if decoded_s > decoder.allowed_s:
            raise UnreadableMedia(
                f"The recording is longer than {decoder.allowed_s / 3600:g} hours; send it in shorter parts."
            )
        if decoded_s > decoder.plausible_s:
            raise UnreadableMedia(
                f"So small a file with more than {decoder.plausible_s / 60:.0f} minutes of audio is damaged, "
                "or no recording."
            )
        whole = len(block) // BYTES_PER_SAMPLE // channels * channels
        pcm = np.frombuffer(block, dtype=samples, count=whole)
        yield pcm if channels == 1 else pcm.reshape(-1, channels)
    status = await decoder.process.wait()
    if not decoded_s:
        raise UnreadableMedia(_reason(await decoder.complaints, status))
    if status < 0:
        raise UnreadableMedia("Decoding the recording cost more processor time or memory than is allowed.")
    if status > 0 or DAMAGE.search(await decoder.complaints):
        decoder.warnings.append(f"The file is damaged or incomplete; {decoded_s:.1f} s of it could be decoded.")


async def _block(decoder: _Decoder, size: int) -> bytes:
    with stage("decode"):
        return await _read(decoder.output, size)


async def _au_channels(decoder: _Decoder) -> int:
    """Read over the header of a Sun audio file: how many channels the samples behind it have."""
    header = await _read(decoder.output, AU_HEADER.size)
    if len(header) < AU_HEADER.size:
        raise UnreadableMedia(_reason(await decoder.complaints, await decoder.process.wait()))
    _, start, _, _, _, channels = AU_HEADER.unpack(header)
    await _read(decoder.output, start - AU_HEADER.size)  # nothing more of it, if the decoder has just died
    return int(channels)


async def _read(output: asyncio.StreamReader, size: int) -> bytes:
    try:
        return await output.readexactly(size)
    except asyncio.IncompleteReadError as rest:
        return rest.partial


async def _tail(errors: asyncio.StreamReader) -> str:
    """The end of what ffmpeg complains of; all of it is read, so that it never waits for a reader."""
    tail = b""
    while chunk := await errors.read(ERROR_OUTPUT_BYTES):
        tail = (tail + chunk)[-ERROR_OUTPUT_BYTES:]
    return tail.decode(errors="replace")


def _reason(complaints: str, status: int) -> str:
    if "matches no streams" in complaints:
        return "The file has no audio stream; send a recording with sound."
    if "Rematrix is needed" in complaints:
        return "Nothing in the file says how to mix its many channels; send a recording in mono or stereo."
    if status < 0:
        return "Decoding the file cost more processor time or memory than is allowed."
    if status == 0:
        return "The recording is empty: it has an audio stream, but no sound in it."
    return f"The file is no audio or video that can be decoded; send one of {FORMATS}."
