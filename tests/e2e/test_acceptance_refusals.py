"""What a whole installation refuses at its doors: always a clean problem with a stable code, never a 500, nothing stored."""

import base64
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.stack import CUSTODY, DARK, INTAKE, KID, LEGACY, Stack, jws_header, standard_headers, withdrawal

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]
NUMBERS = itertools.count(1)
LIMIT = 256 * 1024
V1, V2 = "Fireblocks-Signature", "Fireblocks-Webhook-Signature"


@pytest.fixture
def nothing_stored(stack: Stack) -> Iterator[None]:
    before = count(stack)
    yield
    assert count(stack) == before


def count(stack: Stack) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in stack.activities():
        found[one["connection_id"]] = found.get(one["connection_id"], 0) + 1
    return found


def envelope(stack: Stack, **changes: object) -> bytes:
    """A genuine v2 envelope of this installation's workspace."""
    number = next(NUMBERS)
    data = {
        "id": f"tx-{number}",
        "status": "COMPLETED",
        "assetId": "ETH",
        "source": {"type": "VAULT_ACCOUNT", "id": "0"},
        "destinationAddress": "0x5dC69B1Fbb13Bafd09af88A782F0F285772AD5f8",
        "amountInfo": {"amount": "0.01", "amountUSD": "27.50"},
    }
    told = {
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "workspaceId": stack.workspace_id,
        "eventType": "transaction.created",
        "eventVersion": 1,
        "createdAt": int(time.time() * 1000),
        "data": data,
    }
    return json.dumps(told | changes).encode()


def refused(answer: httpx.Response, status: int, code: str) -> Mapping[str, Any]:
    """The problem, once it is a clean one."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:portcullis:problem:{code}"
    return problem


MALFORMED = [
    {"webhook-signature": "v1"},
    {"webhook-signature": "a,b,c"},
    {"webhook-signature": "v1,x"},
    {"webhook-signature": "v1a,x"},
    {"webhook-signature": "v1,"},
    {"webhook-signature": ","},
    {"webhook-signature": ""},
    {"webhook-signature": "v1,AAAA" + " v1,AAAA" * 200},
    {"webhook-timestamp": "nan"},
    {"webhook-timestamp": "1e99"},
    {"webhook-timestamp": "-1"},
    {"webhook-timestamp": "9" * 40},
    {"webhook-timestamp": ""},
    {"webhook-id": "a.b"},
    {"webhook-id": ""},
    {"webhook-id": "x" * 1000},
]


@pytest.mark.parametrize("changes", MALFORMED, ids=lambda c: "-".join(c) + "=" + next(iter(c.values()))[:12])
def test_malformed_headers_are_a_401(stack: Stack, changes: dict[str, str], nothing_stored: None) -> None:
    body = withdrawal(1)
    headers = standard_headers(stack.secrets[f"{INTAKE} webhook secret"], f"refused-{next(NUMBERS)}", body)
    refused(stack.http.post(f"/webhooks/{INTAKE}", content=body, headers=headers | changes), 401, "unauthenticated")


def test_headers_that_are_missing_twice_there_or_not_ascii_are_a_401(stack: Stack, nothing_stored: None) -> None:
    body = withdrawal(1)
    whole = standard_headers(stack.secrets[f"{INTAKE} webhook secret"], "refused-h", body)
    for name in whole:
        left = {key: value for key, value in whole.items() if key != name}
        refused(stack.http.post(f"/webhooks/{INTAKE}", content=body, headers=left), 401, "unauthenticated")
        twice = [*whole.items(), (name, whole[name])]
        refused(stack.http.post(f"/webhooks/{INTAKE}", content=body, headers=twice), 401, "unauthenticated")
        odd = [(key.encode(), b"\xff\xfe" if key == name else value.encode()) for key, value in whole.items()]
        refused(stack.http.post(f"/webhooks/{INTAKE}", content=body, headers=odd), 401, "unauthenticated")


def test_a_body_that_is_not_utf_8_and_not_signed_is_a_401(stack: Stack, nothing_stored: None) -> None:
    headers = standard_headers(stack.secrets[f"{INTAKE} webhook secret"], "refused-ff", b"{}")
    refused(stack.http.post(f"/webhooks/{INTAKE}", content=b"\xff", headers=headers), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"null", "body"),
        (b"[]", "body"),
        (b"[" * 100_000, "body"),
        (b'{"type":"withdrawal.requested","timestamp":"2026-01-01T00:00:00Z","data":{}}', "data.account"),
        (b'{"type":"no.such","timestamp":"2026-01-01T00:00:00Z","data":{}}', "type"),
        (b'{"type":"access.login_failed","timestamp":"2026-01-01T00:00:00","data":{"actor":"a"}}', "timestamp"),
    ],
    ids=["empty", "null", "list", "deep", "no account", "no such type", "no zone"],
)
def test_what_is_signed_but_malformed_is_a_422_that_names_the_field(
    stack: Stack, body: bytes, field: str, nothing_stored: None
) -> None:
    headers = standard_headers(stack.secrets[f"{INTAKE} webhook secret"], f"malformed-{next(NUMBERS)}", body)
    answer = stack.http.post(f"/webhooks/{INTAKE}", content=body, headers=headers)
    assert refused(answer, 422, "invalid_input")["field"] == field


@pytest.mark.parametrize("connection", [INTAKE, CUSTODY])
def test_a_body_over_the_limit_is_a_413(stack: Stack, connection: str, nothing_stored: None) -> None:
    refused(stack.http.post(f"/webhooks/{connection}", content=b"x" * (LIMIT + 1)), 413, "too_large")

    def chunks() -> Iterator[bytes]:
        for _ in range(5):
            yield b"x" * (LIMIT // 4)

    refused(stack.http.post(f"/webhooks/{connection}", content=chunks()), 413, "too_large")


def test_an_unknown_connection_is_a_404(stack: Stack) -> None:
    for name in ("nobody", "a" * 500, "..%2f..%2fetc", "%00", "intake/more"):
        refused(stack.http.post(f"/webhooks/{name}", content=b"{}"), 404, "not_found")
    refused(stack.http.get(f"/webhooks/{INTAKE}"), 405, "method_not_allowed")


def v2_malformed(stack: Stack, body: bytes) -> Iterator[str]:
    genuine = jws_header(stack.signing_key, body)
    protected, _, signature = genuine.split(".")
    yield from ("", "a", "a.b", "..", "a..b", "....", f"{protected}..", f"..{signature}", f"{protected}.x.{signature}")
    headers: tuple[object, ...] = (
        {"alg": "none", "kid": KID},
        {"alg": "HS512", "kid": KID},
        {"alg": "RS512"},
        {"alg": "RS512", "kid": "unknown"},
        {"alg": "RS512", "kid": KID, "crit": ["b64"], "b64": False},
        {"alg": "RS512", "kid": ["x"]},
        [],
    )
    for header in headers:
        yield f"{base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip('=')}..{signature}"
    yield f"{base64.urlsafe_b64encode(bytes([0xFF])).decode()}..{signature}"
    yield f"{protected}..{'A' * 10_000}"
    yield jws_header(stack.signing_key, body + b" ")
    yield jws_header(rsa.generate_private_key(public_exponent=65537, key_size=2048), body)


def test_malformed_fireblocks_signatures_are_a_401(stack: Stack, nothing_stored: None) -> None:
    body = envelope(stack)
    for header in v2_malformed(stack, body):
        answer = stack.http.post(f"/webhooks/{CUSTODY}", content=body, headers={V2: header})
        refused(answer, 401, "unauthenticated")
    for header in ("", "x", "=", "A" * 10_000, base64.b64encode(b"x" * 256).decode()):
        refused(stack.http.post(f"/webhooks/{LEGACY}", content=body, headers={V1: header}), 401, "unauthenticated")
    refused(stack.http.post(f"/webhooks/{CUSTODY}", content=body), 401, "unauthenticated")
    weaker = {V1: v1_signature(stack, body)}
    refused(stack.http.post(f"/webhooks/{CUSTODY}", content=body, headers=weaker), 401, "unauthenticated")


def test_the_workspace_of_somebody_else_is_a_401(stack: Stack, nothing_stored: None) -> None:
    for body in (
        envelope(stack, workspaceId="11111111-1111-4111-8111-111111111111"),
        envelope(stack, workspaceId=""),
        envelope(stack, workspaceId=None),
        envelope(stack, workspaceId=None, tenantId=stack.tenant_id),
    ):
        headers = {V2: jws_header(stack.signing_key, body)}
        refused(stack.http.post(f"/webhooks/{CUSTODY}", content=body, headers=headers), 401, "unauthenticated")
    for tenant in ("11111111-1111-4111-8111-111111111111", "", None):
        body = legacy(tenant)
        headers = {V1: v1_signature(stack, body)}
        refused(stack.http.post(f"/webhooks/{LEGACY}", content=body, headers=headers), 401, "unauthenticated")


def test_genuine_fireblocks_webhooks_of_both_versions_are_stored_once(stack: Stack) -> None:
    second = envelope(stack)
    third = legacy(stack.tenant_id)
    for connection, body, headers in (
        (CUSTODY, second, {V2: jws_header(stack.signing_key, second)}),
        (LEGACY, third, {V1: v1_signature(stack, third)}),
    ):
        before = count(stack).get(connection, 0)
        for _ in range(2):
            answer = stack.http.post(f"/webhooks/{connection}", content=body, headers=headers)
            assert answer.status_code == 200, answer.text
        assert count(stack)[connection] == before + 1


def test_a_key_set_that_cannot_be_fetched_is_our_own_fault(stack: Stack, nothing_stored: None) -> None:
    body = envelope(stack)
    answer = stack.http.post(f"/webhooks/{DARK}", content=body, headers={V2: jws_header(stack.signing_key, body)})
    refused(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1


def legacy(tenant: str | None) -> bytes:
    data = {"id": f"tx-{next(NUMBERS)}", "status": "COMPLETED", "assetId": "ETH"}
    told = {
        "type": "TRANSACTION_STATUS_UPDATED",
        "tenantId": tenant,
        "timestamp": int(time.time() * 1000),
        "data": data,
    }
    return json.dumps(told).encode()


def v1_signature(stack: Stack, body: bytes) -> str:
    return base64.b64encode(stack.signing_key.sign(body, padding.PKCS1v15(), hashes.SHA512())).decode()
