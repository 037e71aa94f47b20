"""Exit status 0 if the Triton beside it serves, by gRPC's health protocol: its HTTP port is off.

With --loaded NAME, once or more often, a version of each must be ready, too; of any model, where the name is *. Triton
itself serves also when nothing could be loaded.
"""

from __future__ import annotations

import argparse
import sys

import grpc

ADDRESS = "127.0.0.1:8001"
TIMEOUT_S = 5.0
TRUE = b"\x08\x01"  # on the wire: field 1 is 1, of a HealthCheckResponse (SERVING) as of a ModelReadyResponse
READY_ALONE = b"\x10\x01"  # a RepositoryIndexRequest: field 2, ready, is 1


def main() -> str | None:
    """What is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?", default=ADDRESS, help="HOST:PORT of its gRPC")
    parser.add_argument("--loaded", action="append", default=[], metavar="NAME", help="a model, or * for any")
    asked = parser.parse_args()
    with grpc.insecure_channel(asked.address) as channel:

        def answer(method: str, request: bytes) -> bytes:
            return bytes(channel.unary_unary(method)(request, timeout=TIMEOUT_S))

        try:
            if answer("/grpc.health.v1.Health/Check", b"") != TRUE:
                return "Triton is not ready."
            for name in asked.loaded:
                if name == "*":
                    if not answer("/inference.GRPCInferenceService/RepositoryIndex", READY_ALONE):
                        return "No version of any model is ready; Triton's log says why."
                elif answer("/inference.GRPCInferenceService/ModelReady", named(name)) != TRUE:
                    return f"No version of {name} is ready; Triton's log says why."
        except grpc.RpcError as error:
            return f"Triton does not answer: {error}"
    return None


def named(model: str) -> bytes:
    """A ModelReadyRequest: field 1 is the name, of 127 bytes at most."""
    name = model.encode()
    return bytes([0x0A, len(name)]) + name


if __name__ == "__main__":
    sys.exit(main())
