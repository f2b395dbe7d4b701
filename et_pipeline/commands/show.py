"""`et show`: all about one experiment, or the variants of one family side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.status import VERDICT_STYLE, brackets, interval_text, read_status, sample_text
from et_pipeline.commands.terminal import AsJson, CommandError
from et_pipeline.common import text
from et_pipeline.common.sql import load
from et_pipeline.contracts.metrics import metric_of
from et_pipeline.experiments.registered import registered_ids
from et_pipeline.governance.next_steps import word

if TYPE_CHECKING:
    from rich.console import Console


def show(
    experiment: Annotated[
        str,
        typer.Argument(
            help="The experiment_id, or the name of a family.",
            autocompletion=terminal.experiment_ids,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Shows everything about one experiment: its verdict and the reasons, every metric, the diagnostics, its messages.

    With the name of a family, it shows the variants of that family side by side.

    Example: et show line-shop-v4
    """
    with terminal.analyst_database(terminal.settings()) as connection:
        found = [row for row in read_status(connection) if row["experiment_id"] == experiment]
        if not found:
            family = terminal.rows(connection, load(__package__, "family"), {"family": experiment})
            if family:
                _show_family(experiment, family, as_json)
                return
            known = ", ".join(registered_ids(connection)) or "none"
            raise CommandError(
                f"{experiment!r} is not a registered experiment or family; experiments: {known}"
            )
        document = dict(found[0])
        for table, order in SECTIONS.items():
            document[table] = terminal.rows(
                connection,
                f"SELECT * EXCLUDE experiment_id FROM {table} WHERE experiment_id = $id ORDER BY {order}",
                {"id": experiment},
            )
    if as_json:
        terminal.print_json(document)
        return
    _print_experiment(document)


def _show_family(family: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    """Prints the variants of one family side by side."""

    if as_json:
        terminal.print_json({"family": family, "variants": rows})
        return
    console = terminal.console()
    table = terminal.table()
    for name in (
        "variant",
        "verdict",
        "uplift [interval]",
        "expected uplift",
        "pairs",
        "e-value",
        "needed",
        "in the family",
    ):
        table.add_column(
            terminal.plain(name), justify="right" if name in ("pairs", "e-value", "needed") else "left"
        )
    for row in rows:
        verdict = word(row["state"], row["verdict"], row["reason"])
        decimals = text.decimals_of(row["ci_lower"], row["ci_upper"], row["mean_uplift"])
        table.add_row(
            row["experiment_id"],
            verdict,
            interval_text(row),
            text.signed(row["shrunk_uplift"], decimals),
            f"{row['n_pairs'] or 0:,}",
            text.number(row["e_value"], 3),
            text.number(row["threshold"], 3),
            "stands"
            if row["stands"]
            else "does not stand"
            if row["verdict"] == "variant_better"
            else text.NONE,
        )
    console.print(
        f"[bold]{family}[/]  variants of {terminal.plain(rows[0]['control_strategy_id'])}, side by side"
    )
    terminal.print_table(console, table)
    console.print(
        "'Expected uplift' is the mean uplift moved towards the mean of the family, because the best mean of several "
        "is partly luck."
    )


ROLE_ORDER = "CASE role WHEN 'primary' THEN 0 WHEN 'guardrail' THEN 1 ELSE 2 END"
SECTIONS = {
    "experiment_metrics": f"{ROLE_ORDER}, metric",
    "intervals": f"{ROLE_ORDER}, metric",
    "diagnostics": "metric",
    "replay_fidelity": "metric, comparison",
    "breakdowns": "dimension, value",
    "promises": "follows",
    "sample_ratio": "as_of DESC LIMIT 1",
    "sample_ratio_groups": "stands DESC, e_value DESC, dimension, value",
    "drift": "as_of DESC LIMIT 1",
    "drift_signals": "emitted_at",
    "events": "emitted_at, event_id",
    "sign_offs": "checked_at, path",
    "audit_log": "seq",
}
"""The tables that `et show` reads, each with the order of its rows."""


def _print_experiment(document: dict[str, Any]) -> None:
    from et_pipeline.governance.judgement import WORDS

    console = terminal.console()
    verdict = word(document["state"], document["verdict"], document["reason"])
    console.print(f"[bold]{document['experiment_id']}[/]  {terminal.plain(document['title'])}")
    console.print(f"{verdict}: {terminal.plain(document['sentence'])}", style=VERDICT_STYLE.get(verdict, ""))
    for failure in document["failures"]:
        console.print(f"[red]failed:[/] {terminal.plain(failure)}", soft_wrap=True)
    replay = (document["replay"] or {}).get("sentence", "")
    replay = "" if replay in document["sentence"] else replay
    for told in filter(None, (document["promise_sentence"], document["discovery"], replay)):
        console.print(terminal.plain(told), soft_wrap=True)
    for part in filter(None, (document["money"], document["unbiased"])):
        console.print(terminal.plain(part["sentence"]), soft_wrap=True)
    if document["family"]:
        console.print(f"To see its family side by side: et show {document['family']}")
    if document["review"]:
        console.print(document["review"])
    console.print(f"Next step: {document['next_step']}")
    if document["command"]:
        console.print(f"  {document['command']}  (or decline)")
    console.print()
    table = terminal.table()
    paired = all(row["n_control"] is None for row in document["intervals"])
    sample = "pairs" if paired else "control + variant"
    for name in (
        "metric",
        "role",
        sample,
        "clusters",
        "uplift [interval]",
        "e-value",
        "fixed-size interval",
        "result",
        "as of",
    ):
        table.add_column(
            terminal.plain(name), justify="right" if name in (sample, "clusters", "e-value") else "left"
        )
    for standing in document["standings"]:
        point = standing["point"]
        fixed = (point["fixed_ci_lower"], point["fixed_ci_upper"])
        table.add_row(
            standing["name"],
            standing["role"],
            sample_text(point),
            text.NONE if point["effective_clusters"] is None else f"{point['effective_clusters']:.1f}",
            interval_text({"metric": standing["name"], **point}),
            text.number(point["e_value"], 3),
            text.NONE if None in fixed else brackets(*fixed),
            standing["says"],
            text.moment(point["as_of"]),
        )
    terminal.print_table(console, table)
    if document["methods"]:
        console.print("Intervals: " + "; ".join(document["methods"]))
    _print_present(console, document["present"])
    for condition in document["conditions"]:
        line = f"{WORDS[condition['tone']]:14} {condition['label']}: {condition['found']}"
        line += f" (needed: {condition['needed']})"
        console.print(terminal.plain(line), soft_wrap=True)
    _print_sample(console, document, paired=paired)
    _print_history(console, document)
    console.print(f"\nTo see every figure: et show {document['experiment_id']} --json")


def _print_present(console: Console, present: list[dict[str, Any]]) -> None:
    """Prints the primary metric's present interval, if the decision was made before it."""
    for now in present:
        if now["role"] == "primary":
            unit = " pairs" if now["point"]["n_control"] is None else ""
            pairs = f"{sample_text(now['point'])}{unit} up to {text.moment(now['point']['as_of'])}"
            interval = interval_text({"metric": now["name"], **now["point"]})
            console.print(
                f"Now: {now['name']} {terminal.plain(interval)} from {pairs} UTC: {now['says']}",
                soft_wrap=True,
            )


def _print_sample(console: Console, document: dict[str, Any], *, paired: bool) -> None:
    """Prints each arm's mean, the missing values, and, if all trades are compared, how the traffic was split."""
    for row in document["diagnostics"]:
        told = (
            [level_text(row)] if row["mean_control"] is not None and row["mean_variant"] is not None else []
        )
        told += [weighting_text(row)] if row["other_weighting"] is not None else []
        told += [missing_text(row, paired)] if row["missing_share"] else []
        if row["control_trades_before"] or (row["control_sentence"] and row["metric"] == document["metric"]):
            told.append(row["control_sentence"])
        for line in told:
            console.print(terminal.plain(line), soft_wrap=True)
    if document["sample_ratio_groups"]:
        console.print(terminal.plain(groups_text(document["sample_ratio_groups"])), soft_wrap=True)


def _print_history(console: Console, document: dict[str, Any]) -> None:
    """Prints messages and sign-offs."""
    for event in document["events"]:
        name = event["reason_code"] or event["kind"]
        line = f"{event['emitted_at']:%Y-%m-%d %H:%M}  {event['severity']:4}  {name}: {event['message']}"
        console.print(terminal.plain(line))
    for found in document["sign_offs"]:
        said = f"sign-off by {found['signer'] or 'an unknown person'}: {found['decision'] or 'no decision'}."
        counts = "" if found["valid"] else "The sign-off does not count: "
        console.print(
            terminal.plain(f"{found['checked_at']:%Y-%m-%d %H:%M}  {said} {counts}{found['sentence']}")
        )


def weighting_text(row: dict[str, Any]) -> str:
    """The primary metric with the other weighting, which does not decide, from its row of `diagnostics`."""
    if row["other_uplift"] is None:
        return f"{row['metric']}: its mean over {row['other_weighting']} is not known yet."
    found = {"metric": row["metric"], "mean_uplift": row["other_uplift"]}
    ends = {name: row[f"other_{name}"] for name in ("ci_lower", "ci_upper")}
    return f"{row['metric']}, mean over {row['other_weighting']} (secondary): {interval_text(found | ends)}"


def level_text(row: dict[str, Any]) -> str:
    """Each arm's mean of a metric and, if it has a meaning, the relative change, from its row of `diagnostics`."""
    unit = metric_of(row["metric"]).unit
    levels = f"control {text.number(row['mean_control'])}, variant {text.number(row['mean_variant'])} {unit}"
    change = "" if row["relative_change"] is None else f", a change of {text.percent(row['relative_change'])}"
    return f"{row['metric']}: {levels}{change}"


def missing_text(row: dict[str, Any], paired: bool) -> str:
    """The missing values of a metric, of pairs or of trades, from its row of `diagnostics`."""
    whole = "the pairs" if paired else "one arm's trades"
    return (
        f"{row['metric']}: {text.percent(row['missing_share'])} of {whole} have no value (control "
        f"{text.percent(row['missing_control_share'])}, variant {text.percent(row['missing_variant_share'])}). Values "
        f"are missing in {text.number(row['missing_blocks'])} blocks, up to {text.percent(row['missing_worst_share'])} "
        f"of a block. {row['missing_sentence'] or ''}"
    )


def groups_text(rows: list[dict[str, Any]]) -> str:
    """Whether the split is the planned one within markets and hours, from the rows of `sample_ratio_groups`."""
    off = [row for row in rows if row["stands"]]
    if not off:
        return f"The split is as planned within each of {len(rows):,} markets and hours of the day."
    groups = "; ".join(
        f"{row['dimension']} {row['value']} {text.percent(row['observed_share'])} of "
        f"{row['n_control'] + row['n_variant']:,}"
        for row in off[:5]
    )
    planned = text.percent(off[0]["planned_share"])
    more = f", and {len(off) - 5:,} more" if len(off) > 5 else ""
    return (
        f"The split differs from the planned {planned} within {len(off):,} of {len(rows):,} markets and hours of the "
        f"day: {groups}{more}."
    )
