"""`gradus judge`: have an existing run's responses judged by another judge."""

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, print_result, results, say, set_defaults

if TYPE_CHECKING:
    from pipelines.judging import Compared, Figures, JudgementResult

EXAMPLES = """
[bold]Examples[/bold]\n
gradus judge 0a1b2c3d --set judge.model=phi3\n
gradus judge models:/instruct@candidate --set judge.kind=lexical\n
gradus judge 0a1b2c3d --set judge.kind=openai --set judge.model=qwen3 --set judge.url=http://gpu1:8000 --json
"""

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="judge.KEY=VALUE", help="What is other than in the run; may be repeated."),
]


def judge(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run id, 8 or more of its first characters, or a models:/ address.")
    ],
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Judge a finished instruction run's responses with another judge, and see how far the two agree.

    The judge is set up as in the run, but for what --set says. Verdicts, agreement and metrics are logged to the run,
    under `judgements/`; its own figures stay. Verdicts are kept as they are made: after an interruption, the same
    command asks the rest. Exit codes: 0 done, 1 the judge failed, 2 bad usage.
    """
    with errors_as_lines(debug):
        set_defaults()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        from components.core.home import home
        from pipelines.judging import judge_run

        found = judge_run(run, overrides or [], home())
        print_result(found, as_json, _show)
        for warning in found.warnings:
            say(f"gradus: {warning}", style="yellow")


def _show(found: "JudgementResult") -> None:
    from rich.table import Table
    from rich.text import Text

    from pipelines.judging import TITLES

    console = results()
    for when, facts in (("before", found.judge_before), ("now", found.judge)):
        console.print(Text(f"{when:<6}  {facts['judge']['name']}"), soft_wrap=True)
    scores = Table("mean score (95 %)", "before", "now", "rows of both", "Pearson", "Spearman", "Kendall")
    for column in scores.columns[1:]:
        column.justify = "right"
    for of, title in TITLES.items():
        figures = [each.get(of) for each in (found.figures_before, found.figures)]
        if any(figures):
            scores.add_row(title, *map(_mean, figures), *_agreement(found.agreement.get(of)))
    console.print(scores)
    if (control := found.judge["control"])["rows"]:
        scored = f"another row's reference {control['other']:.1f}, the row's own {control['own']:.1f}"
        console.print(Text(f"control on {control['rows']} rows: {scored}"), soft_wrap=True)
    console.print(Text(found.sentence))
    if found.spent:
        console.print(Text(found.spent), soft_wrap=True)
    console.print(Text(f"run {found.run_id}: {found.artifacts}"), soft_wrap=True)


def _mean(figures: "Figures | None") -> str:
    if figures is None:
        return "-"
    unread = f", {figures.unparsed_share:.1%} not read" if figures.unparsed_share else ""
    if figures.score is None:
        return f"none{unread}"
    return f"{figures.score:.1f} ({figures.low:.1f}-{figures.high:.1f}){unread}"


def _agreement(found: "Compared | None") -> list[str]:
    if found is None:
        return ["-"] * 4
    values = (found.pearson, found.spearman, found.kendall)
    return [f"{found.rows:,}", *("undefined" if value is None else f"{value:.2f}" for value in values)]
