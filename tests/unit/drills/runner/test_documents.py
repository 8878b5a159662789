"""The drill's own reading of action documents, held against the service's: two implementations, one answer."""

import json
from datetime import UTC, datetime

import pytest

from drills.runner.documents import check_code, review
from drills.runner.errors import DrillError
from service.domain import approval
from service.domain.policy import default_policy
from service.domain.requests import escalation_item

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(name="document")
def fixture_document() -> approval.ActionDocument:
    draft = approval.Draft(
        what=[escalation_item("inc_01J00000000000000000000000", 2)],
        why="Ångström, “quoted”, and a\ttab",
        requester="portcullis",
        incident="inc_01J00000000000000000000000",
    )
    return approval.propose(draft, default_policy({}), NOW)


def test_the_same_digest_and_check_code_as_the_service(document: approval.ActionDocument) -> None:
    found = review(document.text, document.digest)

    assert found.digest == document.digest
    assert found.id == document.id
    assert found.quorum == {a: tuple((p.count, p.role.value) for p in places) for a, places in document.quorum.items()}
    assert found.actions == document.actions
    assert check_code(found.digest, "per_1") == approval.check_code(document.digest, "per_1")


def test_a_changed_document_is_refused(document: approval.ActionDocument) -> None:
    fields = json.loads(document.text)
    fields["why"] = "something else"
    forged = json.dumps(fields, separators=(",", ":"), sort_keys=True, ensure_ascii=False)

    with pytest.raises(DrillError, match="digest"):
        review(forged, document.digest)


def test_another_spelling_is_refused(document: approval.ActionDocument) -> None:
    with pytest.raises(DrillError, match="canonical"):
        review(document.text.replace(":", ": ", 1), document.digest)


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(DrillError, match="not JSON"):
        review("{", "00")


def test_every_approver_has_his_own_check_code() -> None:
    assert check_code("ab" * 32, "per_1") != check_code("ab" * 32, "per_2")
