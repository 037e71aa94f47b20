"""What a running service is made of and what it has done so far, seen from outside."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil


def authorization() -> dict[str, str]:
    """The header with the key in TRITONE_KEY, or with the one that `tritone up` keeps where it runs."""
    kept = Path(os.environ.get("TRITONE_HOME", ".tritone")) / "demo.key"
    key = os.environ.get("TRITONE_KEY") or (kept.read_text().strip() if kept.exists() else "")
    return {"Authorization": f"Bearer {key}"} if key else {}


def listener(port: int) -> psutil.Process:
    """The process that listens on a port of this machine."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return psutil.Process(connection.pid)
    raise SystemExit(f"Nothing on this machine listens on port {port}.")


def family(port: int) -> list[psutil.Process]:
    """The listener with all that belong to the same service: `tritone up` and its children."""
    process = listener(port)
    parent = process.parent()
    head = parent if parent is not None and "up" in parent.cmdline() else process
    return [head, *head.children(recursive=True)]


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """With that of children which have ended: decoders come and go."""
    return sum(sum(process.cpu_times()[:4]) for process in processes)


def window_counts(metrics_url: str, models: str = "whisper-") -> tuple[int, int]:
    """Windows and engine calls of all models with names that begin so, from Triton's own counters."""
    text = httpx.get(metrics_url).text
    windows, calls = (
        sum(map(int, re.findall(rf'^{counter}{{model="{models}[^}}]*}} (\d+)', text, re.MULTILINE)))
        for counter in ("nv_inference_request_success", "nv_inference_exec_count")
    )
    return windows, calls
