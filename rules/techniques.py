"""Names of the adversary techniques that detectors are tagged with.

Rules enforced here: a tag ``attack.tNNNN[.NNN]`` is a technique of MITRE ATT&CK (Enterprise), ``aadapt.adtNNNN[.NNN]`` one
of MITRE AADAPT; its name stands in ``rules/lists/techniques.txt``. A tag of that form without a name there is reported by
``portcullis rules lint``: an id that nobody can look up helps nobody at night. Other tags are free words.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Final

from rules.lists.loader import load_list

_FILE: Final = Path(__file__).parent / "lists" / "techniques.txt"
_FORM: Final = re.compile(r"(attack|aadapt)\.(a?d?t)(\d{4})(?:\.(\d{3}))?")
_SITES: Final = {"attack": "https://attack.mitre.org/techniques/", "aadapt": "https://aadapt.mitre.org/techniques/"}


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    return load_list(_FILE)


def is_technique(tag: str) -> bool:
    """Whether a tag has the form of a technique's id.

    >>> is_technique("attack.t1657"), is_technique("insider")
    (True, False)
    """
    return tag.startswith(("attack.", "aadapt."))


def name_of(tag: str) -> str | None:
    """The official name of a technique, or ``None`` when it is not in the list.

    >>> name_of("aadapt.adt3020.001"), name_of("attack.t0000")
    ('Manipulate Transaction History: Address Poisoning', None)
    """
    return _names().get(tag)


def address_of(tag: str) -> str | None:
    """Where to read about a technique, or ``None`` when the tag is none.

    >>> address_of("attack.t1110.004")
    'https://attack.mitre.org/techniques/T1110/004/'
    >>> address_of("aadapt.adt3028")
    'https://aadapt.mitre.org/techniques/ADT3028/'
    """
    found = _FORM.fullmatch(tag)
    if found is None:
        return None
    matrix, letters, number, part = found.groups()
    joined = "/" if matrix == "attack" else "."
    return f"{_SITES[matrix]}{letters.upper()}{number}{joined + part if part else ''}/"
