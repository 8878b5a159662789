"""pytest-xdist: modules that share one installation run in one worker, so that it is started once per session."""

from typing import Final

from xdist.scheduler.loadscope import LoadScopeScheduling

SHARING: Final = ("tests/e2e/test_acceptance_", "tests/e2e/test_faults_")


class OneStackScheduling(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist ships no types
    """`--dist loadscope` with one more scope, over several modules."""

    def _split_scope(self, nodeid: str) -> str:
        return "one installation" if nodeid.startswith(SHARING) else str(super()._split_scope(nodeid))
