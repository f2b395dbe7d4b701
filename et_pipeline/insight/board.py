"""The index page for hundreds of experiments: groups by what a person must do, filters, and orders within a group.

The page has no script. Each filter and each order is a choice in a list on the page, and the style sheet has rules that
depend on what is chosen. So each row contains the classes that filters match, and its position in each order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from et_pipeline.governance.judgement import Standing
from et_pipeline.governance.next_steps import GROUPS
from et_pipeline.insight.charts import Bar, Chart, interval_mark
from et_pipeline.insight.findings import badge
from et_pipeline.insight.read import Row

FAR = datetime.max


class Section(NamedTuple):
    """One group of the index.

    Attributes:
        key: Its name in `GROUPS`.
        title: Its heading.
        needs_me: Whether somebody has to do something.
        rows: Its experiments: rows of `read_index` with what `_show` added.
    """

    key: str
    title: str
    needs_me: bool
    rows: list[Row]


class Filter(NamedTuple):
    """One list of choices.

    Attributes:
        name: Its id on the page.
        label: What is written beside it.
        choices: For each choice, the class of the rows that match and the text of the choice.
    """

    name: str
    label: str
    choices: list[tuple[str, str]]


class Order(NamedTuple):
    """One order of the rows of a group.

    Attributes:
        name: Its name on the page.
        label: What is written in the list.
        key: Returns the value by which a row is sorted.
    """

    name: str
    label: str
    key: Callable[[Row], Any]


ORDERS = (
    Order("newest", "newest first", lambda row: (-row["starts_at"].timestamp(), row["experiment_id"])),
    Order("oldest", "oldest first", lambda row: (row["starts_at"], row["experiment_id"])),
    Order("title", "title", lambda row: (row["title"].casefold(), row["experiment_id"])),
    Order("owner", "owner", lambda row: (row["owner"].casefold(), row["experiment_id"])),
    Order(
        "pairs", "most pairs first", lambda row: (-(_point(row).get("n_pairs") or 0), row["experiment_id"])
    ),
    Order("look", "next look first", lambda row: (row["next_look"] or FAR, row["experiment_id"])),
)
"""All orders; the first one is used unless another is chosen."""


def sections(experiments: Sequence[Row], as_of: datetime | None) -> list[Section]:
    """The groups that have experiments, the most urgent first.

    Args:
        experiments: Rows of `read_index`.
        as_of: The newest moment for which there is any figure (UTC); None where there is no figure.
    """
    owners = _numbered(row["owner"] for row in experiments)
    for row in experiments:
        _show(row, as_of)
        row["classes"] = f"{owners[row['owner']]} {_of_state(row)} {_of_label(row)}"
    for order in ORDERS:
        for place, row in enumerate(sorted(experiments, key=order.key)):
            row.setdefault("places", {})[order.name] = place
    found = {key: [row for row in experiments if row["group"] == key] for key in GROUPS}
    return [Section(key, *GROUPS[key], rows) for key, rows in found.items() if rows]


def filters(experiments: Sequence[Row]) -> list[Filter]:
    """The lists of choices, made from rows after `sections` has added to them."""
    owners = _numbered(row["owner"] for row in experiments)
    states = {_of_state(row): _state(row).replace("_", " ") for row in experiments}
    labels = {_of_label(row): row["label"] for row in experiments}
    return [
        Filter("owner", "Owner", [(name, owner) for owner, name in owners.items()]),
        Filter("state", "State", sorted(states.items())),
        Filter("verdict", "Verdict", sorted(labels.items())),
    ]


def _numbered(owners: Any) -> dict[str, str]:
    """A CSS class for each owner, since an owner's name may not be a valid name of a class."""
    return {
        owner: f"o-{number}"
        for number, owner in enumerate(sorted(set(owners), key=lambda name: name.casefold()))
    }


def _state(row: Row) -> str:
    return row["state"] or "registered"


def _of_state(row: Row) -> str:
    return f"s-{_state(row)}"


def _of_label(row: Row) -> str:
    return "v-" + "".join(letter if letter.isalpha() else "-" for letter in row["label"].lower())


def _point(row: Row) -> dict[str, Any]:
    primary: Standing | None = row["primary"]
    return {} if primary is None else primary.point


def _show(row: Row, as_of: datetime | None) -> None:
    """Adds to a row everything else that the index shows of one experiment."""
    row["label"], row["tone"] = badge(row["verdict"], row["state"], row["reason"], row["follows"])
    row["untrue"] = bool(row["replay"]) and row["replay"].state == "unfaithful"
    row["notes"] = [
        words
        for words, holds in (
            ("Replay unknown", row["verdict"] and row["replay"] and row["replay"].state == "unknown"),
            ("Registered in hindsight", row["registered_in_hindsight"]),
            ("Sample data", row["sample"]),
        )
        if holds
    ]
    row["shown"] = row["replay"].like if row["untrue"] else _point(row)
    row["mark"] = _mark(row["primary"], row["shown"])
    row["next_look"] = _point(row).get("next_look_at") if row["state"] == "sampling" else None
    row["days"], row["of_days"] = _age(row, as_of)


def _mark(primary: Standing | None, shown: dict[str, Any]) -> Chart | None:
    """The interval as a small picture; None where there is none yet."""
    if primary is None or shown.get("ci_lower") is None or shown.get("ci_upper") is None:
        return None
    ends = (shown["mean_uplift"], shown["ci_lower"], shown["ci_upper"])
    return interval_mark(Bar("", "", *ends, primary.limit, primary.equal, primary.tone))


def _age(row: Row, as_of: datetime | None) -> tuple[int | None, int]:
    """Days that an experiment has run, up to its decision (None before its start), and the days of its window."""
    day = timedelta(days=1)
    until = min(row["decided_as_of"] or as_of or row["starts_at"], row["ends_at"])
    begun = as_of is not None and as_of > row["starts_at"]
    return (until - row["starts_at"]) // day if begun else None, -((row["starts_at"] - row["ends_at"]) // day)
