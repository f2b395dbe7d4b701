"""The lifecycle of an experiment as an explicit state machine; its history is the audit log.

A state is not stored by itself: it is the `to_state` of the experiment's newest transition in the log. A change
of state raises an error if the table below does not allow it, or if it needs a valid sign-off that is missing.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from et_pipeline.contracts.plan import LARGE_SPLIT_PCT
from et_pipeline.warehouse import audit

if TYPE_CHECKING:
    import duckdb

State = Literal[
    "registered",
    "awaiting_sign_off",
    "sampling",
    "stalled",
    "concluded",
    "promotion_review",
    "signed_off",
    "declined",
]
Purpose = Literal["split", "promotion"]

STATES: dict[State, str] = {
    "registered": "The plan is frozen; the experiment has not begun to sample.",
    "awaiting_sign_off": (
        f"More than {LARGE_SPLIT_PCT:g} % of the traffic goes to the variant, so a human has to agree first."
    ),
    "sampling": "Pairs are collected, and each look checks whether a verdict follows.",
    "stalled": "Reports cannot be read, so sampling and verdicts pause.",
    "concluded": "There is a verdict.",
    "promotion_review": "The variant is better, and humans were asked to look at the evidence.",
    "signed_off": "Humans approved the evidence. This promotes nothing: humans promote in another system.",
    "declined": "A human declined the promotion.",
}
"""Every state and what it means."""
BEFORE_SAMPLING: tuple[State | None, ...] = (None, "registered", "awaiting_sign_off")
"""The states in which a large split may still need a sign-off; None for a plan that was not evaluated yet."""


class Transition(NamedTuple):
    """One allowed change of state.

    Attributes:
        from_state: State before; None for a plan that was just registered.
        to_state: State after.
        trigger: What causes it.
        meaning: What it means, for people.
        purpose: The purpose of the sign-off that it requires; None if it requires none.
    """

    from_state: State | None
    to_state: State
    trigger: str
    meaning: str
    purpose: Purpose | None = None


TRANSITIONS: tuple[Transition, ...] = (
    Transition(None, "registered", "plan_registered", "A valid plan was found; EXPERIMENT_STARTED is sent."),
    Transition(
        "registered",
        "awaiting_sign_off",
        "large_split",
        f"The split is above {LARGE_SPLIT_PCT:g} %; EXPERIMENT_LARGE_SPLIT_WARN is sent.",
    ),
    Transition("registered", "sampling", "started", "`starts_at` is reached, and no sign-off is needed."),
    Transition(
        "awaiting_sign_off",
        "sampling",
        "split_approved",
        "A valid sign-off approves the split, and `starts_at` is reached.",
        "split",
    ),
    Transition(
        "awaiting_sign_off",
        "registered",
        "split_lowered",
        f"The plan's split was lowered to {LARGE_SPLIT_PCT:g} % or less.",
    ),
    Transition(
        "awaiting_sign_off",
        "concluded",
        "ended",
        "`ends_at` is reached and nobody approved the split, so the verdict is `inconclusive`.",
    ),
    Transition("sampling", "stalled", "outage", "Reports cannot be read; EXPERIMENT_STALLED is sent."),
    Transition(
        "stalled", "sampling", "outage_over", "Reports can be read again, and those that waited are ingested."
    ),
    Transition("sampling", "concluded", "verdict", "There is a verdict; EXPERIMENT_RESULT is sent."),
    Transition(
        "concluded",
        "promotion_review",
        "variant_better",
        "The verdict is `variant_better` and the plan asks for a review, so humans are asked for it.",
    ),
    Transition(
        "promotion_review",
        "signed_off",
        "approved",
        "As many different people as the plan asks for approved this plan and this evidence.",
        "promotion",
    ),
    Transition(
        "promotion_review",
        "declined",
        "declined",
        "A valid sign-off declines the promotion.",
        "promotion",
    ),
)
"""Every allowed change of state; no other change is possible."""


class IllegalTransitionError(RuntimeError):
    """A change of state that the table does not allow, or that lacks the required sign-off."""


def find(from_state: State | None, trigger: str) -> Transition:
    """The transition that a trigger causes in a state.

    Raises:
        IllegalTransitionError: The table has none.
    """
    for transition in TRANSITIONS:
        if transition.from_state == from_state and transition.trigger == trigger:
            return transition
    allowed = ", ".join(item.trigger for item in TRANSITIONS if item.from_state == from_state) or "nothing"
    raise IllegalTransitionError(f"{trigger!r} cannot happen in state {from_state!r}; allowed: {allowed}")


def states(connection: duckdb.DuckDBPyConnection) -> dict[str, State]:
    """The present state of every experiment that has one."""
    rows = connection.execute(
        "SELECT experiment_id, arg_max(to_state, seq) FROM audit_log WHERE action = 'transition' "
        "AND experiment_id IS NOT NULL GROUP BY experiment_id"
    ).fetchall()
    return dict(rows)


def state_of(connection: duckdb.DuckDBPyConnection, experiment_id: str) -> State | None:
    """The present state of one experiment, None before its registration."""
    row = connection.execute(
        "SELECT arg_max(to_state, seq) FROM audit_log WHERE action = 'transition' AND experiment_id = ?",
        [experiment_id],
    ).fetchone()
    return None if row is None else row[0]


def advance(
    connection: duckdb.DuckDBPyConnection,
    at: datetime,
    experiment_id: str,
    trigger: str,
    detail: dict[str, Any],
) -> State:
    """Changes an experiment's state, in the caller's transaction.

    Args:
        connection: The warehouse.
        at: The time of the decision.
        experiment_id: The experiment.
        trigger: What happened; see `TRANSITIONS`.
        detail: Further facts for the audit log. For a transition that requires sign-offs, their content hashes are
            given under `sign_offs`.

    Returns:
        The new state.

    Raises:
        IllegalTransitionError: The table does not allow it in the present state, or a required sign-off is missing.
    """
    transition = find(state_of(connection, experiment_id), trigger)
    if transition.purpose is not None:
        _require_sign_offs(connection, experiment_id, transition, detail.get("sign_offs") or [])
    audit.append(
        connection,
        at,
        experiment_id,
        "transition",
        from_state=transition.from_state,
        to_state=transition.to_state,
        detail={"trigger": trigger, **detail},
    )
    return transition.to_state


def _require_sign_offs(
    connection: duckdb.DuckDBPyConnection, experiment_id: str, transition: Transition, hashes: list[str]
) -> None:
    """Raises an error unless all given sign-offs are recorded as valid for this purpose, plan and decision."""
    decision = "decline" if transition.to_state == "declined" else "approve"
    rows = connection.execute(
        "SELECT count(DISTINCT s.content_hash) FROM sign_offs AS s "
        "JOIN experiments AS e USING (experiment_id) "
        "WHERE s.valid AND s.experiment_id = ? AND s.purpose = ? AND s.decision = ? "
        "AND s.plan_hash = e.plan_hash AND list_contains(?, s.content_hash)",
        [experiment_id, transition.purpose, decision, hashes],
    ).fetchone()
    if not hashes or rows is None or rows[0] != len(set(hashes)):
        raise IllegalTransitionError(
            f"{experiment_id}: {transition.trigger!r} needs valid {transition.purpose} sign-offs"
        )


def markdown() -> str:
    """The state machine as the page `docs/lifecycle.md`."""
    diagram = "\n".join(
        f"    {item.from_state or '[*]'} --> {item.to_state}: {item.trigger}" for item in TRANSITIONS
    )
    meanings = "\n".join(f"| `{state}` | {meaning} |" for state, meaning in STATES.items())
    rows = "\n".join(
        f"| {f'`{item.from_state}`' if item.from_state else '(new)'} | `{item.to_state}` | `{item.trigger}` "
        f"| {item.purpose or 'no'} | {item.meaning} |"
        for item in TRANSITIONS
    )
    return f"""# The life of an experiment

This page is generated by `markdown()` of `et_pipeline/governance/lifecycle.py`. A test checks that the two agree.

```mermaid
stateDiagram-v2
{diagram}
```

Every change of state (a transition) is a row of the audit log. An experiment's state is that of its newest row. A
change that is not in the second table raises an error, and everything that the tick wrote is undone.

| state | meaning |
|---|---|
{meanings}

| from | to | trigger | needs a sign-off | meaning |
|---|---|---|---|---|
{rows}

The verdicts `variant_worse`, `equivalent` and `inconclusive` end in `concluded`. There is only one way to
`signed_off`: valid signatures of as many different people as the plan asks for, over this plan and this
evidence. The state `signed_off` changes nothing in any other system. Humans make the promotion itself, elsewhere.
"""
