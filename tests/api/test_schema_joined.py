"""Rules that are joined: each field is looked at once, and the first broken one is told."""

from taskqueue_api.schema import Rule, joined
from taskqueue_api.status_rules import CHANGES, STATES, STATUS_RULES

FIRST = Rule("self.a == 1 || self.aa == 2", "a must be 1")
SECOND = Rule("oldSelf.a == self.a", "a must stay")


def test_what_is_bound_is_put_where_a_text_has_it_as_a_whole() -> None:
    rule = joined([FIRST, SECOND], {"a": "self.a", "old": "oldSelf.a"})
    both = "(a == 1 || self.aa == 2) && (old == a)"
    assert rule.expression == f"[self.a].all(a, [oldSelf.a].all(old, {both}))"


def test_what_is_bound_later_may_use_what_is_bound_before() -> None:
    rule = joined([FIRST], {"a": "self.a", "one": "self.a == 1"})
    assert rule.expression == "[self.a].all(a, [a == 1].all(one, (one || self.aa == 2)))"


def test_the_first_that_is_broken_is_told_and_all_where_that_fails() -> None:
    schema = joined([FIRST, SECOND], {}).to_schema()
    assert schema["messageExpression"] == (
        '!(self.a == 1 || self.aa == 2) ? "a must be 1" : "a must stay"'
    )
    assert schema["message"] == "a must be 1; a must stay"


def test_a_status_has_all_its_rules_and_looks_at_its_phase_once_in_each_of_the_two() -> None:
    for part, rule in zip((STATES, CHANGES), STATUS_RULES, strict=True):
        assert rule.sentence == "; ".join(one.message for one in part)
        assert rule.expression.count("self.phase") == 1
