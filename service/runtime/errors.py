"""Errors of the runtime's own: what `status`, `down` and `doctor` have to say when the answer is no."""

from service.domain.errors import PortcullisError


class NotRunningError(PortcullisError):
    """No `portcullis up` runs in this home."""

    code = "not_running"


class ChecksFailedError(PortcullisError):
    """`doctor` found something wrong; the checks themselves say what to do."""

    code = "checks_failed"


class DidNotStopError(PortcullisError):
    """`down` asked, and the installation still runs."""

    code = "did_not_stop"


class StoppedEarlyError(PortcullisError):
    """A person or the system asked to stop before everything was up; what had been started is stopped again."""

    code = "interrupted"
