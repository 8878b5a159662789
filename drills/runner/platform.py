"""The drill's side of the emulated platform: its control calls under /emulator, with the token given at start."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from drills.runner.errors import ApiError
from drills.runner.processes import Address

TIMEOUT_S = 20.0
SIGNED = frozenset({"BROADCASTING", "CONFIRMING", "COMPLETED"})


class Platform:
    """A client of one emulator."""

    def __init__(self, address: Address) -> None:
        self.url = address.url
        headers = {"Authorization": f"Bearer {address.token}"}
        self._client = httpx.Client(base_url=address.url, headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def seed(self, world: Mapping[str, object]) -> dict[str, Any]:
        """Build the world."""
        found: dict[str, Any] = self._ask("POST", "/emulator/seed", world)
        return found

    def keys(self) -> dict[str, str]:
        """Return the public keys that the platform signs with."""
        found: dict[str, str] = self._ask("GET", "/emulator/keys")
        return found

    def call(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Make one control call of a scenario's move."""
        found: dict[str, Any] = self._ask("POST", path, body)
        return found

    def figures(self) -> dict[str, Any]:
        """Return the figures, from the ledger alone."""
        found: dict[str, Any] = self._ask("GET", "/emulator/figures")
        return found

    def ledger(self) -> dict[str, Any]:
        """Return every holding and every movement."""
        found: dict[str, Any] = self._ask("GET", "/emulator/ledger")
        return found

    def transactions(self) -> list[dict[str, Any]]:
        """Return every transaction as the platform keeps it."""
        found: list[dict[str, Any]] = self._ask("GET", "/emulator/transactions")
        return found

    def transaction(self, transaction_id: str) -> dict[str, Any]:
        """Return one transaction; ApiError when there is none."""
        for found in self.transactions():
            if found["id"] == transaction_id:
                return found
        raise ApiError(f"the platform knows no transaction {transaction_id}", 404)

    def deliveries(self) -> list[dict[str, Any]]:
        """Return every webhook sent."""
        found: list[dict[str, Any]] = self._ask("GET", "/emulator/deliveries")
        return found

    def callbacks(self) -> list[dict[str, Any]]:
        """Return every exchange of the co-signer with the gate."""
        found: list[dict[str, Any]] = self._ask("GET", "/emulator/callbacks")
        return found

    def actions(self) -> list[dict[str, Any]]:
        """Return every containment request that arrived at the standard face."""
        found: list[dict[str, Any]] = self._ask("GET", "/emulator/actions")
        return found

    def arm(self, fault: Mapping[str, object]) -> None:
        """Arm one fault; see `drills.emulator.control.FaultOrder`."""
        self._ask("POST", "/emulator/faults", fault)

    def clear_faults(self) -> None:
        """Forget all armed faults."""
        self._ask("DELETE", "/emulator/faults")

    def rpc_url(self) -> str:
        """Return where the emulated chain answers JSON-RPC."""
        return f"{self.url}/chain/rpc"

    def jwks_url(self) -> str:
        """Return where the platform publishes its webhook keys."""
        return f"{self.url}/.well-known/jwks.json"

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise ApiError(f"the emulator did not answer {method} {path}: {type(error).__name__}", 0) from None
        if not answer.is_success:
            raise ApiError(f"the emulator refused {method} {path}: {_reason(answer)}", answer.status_code)
        return answer.json() if answer.content else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("message", answer.status_code))
    except ValueError:
        return str(answer.status_code)
