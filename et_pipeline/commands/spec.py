"""`et spec`: the bot's whole contract as one JSON document."""

from et_pipeline.commands import terminal


def spec() -> None:
    """Prints the bot's whole contract as JSON: authority, inputs, parameters, reason codes and outputs.

    Example: et spec | jq .reason_codes
    """
    from et_pipeline.governance.contract import contract

    terminal.print_json(contract())
