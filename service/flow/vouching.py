"""A person vouched for an activity → the engine learns that it was ordinary.

Rules: what may be vouched for (`domain/reports.py`) is looked at again here, under the role that alone may ask the engine
to learn, and it asks for one lesson in two days about each subject. Who has the API's host makes up activities themselves,
so this holds people and their tokens to the sample, not him.
"""

from datetime import timedelta

import structlog

from rules.learning import RecordKind
from service.domain import verdicts
from service.domain.errors import ConflictError, NotFoundError
from service.domain.explaining import Assessed
from service.domain.ids import ActivityId
from service.domain.reports import entities_of, is_sampled, subject_of
from service.ports.store.unit import Database, UnitOfWork

_log = structlog.get_logger(__name__)


def vouched(db: Database, activity_id: ActivityId) -> None:
    """Ask the engine to learn what a person vouched for; safe to repeat, and nothing for what nobody may vouch for."""
    with db.begin() as uow:
        word = uow.reports.vouched(activity_id)
        if word is None:
            _log.error("vouching.unknown", activity=activity_id)
            return
        try:
            assessed = require_ordinary(uow, activity_id)
        except (ConflictError, NotFoundError) as error:
            _log.error("vouching.refused", activity=activity_id, reason=str(error))
            return
        if uow.once(f"vouched:{activity_id}") and _first_lately(uow, assessed):
            told = verdicts.ordinary(assessed, word.at)
            uow.incidents.ask_learning(RecordKind.VERDICT.value, activity_id, told)


def _first_lately(uow: UnitOfWork, assessed: Assessed) -> bool:
    """Say whether nothing about the same was learned so yesterday or today, whatever dates rows of the API's role bear."""
    name, value = subject_of(assessed) or ("activity", assessed.id)
    keys = [f"vouched:{uow.now - back:%Y-%m-%d}:{name}:{value}" for back in (timedelta(days=1), timedelta(0))]
    return not uow.noted(keys[0]) and uow.once(keys[1])


def require_ordinary(uow: UnitOfWork, activity_id: ActivityId) -> Assessed:
    """Return the activity if people may vouch for it. Raises NotFoundError, ConflictError with the reason."""
    assessed = uow.findings.assessed(activity_id)
    if uow.reports.alerted(activity_id):
        raise ConflictError(f"an alert was raised on {activity_id}: give your verdict on that", field="activity_id")
    if assessed.decision != "allow" or assessed.observation is None:
        raise ConflictError(
            f"{activity_id} was not let pass by a score: there is nothing to learn", field="activity_id"
        )
    if not is_sampled(activity_id):
        raise ConflictError(
            f"{activity_id} was not drawn: only what `portcullis sample` lists can be vouched for", field="activity_id"
        )
    if uow.reports.besieged(entities_of(assessed)):
        raise ConflictError(f"an open incident is about {activity_id}: close that first", field="activity_id")
    if uow.reports.vouched_lately(activity_id):
        raise ConflictError(
            f"another one about the destination or actor of {activity_id} was vouched for within two days: one counts",
            field="activity_id",
        )
    return assessed
