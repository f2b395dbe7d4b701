"""`et status`, `et show`, `et validate`, `et spec`: looking without changing anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError
from et_pipeline.common import text
from et_pipeline.common.sql import load
from et_pipeline.contracts.metrics import metric_of
from et_pipeline.experiments.registered import registered_ids
from et_pipeline.governance.lifecycle import STATES
from et_pipeline.governance.next_steps import GROUPS, group, word
from et_pipeline.governance.portfolio import summary
from et_pipeline.governance.promises import WORDS as PROMISES
from et_pipeline.governance.standing import WORDS, Judgement, halted, loads

if TYPE_CHECKING:
    from datetime import datetime

    import duckdb
    from rich.console import Console
    from rich.table import Table

    from et_pipeline.contracts.plan import Plan
    from et_pipeline.settings import Settings

VERDICT_STYLE = {
    "variant_better": "bold green",
    "variant_worse": "bold red",
    "equivalent": "bold cyan",
    "inconclusive": "yellow",
    "verdict_withdrawn": "bold red",
    "verdict_contradicted": "bold red",
}


def _known_states(given: list[str] | None) -> list[str] | None:
    """The states that are asked for.

    Raises:
        BadParameter: One of them is none.
    """
    unknown = [state for state in given or () if state not in STATES]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is no state; allowed: {', '.join(STATES)}")
    return given


def status(
    owner: Annotated[
        list[str] | None, typer.Option(help="Only experiments of this owner; may be given several times.")
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Only experiments in this state ({', '.join(STATES)}); may be given several times.",
            callback=_known_states,
        ),
    ] = None,
    needs_me: Annotated[
        bool, typer.Option("--needs-me", help="Only experiments for which somebody has to do something.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Every experiment in one table: pairs, uplift with its interval, verdict, what to do next.

    Example: et status --needs-me --owner strategy-pod
    """
    with terminal.analyst_database(terminal.settings()) as connection:
        everything = read_status(connection)
        portfolio = summary(terminal.rows(connection, "FROM portfolio"))
        orphans = terminal.rows(
            connection,
            "SELECT path, key, value, sentence FROM plan_refusals WHERE experiment_id IS NULL "
            "OR experiment_id NOT IN (SELECT experiment_id FROM experiments) ORDER BY ALL",
        )
    owners = sorted({row["owner"] for row in everything})
    unknown = sorted(set(owner or ()) - set(owners))
    if unknown:
        raise CommandError(
            f"no experiment has the owner {unknown[0]!r}; owners: {', '.join(owners) or 'none'}"
        )
    experiments = [
        row
        for row in everything
        if (not owner or row["owner"] in owner)
        and (not state or (row["state"] or "registered") in state)
        and (not needs_me or row["needs_me"])
    ]
    if as_json:
        terminal.print_json({"experiments": experiments, "portfolio": portfolio, "refused_plans": orphans})
        return
    console = terminal.console()
    if experiments or not everything:
        print_status(console, experiments)
    if len(experiments) < len(everything):
        console.print(f"{len(experiments)} of {len(everything)} experiments match.")
    if portfolio:
        console.print(portfolio)
    for row in experiments:
        for refusal in row["refused_changes"]:
            console.print(f"[yellow]refused:[/] {terminal.plain(refusal)}", soft_wrap=True)
    for refusal in orphans:
        where = " ".join(filter(None, (refusal["path"], refusal["key"], refusal["value"])))
        console.print(
            f"[yellow]refused:[/] {terminal.plain(where)}: {terminal.plain(refusal['sentence'])}",
            soft_wrap=True,
        )


def read_status(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """One row an experiment, see the query `status`, with what is missing as sentences and the next step."""
    experiments = terminal.rows(connection, load(__package__, "status"))
    for row in experiments:
        missing = json.loads(row["missing"] or "[]")
        row["missing"] = [item["sentence"] for item in missing]
        judgement = halted(loads(row.pop("standing")), failing=bool(row["failures"]))
        row.update(_headline(judgement))
        row["group"] = group(
            row["state"],
            row["verdict"],
            row["reason"],
            step=judgement.next_step,
            weakened=row["weakened"],
            failing=bool(row["failures"]),
        )
        row["needs_me"] = GROUPS[row["group"]].needs_me
        waits = (
            [*row["missing"], judgement.next_look]
            if row["state"] == "sampling" and not row["failures"]
            else []
        )
        row["next_step"] = " ".join(filter(None, [judgement.next_step, *waits]))
        row["command"] = judgement.command
        row["methods"] = judgement.methods
        row["replay"] = judgement.replay and judgement.replay._asdict()
        row["money"] = judgement.money and judgement.money._asdict()
        row["unbiased"] = judgement.unbiased and judgement.unbiased._asdict()
        row["conditions"] = [condition._asdict() for condition in judgement.conditions]
        row["present"] = [standing._asdict() for standing in judgement.present]
        row["review"] = judgement.review
        row["standings"] = [standing._asdict() for standing in judgement.standings]
    return experiments


def _headline(judgement: Judgement) -> dict[str, Any]:
    """The primary metric's figures at the decision, or at the end of the newest closed block."""
    primary = judgement.primary
    names = (
        "n_pairs", "n_control", "n_variant", "effective_clusters", "mean_uplift", "ci_lower", "ci_upper",
        "e_value", "as_of", "method", "look", "looks", "next_look_at", "carried",
    )  # fmt: skip
    point = {} if primary is None else primary.point
    figures = {name: point.get(name) for name in names}
    return figures | {"metric": primary and primary.name, "n_pairs": figures["n_pairs"] or 0}


def print_status(console: Console, experiments: list[dict[str, Any]]) -> None:
    """The table of `et status` and `et demo`, and what to do next below it."""
    terminal.print_table(console, status_table(experiments))
    console.print("Next steps")
    for row in experiments:
        console.print(f"  [bold]{row['experiment_id']}[/]: {row['next_step']}", soft_wrap=True)
        if row["command"]:
            console.print(f"    {row['command']}  (or decline)", soft_wrap=True)
    console.print()
    for row in experiments:
        for failure in row["failures"]:
            console.print(f"[red]failed:[/] {terminal.plain(failure)}", soft_wrap=True)


def sample_text(row: dict[str, Any]) -> str:
    """Pairs, or the trades of each arm where all of them are compared: `5,400 + 600 trades`."""
    if row["n_control"] is None:
        return f"{row['n_pairs'] or 0:,}"
    return f"{row['n_control']:,} + {row['n_variant']:,} trades"


def interval_text(row: dict[str, Any]) -> str:
    """`+1.62 [+0.41, +2.83] bps`, or why there is none."""
    if row["mean_uplift"] is None:
        return text.NONE
    unit = metric_of(row["metric"]).unit
    ends = (row["ci_lower"], row["ci_upper"])
    decimals = text.decimals_of(*ends, row["mean_uplift"])
    mean = text.signed(row["mean_uplift"], decimals)
    between = "(no interval yet)" if None in ends else _brackets(*ends, decimals)
    return f"{mean} {between} {unit}"


def _brackets(lower: float, upper: float, decimals: int | None = None) -> str:
    if decimals is None:
        decimals = text.decimals_of(lower, upper)
    return f"[{text.signed(lower, decimals)}, {text.signed(upper, decimals)}]"


def status_table(experiments: list[dict[str, Any]]) -> Table:
    """The table of `et status` and `et demo`."""
    from rich.text import Text

    table = terminal.table()
    table.add_column("experiment", overflow="fold")
    table.add_column("mode")
    table.add_column("pairs", justify="right", no_wrap=True)
    table.add_column("clusters", justify="right", no_wrap=True)
    table.add_column(terminal.plain("uplift [interval]"))
    table.add_column("verdict", no_wrap=True)
    table.add_column("reason codes")
    for row in experiments:
        verdict = word(row["state"], row["verdict"], row["reason"])
        uplift = interval_text(row)
        codes = [code.removeprefix("EXPERIMENT_") for code in row["reason_codes"]]
        if row["drift_signals"]:
            codes.append("drift signal")
        if (row["replay"] or {}).get("state") == "unfaithful":
            codes.append("replay is not true")
            uplift += f"\nlike for like:\n{interval_text({'metric': row['metric'], **row['replay']['like']})}"
        if row["promise"] in PROMISES:
            codes.append(PROMISES[row["promise"]])
        table.add_row(
            row["experiment_id"],
            row["mode"],
            sample_text(row),
            "–" if row["effective_clusters"] is None else f"{row['effective_clusters']:.0f}",
            uplift,
            Text(verdict, style=VERDICT_STYLE.get(verdict, "")),
            "\n".join(codes),
        )
    return table


def show(
    experiment: Annotated[
        str,
        typer.Argument(
            help="Its experiment_id; or a family, where no experiment has the name.",
            autocompletion=terminal.experiment_ids,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """One experiment whole: verdict and why, every metric, diagnostics, messages, audit trail. Or one family.

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
            raise CommandError(f"{experiment!r} is no registered experiment or family; experiments: {known}")
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
    """The variants of one family side by side."""

    if as_json:
        terminal.print_json({"family": family, "variants": rows})
        return
    console = terminal.console()
    table = terminal.table()
    for name in (
        "variant",
        "verdict",
        "uplift [interval]",
        "to be expected",
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
        "'To be expected' is the mean shrunk by what the family shows; the best mean is partly luck."
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
"""The tables that `et show` reads, and in which order."""


def _print_experiment(document: dict[str, Any]) -> None:

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
        console.print(f"Its family, side by side: et show {document['family']}")
    if document["review"]:
        console.print(document["review"])
    console.print(f"Next step: {document['next_step']}")
    if document["command"]:
        console.print(f"  {document['command']}  (or decline)")
    console.print()
    table = terminal.table()
    sample = (
        "pairs" if all(row["n_control"] is None for row in document["intervals"]) else "control + variant"
    )
    for name in (
        "metric",
        "role",
        sample,
        "clusters",
        "uplift [interval]",
        "e-value",
        "fixed-size interval",
        "stands",
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
            text.NONE if None in fixed else _brackets(*fixed),
            standing["says"],
            text.moment(point["as_of"]),
        )
    terminal.print_table(console, table)
    if document["methods"]:
        console.print("Intervals: " + "; ".join(document["methods"]))
    _print_present(console, document["present"])
    for condition in document["conditions"]:
        line = f"{WORDS[condition['tone']]:14} {condition['label']}: {condition['found']} ({condition['needed']})"
        console.print(terminal.plain(line), soft_wrap=True)
    _print_sample(console, document)
    _print_history(console, document)
    console.print(f"\nEvery figure: et show {document['experiment_id']} --json")


def _print_present(console: Console, present: list[dict[str, Any]]) -> None:
    """The primary metric now, where the decision came before."""
    for now in present:
        if now["role"] == "primary":
            unit = " pairs" if now["point"]["n_control"] is None else ""
            pairs = f"{sample_text(now['point'])}{unit} up to {text.moment(now['point']['as_of'])}"
            interval = interval_text({"metric": now["name"], **now["point"]})
            console.print(
                f"Now: {now['name']} {terminal.plain(interval)} over {pairs}: {now['says']}", soft_wrap=True
            )


def _print_sample(console: Console, document: dict[str, Any]) -> None:
    """What is missing of the values, and, where all trades are compared, how the arms came about."""
    paired = all(row["n_control"] is None for row in document["intervals"])
    for row in document["diagnostics"]:
        told = (
            [level_text(row)] if row["mean_control"] is not None and row["mean_variant"] is not None else []
        )
        told += [weighting_text(row)] if row["other_uplift"] is not None else []
        told += [missing_text(row, paired)] if row["missing_share"] else []
        if row["control_trades_before"] or (row["control_sentence"] and row["metric"] == document["metric"]):
            told.append(row["control_sentence"])
        for line in told:
            console.print(terminal.plain(line), soft_wrap=True)
    if document["sample_ratio_groups"]:
        console.print(terminal.plain(groups_text(document["sample_ratio_groups"])), soft_wrap=True)


def _print_history(console: Console, document: dict[str, Any]) -> None:
    """Messages and sign-offs."""
    for event in document["events"]:
        name = event["reason_code"] or event["kind"]
        line = f"{event['emitted_at']:%Y-%m-%d %H:%M}  {event['severity']:4}  {name}: {event['message']}"
        console.print(terminal.plain(line))
    for found in document["sign_offs"]:
        said = f"sign-off by {found['signer'] or 'nobody known'}: {found['decision'] or 'no decision'}."
        counts = "" if found["valid"] else "It does not count: "
        console.print(
            terminal.plain(f"{found['checked_at']:%Y-%m-%d %H:%M}  {said} {counts}{found['sentence']}")
        )


def weighting_text(row: dict[str, Any]) -> str:
    """The primary by the weighting that does not decide, from its row of `diagnostics`."""
    found = {"metric": row["metric"], "mean_uplift": row["other_uplift"]}
    ends = {name: row[f"other_{name}"] for name in ("ci_lower", "ci_upper")}
    return f"{row['metric']}, mean over {row['other_weighting']} (secondary): {interval_text(found | ends)}"


def level_text(row: dict[str, Any]) -> str:
    """Each arm's mean of a metric, from its row of `diagnostics`, and the change where that says anything."""
    unit = metric_of(row["metric"]).unit
    levels = f"control {text.number(row['mean_control'])}, variant {text.number(row['mean_variant'])} {unit}"
    change = "" if row["relative_change"] is None else f", a change of {text.percent(row['relative_change'])}"
    return f"{row['metric']}: {levels}{change}"


def missing_text(row: dict[str, Any], paired: bool) -> str:
    """What is missing of a metric, from its row of `diagnostics`, of pairs or of trades."""
    whole = "the pairs" if paired else "one arm's trades"
    return (
        f"{row['metric']}: {text.percent(row['missing_share'])} of {whole} have no value (control "
        f"{text.percent(row['missing_control_share'])}, variant {text.percent(row['missing_variant_share'])}), in "
        f"{text.number(row['missing_blocks'])} blocks, at most {text.percent(row['missing_worst_share'])} of one. "
        f"{row['missing_sentence'] or ''}"
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
    return f"The split is not the planned one ({planned}) within {len(off):,} of {len(rows):,} groups: {groups}{more}."


def _made_here(path: Path, present: Settings) -> bool:
    """Whether a file lies in a folder of the data folder that the pipeline writes itself."""
    folders = ("dagster", "logs", "outbox", "published", "warehouse")
    return any(path.resolve().is_relative_to(present.data_dir.resolve() / name) for name in folders)


def misplaced(path: Path, present: Settings, place: Path, what: str) -> list[str]:
    """What is said of a file in the data folder that lies where no tick reads it; nothing of one elsewhere.

    Args:
        path: The file.
        present: Where the data folder is.
        place: The folder that it belongs into.
        what: What it is.
    """
    found = path.resolve()
    if found.is_relative_to(place.resolve()) or not found.is_relative_to(present.data_dir.resolve()):
        return []
    return [f"{path}: {what} is not read here; move it to {place}"]


def late_dates(plan: Plan, now: datetime) -> list[str]:
    """What a person should know of a plan's dates before it is registered.

    Args:
        plan: The plan.
        now: The present moment.
    """
    if plan.sample:
        return []
    if plan.ends_at <= now:
        return [
            f"ends_at {plan.ends_at:%Y-%m-%d %H:%M} UTC is over: registered now, it ends at once, and its verdict is "
            "told as chosen in hindsight"
        ]
    if plan.starts_at <= now:
        return [
            f"starts_at {plan.starts_at:%Y-%m-%d %H:%M} UTC is over: registered now, its verdict is told as chosen in "
            "hindsight; let it begin later"
        ]
    return []


def validate(
    path: Annotated[Path, typer.Argument(help="A plan, a snapshot, or a folder with either.", exists=True)],
    as_json: AsJson = False,
) -> None:
    """Checks plans or snapshots without ingesting anything; status 1 where something would be refused.

    Example: et validate data/experiments/line-shop-v4.yaml
    """
    from et_pipeline.contracts.plan import MAX_PLAN_BYTES, Plan, parse_plan, unread_plans
    from et_pipeline.contracts.plan import UNREAD as LIKE_A_PLAN
    from et_pipeline.ingest.listing import UNREAD as LIKE_A_SNAPSHOT
    from et_pipeline.ingest.listing import looks_like_a_snapshot
    from et_pipeline.ingest.validate import SNAPSHOT_SUFFIXES, validate_snapshot
    from et_pipeline.publishing.directory import Directory, parse_directory
    from et_pipeline.settings import NOTIFICATIONS

    present = terminal.settings()
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    files = [item for item in files if not (path.is_dir() and _made_here(item, present))]
    plans = [item for item in files if item.suffix in (".yaml", ".yml")]
    snapshots = [item for item in files if item.name.endswith(SNAPSHOT_SUFFIXES)]
    if not plans and not snapshots:
        raise CommandError(
            f"{path} holds neither plans (.yaml) nor snapshots ({', '.join(SNAPSHOT_SUFFIXES)})"
        )
    unread = {item: LIKE_A_SNAPSHOT for item in files if looks_like_a_snapshot(item.name)}
    if path.is_dir() and path.resolve() == present.experiments_dir.resolve():
        unread |= dict.fromkeys(unread_plans(path), LIKE_A_PLAN)
    results: list[dict[str, Any]] = [
        {"path": str(item), "kind": "unread", "valid": False, "problems": [f"{item}: {why}"]}
        for item, why in unread.items()
    ]
    for item in (item for item in plans if item.name == NOTIFICATIONS):
        found = parse_directory(item.read_bytes(), item)
        problems = [] if isinstance(found, Directory) else [str(refusal) for refusal in found]
        results.append(
            {"path": str(item), "kind": "notifications", "valid": not problems, "problems": problems}
        )
    plans = [item for item in plans if item not in unread and item.name != NOTIFICATIONS]
    for item in plans:
        with item.open("rb") as file:
            outcome = parse_plan(file.read(MAX_PLAN_BYTES + 1), str(item))
        problems = [] if isinstance(outcome, Plan) else [str(refusal) for refusal in outcome]
        problems += misplaced(item, present, present.experiments_dir, "a plan")
        warnings = late_dates(outcome, present.now()) if isinstance(outcome, Plan) else []
        results.append(
            {
                "path": str(item),
                "kind": "plan",
                "valid": not problems,
                "problems": problems,
                "warnings": warnings,
            }
        )
    for item in snapshots:
        report = validate_snapshot(item, present)
        problems = [f"{item}:{row.line}: {row.reason}: {row.sentence}" for row in report.quarantine]
        problems += misplaced(item, present, present.report_bus_dir, "a snapshot")
        results.append(
            {
                "path": str(item),
                "kind": "snapshot",
                "valid": not problems,
                "lines": report.lines,
                "reports": report.reports,
                "skipped": report.skipped,
                "quarantined": report.quarantined,
                "waiting": report.waiting,
                "problems": problems,
            }
        )
    if as_json:
        terminal.print_json({"results": results})
    else:
        console = terminal.console()
        for result in results:
            mark = "[green]valid[/]  " if result["valid"] else "[red]refused[/]"
            counts = (
                f" ({result['lines']:,} lines, {result['quarantined']:,} bad)" if "lines" in result else ""
            )
            if result.get("waiting"):
                counts += f", {result['waiting']:,} ahead of the clock: they would wait for their time"
            console.print(f"{mark} {terminal.plain(result['path'])}{counts}", soft_wrap=True)
            for problem in result["problems"]:
                console.print(f"  {terminal.plain(problem)}", soft_wrap=True)
            for warning in result.get("warnings", []):
                console.print(f"  [yellow]warning[/] {terminal.plain(warning)}", soft_wrap=True)
    if not all(result["valid"] for result in results):
        raise typer.Exit(1)


def spec() -> None:
    """The bot's whole contract as JSON: authority, inputs, parameters, reason codes, outputs.

    Example: et spec | jq .reason_codes
    """
    from et_pipeline.governance.contract import contract

    terminal.print_json(contract())
