"""`gradus data`: commands that look at data itself."""

import typer

from pipelines.cli.data import labels, prepare, publish, read

app = typer.Typer(no_args_is_help=True, help="Prepare data, read it back, and find labels that are probably wrong.")
app.command("prepare", epilog=prepare.EXAMPLES)(prepare.prepare)
app.command("read", epilog=read.EXAMPLES)(read.read)
app.command("labels", epilog=labels.EXAMPLES)(labels.labels)
app.command("mend", epilog=labels.MEND_EXAMPLES)(labels.mend)
app.command("publish", epilog=publish.EXAMPLES)(publish.publish)
