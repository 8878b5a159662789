"""The authority's paths: what other processes may ask of it, one row each.

Rules: every path is a POST with a JSON body (`wire.py`); a call runs in one of a few threads, each with its own session to
the token; after every vote the changes that it completed are carried out.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.authority import enrolment
from service.authority.changes import settle, tighten
from service.authority.enrolment import Enrolment
from service.authority.first_setup import FirstSetup, SetupAccount, SetupPerson
from service.authority.office import Office
from service.authority.votes import Ballot, cast
from service.authority.wire import MAX_BODY, Handler, answered, handler
from service.domain.changes import ChannelSetting, ConnectionSetting
from service.domain.errors import InputError, NotFoundError
from service.domain.ids import PersonId
from service.domain.signed import Signed

THREADS: Final = 4


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the bodies."""


class PeopleBody(_Strict, frozen=True, kw_only=True):
    token: str
    people: tuple[SetupPerson, ...]


class PersonBody(_Strict, frozen=True, kw_only=True):
    token: str
    person: str


class FirstCodeBody(_Strict, frozen=True, kw_only=True):
    token: str
    person: str
    code: str


class ConnectionsBody(_Strict, frozen=True, kw_only=True):
    token: str
    connections: tuple[ConnectionSetting, ...]


class ChannelsBody(_Strict, frozen=True, kw_only=True):
    token: str
    channels: tuple[ChannelSetting, ...]


class PolicyBody(_Strict, frozen=True, kw_only=True):
    token: str
    changes: dict[str, object]


class AccountsBody(_Strict, frozen=True, kw_only=True):
    token: str
    accounts: tuple[SetupAccount, ...]


class TokenBody(_Strict, frozen=True, kw_only=True):
    token: str


class SealedBody(_Strict, frozen=True, kw_only=True):
    person: str
    sealed: str


class TightenBody(_Strict, frozen=True, kw_only=True):
    action: str
    params: dict[str, object]
    by: str


class EmptyBody(_Strict, frozen=True, kw_only=True):
    pass


class Paths:
    """What each path does, as functions from its body to its result."""

    def __init__(self, office: Office, first: FirstSetup) -> None:
        self._office = office
        self._first = first

    def table(self) -> dict[str, Handler]:
        """Return the handler of every path."""
        return {
            "/setup/people": handler(PeopleBody, self.people),
            "/setup/enrol": handler(PersonBody, self.enrol_again),
            "/setup/confirm": handler(FirstCodeBody, self.first_code),
            "/setup/connections": handler(ConnectionsBody, self.connections),
            "/setup/channels": handler(ChannelsBody, self.channels),
            "/setup/policy": handler(PolicyBody, self.policy),
            "/setup/accounts": handler(AccountsBody, self.accounts),
            "/setup/complete": handler(TokenBody, self.complete),
            "/votes": handler(Ballot, self.vote),
            "/enrol/totp": handler(SealedBody, self.enrol),
            "/enrol/confirm": handler(SealedBody, self.confirm),
            "/registry/tighten": handler(TightenBody, self.tighten),
            "/health": handler(EmptyBody, self.health),
        }

    def people(self, body: PeopleBody) -> Mapping[str, object]:
        added = self._first.people(body.token, body.people)
        return {"people": [{"person": person, **_shown(enrolled)} for person, enrolled in added]}

    def enrol_again(self, body: PersonBody) -> Mapping[str, object]:
        return _shown(self._first.enrol_again(body.token, PersonId(body.person)))

    def first_code(self, body: FirstCodeBody) -> Mapping[str, object]:
        self._first.confirm(body.token, PersonId(body.person), body.code)
        return {"person": body.person, "confirmed": True}

    def connections(self, body: ConnectionsBody) -> Mapping[str, object]:
        self._first.connections(body.token, body.connections)
        return {"connections": [c.id for c in body.connections]}

    def channels(self, body: ChannelsBody) -> Mapping[str, object]:
        self._first.channels(body.token, body.channels)
        return {"channels": [c.id for c in body.channels]}

    def policy(self, body: PolicyBody) -> Mapping[str, object]:
        policy = self._first.policy(body.token, body.changes)
        return {"version": policy.version, "digest": policy.digest, "policy": msgspec.to_builtins(policy)}

    def accounts(self, body: AccountsBody) -> Mapping[str, object]:
        signed = self._first.accounts(body.token, body.accounts)
        return {"accounts": {name: [_signed(s) for s in stated] for name, stated in signed.items()}}

    def complete(self, body: TokenBody) -> Mapping[str, object]:
        return {"statement": msgspec.to_builtins(self._first.complete(body.token))}

    def vote(self, body: Ballot) -> Mapping[str, object]:
        done = cast(self._office, body)
        settle(self._office)
        return {
            "vote": done.vote_id,
            "state": done.state.value,
            "lacking": done.lacking,
            **_signed(done.signed),
        }

    def enrol(self, body: SealedBody) -> Mapping[str, object]:
        return {"sealed": enrolment.answer(self._office, PersonId(body.person), body.sealed)}

    def confirm(self, body: SealedBody) -> Mapping[str, object]:
        enrolment.confirm_sealed(self._office, PersonId(body.person), body.sealed)
        return {"person": body.person, "confirmed": True}

    def tighten(self, body: TightenBody) -> Mapping[str, object]:
        tighten(self._office, body.action, body.params, body.by)
        return {"action": body.action, "applied": True}

    def health(self, _body: EmptyBody) -> Mapping[str, object]:
        with self._office.db.begin() as uow:
            done = uow.registry.set_up_at()
        return {"set_up_at": done.isoformat() if done else None}


def application(office: Office, first: FirstSetup) -> Starlette:
    """Return the ASGI application."""
    table = Paths(office, first).table()
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="authority")

    async def serve(request: Request) -> Response:
        raw = await _bounded(request)
        answer = await asyncio.get_running_loop().run_in_executor(
            threads, answered, table.get(request.url.path, _unknown) if raw is not None else _too_large, raw or b""
        )
        return Response(answer, media_type="application/json")

    return Starlette(routes=[Route("/{path:path}", serve, methods=["POST"])])


async def _bounded(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


def _unknown(_raw: bytes) -> Mapping[str, object]:
    raise NotFoundError("the authority has no such path")


def _too_large(_raw: bytes) -> Mapping[str, object]:
    raise InputError(f"a body has at most {MAX_BODY} bytes", field="body")


def _shown(enrolled: Enrolment) -> dict[str, object]:
    return {"factor": enrolled.factor_id, "otpauth_uri": enrolled.uri.reveal()}


def _signed(signed: Signed) -> dict[str, object]:
    return {"statement": signed.body, "signature": signed.signature.hex()}
