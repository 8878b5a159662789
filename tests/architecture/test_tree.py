"""What the tree as a whole must not hold: addresses of registries, paths of one machine, unlocked dependencies."""

import re

from tests.architecture.tree import ROOT, texts

_HOSTS = re.compile(
    "|".join(("py" + "pi\\.org", "python" + "hosted\\.org", "registry\\.npm" + "js", "--(extra-)?index-" + "url"))
)
_LOCKS = ("requirements.lock", "requirements-dev.lock")


def test_no_file_names_a_registry_host() -> None:
    found = [f"{path}: {match.group()}" for path, text in texts() if (match := _HOSTS.search(text))]
    assert not found


def test_no_file_holds_a_path_of_this_machine() -> None:
    mine = [str(ROOT)] if len(ROOT.parts) > 2 else []
    places = re.compile("|".join(re.escape(place) for place in (*mine, "/wo" + "rk/", "/ho" + "me/")))
    found = [f"{path}: {match.group()}" for path, text in texts() if (match := places.search(text))]
    assert not found


def test_every_locked_dependency_is_pinned_with_a_hash_and_no_address() -> None:
    for name in _LOCKS:
        text = (ROOT / name).read_text(encoding="utf-8")
        entries = [
            block for block in re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^\s*#.*\n", "", text)) if block.strip()
        ]
        assert len(entries) > 20, name
        assert not re.search(r"https?://", text), name
        assert not [entry.split()[0] for entry in entries if not re.match(r"\S+==\S+", entry)], name
        assert not [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry], name
