"""All rules, by code. Each is a module of its own, and a page in docs/rules."""

from __future__ import annotations

from outlive.lint.rule import Rule
from outlive.lint.rules import (
    captured_ref,
    detached_actor,
    dummy_entry,
    get_in_loop,
    get_of_argument,
    global_ref,
    max_calls_owner,
    put_owner,
    relayed_ref,
    stored_argument,
)

RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        put_owner.RULE,
        stored_argument.RULE,
        get_of_argument.RULE,
        max_calls_owner.RULE,
        relayed_ref.RULE,
        global_ref.RULE,
        captured_ref.RULE,
        detached_actor.WITHOUT_NAME,
        detached_actor.WITHOUT_NAMESPACE,
        get_in_loop.RULE,
        dummy_entry.RULE,
    )
}
