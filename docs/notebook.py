"""A notebook for analysts: a path and a breakdown from the published database.

Open it with `marimo edit docs/notebook.py` (pip install marimo matplotlib), or run it: `python docs/notebook.py`.
It reads `data/published/experiments.duckdb`, or that of the folder in `ET_DATA_DIR`.
"""

import marimo

app = marimo.App()


@app.cell
def _():
    import os
    from pathlib import Path

    import duckdb
    import marimo as mo
    import matplotlib.pyplot as plt
    import polars as pl

    published = Path(os.environ.get("ET_DATA_DIR", "data")) / "published"
    connection = duckdb.connect(str(published / "experiments.duckdb"), read_only=True)
    return connection, mo, pl, plt


@app.cell
def _(connection, mo, pl):
    experiments = pl.DataFrame(
        connection.sql(
            "SELECT experiment_id, verdict, sentence FROM verdicts WHERE n_pairs > 0 ORDER BY experiment_id"
        )
    )
    chosen = mo.ui.dropdown(experiments["experiment_id"].to_list(), value="line-shop-v4", label="Experiment")
    mo.vstack([mo.md("# How does each experiment stand?"), experiments, chosen])
    return (chosen,)


@app.cell
def _(chosen, connection, mo, pl, plt):
    path = pl.DataFrame(
        connection.sql(
            """
        SELECT p.metric, p.as_of, p.mean_uplift, p.ci_lower, p.ci_upper
        FROM interval_path AS p JOIN experiment_metrics AS m USING (experiment_id, metric)
        WHERE p.experiment_id = ? AND m.role = 'primary' ORDER BY p.as_of
        """,
            params=[chosen.value],
        )
    )
    _figure, _axes = plt.subplots(figsize=(8, 3.5))
    _axes.fill_between(path["as_of"], path["ci_lower"], path["ci_upper"], alpha=0.3, label="interval")
    _axes.plot(path["as_of"], path["mean_uplift"], label="mean uplift")
    _axes.axhline(0, color="black", linewidth=1)
    _axes.set_ylabel(path["metric"][0])
    _axes.legend()
    mo.vstack([mo.md("## How its interval narrowed"), _figure])
    return (path,)


@app.cell
def _(chosen, connection, mo, pl, plt):
    breakdown = pl.DataFrame(
        connection.sql(
            """
        SELECT dimension, value, n_pairs, mean_uplift, ci_lower, ci_upper FROM breakdowns
        WHERE experiment_id = ? AND ci_lower IS NOT NULL ORDER BY dimension, mean_uplift
        """,
            params=[chosen.value],
        )
    )
    _figure, _axes = plt.subplots(figsize=(8, 0.5 * len(breakdown) + 1.5))
    _names = [f"{row['dimension']} {row['value']}" for row in breakdown.iter_rows(named=True)]
    _axes.hlines(_names, breakdown["ci_lower"], breakdown["ci_upper"])
    _axes.plot(breakdown["mean_uplift"], _names, "o")
    _axes.axvline(0, color="black", linewidth=1)
    mo.vstack([mo.md("## Where it comes from\n\nExploratory: a breakdown decides nothing."), _figure])
    return (breakdown,)


if __name__ == "__main__":
    app.run()
