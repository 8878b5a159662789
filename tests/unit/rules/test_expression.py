import pytest

from rules.conformance import vectors
from rules.errors import EvaluationError, ExpressionError
from rules.expression import MAX_EXPRESSION, Expression

TEXTS = {"kind": "withdrawal.requested", "destination_kind": "one_time"}


def holds(source: str, **features: float) -> bool:
    return Expression(source).holds(*vectors(features), TEXTS)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("bogus > 1.0", "bogus"),
        ("amount_usd", "yes or no"),
        ("amount_usd > 1", "overload"),
        ("[1.0].all(x, x > 0.0)", "undeclared"),
        ("amount_usd >", "syntax|mismatched|extraneous|ERROR"),
        ("true || " * MAX_EXPRESSION + "true", "characters"),
    ],
)
def test_refused_when_compiled(source: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        Expression(source)


@pytest.mark.parametrize("source", ["1 / 0 == 1", "int(amount_usd) > 0", "kind.matches('(')"])
def test_an_error_value_is_no_answer(source: str) -> None:
    with pytest.raises((EvaluationError, ExpressionError)):
        holds(source)


@pytest.mark.parametrize("source", ["amount_usd >= 1.0", "amount_usd <= 1.0", "amount_usd == amount_usd"])
def test_the_unknown_compares_false(source: str) -> None:
    assert not holds(source)
    assert holds(source, amount_usd=1.0)


def test_reads_values_surprisals_and_texts() -> None:
    source = "amount_usd == 5.0 && amount_usd_surprise == 2.0 && kind == 'withdrawal.requested'"
    assert holds(source, amount_usd=5.0, amount_usd_surprise=2.0)
    assert Expression(source).names == ("amount_usd", "amount_usd_surprise", "kind")


def test_a_name_inside_a_text_is_not_a_variable() -> None:
    assert Expression("kind == 'amount_usd'").names == ("kind",)
