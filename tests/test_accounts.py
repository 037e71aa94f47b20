"""Keys, scopes and accounts, through HTTP and the command line, on both databases."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from api import admin
from api.accounts.keys import SCOPES
from api.accounts.reception import network_of
from api.admin import demo_key
from api.errors import InvalidRequest
from api.storage.database import Database
from api.storage.tables import metadata
from tests.business import KINDS, Customer, serving, settings_of, speech, until, with_database
from tests.running import FakeService


@pytest.fixture(scope="module", params=KINDS)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    with serving(request.param, tmp_path_factory.mktemp("spool"), request) as service:
        yield service


@pytest.fixture
def anna(new_customer: Callable[..., Customer]) -> Customer:
    return new_customer()


def test_a_wrong_key_is_401_and_never_anonymous(service: FakeService, anna: Customer) -> None:
    near = anna.key[:-1] + ("a" if anna.key[-1] != "a" else "b")
    for header in (
        near,
        f"Bearer {near}",
        "Bearer nonsense",
        "Bearer",
        "Basic YTpi",
        "Bearer tt_live_\xff",
        "Bearer " + 9999 * "x",
    ):
        for method, path in (("GET", "/v1/models"), ("POST", "/v1/transcribe"), ("GET", "/api/v1/account/")):
            answer = httpx.request(method, service.url + path, headers=[(b"Authorization", header.encode("latin-1"))])
            assert answer.status_code == 401, (header, path, answer.text)
            assert "key" in answer.json()["error"]
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert service.client.get("/v1/models").status_code == 200


def test_without_a_key_there_is_no_account(service: FakeService) -> None:
    for path in ("account", "keys", "transcripts", "usage", "cloud", f"transcripts/{uuid4()}"):
        answer = service.client.get(f"/api/v1/{path}/")
        assert answer.status_code == 401, path
        assert "Authorization: Bearer" in answer.json()["error"]


def test_a_key_is_shown_once_and_good_until_it_is_revoked(service: FakeService, anna: Customer) -> None:
    made = anna.client.post("/api/v1/keys/", json={"name": "laptop"})
    assert made.status_code == 201
    body = made.json()
    key = body.pop("key")
    assert key.startswith("tt_live_")
    assert body["prefix"] == key[: len(body["prefix"])]
    assert len(body["prefix"]) < 20
    assert body["scopes"] == list(SCOPES)
    listed = anna.client.get("/api/v1/keys/")
    assert listed.json()["keys"][0] == body
    assert key not in listed.text

    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}) as laptop:
        assert laptop.get("/api/v1/account/").json()["name"] == anna.name
        until(lambda: anna.client.get("/api/v1/keys").json()["keys"][0]["last_used_at"] is not None)
        assert anna.client.delete(f"/api/v1/keys/{body['id']}/").status_code == 204
        assert laptop.get("/api/v1/account/").status_code == 401
    assert anna.client.delete(f"/api/v1/keys/{body['id']}/").status_code == 404
    assert [one["id"] for one in anna.client.get("/api/v1/keys/").json()["keys"]] != [body["id"]]


def test_the_database_cannot_tell_a_key(service: FakeService, anna: Customer) -> None:
    async def everything(database: Database) -> str:
        async with database.reading() as connection:
            return str([list(await connection.execute(sa.select(table))) for table in metadata.sorted_tables])

    contents = with_database(service, everything)
    assert anna.key[:16] in contents
    assert anna.key[16:] not in contents
    for file in Path(service.home.name).glob("tritone.db*"):
        assert oct(file.stat().st_mode)[-2:] == "00", f"{file} is for its owner alone"


def test_an_expired_key_is_401(service: FakeService, anna: Customer) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    key = anna.client.post("/api/v1/keys/", json={"name": "soon over", "expires_at": soon.isoformat()}).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{service.url}/v1/models", headers=headers).status_code == 200
    until(lambda: httpx.get(f"{service.url}/v1/models", headers=headers).status_code == 401)
    past = anna.client.post("/api/v1/keys/", json={"name": "over", "expires_at": "2020-01-01T00:00:00Z"})
    assert past.status_code == 400
    assert "future" in past.json()["error"]
    never = anna.client.post("/api/v1/keys/", json={"name": "x", "expires_at": "9999-12-31T23:59:59-23:59"})
    assert never.status_code == 400


def test_a_key_makes_none_that_outlives_it(service: FakeService, anna: Customer) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    made = anna.client.post("/api/v1/keys/", json={"name": "a day", "expires_at": tomorrow.isoformat()}).json()
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {made['key']}"}) as client:
        assert client.post("/api/v1/keys/", json={"name": "x"}).json()["expires_at"] == made["expires_at"]
        later = (tomorrow + timedelta(days=1)).isoformat()
        assert client.post("/api/v1/keys/", json={"name": "x", "expires_at": later}).status_code == 403


def test_a_key_does_what_its_scopes_say_and_no_key_makes_a_mightier_one(
    new_customer: Callable[..., Customer],
) -> None:
    listener = new_customer(credits=5, scopes=("transcribe",))
    assert listener.transcribe(speech(1)).status_code == 200
    refused = listener.client.get("/api/v1/account/")
    assert refused.status_code == 403
    assert "account" in refused.json()["error"]
    clerk = new_customer(credits=5, scopes=("account",))
    assert clerk.transcribe(speech(1)).status_code == 403
    assert clerk.balance() == 5
    assert clerk.client.post("/api/v1/keys/", json={"name": "x", "scopes": ["transcribe"]}).status_code == 403
    assert clerk.client.post("/api/v1/keys/", json={"name": "x"}).json()["scopes"] == ["account"]


def test_what_is_somebody_elses_is_not_there(anna: Customer, new_customer: Callable[..., Customer]) -> None:
    ben = new_customer(credits=1)
    key_id = ben.client.get("/api/v1/keys/").json()["keys"][0]["id"]
    transcript_id = ben.transcribe(speech(1)).headers["X-Transcript-Id"]
    for method, path in (
        ("DELETE", f"keys/{key_id}/"),
        ("GET", f"transcripts/{transcript_id}/"),
        ("PATCH", f"transcripts/{transcript_id}/"),
        ("GET", f"transcripts/{transcript_id}/export/txt/"),
        ("DELETE", f"transcripts/{transcript_id}/"),
    ):
        body = {"title": "mine"} if method == "PATCH" else None
        answer = anna.client.request(method, f"/api/v1/{path}", json=body)
        assert answer.status_code == 404, (method, path, answer.text)
    assert anna.client.get("/api/v1/transcripts/").json()["count"] == 0
    assert ben.client.get(f"/api/v1/transcripts/{transcript_id}/").json()["title"] == "talk"


def test_the_account_changes_what_is_its_own_to_change(anna: Customer) -> None:
    before = anna.client.get("/api/v1/account/").json()
    assert (before["plan"]["name"], before["credits"], before["allowance"]) == ("paid", 0, None)
    change = {"name": "Anna & Co", "email": "anna@example.org", "email_preferences": {"usage_alerts": False}}
    after = anna.client.put("/api/v1/account/", json=change)
    assert after.status_code == 200, after.text
    assert after.json() == anna.client.get("/api/v1/account/").json()
    assert after.json()["name"] == "Anna & Co"
    assert after.json()["email_preferences"]["usage_alerts"] is False
    half = anna.client.put("/api/v1/account/", json={"email_preferences": {"weekly_summary": True}}).json()
    assert half["email_preferences"] == {"product_updates": False, "usage_alerts": False, "weekly_summary": True}
    wrongs: tuple[Any, ...] = (
        {"plan": "house"},
        {"credits": 1000},
        {"name": ""},
        {"name": " "},
        {"name": "a\nb"},
        {"name": "a\n"},
        {"name": "a\x9b1m"},
        {"name": 201 * "x"},
        {"email": "nobody"},
        {"email_preferences": {"usage_alerts": "maybe"}},
        {"email_preferences": {"unheard_of": True}},
        [],
    )
    for wrong in wrongs:
        answer = anna.client.put("/api/v1/account/", json=wrong)
        assert answer.status_code == 400, (wrong, answer.text)
        assert answer.json()["error"], wrong
    for raw in (b"", b"{", b"[" * 100_000, b'{"name": "\xff"}', b'{"name": 1e999}'):
        answer = anna.client.put("/api/v1/account/", content=raw)
        assert answer.status_code in (400, 413), (raw[:10], answer.text)
    assert anna.client.get("/api/v1/account/").json() == half


def test_the_demo_key_is_the_same_each_time_while_it_is_good(service: FakeService) -> None:
    settings = settings_of(service)
    key = demo_key(settings)
    assert demo_key(settings) == key
    assert oct((Path(settings.home) / "demo.key").stat().st_mode)[-3:] == "600"
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}) as client:
        assert client.get("/api/v1/account/").json()["plan"]["name"] == "house"
        client.delete(f"/api/v1/keys/{client.get('/api/v1/keys/').json()['keys'][0]['id']}/")
    assert demo_key(settings) != key


@given(st.ip_addresses(v=6, network="2001:db8::/32"), st.integers(0, 2**64 - 1))
def test_a_household_is_one_caller(address: IPv6Address, host: int) -> None:
    neighbour = IPv6Address(int(address) >> 64 << 64 | host)
    assert network_of(str(address)) == network_of(str(neighbour))
    assert network_of(str(address)) != network_of(str(IPv6Address(int(address) ^ 1 << 64)))


@given(st.ip_addresses(v=4))
def test_an_address_is_the_same_in_both_protocols(address: IPv4Address) -> None:
    assert network_of(f"::ffff:{address}") == network_of(str(address)) == str(address)


def test_credits_have_three_decimals_at_most(service: FakeService, anna: Customer) -> None:
    for wrong, why in (
        ("0.0001", "at most three decimals"),
        ("1e-999999999", "at most three decimals"),
        ("0.000", "not 0"),
        ("nan", "a number"),
        ("-2147483647.001", "up to 2147483647"),
        ("1e999999999", "up to 2147483647"),
        ("-0.001", "has 0 credits; -0.001 is not possible"),
    ):
        with pytest.raises(InvalidRequest, match=why):
            asyncio.run(admin.credit(settings_of(service), anna.name, Decimal(wrong), ""))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        service.tritone("account", "credit", anna.name, "7,5")
    assert "'7,5' is no number" in refused.value.stderr
    assert anna.balance() == 0


def test_the_command_line_makes_accounts_and_keys(service: FakeService) -> None:
    name = f"by hand {uuid4().hex}"
    service.tritone("account", "create", name, "--plan", "free")
    lines = service.tritone("account", "list").splitlines()
    assert any(line.endswith(f"0 credits    600 minutes  {name}") for line in lines)
    key = service.tritone("keys", "create", name, "--name", "script", "--scope", "account").strip()
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}) as client:
        assert client.get("/api/v1/account/").json()["allowance"]["remaining"] == 600
        service.tritone("account", "credit", name, "7", "--note", "a gift")
        assert service.tritone("account", "credit", name, "5.75") == f"{name} has 12.75 credits\n"
        assert '"credits":12.75,' in client.get("/api/v1/account/").text
        assert f"   12.75 credits    600 minutes  {name}\n" in service.tritone("account", "list")
        assert service.tritone("account", "credit", name, "-5.750") == f"{name} has 7 credits\n"
        assert '"credits":7,' in client.get("/api/v1/account/").text
        service.tritone("account", "plan", name, "paid")
        account = client.get("/api/v1/account/").json()
        assert (account["plan"]["name"], account["credits"], account["allowance"]) == ("paid", 7, None)
        listed = service.tritone("keys", "list", name)
        assert key[:16] in listed
        assert key not in listed
        service.tritone("keys", "revoke", name, listed.split()[0])
        assert client.get("/api/v1/account/").status_code == 401
