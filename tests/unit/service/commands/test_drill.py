"""`portcullis drill list` tells what there is."""

import pytest
import typer

from drills.scenario import names
from service.commands.drill import drill


def test_a_list_of_all_scenarios(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        drill("list")
    assert ended.value.exit_code == 0
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()] == list(names())
