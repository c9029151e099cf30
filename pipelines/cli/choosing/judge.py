"""`gradus judge`: have an existing run's responses judged, alone or against another run's, and judge the judge."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import (
    AsJson,
    Debug,
    RunArgument,
    errors_as_lines,
    print_result,
    results,
    stop_cleanly,
    warn,
)

if TYPE_CHECKING:
    from pipelines.comparing.pairwise import PairwiseResult
    from pipelines.comparing.rating import RatingsReport
    from pipelines.judging import Compared, Figures, JudgementResult

EXAMPLES = """
[bold]Examples[/bold]\n
gradus judge 0a1b2c3d --set judge.model=phi3\n
gradus judge models:/instruct@candidate --set judge.kind=lexical\n
gradus judge 0a1b2c3d --set judge.kind=openai --set judge.model=qwen3 --set judge.url=http://gpu1:8000 --json\n
gradus judge 0a1b2c3d --against models:/instruct@champion\n
gradus judge 0a1b2c3d --ratings
"""

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="judge.KEY=VALUE", help="What is other than in the run; may be repeated."),
]


def judge(
    run: RunArgument,
    against: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Ask which of both runs' responses is better, in both orders."),
    ] = None,
    ratings: Annotated[
        bool, typer.Option("--ratings", help="Ask nobody: show how far judges agree with people's ratings.")
    ] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Judge a finished instruction run's responses with another judge, and see how far the two agree.

    The judge is set up as in the run, but for what --set says. Verdicts, agreement and metrics are logged to the run,
    under `judgements/`; its own figures stay. With --against the judge sees both runs' responses to the same
    instructions, and what it prefers is logged under `pairwise/`: win rate, ties, how many verdicts flip with the
    order, and the win rate controlled for length. Verdicts are kept as they are made: after an interruption, the same
    command asks the rest. Exit codes: 0 done, 1 the judge failed, 2 bad usage.
    """
    with errors_as_lines(debug):
        stop_cleanly()
        from components.core.errors import ConfigError
        from components.core.home import home

        if ratings and (against or overrides):
            raise ConfigError("--ratings asks no judge: leave --against and --set out")
        found: JudgementResult | PairwiseResult | RatingsReport
        if ratings:
            from pipelines.comparing.rating import ratings_report

            found = ratings_report(run, home())
            print_result(found, as_json, _show_ratings)
        elif against:
            from pipelines.comparing.pairwise import judge_against

            found = judge_against(run, against, overrides or [], home())
            print_result(found, as_json, _show_pairs)
        else:
            from pipelines.judging import judge_run

            found = judge_run(run, overrides or [], home())
            print_result(found, as_json, _show)
        warn(found.warnings)


def _show_pairs(found: "PairwiseResult") -> None:
    from rich.table import Table
    from rich.text import Text

    from pipelines.comparing.printed import said_of_people

    console, outcome = results(), found.outcome
    console.print(Text(f"judge  {found.judge['judge']['name']}"), soft_wrap=True)
    table = Table(f"{found.run_id[:8]} against {found.against[:8]}", "", "95 % interval")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("wins, ties, losses", f"{outcome.wins:,}, {outcome.ties:,}, {outcome.losses:,}", "")
    table.add_row("win rate (ties half)", f"{outcome.win_rate:.1%}", _ends(outcome.interval))
    if controlled := outcome.controlled:
        table.add_row("controlled for length", f"{controlled.win_rate:.1%}", _ends(controlled.interval))
    if outcome.longer_won is not None:
        table.add_row("won by the longer response", f"{outcome.longer_won:.1%}", "")
    if outcome.flip_share is not None and outcome.flip_interval:
        table.add_row("verdicts that flip with the order", f"{outcome.flip_share:.1%}", _ends(outcome.flip_interval))
    table.add_row("same response, not asked", f"{found.same:,}", "")
    table.add_row("rows with an unreadable verdict", f"{outcome.unread:,}", "")
    console.print(table)
    console.print(Text(found.sentence))
    if found.people:
        console.print(Text(said_of_people(found.people)))
    console.print(Text(f"run {found.run_id}: {found.artifacts}"), soft_wrap=True)


def _ends(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"


def _show_ratings(found: "RatingsReport") -> None:
    from rich.table import Table
    from rich.text import Text

    from components.reporting.comparison import shown_kappa

    console = results()
    rated = f"{found.rated:,} responses rated by {found.people:,} people: {found.mean:.1f} on average"
    console.print(Text(f"{rated}, {found.good_share:.1%} of them good (70 or more)"), soft_wrap=True)
    table = Table("good or not, as people say", "rows", "agreed", "Cohen's kappa")
    for each in found.judges:
        for name, kappa in ((each.judge, each.agreement), ("the longer half is good", each.longer)):
            table.add_row(Text(name), f"{each.rows:,}", f"{kappa.agreed:.1%}", shown_kappa(kappa))
    console.print(table)


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
