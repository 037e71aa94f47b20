"""Exit status 0 if the Triton beside it serves, by gRPC's health protocol: its HTTP port is off."""

from __future__ import annotations

import sys

import grpc

ADDRESS = "127.0.0.1:8001"
TIMEOUT_S = 5.0
SERVING = b"\x08\x01"  # a HealthCheckResponse on the wire: field 1, status, is 1

with grpc.insecure_channel(sys.argv[1] if sys.argv[1:] else ADDRESS) as channel:
    try:
        answer = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        sys.exit(f"Triton does not answer: {error}")
if answer != SERVING:
    sys.exit("Triton is not ready.")
