"""An address list is withdrawn by a quorum: asked for over the API, voted at the authority, verified by who applies it."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rules.errors import LearningRecordError
from service.domain.errors import ApprovalError
from service.domain.ids import ApprovalId
from service.domain.intake import LearningRequest
from service.domain.quorum import Role
from service.flow import blinding
from service.flow.intake.warrants import looked_up, warranted_change
from service.store.tables.activity import learning_requests
from service.store.tables.approval import approvals
from service.store.tables.proof import timeline
from tests.support.api import ApiWorld, api_on, problem
from tests.support.authority import House
from tests.support.response import CONTAINMENT, rows

pytestmark = pytest.mark.servers
LIST = {
    "source": "A list",
    "listed_on": "2026-11-01",
    "name": "Listed",
    "kind": "sanctioned",
    "text": f"0x{'5a' * 20}\n",
}
WHY = {"why": "A newer edition is in force."}


@pytest.fixture
def api(ready: House, tmp_path: Path) -> Iterator[ApiWorld]:
    found = api_on(ready.superuser_url, ready.clock, tmp_path)
    yield found
    found.close()


def test_a_list_is_withdrawn_by_a_quorum_alone_and_once(ready: House, api: ApiWorld) -> None:
    one, other, *voters = list(ready.phones)
    made = api.call("POST", "/v1/address-lists", Role.ADMIN, person=one, json=LIST).json()
    path = f"/v1/address-lists/{made['id']}/remove"
    answer = api.call("POST", path, Role.ADMIN, person=one, json=WHY)
    assert answer.status_code == 202, answer.text
    assert api.call("POST", path, Role.ADMIN, person=other, json=WHY).json() == answer.json()
    approval = ApprovalId(answer.json()["approval"])
    with ready.database(CONTAINMENT).begin() as uow:
        document = uow.approvals.document(approval)
    assert "Withdraw the list of 1 labelled addresses of A list, dated 2026-11-01" in document.what[0].sentence
    release = partial(blinding.released, ready.database(CONTAINMENT), ready.office.public_key_pem, approval)
    with pytest.raises(ApprovalError, match="lacks"):
        release()
    for voter in voters:
        ready.vote(document, voter)
    release()
    release()
    assert rows(ready, approvals, id=approval)[0].state == "executed"
    asked = rows(ready, learning_requests, kind="lists")
    assert [json.loads(bytes(row.payload))["row"] for row in asked] == [{"add": made["id"]}, {"remove": made["id"]}]
    request = LearningRequest(asked[-1].id, asked[-1].kind, asked[-1].subject, bytes(asked[-1].payload))
    check = partial(blinding.authorised, ready.database("portcullis_api"), lambda: ready.office.public_key_pem)
    assert warranted_change(request, asyncio.run(looked_up([request], check))).after([made["id"]]) == ()
    with pytest.raises(LearningRecordError, match="no votes"):
        warranted_change(request, {})
    assert [kept["in_force"] for kept in api.get("/v1/address-lists")["items"]] == [False]
    late = api.call("POST", path, Role.ADMIN, person=one, json=WHY)
    assert problem(late)["code"] == "conflict"
    assert [len(rows(ready, timeline, kind=f"addresses.{what}")) for what in ("listed", "unlisted")] == [1, 1]
