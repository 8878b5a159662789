"""Names, queues, settings and retries of the workers, without a broker."""

import pytest

from service.domain.errors import (
    ConfigurationError,
    ConflictError,
    RateLimitedError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.events import EVENTS
from service.domain.secrets import Secret
from service.flow.routes import JOBS_OF, QUEUES
from service.runtime.broker import broker_url
from workers.__main__ import main
from workers.app import HARD_LIMIT_S, LONGEST_WAIT_S, SOFT_LIMIT_S, VISIBILITY_S, make_app
from workers.incidents import jobs as incident_jobs
from workers.jobs import Jobs
from workers.kinds import JOBS, KINDS
from workers.publish import CeleryQueue, Waiting
from workers.reconcile import _routes
from workers.retry import MOST_RETRIES, is_final, pause_before_retry
from workers.roots import containment_root, keys_root


def bound() -> Jobs:
    from typing import Any, cast  # noqa: PLC0415  only names are looked at here

    from workers import containment, delivery, keys  # noqa: PLC0415  as above

    nothing = cast("Any", None)
    return {
        **incident_jobs(nothing, nothing, nothing, nothing),
        **containment.jobs(nothing),
        **delivery.jobs(nothing, nothing, nothing, ""),
        **keys.jobs(nothing, nothing),
    }


def test_every_job_is_bound_to_a_function_and_no_other_is() -> None:
    assert set(bound()) == JOBS


def test_every_event_has_its_row() -> None:
    assert set(JOBS_OF) == set(EVENTS)
    assert {job.partition(".")[0] for job in JOBS} <= set(QUEUES)


def test_every_queue_is_read_by_exactly_one_kind() -> None:
    read = [queue for kind in KINDS.values() for queue in kind.queues]
    assert sorted(read) == sorted(set(QUEUES.values()))


def test_only_the_key_worker_reads_the_keys_queue() -> None:
    assert KINDS["keys"].queues == ("keys",)
    assert KINDS["keys"].root is keys_root
    assert KINDS["containment"].root is containment_root


def test_a_job_ends_before_its_message_is_delivered_again() -> None:
    assert SOFT_LIMIT_S < HARD_LIMIT_S < VISIBILITY_S
    conf = make_app(Secret("redis://127.0.0.1:1/0")).conf
    assert conf.broker_transport_options["visibility_timeout"] == conf.visibility_timeout == VISIBILITY_S


def test_nobody_commands_a_worker_through_the_broker() -> None:
    conf = make_app(Secret("redis://127.0.0.1:1/0")).conf
    assert conf.accept_content == ["json"]
    assert conf.worker_enable_remote_control is False
    assert conf.result_backend is None
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:pw@host:6379/3", "redis://:pw@host:6379/3"),
        ("unix://:p%40w@/run/v.sock?db=2", "redis+socket://:p%40w@/run/v.sock?virtual_host=2"),
    ],
)
def test_a_unix_socket_is_spelled_as_the_broker_library_wants_it(url: str, expected: str) -> None:
    assert broker_url(Secret(url)) == expected


@pytest.mark.parametrize(
    ("error", "retries", "pause"),
    [
        (UnavailableError("x", retry_after_s=3), 0, 3.0),
        (RateLimitedError("x", retry_after_s=4000), 0, LONGEST_WAIT_S),
        (UnavailableError("x"), 2, 4.0),
        (UnavailableError("x"), MOST_RETRIES, None),
        (UnknownOutcomeError("x"), 0, None),
        (ConflictError("x"), 0, None),
        (ValueError("x"), 0, None),
    ],
)
def test_only_what_may_be_tried_again_is(error: Exception, retries: int, pause: float | None) -> None:
    assert pause_before_retry(error, retries) == pause


def test_a_job_is_done_with_when_repeating_cannot_help() -> None:
    assert is_final(ConflictError("x"))
    assert not is_final(UnavailableError("x"))
    assert not is_final(UnknownOutcomeError("x"))
    assert not is_final(ZeroDivisionError())
    assert not is_final(ConfigurationError("a file that may be mended while it runs"))


def test_the_sweeper_knows_the_routes_of_both_lanes() -> None:
    rows = set(_routes())
    assert ("step_ready", "keys", "keys.step") in rows
    assert ("step_ready", "containment", "contain.step") in rows
    assert {event for event, _, _ in rows} == {event for event, jobs in JOBS_OF.items() if jobs}


def test_an_unknown_event_is_no_job() -> None:
    with pytest.raises(KeyError):
        _ = Waiting(1, "no_such_event", {}, None).jobs
    with pytest.raises(KeyError):
        CeleryQueue(make_app(Secret("redis://127.0.0.1:1/0"))).publish("nothing.such", {})


@pytest.mark.parametrize("arguments", [[], ["nobody"], ["keys", "twice"]])
def test_a_wrong_command_line_says_what_is_right(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) != 0
    assert "containment | keys | schedule" in capsys.readouterr().err


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("PORTCULLIS_DATABASE_URL", raising=False)
    monkeypatch.setenv("PORTCULLIS_HOME", "/nowhere")
    assert main(["keys"]) != 0
    assert "PORTCULLIS_" in capsys.readouterr().err
