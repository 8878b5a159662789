"""First set-up over HTTP, as a person would do it: people with phones, connections, channels, accounts, completion.

Rules: only the one-time token opens these calls; enrolment links and API tokens stay in memory; every account whose key
is in the vault shares one wallet, so that two stolen leaves mean the seed; set-up is completed before anything goes live.
"""

import base64
import json
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from drills import addresses
from drills.runner.crew import Member
from drills.runner.errors import ApiError, DrillError
from drills.runner.phones import from_uri
from drills.runner.receivers import LOOPBACK, Receivers
from drills.runner.service import Json, Service
from drills.scenario_form import Scenario, ScenarioAccount

CUSTODY = "custody"
ACCESS_LOG = "access-log"
MAIL = "mail"
USERS = "status-page"
API_KEY_BITS = 2048
PROVISION_TIMEOUT_S = 60.0
POLL_S = 0.1
UNAUTHENTICATED = 401
READY, FAILED = "ready", "failed"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What connects the two sides: ids of the workspace, the API user's key pair, the access log's secret."""

    workspace_id: str
    tenant_id: str
    api_key: str
    private_pem: str = field(repr=False)
    public_pem: str
    access_secret: str = field(repr=False)

    @classmethod
    def fresh(cls) -> "Credentials":
        """Draw all of them."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=API_KEY_BITS)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        ids = [str(uuid.uuid4()) for _ in range(3)]
        return cls(ids[0], ids[1], ids[2], private.decode(), public.decode(), secret)


@dataclass(frozen=True, slots=True)
class OtherSide:
    """Where the platform is and with which keys it signs."""

    api_base_url: str
    jwks_url: str
    cosigner_pem: str


@dataclass(slots=True)
class SetUp:
    """One first set-up. `ingest` holds the token of each connection once `connections` ran."""

    service: Service
    token: str = field(repr=False)
    scenario: Scenario
    safes: Mapping[str, str] = field(default_factory=dict)
    """CAIP-10 address of each real Safe by account."""
    ingest: dict[str, str] = field(default_factory=dict, repr=False)
    accounts: dict[str, str] = field(default_factory=dict)

    def people(self, crew: Sequence[Member]) -> None:
        """Register everybody, enrol their phones and confirm each by its first code."""
        found = self._post("people", {"people": [_person(m) for m in crew]})["people"]
        for member, told in zip(crew, found, strict=True):
            member.person, member.token = str(told["person"]), str(told["api_token"])
            member.phone = from_uri(str(told["otpauth_uri"]))
            self._post(f"people/{member.person}/confirm", {"code": member.phone.code_shown_before(time.time())})

    def channels(self, receivers: Receivers) -> None:
        """Register the mail server and the users' webhook that the drill itself runs."""
        mail = {
            "host": LOOPBACK,
            "port": str(receivers.mail_port),
            "sender": "portcullis@drill.example",
            "security": "none",
            "audiences": ["responders"],
            "recipient": "response-team@drill.example",
        }
        users = {"url": receivers.webhook_url, "audiences": ["users"], "recipient": "users"}
        told = [
            {"id": MAIL, "kind": "smtp", "config": mail},
            {"id": USERS, "kind": "webhook", "config": users, "secret": receivers.webhook_secret},
        ]
        self._post("channels", {"channels": told})

    def connections(self, other: OtherSide, credentials: Credentials) -> None:
        """Register the custody platform, and its access log as a connection of our own wire schema."""
        assets = {a.id: {"caip19": a.caip19, "decimals": a.decimals} for a in self.scenario.assets}
        custody = {
            "id": CUSTODY,
            "platform": "fireblocks",
            "name": "Emulated custody platform",
            "settings": {
                "api_base_url": other.api_base_url,
                "api_key": credentials.api_key,
                "workspace_id": credentials.workspace_id,
                "tenant_id": credentials.tenant_id,
                "jwks_url": other.jwks_url,
                "cosigner_public_key": other.cosigner_pem,
                "assets": json.dumps(assets),
            },
            "secrets": [{"name": "api_private_key", "value": credentials.private_pem}],
        }
        log = {
            "id": ACCESS_LOG,
            "platform": "standard",
            "name": "Its access log",
            "secrets": [{"name": "webhook_secret.0", "value": credentials.access_secret}],
        }
        for told in self._post("connections", {"connections": [custody, log]})["connections"]:
            self.ingest[str(told["id"])] = str(told["ingest_token"])

    def register(self) -> None:
        """Register the accounts with their safe destinations."""
        told = [_account(self.scenario, a, self.safes) for a in self.scenario.accounts]
        for one in self._post("accounts", {"accounts": told})["accounts"]:
            self.accounts[str(one["ref"])] = str(one["id"])

    def complete(self) -> None:
        """End set-up; the token is dead from here on."""
        self._post("complete", {})

    def await_addresses(self, reader: str, progress: Callable[[int], None]) -> dict[str, str]:
        """Wait until the key worker has made every key; returns the CAIP-10 address by account of the scenario."""
        end = time.monotonic() + PROVISION_TIMEOUT_S
        while time.monotonic() < end:
            rows = {str(r["ref"]): r for r in self.service.pages("/v1/accounts", reader, connection=CUSTODY)}
            failed = [ref for ref, row in rows.items() if row["provisioning"] == FAILED]
            if failed:
                raise DrillError(f"the key worker could not provision {failed[0]}; look into logs/keys.log of the home")
            ready = [ref for ref, row in rows.items() if row["provisioning"] == READY]
            progress(len(ready))
            if len(ready) == len(self.accounts):
                return {ref: str(row["addresses"][0]) for ref, row in rows.items() if row["addresses"]}
            time.sleep(POLL_S)
        raise DrillError(
            f"the keys were not made within {PROVISION_TIMEOUT_S:.0f} s; look into logs/keys.log of the home"
        )

    def go_live(self, admin: str) -> None:
        """End the history phase of every account."""
        for account in self.accounts.values():
            self.service.post(f"/v1/accounts/{account}/go-live", admin)

    def _post(self, path: str, body: Mapping[str, object]) -> Json:
        try:
            return self.service.post(f"/v1/setup/{path}", self.token, body)
        except ApiError as error:
            if error.status != UNAUTHENTICATED:
                raise
            raise DrillError(
                "the set-up token was not accepted: this installation has been set up before, or the token is another's; "
                "a drill needs a fresh one, which it starts by itself without --url"
            ) from None


def _person(member: Member) -> Json:
    return {
        "name": member.name,
        "email": member.mail,
        "roles": list(member.roles),
        "token_role": member.strongest,
        "oncall_level": member.oncall_level,
        "channels": [{"channel": MAIL, "recipient": member.mail}],
    }


def _account(scenario: Scenario, account: ScenarioAccount, safes: Mapping[str, str]) -> Json:
    chain = f"eip155:{scenario.chain_id}"
    in_vault = account.holder == "vault key"
    known = addresses.of_destinations(scenario)
    safe = account.safe_destination
    assets = list(dict.fromkeys(scenario.asset(b.asset).caip19 for b in account.balances))
    return {
        "connection": CUSTODY,
        "ref": account.id,
        "name": account.id,
        "holder": account.holder.replace(" ", "_"),
        "addresses": [] if in_vault else [safes.get(account.id) or addresses.of_accounts(scenario, {})[account.id]],
        "assets": assets,
        "peer_group": account.peer_group,
        "wallet_id": f"drill-{scenario.name}" if in_vault else None,
        "safe_destinations": [{"chain": chain, "descriptor": known[safe].rpartition(":")[2]}] if safe else [],
    }
