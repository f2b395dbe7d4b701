"""The job `publish`: what is pending leaves the outbox, and what did not is visible."""

import dagster as dg

from et_pipeline.resources.dagster import Warehouse

POOL = "publishing"
"""One run at a time delivers; apart from the warehouse's pool, since a network wait must block no tick."""


@dg.op(
    out=dg.Out(int, description="Messages due now."),
    description="Reads which messages are due, in one short transaction.",
    pool=POOL,
    tags={"kind": "duckdb"},
)
def pending_events(context: dg.OpExecutionContext, warehouse: Warehouse) -> int:
    """Counts and shows what is due, so that a run says what it set out to do."""
    from datetime import UTC, datetime

    from et_pipeline.publishing.outbox import pending

    with warehouse.open() as connection:
        due = pending(connection, now=datetime.now(UTC))
    context.add_output_metadata(
        {
            "due": len(due),
            "events": dg.MetadataValue.md(
                "\n".join(
                    f"- `{item.message.event_id}` {item.message.kind} → {item.destination}"
                    for item in due[:50]
                )
                or "none"
            ),
        }
    )
    return len(due)


@dg.op(
    out=dg.Out(dict, description="Number of attempts by how they ended."),
    description="Sends what is due and records what became of it; at least once, by event id.",
    pool=POOL,
    retry_policy=dg.RetryPolicy(
        max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL
    ),
)
def deliver_events(context: dg.OpExecutionContext, warehouse: Warehouse, due: int) -> dict:
    """Delivers; a message that could not be delivered is not this op's failure but the next op's."""
    if due == 0:
        return {"delivered": 0, "failed": 0, "dead": 0}
    from et_pipeline.publishing.delivery import deliver

    delivery = deliver(warehouse.settings)
    for outcome in delivery.outcomes:
        line = f"{outcome.event_id} → {outcome.destination}: {outcome.status}, {outcome.detail}"
        (context.log.info if outcome.status == "delivered" else context.log.error)(line)
    result = {status: len(delivery.with_status(status)) for status in ("delivered", "failed", "dead")}
    context.add_output_metadata(dict(result))
    return result


@dg.op(
    description="Fails the run where a message could not be delivered, so that a person sees it.",
    pool=POOL,
)
def delivery_report(context: dg.OpExecutionContext, warehouse: Warehouse, result: dict) -> None:
    """Says what waits and what is dead; raises where this round left something behind."""
    from et_pipeline.publishing.outbox import counts, dead_letters

    with warehouse.open() as connection:
        standing = counts(connection)
        dead = dead_letters(connection)
    context.log.info(f"messages by destination and status: {standing}")
    if result["failed"] or result["dead"]:
        raise dg.Failure(
            description=(
                f"{result['failed']} messages could not be delivered and will be tried again, "
                f"{result['dead']} were given up"
            ),
            metadata={
                "dead_letters": dg.MetadataValue.md(
                    "\n".join(
                        f"- `{letter.event_id}` → {letter.destination}: {letter.detail}" for letter in dead
                    )
                    or "none"
                )
            },
            allow_retries=False,
        )


@dg.job(
    description=__doc__,
    executor_def=dg.in_process_executor,
    tags={"et/stage": "publishing"},
)
def publish() -> None:
    """Pending events → their destinations → a report of what is left."""
    delivery_report(deliver_events(pending_events()))
