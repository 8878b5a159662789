"""Every house rule holds on the whole tree, and every one is shown to fail on a small offender."""

import pytest

from tests.architecture import house_rules
from tests.architecture.house_rules import RULES, Rule
from tests.architecture.tree import Source, sources

EVERYTHING = sources()

OFFENDERS: list[tuple[Rule, str, str]] = [
    (house_rules.files_are_small, "service/a.py", "x = 1\n" * 401),
    (house_rules.functions_are_small, "service/a.py", "def f():\n" + "    x = 1\n" * 60),
    (house_rules.functions_take_few_parameters, "service/a.py", "def f(a, b, c, d, *, e, f, g): ..."),
    (house_rules.functions_take_few_parameters, "service/a.py", "class A:\n def f(self, a, b, c, d, e, *f, **g): ..."),
    (house_rules.package_markers_are_empty, "rules/__init__.py", "from rules.engine import Engine"),
    (house_rules.modules_explain_themselves, "hsm/a.py", "x = 1"),
    (house_rules.nothing_is_left_to_do, "hsm/a.py", "x = 1  # " + "TO" + "DO later"),
    (house_rules.exceptions_to_the_linters_have_reasons, "hsm/a.py", "x = 1  # noqa: PLR2004"),
    (house_rules.exceptions_to_the_linters_have_reasons, "hsm/a.py", "x = 1  # noqa"),
    (house_rules.exceptions_to_the_linters_have_reasons, "hsm/a.py", "x = 1  # type: ignore[arg-type]"),
    (house_rules.errors_become_statuses_in_one_file, "service/a.py", "Response(status_code=404)"),
    (house_rules.errors_become_statuses_in_one_file, "service/a.py", "from fastapi import HTTPException"),
    (house_rules.errors_become_statuses_in_one_file, "service/a.py", 'send({"status": 503})'),
    (house_rules.errors_become_statuses_in_one_file, "workers/a.py", "x = status.HTTP_404_NOT_FOUND"),
    (house_rules.celery_retries_in_one_file, "workers/a.py", "raise self.retry(countdown=5)"),
    (house_rules.celery_retries_in_one_file, "workers/a.py", "@app.task(max_retries=3)\ndef f(): ..."),
    (house_rules.exit_codes_at_the_edge, "service/flow/a.py", "import sys\nsys.exit(1)"),
    (house_rules.exit_codes_at_the_edge, "hsm/a.py", "raise SystemExit(2)"),
    (house_rules.libraries_read_no_environment, "hsm/a.py", "import os\npin = os.environ['PIN']"),
    (house_rules.the_engine_reads_no_clock_and_throws_no_dice, "rules/a.py", "import time\ntime.time()"),
    (house_rules.the_engine_reads_no_clock_and_throws_no_dice, "rules/a.py", "slot = hash('account')"),
    (house_rules.the_engine_reads_no_clock_and_throws_no_dice, "rules/a.py", "datetime.now(UTC)"),
]

INNOCENT: list[tuple[Rule, str, str]] = [
    (house_rules.files_are_small, "service/a.py", "x = 1\n" * 400),
    (house_rules.functions_are_small, "service/a.py", "def f():\n" + "    x = 1\n" * 59),
    (house_rules.functions_take_few_parameters, "service/a.py", "class A:\n def f(self, a, b, c, d, e, f): ..."),
    (house_rules.exceptions_to_the_linters_have_reasons, "hsm/a.py", "x = 1  # noqa: PLR2004  the TCP port range"),
    (house_rules.errors_become_statuses_in_one_file, "service/a.py", "Response(status_code=202)"),
    (house_rules.errors_become_statuses_in_one_file, "service/api/problems.py", "Response(status_code=404)"),
    (house_rules.errors_become_statuses_in_one_file, "service/a.py", "if answer.status_code >= 500: ..."),
    (house_rules.celery_retries_in_one_file, "workers/retry.py", "raise self.retry(countdown=5)"),
    (house_rules.celery_retries_in_one_file, "workers/a.py", "kind = error.retry"),
    (house_rules.exit_codes_at_the_edge, "hsm/cli.py", "raise SystemExit(2)"),
    (house_rules.libraries_read_no_environment, "hsm/pkcs11/module.py", "import os\nos.environ['SOFTHSM2_CONF'] = x"),
    (house_rules.the_engine_reads_no_clock_and_throws_no_dice, "rules/a.py", "time.struct_time(x)"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_the_whole_tree_keeps_the_rule(rule: Rule) -> None:
    broken = [problem for source in EVERYTHING for problem in rule(source)]
    assert not broken, "\n".join(["", rule.__doc__ or "", *broken])


@pytest.mark.parametrize(("rule", "path", "text"), OFFENDERS)
def test_the_rule_catches_an_offender(rule: Rule, path: str, text: str) -> None:
    assert rule(Source(path, text))


@pytest.mark.parametrize(("rule", "path", "text"), INNOCENT)
def test_the_rule_leaves_the_innocent_alone(rule: Rule, path: str, text: str) -> None:
    assert not rule(Source(path, text))


def test_every_rule_has_an_offender_and_the_tree_was_really_read() -> None:
    assert {rule for rule, _, _ in OFFENDERS} == set(RULES)
    assert any(source.path == "service/domain/errors.py" for source in EVERYTHING)
