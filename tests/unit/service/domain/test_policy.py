"""The policy: no zero, no unknown, no unwinnable quorum; and a signature that is checked first."""

from collections.abc import Mapping
from datetime import timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import ApprovalError, ConfigurationError, InputError
from service.domain.matching import missing
from service.domain.policy import TAG, default_policy, parse_policy_text, policy_in_force, require_winnable
from service.domain.quorum import Approval, Group, PreAuthorised, Quorum, Role, at_least
from service.domain.signed import Signed, opened

DECLARED: Mapping[str, Approval] = {
    "sweep_to_safe": Quorum.of(2, Role.APPROVER),
    "lock": PreAuthorised(timedelta(hours=1)),
}
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign(text: str) -> Signed:
    r, s = decode_dss_signature(KEY.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return Signed(text, r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def test_the_default_takes_quorums_from_the_declarations() -> None:
    policy = default_policy(DECLARED)
    assert policy.quorum("sweep_to_safe") == Quorum.of(2, Role.APPROVER)
    assert policy.quorum("change.person.add") == Quorum.of(2, Role.ADMIN)
    assert policy.quorum("lock") == PreAuthorised(timedelta(hours=1)).beyond_limit
    with pytest.raises(ApprovalError, match="no quorum for unheard_of"):
        policy.quorum("unheard_of")
    assert parse_policy_text(policy.text) == policy


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"quorums": {"sweep_to_safe": [[0, "approver"]]}}, "quorums.sweep_to_safe"),
        ({"quorums": {"sweep_to_safe": []}}, "quorums.sweep_to_safe"),
        ({"quorums": {"sweep_to_safe": [[21, "approver"]]}}, "quorums.sweep_to_safe"),
        ({"quorums": {"sweep_to_safe": [[1, "viewer"]]}}, "quorums.sweep_to_safe"),
        ({"quorums": {"sweep_to_safe": [[1, "king"]]}}, "policy"),
        ({"approve_within_s": 1}, "approve_within_s"),
        ({"execute_within_s": 10**9}, "execute_within_s"),
        ({"blast_radius": {"value_usd_per_hour": "lots"}}, "blast_radius.value_usd_per_hour"),
        ({"blast_radius": {"value_usd_per_hour": "-1"}}, "blast_radius.value_usd_per_hour"),
        ({"blast_radius": {"accounts_per_hour": 0}}, "blast_radius.accounts_per_hour"),
        ({"version": 9}, "version"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_policy_is_refused_by_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as refused:
        default_policy(DECLARED, changes)
    assert refused.value.field == field


def test_what_stands_in_for_a_loosening_takes_no_fewer_people() -> None:
    one, two = Quorum.of(1, Role.APPROVER), Quorum.of(2, Role.APPROVER)
    policy = default_policy({**DECLARED, "resume": Quorum.of(3, Role.APPROVER)})
    assert policy.quorum("settle.happened") == one
    assert policy.quorum("settle.did_not_happen") == two
    assert policy.quorum("settle.happened.sweep_to_safe") == two
    assert policy.quorum("settle.did_not_happen.resume") == Quorum.of(3, Role.APPROVER)
    for lowered in ({"settle.did_not_happen": [[1, "approver"]]}, {"settle.did_not_happen.resume": [[1, "approver"]]}):
        low = default_policy({**DECLARED, "resume": two}, {"quorums": lowered})
        assert low.quorum("settle.did_not_happen.resume") == two
    with pytest.raises(ApprovalError, match="no quorum for unheard_of"):
        policy.quorum("settle.did_not_happen.unheard_of")


def test_a_policy_from_before_the_number_has_it_all_the_same() -> None:
    policy = default_policy(DECLARED)
    quorums = {name: places for name, places in policy.quorums.items() if name != "settle.did_not_happen"}
    assert msgspec.structs.replace(policy, quorums=quorums).quorum("settle.did_not_happen") == Quorum.of(
        2, Role.APPROVER
    )


def test_where_letters_go_takes_what_other_contacts_take() -> None:
    low = {"change.policy.issuers": [[1, "admin"]], "change.channel.put": [[1, "treasury"], [1, "admin"]]}
    policy = default_policy(DECLARED, {"quorums": low})
    wanted = {(group.role, group.count) for group in policy.quorum("change.policy.issuers").groups}
    assert wanted == {(Role.ADMIN, 2), (Role.TREASURY, 1)}
    assert default_policy(DECLARED).quorum("change.policy.issuers") == Quorum.of(2, Role.ADMIN)


@given(*[st.lists(st.tuples(st.integers(1, 4), st.sampled_from(Role)), min_size=1, max_size=4)] * 2)
def test_who_fills_the_stricter_quorum_fills_both(one: list[tuple[int, Role]], other: list[tuple[int, Role]]) -> None:
    quorums = [Quorum(tuple(Group(count, role) for count, role in groups)) for groups in (one, other)]
    both = at_least(*quorums)
    people = {f"{g.role}-{n}": frozenset({g.role}) for g in both.groups for n in range(g.count)}
    assert all(missing(quorum, people) == () for quorum in (both, *quorums))
    for person in people:
        fewer = {p: r for p, r in people.items() if p != person}
        assert any(missing(quorum, fewer) for quorum in quorums), "none is asked for in vain"


def test_an_unwinnable_quorum_is_named() -> None:
    policy = default_policy({}, {"quorums": {"message": [[3, "approver"]]}})
    both = frozenset({Role.APPROVER, Role.ADMIN})
    with pytest.raises(ConfigurationError, match="message") as refused:
        require_winnable(policy, {"a": both, "b": both, "c": both})
    assert refused.value.field == "quorums.message"
    assert "add and enrol 1 x approver," in str(refused.value)
    with pytest.raises(ConfigurationError, match="add and enrol 2 x approver,"):
        require_winnable(default_policy({}), {})
    require_winnable(policy, {"a": both, "b": both, "c": both, "d": both})


def test_a_policy_counts_only_with_the_pinned_keys_signature() -> None:
    signed = sign(default_policy(DECLARED).text)
    assert policy_in_force(signed, PEM).version == 1
    for wrong in (
        Signed(signed.body.replace('"version":1', '"version":2'), signed.signature),
        Signed(signed.body, bytes(64)),
        Signed(signed.body, signed.signature[:-1]),
    ):
        with pytest.raises(ApprovalError, match="pinned key"):
            policy_in_force(wrong, PEM)
    with pytest.raises(ApprovalError, match="no policy"):
        policy_in_force(None, PEM)
    with pytest.raises(ConfigurationError):
        policy_in_force(signed, b"no key")


@pytest.mark.parametrize("body", ['{"tag": "portcullis/policy/v1"}', '{"tag":"other"}', "[]"])
def test_a_signed_text_of_another_kind_or_spelling_is_refused(body: str) -> None:
    with pytest.raises(ApprovalError):
        opened(sign(body), TAG, PEM)
