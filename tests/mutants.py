"""Damaged, lying and hostile media files, each a pure function of a seed and its number.

`python -m tests.mutants --count 1000` sends so many to the API over fake inference, or to the service at `--url`, and
says what became of them. Number 17 again: `--first 17 --count 1`.
"""

from __future__ import annotations

import argparse
import re
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

import httpx
import psutil

from tests.conftest import DATA, ffmpeg
from tests.running import start_fake_service, stop_fake_service
from tests.test_bad_input import PLAYLISTS

SEED = 1
PICTURE = "-f lavfi -t 2 -i testsrc=size=64x48:rate=25 -map 0:a -map 1:v"
HOLES = "asetpts=PTS+floor(N/8192)*{}*SR"
FORMATS = {
    "pcm.wav": "-c:a pcm_s16le",
    "surround.wav": "-c:a pcm_f32le -ac 6",
    "adpcm.wav": "-c:a adpcm_ima_wav",
    "a.mp3": "-c:a libmp3lame",
    "a.flac": "-c:a flac",
    "vorbis.ogg": "-c:a libvorbis",
    "flac.ogg": "-c:a flac",
    "a.opus": "-c:a libopus",
    "aac.m4a": "-c:a aac",
    "alac.m4a": "-c:a alac",
    "a.aac": "-c:a aac",
    "a.wma": "-c:a wmav2",
    "a.mp4": f"{PICTURE} -c:v mpeg4 -c:a aac",
    "fragments.mp4": f"{PICTURE} -c:v mpeg4 -c:a libopus -movflags frag_keyframe+empty_moov",
    "a.webm": f"{PICTURE} -c:v libvpx -deadline realtime -c:a libopus",
    "a.mkv": f"{PICTURE} -c:v mpeg4 -c:a libvorbis",
    "a.avi": f"{PICTURE} -c:v mpeg4 -c:a libmp3lame",
    "a.mov": f"{PICTURE} -c:v mjpeg -c:a pcm_s16be",
    "a.wmv": f"{PICTURE} -c:v wmv2 -c:a wmav1",
    "a.mpg": f"{PICTURE} -c:v mpeg1video -c:a mp2",
    "a.mpeg": f"{PICTURE} -c:v mpeg2video -c:a ac3",
    # Not promised, but let in, because the promised names are often given to them.
    "a.ts": f"{PICTURE} -c:v mpeg2video -c:a aac",
    "a.flv": "-c:a aac",
    "a.w64": "-c:a pcm_s16le",
    "a.aiff": "-c:a pcm_s16be",
    "a.caf": "-c:a alac",
    "a.ac3": "-c:a ac3",
    "a.amr": "-c:a libopencore_amrnb -ar 8000",
    # Holes in time, which the decoder fills with silence: of an hour, of a day, and of the widest there can be.
    "holes.mkv": f"-c:a flac -af {HOLES.format(3600)}",
    "holes.m4a": f"-c:a aac -af {HOLES.format(86400)}",
    "holes.ogg": f"-c:a libopus -af {HOLES.format(2**31)}",
}
# Numbers in headers: what stands before them, how far from there they are, and how they are written.
FIELDS = {
    b"RIFF": "4<I",
    b"LIST": "4<I",
    b"fmt ": "4<I 8<H 10<H 12<I 12<I 16<I 20<H 22<H",
    b"data": "4<I",
    b"avih": "4<I 8<I 24<I 32<I",
    b"strh": "4<I 28<I 32<I 36<I 40<I 52<I",
    b"strf": "4<I 8<H 10<H 12<I 16<I 20<H 22<H",
    b"idx1": "4<I 16<I 20<I",
    b"fmt \xf3\xac\xd3\x11": "16<Q 24<H 26<H 28<I 36<H 38<H",
    b"FORM": "4>I",
    b"COMM": "4>I 8>H 10>I 14>H 16>H 18>Q",
    b"SSND": "4>I 8>I",
    b"desc": "4>Q 12>d 28>I 32>I 36>I 40>I",
    b"pakt": "4>Q 12>Q 20>Q 28>I",
    b"ftyp": "-4>I",
    b"moov": "-4>I",
    b"trak": "-4>I",
    b"mdat": "-4>I",
    b"moof": "-4>I",
    b"mvhd": "-4>I 16>I 20>I",
    b"tkhd": "-4>I 24>I",
    b"mdhd": "-4>I 16>I 16>I 20>I",
    b"elst": "-4>I 8>I 12>I 16>I 20>I",
    b"stsd": "-4>I 8>I",
    b"mp4a": "-4>I 12>H 20>H 22>H 28>I",
    b"alac": "-4>I 8>I 13>B 20>I 28>I",
    b"esds": "-4>I 9>B 30>B",
    b"stts": "-4>I 8>I 12>I 16>I",
    b"stsc": "-4>I 8>I 12>I 16>I 20>I",
    b"stsz": "-4>I 8>I 12>I 16>I",
    b"stco": "-4>I 8>I 12>I",
    b"tfdt": "-4>I 8>Q",
    b"trun": "-4>I 8>I 12>I 16>I",
    b"OggS": "5<B 6<Q 6<Q 14<I 18<I 26<B",
    b"OpusHead": "8<B 9<B 10<H 12<I 16<H 18<B",
    b"\x01vorbis": "7<I 11<B 12<I 28<B",
    b"fLaC": "5>H 8>H 10>H 12>I 18>Q 18>H 21>I",
    b"\xff\xf8": "2>B 3>B 4>B",
    b"\x1a\x45\xdf\xa3": "4>B 5>Q",
    b"\x18\x53\x80\x67": "4>B 5>I",
    b"\x1f\x43\xb6\x75": "4>B 5>I",
    b"\x16\x54\xae\x6b": "4>B 5>I",
    b"\x2a\xd7\xb1": "3>B 4>H",
    b"\x44\x89": "2>B 3>d",
    b"\xb5\x88": "1>B 2>d",
    b"\x9f\x81": "1>B 2>B",
    b"\xe7": "1>B 2>H 2>I",
    b"\xa3": "1>B 2>H 3>H",
    b"\xa1\xdc\xab\x8c\x47\xa9": "16<Q 40<Q 56<Q 64<Q 80<Q 92<I 96<I",
    b"\x91\x07\xdc\xb7\xb7\xa9": "16<Q 64<I 78<H 80<H 82<I 86<I 90<H 92<H",
    b"\x00\x00\x01\xba": "4>Q 12>B",
    b"\x00\x00\x01\xbd": "4>H 8>B 9>I",
    b"\x00\x00\x01\xc0": "4>H 8>B 9>I",
    b"FLV\x01": "4>B 5>I",
    b"ID3": "3>B 5>B 6>I",
    b"Xing": "4>I 8>I 12>I",
    b"Info": "4>I 8>I 12>I",
    b"\xff\xfb": "2>B 3>B",
    b"\xff\xf1": "2>B 3>I",
    b"\x0b\x77": "2>H 4>H",
}
MEDIA_TYPES = ["audio/mpeg", "audio/wav", "video/mp4", "text/plain", "application/json", "nonsense"]


@dataclass(frozen=True)
class Mutant:
    number: int
    original: str
    mutations: tuple[str, ...]
    name: str
    media_type: str
    content: bytes = field(repr=False)


def make_originals(folder: Path) -> dict[str, bytes]:
    """A good file of each format, the same bytes on every run."""
    same = ["-threads", "1", "-fflags", "+bitexact", "-flags:a", "+bitexact", "-flags:v", "+bitexact"]
    for name, arguments in FORMATS.items():
        ffmpeg("-i", DATA / "en-0.flac", *arguments.split(), *same, folder / name)
    return {name: (folder / name).read_bytes() for name in FORMATS}


def mutant(originals: dict[str, bytes], seed: int, number: int) -> Mutant:
    """Every format has its turn; one in ten is a bomb instead."""
    random = Random(f"{seed}/{number}")
    original = list(originals)[number % len(originals)]
    if number % 10 == 9:
        bomb = random.choice(BOMBS)
        original, names, content = "bomb", [bomb.__name__], bomb(random)
    else:
        mutations = random.choices(list(MUTATIONS), list(MUTATIONS.values()), k=random.choice([1, 1, 2, 3]))
        names, data = [mutation.__name__ for mutation in mutations], bytearray(originals[original])
        for mutation in mutations:
            data = mutation(random, data, originals[random.choice(list(originals))])
        content = bytes(data)
    name, media_type = original, "application/octet-stream"
    if random.random() < 0.25:
        name, media_type = random.choice(list(originals)), random.choice(MEDIA_TYPES)
    return Mutant(number, original, tuple(names), name, media_type, content)


# Mutations: of the bytes of a file, with those of another one at hand.


def flip_a_few(random: Random, data: bytearray, _: bytes) -> bytearray:
    return _flipped(random, data, random.randint(1, 8), len(data))


def flip_many(random: Random, data: bytearray, _: bytes) -> bytearray:
    return _flipped(random, data, len(data) // random.choice([10, 100, 1000]), len(data))


def flip_in_header(random: Random, data: bytearray, _: bytes) -> bytearray:
    return _flipped(random, data, random.randint(1, 8), min(256, len(data)))


def _flipped(random: Random, data: bytearray, count: int, end: int) -> bytearray:
    for _ in range(count if end else 0):
        data[random.randrange(end)] ^= 1 << random.randrange(8)
    return data


def lie(random: Random, data: bytearray, _: bytes) -> bytearray:
    """Set a number in a header to one of the values that programs stumble over."""
    if marks := [mark for mark in FIELDS if mark in data]:
        mark = random.choice(marks)
        start = random.choice([match.start() for match in re.finditer(re.escape(mark), data)])
        place, code = re.fullmatch(r"(-?\d+)([<>]\w)", random.choice(FIELDS[mark].split())).groups()  # type: ignore[union-attr]
        with suppress(struct.error):  # the file ends before it
            struct.pack_into(code, data, start + int(place), _extreme(random, code))
    return _with_right_checksums(data)


def lie_a_lot(random: Random, data: bytearray, other: bytes) -> bytearray:
    for _ in range(random.randint(3, 8)):
        data = lie(random, data, other)
    return data


def _extreme(random: Random, code: str) -> float:
    if code.endswith("d"):
        return random.choice([0.0, -1.0, 1.0, 1e-9, 1e30, float("inf"), float("nan")])
    largest = int(256 ** struct.calcsize(code)) - 1
    return random.choice([0, 1, 2, 255, largest // 2, largest // 2 + 1, largest, random.randint(0, largest)])


def cut_end(random: Random, data: bytearray, _: bytes) -> bytearray:
    return data[: random.randint(0, len(data))]


def cut_front(random: Random, data: bytearray, _: bytes) -> bytearray:
    return data[random.randint(0, len(data)) :]


def cut_out(random: Random, data: bytearray, _: bytes) -> bytearray:
    start, end = _block(random, data)
    return data[:start] + data[end:]


def zero_out(random: Random, data: bytearray, _: bytes) -> bytearray:
    start, end = _block(random, data)
    data[start:end] = bytes(end - start)
    return data


def repeat_block(random: Random, data: bytearray, _: bytes) -> bytearray:
    start, end = _block(random, data)
    return data[:end] + data[start:end] * random.randint(1, 20) + data[end:]


def swap_blocks(random: Random, data: bytearray, _: bytes) -> bytearray:
    (a, b), (c, d) = sorted([sorted(_block(random, data)), sorted(_block(random, data))])
    b = min(b, c)
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _block(random: Random, data: bytearray) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.choice([1, 100, 4096, len(data)]))


def put_behind_another(_: Random, data: bytearray, other: bytes) -> bytearray:
    return bytearray(other) + data


def put_before_another(_: Random, data: bytearray, other: bytes) -> bytearray:
    return data + other


def put_behind_junk(random: Random, data: bytearray, _: bytes) -> bytearray:
    return bytearray(random.randbytes(random.choice([1, 100, 10_000]))) + data


def reduce_to_nothing(random: Random, data: bytearray, _: bytes) -> bytearray:
    return data[: random.randint(0, 3)]


MUTATIONS: dict[Callable[[Random, bytearray, bytes], bytearray], int] = {
    flip_a_few: 3,
    flip_many: 2,
    flip_in_header: 3,
    lie: 8,
    lie_a_lot: 4,
    cut_end: 2,
    cut_front: 2,
    cut_out: 2,
    zero_out: 2,
    repeat_block: 2,
    swap_blocks: 2,
    put_behind_another: 1,
    put_before_another: 1,
    put_behind_junk: 1,
    reduce_to_nothing: 1,
}


# Bombs: small files that are large inside, or that lead elsewhere.


def slow_wav(random: Random) -> bytes:
    """One sample a second."""
    data = random.randbytes(random.choice([2000, 20_000, 200_000]))
    return _wav(random.choice([1, 2, 10]), 1, 8, data)


def wide_wav(random: Random) -> bytes:
    """More channels than there are names for."""
    channels = random.choice([9, 33, 64, 65, 255, 65535])
    return _wav(16_000, channels, 8, random.randbytes(4 * channels))


def _wav(rate: int, channels: int, bits: int, data: bytes) -> bytes:
    frame = channels * bits // 8
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * frame, frame, bits)
    return (
        struct.pack("<4sI4s", b"RIFF", 44 + len(data), b"WAVE") + head + struct.pack("<4sI", b"data", len(data)) + data
    )


def constant_flac(random: Random) -> bytes:
    """Frames of 15 bytes that hold 65,535 samples each: seconds, or hours."""
    rate = random.choice([1, 10, 100, 8000, 65535])
    about = (rate << 44) | (15 << 36)  # one channel of 16 bits, of unknown length
    stream = b"fLaC\x80\0\0\x22" + struct.pack(">HH6xQ16x", 65535, 65535, about)
    for number in range(random.choice([3, 100, 127])):
        head = b"\xff\xf8\x7d\x08" + bytes([number]) + struct.pack(">HH", 65534, rate)
        frame = head + bytes([_crc(head, 8, 0x07)]) + struct.pack(">Bh", 0, random.choice([0, 9000]))
        stream += frame + struct.pack(">H", _crc(frame, 16, 0x8005))
    return stream


def silent_opus(random: Random) -> bytes:
    """Packets of two bytes that hold 120 ms each."""
    head = struct.pack("<8sBBHIHB", b"OpusHead", 1, 1, 312, 48000, 0, 0)
    stream = _ogg_page(0, 2, 0, [head]) + _ogg_page(1, 0, 0, [b"OpusTags" + bytes(8)])
    pages = random.choice([3, 30, 120])
    for page in range(pages):
        stream += _ogg_page(2 + page, 4 * (page == pages - 1), (page + 1) * 255 * 5760, [b"\x1b\x02"] * 255)
    return stream


def large_cover(_: Random) -> bytes:
    """A picture of 128 MB in the tag of an MP3, in 100 kB."""
    return _large_cover()


@cache
def _large_cover() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", 8000, 2000, 16, 6, 0, 0, 0)
    pixels = zlib.compress(bytes(2000 * (1 + 8000 * 8)))
    picture = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    frame = b"\0image/png\0\3\0" + picture
    tag = b"APIC" + struct.pack(">I2x", len(frame)) + frame
    two_seconds = (b"\xff\xfb\x90\xc4" + bytes(413)) * 80
    return b"ID3\3\0\0" + bytes(len(tag) >> shift & 127 for shift in (21, 14, 7, 0)) + tag + two_seconds


def packed_header(_: Random) -> bytes:
    """A QuickTime header of 200 MB, compressed, as the format allows."""
    return _packed_header()


@cache
def _packed_header() -> bytes:
    def atom(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(data), kind) + data

    size = 200_000_000
    packed = atom(b"dcom", b"zlib") + atom(b"cmvd", struct.pack(">I", size) + zlib.compress(bytes(size), 1))
    return atom(b"ftyp", b"qt  \0\0\0\0qt  ") + atom(b"moov", atom(b"cmov", packed))


def reference(random: Random) -> bytes:
    """A text that names another file."""
    target = random.choice([f"file://{DATA / 'en-0.flac'}", str(DATA / "en-0.flac"), "fd:", "http://127.0.0.1:9/a.mp3"])
    return random.choice(list(PLAYLISTS.values())).format(target=target).encode()


BOMBS = [slow_wav, wide_wav, constant_flac, silent_opus, large_cover, packed_header, reference]


def _ogg_page(number: int, kind: int, position: int, packets: list[bytes]) -> bytes:
    head = struct.pack("<4sBBQIIIB", b"OggS", 0, kind, position, 1, number, 0, len(packets))
    page = head + bytes(map(len, packets)) + b"".join(packets)
    return bytes(_with_right_checksums(bytearray(page)))


def _with_right_checksums(data: bytearray) -> bytearray:
    """A page of Ogg with a wrong one would be skipped, and its lies with it."""
    for start in [match.start() for match in re.finditer(b"OggS", data)]:
        segments = data[start + 27 : start + 27 + data[start + 26]] if start + 27 <= len(data) else b""
        end = start + 27 + len(segments) + sum(segments)
        if segments and end <= len(data):
            data[start + 22 : start + 26] = bytes(4)
            struct.pack_into("<I", data, start + 22, _crc(data[start:end], 32, 0x04C11DB7))
    return data


def _crc(data: bytes | bytearray, bits: int, polynomial: int) -> int:
    table, mask, value = _crc_table(bits, polynomial), 2**bits - 1, 0
    for byte in data:
        value = (value << 8) & mask ^ table[value >> (bits - 8) ^ byte]
    return value


@cache
def _crc_table(bits: int, polynomial: int) -> list[int]:
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1) & (2**bits - 1) ^ (polynomial if value >> (bits - 1) else 0)
        table.append(value)
    return table


# What becomes of them.


@dataclass(frozen=True)
class Outcome:
    mutant: Mutant
    status: int
    message: str
    seconds: float
    wrong: str


def send(client: httpx.Client, mutant: Mutant) -> Outcome:
    started = time.monotonic()
    try:
        answer = client.post("/v1/transcribe", files={"file": (mutant.name, mutant.content, mutant.media_type)})
    except httpx.TransportError as error:
        return Outcome(mutant, 0, repr(error), time.monotonic() - started, "no answer")
    status, body = answer.status_code, answer.json()
    good = (
        body["duration"] >= 0 and all(0 <= s["start"] <= s["end"] <= body["duration"] + 1 for s in body["segments"])
        if status == 200
        else 400 <= status < 500 and list(body) == ["error"] and body["error"].endswith(".")
    )
    message = "; ".join(body.get("warnings", [])) if status == 200 else body["error"]
    return Outcome(mutant, status, message, time.monotonic() - started, "" if good else "wrong answer")


class Peak:
    bytes = 0


@contextmanager
def peak_memory_of_children(process: psutil.Process) -> Iterator[Peak]:
    """The largest resident size that any child had while the context lasts."""
    peak, over = Peak(), threading.Event()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def watch() -> None:
        while not over.wait(0.005):
            for pid in children.read_text().split():
                with suppress(OSError):  # it has ended since
                    # Not yet ffmpeg, it is a copy of the service itself.
                    status = Path(f"/proc/{pid}/status").read_text()
                    if match := re.search(r"^Name:\s+ffmpeg.*^VmHWM:\s+(\d+) kB", status, re.DOTALL | re.MULTILINE):
                        peak.bytes = max(peak.bytes, 1024 * int(match[1]))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peak
    finally:
        over.set()
        watching.join()


def report(outcomes: Iterable[Outcome]) -> None:
    rows: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        for row in ("all", *outcome.mutant.mutations, outcome.mutant.original):
            rows[row].append(outcome)
    print(f"\n{'':20}{'sent':>6}{'200':>6}{'warned':>8}{'4xx':>6}{'other':>6}{'median s':>10}{'slowest s':>10}")
    for row, members in rows.items():
        kinds = Counter("4xx" if o.status // 100 == 4 else str(o.status) for o in members)
        warned = sum(o.status == 200 and o.message != "" for o in members)
        seconds = sorted(o.seconds for o in members)
        other = len(members) - kinds["200"] - kinds["4xx"]
        print(f"{row:20}{len(members):6}{kinds['200']:6}{warned:8}{kinds['4xx']:6}{other:6}", end="")
        print(f"{seconds[len(seconds) // 2]:10.2f}{seconds[-1]:10.2f}")
    print("\nanswers:")
    answers = Counter((o.status, re.sub(r"\d[\d.]*", "N", o.message)) for o in rows["all"])
    for (status, message), count in answers.most_common():
        print(f"{count:6} {status} {message}")
    print("\nslowest:")
    for o in sorted(rows["all"], key=lambda outcome: -outcome.seconds)[:10]:
        what = f"{o.mutant.original} {'+'.join(o.mutant.mutations)}"
        print(f"{o.seconds:6.2f} s  #{o.mutant.number} {what}, {len(o.mutant.content)} bytes: {o.status} {o.message}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--url", help="a service on this machine; by default one over fake inference is started")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder, "spool")
        spool.mkdir()
        originals = make_originals(Path(folder))
        service = None if arguments.url else start_fake_service(spool)
        try:
            url = service.url if service else arguments.url
            process = _listening(httpx.URL(url).port or 80)
            outcomes: list[Outcome] = []
            with httpx.Client(base_url=url, timeout=600) as client, peak_memory_of_children(process) as children:
                send(client, mutant(originals, arguments.seed, arguments.first))  # what is made once, is made now
                before = process.memory_info().rss, process.num_fds()
                for number in range(arguments.first, arguments.first + arguments.count):
                    outcomes.append(outcome := send(client, mutant(originals, arguments.seed, number)))
                    if outcome.wrong:
                        print(outcome.wrong, outcome.status, outcome.message, outcome.mutant.number, flush=True)
                after = process.memory_info().rss, process.num_fds()
            report(outcomes)
            left = process.children(recursive=True)
            print(f"\nlargest decoder: {children.bytes / 2**20:.0f} MiB, left: {left or 'none'}")
            print(f"service, MiB: {before[0] / 2**20:.0f} before, {after[0] / 2**20:.0f} after")
            print(f"its open files: {before[1]} before, {after[1]} after")
            return int(any(outcome.wrong for outcome in outcomes) or bool(left))
        finally:
            if service:
                stop_fake_service(service)


def _listening(port: int) -> psutil.Process:
    found = (c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port)
    return psutil.Process(next(found))


if __name__ == "__main__":
    sys.exit(main())
