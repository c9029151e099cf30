"""`gradus doctor`: what this machine has of what runs need."""

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, print_result, results

STYLES = {"ok": "green", "note": "yellow", "missing": "red"}


def doctor(as_json: AsJson = False, debug: Debug = False) -> None:
    """Look at what runs need of this machine, and say what to do about what is missing. Nothing is changed.

    Exit codes: 0 runs can start; 1 something is missing that every run needs.
    """
    with errors_as_lines(debug):
        from pipelines.doctor import Diagnosis, diagnose

        def show(found: Diagnosis) -> None:
            from rich.table import Table

            table = Table("", "found", "what to do", box=None, pad_edge=False)
            for each in found.findings:
                mark = f"[{STYLES[each.verdict]}]{each.name}[/]"
                table.add_row(mark, each.found, each.advice)
            results().print(table)

        found = diagnose()
        print_result(found, as_json, show)
        if not found.fit:
            raise typer.Exit(1)
