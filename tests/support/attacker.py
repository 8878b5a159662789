"""An attacker who holds the API's database role and its place at the authority's socket."""

import psycopg

from service.domain.approval import ActionDocument, Draft, Item
from service.domain.approval import propose as build
from service.domain.authorisation import Evidence, check
from service.domain.errors import ApprovalError
from service.domain.plan import Step
from service.domain.policy import Policy, policy_in_force
from tests.support.authority import House
from tests.support.servers import url_of_role

API = "portcullis_api"


class Attacker:
    """Holds the API's database connection."""

    def __init__(self, house: House) -> None:
        self.house = house

    def runs(self, statement: str, *values: object) -> None:
        with psycopg.connect(url_of_role(self.house.superuser_url, API)) as connection:
            connection.execute(statement.encode(), values)

    def inserts_approval(self, document: ActionDocument) -> None:
        self.runs(
            "INSERT INTO approvals (id, subject, document, digest, requester, created_at, approve_by, execute_by)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            *(document.id, document.subject.value, document.text, document.digest, document.requester),
            *(document.created, document.approve_by, document.execute_by),
        )

    def has_it_approved(self, document: ActionDocument) -> None:
        """Put a row there that the API's role may not write: it would be no authority either."""
        self.inserts_approval(document)
        with psycopg.connect(self.house.superuser_url) as connection:
            connection.execute("UPDATE approvals SET state = 'approved' WHERE id = %s", (document.id,))

    def policy(self) -> Policy:
        with self.house.database(API).begin() as uow:
            return policy_in_force(uow.registry.policy(), self.house.office.public_key_pem)

    def document(self, *items: Item) -> ActionDocument:
        return build(
            Draft(what=items, why="All is well.", requester="portcullis"), self.policy(), self.house.clock.now()
        )

    def evidence(self, document: ActionDocument) -> Evidence:
        with self.house.database("portcullis_keys").begin() as uow:
            return uow.approvals.evidence(document.id)

    def gets(self, document: ActionDocument, step: Step) -> bool:
        """Whether the executing worker would run the step."""
        try:
            pem = self.house.office.public_key_pem
            check(self.evidence(document), step, public_key_pem=pem, now=self.house.clock.now())
        except ApprovalError:
            return False
        return True
