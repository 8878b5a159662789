from rules.techniques import address_of, is_technique, name_of


def test_a_technique_has_a_name_and_an_address() -> None:
    assert name_of("attack.t1657") == "Financial Theft"
    assert address_of("attack.t1556.006") == "https://attack.mitre.org/techniques/T1556/006/"
    assert address_of("aadapt.adt3020.001") == "https://aadapt.mitre.org/techniques/ADT3020.001/"


def test_other_words_are_no_techniques() -> None:
    assert not is_technique("insider")
    assert address_of("incident.kucoin-2020") is None
    assert is_technique("attack.t9999")
    assert name_of("attack.t9999") is None
