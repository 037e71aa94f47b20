"""`tritone account | keys | cloud`: the commands of whoever runs the service, on the database at DATABASE_URL."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Coroutine
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from api.accounts.keys import SCOPES
from api.errors import InvalidRequest
from api.settings import from_env

AN_ACCOUNT = "its id, e-mail address or name"


def add_admin_commands(commands: Any) -> None:
    """To what argparse's add_subparsers gave."""
    account = _group(commands, "account", "accounts, their plans and credits")
    command = _command(account, "create", "make an account")
    command.add_argument("name")
    command.add_argument("--email", default="")
    command.add_argument("--plan", default="free", help="default: %(default)s")
    _command(account, "list", "all accounts")
    command = _command(account, "credit", "give an account credits, or take them back", AN_ACCOUNT)
    command.add_argument(
        "credits", type=_decimal, help="one is a minute of audio; up to three decimals; a negative number takes back"
    )
    command.add_argument("--note", default="", help="stands in the ledger")
    command = _command(account, "plan", "put an account on another plan", AN_ACCOUNT)
    command.add_argument("plan")

    keys = _group(commands, "keys", "API keys")
    command = _command(keys, "create", "make a key and print it, this once", AN_ACCOUNT)
    command.add_argument("--name", default="command line", help="what it is for")
    command.add_argument("--scope", action="append", choices=SCOPES, help="may be repeated; default: all")
    command.add_argument("--expires-in-days", type=int, metavar="N", help="default: it does not expire")
    _command(keys, "list", "an account's keys", AN_ACCOUNT)
    command = _command(keys, "revoke", "revoke a key", AN_ACCOUNT)
    command.add_argument("key", type=UUID, help="its id, as `tritone keys list` prints it")

    cloud = _group(commands, "cloud", "Tritons that serve one account alone")
    command = _command(cloud, "add", "send an account's requests to a Triton of its own", AN_ACCOUNT)
    command.add_argument("url", metavar="HOST:PORT", help="the Triton's gRPC address")
    command.add_argument("--name", default="private cloud", help="default: %(default)s")
    _command(cloud, "list", "all instances")
    command = _command(cloud, "remove", "remove an instance")
    command.add_argument("instance", type=UUID, help="its id")


def _group(commands: Any, name: str, help_: str) -> Any:
    group = commands.add_parser(name, help=help_)
    group.set_defaults(run=_run, group=name)
    return group.add_subparsers(dest="action", required=True, metavar="ACTION")


def _command(group: Any, name: str, help_: str, account: str = "") -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = group.add_parser(name, help=help_)
    if account:
        command.add_argument("account", help=account)
    return command


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def _run(arguments: argparse.Namespace) -> int:
    for line in asyncio.run(_lines(arguments)):
        print(line)
    return 0


def _lines(arguments: argparse.Namespace) -> Coroutine[Any, Any, list[str]]:
    from api import admin  # only when something is to be done: it loads what works on databases

    settings = from_env()
    match arguments.group, arguments.action:
        case "account", "create":
            return admin.create_account(settings, arguments.name, arguments.email, arguments.plan)
        case "account", "list":
            return admin.list_accounts(settings)
        case "account", "credit":
            return admin.credit(settings, arguments.account, arguments.credits, arguments.note)
        case "account", "plan":
            return admin.change_plan(settings, arguments.account, arguments.plan)
        case "keys", "create":
            scopes, days = arguments.scope or SCOPES, arguments.expires_in_days
            return admin.create_key(settings, arguments.account, arguments.name, scopes, days)
        case "keys", "list":
            return admin.list_keys(settings, arguments.account)
        case "keys", "revoke":
            return admin.revoke_key(settings, arguments.account, arguments.key)
        case "cloud", "add":
            return admin.add_cloud(settings, arguments.account, arguments.name, arguments.url)
        case "cloud", "list":
            return admin.list_clouds(settings)
        case "cloud", "remove":
            return admin.remove_cloud(settings, arguments.instance)
    raise InvalidRequest(f"There is no `tritone {arguments.group} {arguments.action}`.")
