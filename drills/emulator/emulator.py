"""One emulator: keys, faults and, once seeded, a running platform. A second seed is refused: start another emulator."""

import secrets
from dataclasses import dataclass

from drills.emulator.auth import Authenticator
from drills.emulator.cosigner import Cosigner
from drills.emulator.custody import Custody
from drills.emulator.errors import StateError
from drills.emulator.events import Events
from drills.emulator.faults import Faults
from drills.emulator.idempotency import Idempotency
from drills.emulator.keys import PlatformKeys
from drills.emulator.outbound import Outbound
from drills.emulator.settings import Seed
from drills.emulator.standard import StandardFace
from drills.emulator.webhooks import Webhooks
from drills.emulator.world import World, build


@dataclass(slots=True)
class Running:
    """A seeded platform and everything that serves it."""

    world: World
    webhooks: Webhooks
    events: Events
    custody: Custody
    authenticator: Authenticator
    idempotency: Idempotency
    standard: StandardFace
    forgetful: StandardFace
    """Of the same ledger and secret, for what has to be tried against a platform that keeps no ids."""


class Emulator:
    """Holds what lives as long as the process. `token` opens the control calls and is not shown."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token or secrets.token_urlsafe(32)
        self.keys = PlatformKeys.generate()
        self.faults = Faults()
        self._running: Running | None = None
        self._outbound: Outbound | None = None

    def __repr__(self) -> str:
        return f"Emulator(seeded={self._running is not None})"

    def seed(self, seed: Seed) -> Running:
        """Build the world and start serving it; StateError when that was done before."""
        if self._running is not None:
            raise StateError("this emulator is seeded already; start another one")
        world = build(seed)
        outbound = Outbound(self.faults)
        ids = {"webhook_id": world.webhook_id, "workspace_id": seed.workspace_id, "tenant_id": seed.tenant_id}
        webhooks = Webhooks(seed.webhooks, self.keys, outbound, ids)
        events = Events(world, webhooks)
        cosigner = None if seed.callback is None else Cosigner(world, seed.callback, self.keys, outbound)
        custody = Custody(world, events, cosigner)
        authenticator = Authenticator(seed.api_users, world.revoked_api_keys)
        standard = StandardFace(world, custody, seed.standard_action_secret)
        forgetful = StandardFace(world, custody, seed.standard_action_secret, forgetful=True)
        self._outbound = outbound
        self._running = Running(world, webhooks, events, custody, authenticator, Idempotency(), standard, forgetful)
        return self._running

    def running(self) -> Running:
        """Return the seeded platform; StateError before seeding."""
        if self._running is None:
            raise StateError("the emulator is not seeded; POST /emulator/seed first")
        return self._running

    async def close(self) -> None:
        """Stop everything that runs in the background."""
        if self._running is not None:
            await self._running.custody.close()
            await self._running.webhooks.close()
            await self._running.world.chain.close()
        if self._outbound is not None:
            await self._outbound.close()
