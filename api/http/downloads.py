"""What a file is called where a client stores it."""

from __future__ import annotations

import re
from typing import Final
from unicodedata import category, normalize
from urllib.parse import quote

FILE_NAME_BYTES: Final = 150  # of the 255 that file systems allow: browsers add " (1)" and the like


def content_disposition(title: str, extension: str) -> str:
    """The name of a file for each client: in ASCII, and in UTF-8 as RFC 8187 has it. It is never a path."""
    visible = "".join("_" if letter in '/\\:*?"<>|' else letter for letter in title if category(letter)[0] != "C")
    name = visible.strip(" .").encode()[:FILE_NAME_BYTES].decode(errors="ignore").rstrip(" .") or "transcript"
    ascii_name = re.sub(r"[^\w .()-]", "_", normalize("NFKD", name).encode("ascii", "ignore").decode()).strip(" .")
    return (
        f'attachment; filename="{ascii_name or "transcript"}.{extension}"; '
        f"filename*=UTF-8''{quote(f'{name}.{extension}', safe='')}"
    )
