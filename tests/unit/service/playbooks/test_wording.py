"""A step's sentence as approvers read it."""

from service.domain.approval import MAX_TEXT
from service.domain.ids import ConnectionId, IncidentId, PlanId, StepId
from service.domain.plan import Effect, Lane, Step, StepState, Target
from service.playbooks.wording import MOST_ADDRESSES, step_sentence


def publishing(addresses: list[str]) -> str:
    step = Step(
        id=StepId("stp_1"),
        plan_id=PlanId("pln_1"),
        incident_id=IncidentId("inc_1"),
        position=0,
        action="publish_address",
        target=Target("account", ConnectionId("cn-1"), "hot-1"),
        params={"address": " ".join(addresses)},
        effect=Effect.IRREVERSIBLE,
        lane=Lane.CONTAINMENT,
        state=StepState.WAITING_APPROVAL,
        idempotency_key="k",
        attempt=0,
        fence=0,
        after=(),
        approval_id=None,
        receipt=None,
        reason=None,
        deadline_at=None,
    )
    return step_sentence("Publish the new addresses of account {target} at its platform", step)


def test_no_address_is_cut_and_the_rest_is_counted() -> None:
    addresses = [f"eip155:1:0x{number:040x}" for number in range(45)]
    told = publishing(addresses)
    assert len(told) < MAX_TEXT, "a document would cut it there, in the middle of an address"
    assert [word for word in told.split() if word.startswith("eip155:")] == addresses[:MOST_ADDRESSES]
    assert told.endswith(f"and {45 - MOST_ADDRESSES} more, see below")


def test_few_addresses_are_all_named() -> None:
    addresses = [f"eip155:1:0x{number:040x}" for number in range(MOST_ADDRESSES)]
    assert publishing(addresses).endswith(" ".join(addresses))
