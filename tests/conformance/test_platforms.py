"""Every custody platform, by walking the folder: each capability is there or its absence explained, and never pretended."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import httpx
import pytest

from service.custody.base import require_url
from service.discovery import declarations
from service.domain.account import AccountRef
from service.domain.errors import (
    ConfigurationError,
    InputError,
    MissingCapabilityError,
    NotFoundError,
    UnauthenticatedError,
)
from service.domain.gate import GateCall
from service.domain.ids import ConnectionId
from service.domain.plan import Verdict
from service.ports.custody import (
    Capability,
    ConnectionConfig,
    ContainmentCalls,
    GateHolds,
    HoldsLine,
    PlatformDeclaration,
)

PLATFORMS = declarations("service.custody", "PLATFORM", PlatformDeclaration)
ACCOUNT = AccountRef(ConnectionId("con-a"), "account-1")
every_platform = pytest.mark.parametrize("platform", PLATFORMS.values(), ids=PLATFORMS.keys())

DOES: Mapping[Capability, Callable[[ContainmentCalls], object]] = {
    Capability.HOLD_OUTGOING: lambda c: c.hold_outgoing(ACCOUNT, key="k"),
    Capability.CANCEL_PENDING: lambda c: c.cancel(ACCOUNT, "tx", key="k"),
    Capability.DROP_BROADCAST: lambda c: (list(c.broadcast(ACCOUNT)), c.drop(ACCOUNT, "tx", key="k")),
    Capability.LOCK_DESTINATION: lambda c: c.lock_destination(ACCOUNT, "0xd", key="k"),
    Capability.REVOKE_CREDENTIAL: lambda c: c.revoke_credential(ACCOUNT, "somebody", key="k"),
    Capability.FORBID_ONE_TIME_ADDRESSES: lambda c: c.forbid_one_time_addresses(key="k"),
    Capability.FREEZE_WORKSPACE: lambda c: c.freeze_workspace(key="k"),
    Capability.FREEZE_ACCOUNT: lambda c: c.freeze_account(ACCOUNT, seconds=60, key="k"),
    Capability.PUBLISH_ADDRESS: lambda c: c.publish_address(ACCOUNT, "eip155:1:0xd", key="k"),
    Capability.REJECT_CHANGES: lambda c: (list(c.pending_changes()), c.reject_change("it", key="k")),
}
ASKS: Mapping[Capability, Callable[[ContainmentCalls], Verdict]] = {
    Capability.DROP_BROADCAST: lambda c: c.dropped("tx"),
    Capability.REVOKE_CREDENTIAL: lambda c: c.credential_revoked("somebody"),
    Capability.FORBID_ONE_TIME_ADDRESSES: lambda c: c.one_time_addresses_forbidden(),
    Capability.FREEZE_WORKSPACE: lambda c: c.workspace_frozen(),
    Capability.FREEZE_ACCOUNT: lambda c: c.account_frozen(ACCOUNT, seconds=60),
    Capability.PUBLISH_ADDRESS: lambda c: c.address_published(ACCOUNT, "eip155:1:0xd"),
    Capability.REJECT_CHANGES: lambda c: c.change_rejected("it"),
}


def bare(platform: PlatformDeclaration) -> ConnectionConfig:
    """A connection of which nothing is told."""

    def no_secret(name: str) -> bytes:
        raise NotFoundError(f"no secret {name}", field=name)

    return ConnectionConfig(ACCOUNT.connection, platform.name, {}, no_secret, ())


@every_platform
def test_every_capability_is_there_or_its_absence_is_explained(platform: PlatformDeclaration) -> None:
    assert platform.capabilities | set(platform.missing) == set(Capability)
    assert not platform.capabilities & set(platform.missing)
    for capability, sentence in platform.missing.items():
        assert capability.value in sentence
        assert ":" in sentence, "says what to do by hand"


@every_platform
def test_a_missing_capability_is_never_pretended(platform: PlatformDeclaration) -> None:
    calls = platform.calls(bare(platform), None, cast("GateHolds", None))
    assert calls.capabilities <= platform.capabilities
    for capability in platform.missing:
        assert capability.value in calls.lacks(capability)
        if capability in DOES:
            with pytest.raises(MissingCapabilityError):
                DOES[capability](calls)
        if capability in ASKS:
            assert ASKS[capability](calls) is Verdict.CANNOT_TELL


@every_platform
def test_what_can_be_done_is_explained_where_the_connection_does_not_allow_it(platform: PlatformDeclaration) -> None:
    calls = platform.calls(bare(platform), None, cast("GateHolds", None))
    for capability in platform.capabilities - calls.capabilities:
        assert capability.value in calls.lacks(capability)


@every_platform
def test_every_line_that_is_opened_is_hung_up(platform: PlatformDeclaration, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[httpx.Client] = []

    class Counted(httpx.Client):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            opened.append(self)

    monkeypatch.setattr(httpx, "Client", Counted)
    made: list[object] = [platform.calls(bare(platform), None, cast("GateHolds", None))]
    if platform.poll is not None:
        made.append(platform.poll(bare(platform), None))
    for line in made:
        if isinstance(line, HoldsLine):
            line.close()
    assert all(client.is_closed for client in opened)


@every_platform
def test_settings_explain_themselves_and_secrets_say_who_opens_them(platform: PlatformDeclaration) -> None:
    names = [setting.name for setting in platform.settings]
    assert len(names) == len(set(names))
    for setting in platform.settings:
        assert setting.help
        assert (setting.opened_by in {"api", "containment"}) == setting.secret


@every_platform
def test_a_gate_that_can_verify_nobody_answers_nobody(platform: PlatformDeclaration) -> None:
    if platform.gate is None:
        return
    door = platform.gate(bare(platform))
    for path in ("v2/tx_sign_request", "policy/", "policy/x", ""):
        with pytest.raises((ConfigurationError, NotFoundError)):
            door.question(GateCall(path, {}, b"{}", 0.0))


@every_platform
def test_nobody_speaks_for_a_connection_that_could_never_verify_a_webhook(platform: PlatformDeclaration) -> None:
    with pytest.raises((ConfigurationError, InputError, UnauthenticatedError)):
        platform.receiver(bare(platform)).receive({}, b"{}", now_s=0.0)


def test_addresses_are_https_or_this_machine() -> None:
    require_url("it", "http://127.0.0.1:1")
    with pytest.raises(InputError):
        require_url("it", "http://platform.test")


def test_there_are_platforms_to_walk() -> None:
    assert {"standard", "fireblocks", "bitgo", "safe", "evm", "bitcoin"} <= set(PLATFORMS)
