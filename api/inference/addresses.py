"""Where Tritons are: addresses as they are written, and what the names among them stand for now."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from typing import Final, NamedTuple

from api.settings import SettingsError

MAX_ADDRESSES: Final = 64
# A name's labels as in DNS, with the underscore that container networks allow.
HOST: Final = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})\.)*[A-Za-z0-9_][A-Za-z0-9_-]{0,62}\.?"
ADDRESS: Final = re.compile(rf"(?:\[(?P<v6>[0-9A-Fa-f:.]{{2,45}})\]|(?P<host>{HOST})):(?P<port>[0-9]{{1,5}})")
MAX_NAME_CHARS: Final = 253
# Threads of their own: a name server that hangs must not keep others from theirs.
LOOKUPS: Final = ThreadPoolExecutor(4, thread_name_prefix="lookup")


class Address(NamedTuple):
    """Of a gRPC port. `host` is a name or an address; one of IPv6 has no brackets here."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Resolver = Callable[[Address], Awaitable[Collection[Address]]]


def parse_address(text: str) -> Address | None:
    """None where it is none."""
    found = ADDRESS.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= 65535 or len(text) > MAX_NAME_CHARS + 6:
        return None
    host = found["v6"] or found["host"]
    # What looks like an address must be one: 10.0.0.256 is no name either.
    if found["v6"] or re.fullmatch(r"[0-9.]+", host):
        try:
            ip_address(host)
        except ValueError:
            return None
    return Address(host, int(found["port"]))


def parse_addresses(text: str, variable: str = "TRITON_URL") -> tuple[Address, ...]:
    """Those that it lists, separated by commas, each once. Raises SettingsError."""
    right = "HOST:PORT, as in triton.internal:8001, 10.0.0.7:8001 or [fd00::7]:8001"
    parts = [part for part in (part.strip() for part in text.split(",")) if part]
    addresses = {part: parse_address(part) for part in parts}
    for part, address in addresses.items():
        if address is None:
            raise SettingsError(f"{variable}: {part[:100]!r} is no address of a Triton's gRPC port; one is {right}.")
    if not parts:
        raise SettingsError(f"{variable} names no Triton; it is {right}, or several with commas between them.")
    if len(parts) > MAX_ADDRESSES:
        raise SettingsError(
            f"{variable} may list {MAX_ADDRESSES} addresses, not {len(parts)}; a name may stand for several."
        )
    return tuple(dict.fromkeys(address for address in addresses.values() if address is not None))


async def resolved(address: Address) -> Collection[Address]:
    """Each address that it stands for now: those of IPv4, or those of IPv6 where there are no others, since what has
    both is one server. Raises OSError."""
    try:
        ip_address(address.host)
        return [address]
    except ValueError:
        pass
    try:
        look_up = partial(socket.getaddrinfo, address.host, address.port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(LOOKUPS, look_up)
    except UnicodeError as error:
        raise OSError(f"{address.host!r} is no name: {error}") from error
    for family in (socket.AF_INET, socket.AF_INET6):
        if those := {Address(str(place[0]), address.port) for of, _, _, _, place in found if of == family}:
            return those
    return []
