"""Playbooks and discovered declarations: a wrong one stops start-up and names its file."""

import sys
from pathlib import Path

import pytest

from service.actions.base import actions_in
from service.discovery import declarations
from service.domain.errors import ConfigurationError
from service.domain.incident import IncidentKind, Severity
from service.playbooks.loader import load

ACTIONS = actions_in("service.actions")
GOOD = """
playbook: drain
version: 2
incident: drain
title: Ours
keys: untouched
steps:
  - {action: suspend_withdrawals, targets: accounts}
"""


def test_there_is_a_playbook_for_every_kind_of_incident() -> None:
    assert {playbook.incident for playbook in load(ACTIONS)} == set(IncidentKind)


def test_a_user_s_playbook_takes_the_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / "drain.yaml").write_text(GOOD)
    playbook, digest = load(ACTIONS, tmp_path).for_kinds({IncidentKind.DRAIN})
    assert playbook.version == 2
    assert digest != load(ACTIONS).for_kinds({IncidentKind.DRAIN})[1]


def test_several_kinds_have_one_playbook_that_does_all_that_any_of_theirs_does() -> None:
    playbooks = load(ACTIONS)
    kinds = (IncidentKind.LISTED_DESTINATION, IncidentKind.INSIDER_POLICY_CHANGE, IncidentKind.DRAIN)
    together, digest = playbooks.for_kinds(kinds)
    assert playbooks.for_kinds(set(kinds)) == (together, digest)
    every = [template for kind in kinds for template in playbooks.for_kinds({kind})[0].every_step]
    ours = {(one.action, one.targets): one for one in together.every_step}
    assert len(ours) == len(together.every_step)
    for one in every:
        found = ours[one.action, one.targets]
        assert Severity[found.from_severity.upper()] <= Severity[one.from_severity.upper()]
        assert one.asked or not found.asked
    assert together.keys == "assumed_stolen"
    assert digest not in {playbooks.for_kinds({kind})[1] for kind in IncidentKind}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("suspend_withdrawals", "suspend_everything"), "unknown action 'suspend_everything'"),
        (("targets: accounts", "targets: destinations"), "takes account"),
        (("suspend_withdrawals", "resume_withdrawals"), "loosens"),
        (("accounts}", "nearby_multisigs}"), "merely near"),
        (("accounts}", "accounts, after: [sweep_to_safe]}"), "waits for 'sweep_to_safe'"),
        (("version: 2", "vresion: 2"), "is no playbook"),
        (("steps:", "rotate_account: [{action: retire_key, targets: exposed_keys}]\nsteps:"), "prepare_rotation"),
        (("playbook: drain", "playbook: other"), "another playbook"),
        (("title: Ours", "title: ["), "is no playbook"),
    ],
)
def test_a_wrong_playbook_is_refused_by_name(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(ConfigurationError, match=r"mine\.yaml") as caught:
        load(ACTIONS, path.parent)
    assert says in str(caught.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="PORTCULLIS_PLAYBOOKS"):
        load(ACTIONS, tmp_path / "nowhere")


ACTION = '''
from datetime import timedelta
from service.actions.base import ContainmentAction, OneAccount
from service.domain.plan import Effect
from service.domain.quorum import PreAuthorised, Quorum, Role


class Mine(ContainmentAction):
    """A declaration."""

    name = "mine"
    title = "Do it to {target}"
    effect = Effect.TIGHTENS
    target_kinds = frozenset({"account"})
    approval = PreAuthorised(timedelta(hours=1))
    blast_radius = OneAccount()
    deadline = timedelta(minutes=1)

    def execute(self, ctx):
        raise NotImplementedError

    def verify(self, ctx, receipt):
        raise NotImplementedError
'''


def in_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> str:
    package = f"declared_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return package


def test_an_action_is_found_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(actions_in(in_a_package(tmp_path, monkeypatch, "mine", ACTION))) == {"mine"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("    deadline = timedelta(minutes=1)\n", ""), "does not declare deadline"),
        (("effect = Effect.TIGHTENS", "effect = Effect.LOOSENS"), "needs a Quorum"),
        (("PreAuthorised(timedelta(hours=1))", "Quorum.of(1, Role.ADMIN)"), "PreAuthorised"),
        (("    deadline =", '    waits_because = "so"\n    deadline ='), "PreAuthorised, or says why it waits"),
        (('name = "mine"', 'name = "yours"'), "must be the file's"),
        (('frozenset({"account"})', 'frozenset({"planet"})'), "target_kinds"),
        (("Do it to {target}", "Do it"), "{target}"),
        (("import timedelta", "import timedelter"), "cannot be loaded"),
        (("class Mine(ContainmentAction)", "class Mine"), "defines 0"),
        (("    deadline =", '    undone_by = "nobody"\n    deadline ='), "unknown action 'nobody'"),
    ],
)
def test_a_wrong_action_is_refused_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], says: str
) -> None:
    package = in_a_package(tmp_path, monkeypatch, "mine", ACTION.replace(*change))
    with pytest.raises(ConfigurationError, match="mine") as caught:
        actions_in(package)
    assert says in str(caught.value)


def test_a_platform_without_its_declaration_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = in_a_package(tmp_path, monkeypatch, "custodian", "PLATFORM = 3\n")
    with pytest.raises(ConfigurationError, match=r"custodian.py: has no PLATFORM"):
        declarations(package, "PLATFORM", str)
