"""`gradus promote`: make a model the champion, if it is shown not to be worse than the present one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, print_result, results, warn

if TYPE_CHECKING:
    from pipelines.promoting.promote import PromotionResult

EXAMPLES = """
[bold]Examples[/bold]\n
gradus promote 9f8e7d6c\n
gradus promote models:/spam-classifier@candidate\n
gradus promote 9f8e7d6c --dry-run\n
gradus promote 9f8e7d6c --margin 0.02 --rules mlflow/promotion.yaml\n
gradus promote models:/spam-classifier/4 --force --reason "recall matters more here"
"""


def promote(
    model: Annotated[
        str, typer.Argument(metavar="RUN_OR_MODEL", help="A run id or its beginning, a runs:/ or models:/ address.")
    ],
    model_name: Annotated[
        str | None, typer.Option(help="The registered model, where the run's model has versions of several.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="How much worse it may be: a share of right ones (0.01), or points of a judge's score (2)."),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML with rules of your own, instead of `promotion.rules`.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Promote whatever the rules say; needs --reason.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; kept as a tag of the version and of the run.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Set the alias `champion` on a model's version, if no rule of level `error` fails.

    On at least 100 test rows that neither was trained on, the lower end of the 95 % interval of the difference must be
    above minus the margin, of accuracies or of instruction runs the same judge's scores: beside the champion, and
    beside earlier ones that were neither forced nor rolled back; and above 0 beside the majority class, or the model
    that it started from. The other rules are those of --rules, of the file that the run's `promotion.rules` names, and
    of Gradus itself. The margin is that of --margin, or of the registered model's tag `gradus.promotion.margin`, or of
    the rules, or 0.01 (2 points of a judge's score). The version is loaded before the alias moves. The former champion
    becomes `previous_champion`. Exit codes: 0 done, or it is the champion already; 1 refused, nothing changed; 2 bad
    usage.
    """
    with errors_as_lines(debug):
        from components.core.errors import PromotionRefused
        from components.core.home import home
        from pipelines.promoting.promote import promote as decide

        try:
            found = decide(model, home(), model_name, force, reason, margin, str(rules) if rules else None, dry_run)
        except PromotionRefused as error:
            if error.result:
                print_result(error.result, as_json, _show_rules)
            raise
        print_result(found, as_json, _show)
        warn(found.warnings)


def _show(found: "PromotionResult") -> None:
    _show_rules(found)
    typer.echo(found.sentence)


def _show_rules(found: "PromotionResult") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("rule", "level", "value", "limit", "verdict", "why")
    for each in found.rules:
        style = {"passed": "green", "failed": "red" if each.level == "error" else "yellow"}.get(each.verdict, "")
        cells = (each.rule, each.level, _cell(each.value), _cell(each.limit))
        table.add_row(*map(Text, cells), Text(each.verdict, style), Text(each.sentence))
    if table.rows:
        results().print(table)


def _cell(value: float | str | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.4g}"
