"""Letters to issuers over the API: word for word, with what proves them once they went out, for those who judge."""

from sqlalchemy import text

from service.domain.quorum import Role
from tests.integration.api.rows import add_step
from tests.support.api import ApiWorld, problem
from tests.support.incidents import add_incident

PARAMS = (
    '{"issuer": "Example Coin Ltd", "channel": "mail", "recipient": "freeze@example.org", "subject": "Request",'
    ' "letter": "To: you\\n", "facts": "f"}'
)
RECEIPT = (
    '{"reference": "<1@portcullis>", "facts": {"sha256": "ab", "signature": "c2ln", "public_key": "pem",'
    ' "message_id": "<1@portcullis>", "sums": "ab  letter.txt"}}'
)


def letter(world: ApiWorld, incident: str, *, receipt: str | None) -> str:
    with world.database.begin() as uow:
        step = add_step(uow.connection, incident, effect="irreversible", action="request_issuer_freeze")
        uow.connection.execute(
            text("UPDATE steps SET params = CAST(:p AS jsonb), receipt = CAST(:r AS jsonb) WHERE id = :i"),
            {"p": PARAMS, "r": receipt, "i": step},
        )
    return step


def test_letters_are_shown_with_what_proves_them(world: ApiWorld) -> None:
    with world.database.begin() as uow:
        incident = add_incident(uow.connection, ("account:con-a/hot-1",))
        add_step(uow.connection, incident)
    waiting, sent = letter(world, incident, receipt=None), letter(world, incident, receipt=RECEIPT)
    found = world.get(f"/v1/incidents/{incident}/letters", Role.ANALYST)["items"]
    assert [one["step"] for one in found] == [waiting, sent]
    assert {one["text"] for one in found} == {"To: you\n"}
    assert [one["signature"] for one in found] == [None, "c2ln"]
    assert [one["sums"] for one in found] == [None, "ab  letter.txt"]
    assert (found[1]["sha256"], found[1]["message_id"]) == ("ab", "<1@portcullis>")


def test_only_who_judges_reads_them_and_only_of_an_incident_that_is_there(world: ApiWorld) -> None:
    with world.database.begin() as uow:
        incident = add_incident(uow.connection, ("account:con-a/hot-1",))
    refused = world.call("GET", f"/v1/incidents/{incident}/letters", Role.VIEWER)
    assert problem(refused)["code"] == "forbidden"
    missing = world.call("GET", "/v1/incidents/inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P/letters", Role.ANALYST)
    assert problem(missing)["code"] == "not_found"
