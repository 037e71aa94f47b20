"""A server of S3's API, and buckets in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.servers import free_ports


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """Its address; the environment has credentials for it."""
    (port,) = free_ports(1)
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as environment:
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(variable, "of the tests")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"http://127.0.0.1:{port}"
    server.stop()


def bucket_with(files: Mapping[str, bytes], address: str) -> str:
    """The URL of a new one, as Triton and the service take it."""
    client, name = boto3.client("s3", endpoint_url=address), f"models-{uuid4().hex}"
    client.create_bucket(Bucket=name)
    for path, content in files.items():
        client.put_object(Bucket=name, Key=f"repository/{path}", Body=content)
    return f"s3://{address}/{name}/repository"
