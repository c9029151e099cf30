"""Telling Prefect's server what is deployed: work pools, deployments with their triggers, and automations."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from pydantic import BaseModel, ValidationError

from components.core.errors import ConfigError, GradusError
from pipelines.config import read_tree

if TYPE_CHECKING:
    from prefect.events.schemas.automations import AutomationCore

AUTOMATIONS = "automations.yaml"
"""Beside the file of deployments: what the server does by itself. There may be none."""
BLOCK = "block"
"""Key of an action: the name of the block that it uses, a webhook where it calls one, else one that can notify."""
CALL, WEBHOOK = "call-webhook", "webhook"
SECRET = "secret"
"""Prefect's type of blocks that hold a secret, encrypted in its database."""
OF_ENVIRONMENT = "gradus-env-"
"""What the names of secret blocks begin with that runs get as variables of their environment."""
SAID = 20
"""Lines of what Prefect's command said that an error shows."""


class Deployed(BaseModel):
    """What stands on the server now, and what `gradus deploy --json` prints."""

    pools: list[str]
    """Work pools that were made."""
    deployments: list[str]
    automations: list[str]
    secrets: list[str] = []
    """Variables that runs get from secret blocks."""
    left_out: list[str] = []
    """Automations that have nobody to tell: there is no block of the name that they give."""


def deploy(file: Path) -> Deployed:
    """Apply a `prefect.yaml` and the automations beside it; what is there already is brought up to date.

    Raises:
        ConfigError: if a file is missing or says something that Prefect does not know, or no server is set up.
        GradusError: if the server does not answer, or refuses.
    """
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise ConfigError("no Prefect server is set up to deploy to: set PREFECT_API_URL (deploy/README.md)")
    entries = _read(file).get("deployments") or []
    pools = sorted({entry["work_pool"]["name"] for entry in entries if entry.get("work_pool")})
    automations = _automations(file.parent / AUTOMATIONS)
    made = [pool for pool in pools if _make_pool(pool)]
    secrets = _give_secrets(pools)
    _prefect("deploy", "--prefect-file", str(file), "--all")
    put = [automation for automation in automations if _put(automation, file.parent / AUTOMATIONS)]
    names = [f"{_flow_name(entry)}/{entry['name']}" for entry in entries]
    left_out = [each["name"] for each in automations if each not in put]
    return Deployed(
        pools=made,
        deployments=names,
        automations=[each["name"] for each in put],
        secrets=sorted(secrets),
        left_out=left_out,
    )


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ConfigError(f"there is no file {file}: name one with --file, or stand in a checkout of Gradus")
    return read_tree(file, str(file), "it is a mapping of keys such as deployments or automations")


def _flow_name(entry: dict[str, Any]) -> str:
    from prefect.flows import load_flow_from_entrypoint

    return load_flow_from_entrypoint(entry["entrypoint"]).name


def _make_pool(name: str) -> bool:
    """Make a work pool of type process, unless there is one of that name, of whatever type."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    from pipelines.prefect_runs import server_errors

    with server_errors("cannot be used"), get_client(sync_client=True) as client:
        try:
            client.read_work_pool(name)
        except ObjectNotFound:
            template = ProcessWorker.get_default_base_job_template()
            client.create_work_pool(WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template))
            return True
    return False


def _give_secrets(pools: list[str]) -> dict[str, str]:
    """Let the runs of pools have what secret blocks hold: their workers look it up when a run begins.

    It stands in the pools, as references: `prefect deploy` would write what a deployment refers to into it.

    Returns:
        The reference of each variable.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolUpdate

    from pipelines.prefect_runs import server_errors

    with server_errors("cannot be used"), get_client(sync_client=True) as client:
        blocks = client.read_block_documents(include_secrets=False)
        names = [str(each.name) for each in blocks if each.block_type and each.block_type.slug == SECRET]
        found = {
            name.removeprefix(OF_ENVIRONMENT).upper().replace("-", "_"): f"{{{{ prefect.blocks.{SECRET}.{name} }}}}"
            for name in names
            if name.startswith(OF_ENVIRONMENT)
        }
        for pool in pools:
            template = client.read_work_pool(pool).base_job_template
            env = template["variables"]["properties"].setdefault("env", {"type": "object"})
            before = env.get("default") or {}
            env["default"] = {key: value for key, value in before.items() if OF_ENVIRONMENT not in str(value)} | found
            if env["default"] != before:
                client.update_work_pool(pool, WorkPoolUpdate(base_job_template=template))
    return found


def _prefect(*arguments: str) -> None:
    """Run Prefect's command, which knows best what its file means.

    Raises:
        GradusError: with the end of what it said, if it failed.
    """
    from prefect.settings import get_current_settings

    settings = get_current_settings().to_environment_variables(exclude_unset=True, include_secrets=True)
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    environment = {**os.environ, **settings, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        raise GradusError("\n".join([f"`prefect {' '.join(arguments)}` failed:", *said[-SAID:]]))


def _automations(file: Path) -> list[dict[str, Any]]:
    """Return a file's automations as they are written, if Prefect knows what they say."""
    if not file.is_file():
        return []
    found = _read(file).get("automations") or []
    for entry in found:
        _checked(_with_blocks(entry, lambda _: uuid4()), file)
    return found


def _checked(entry: dict[str, Any], file: Path) -> "AutomationCore":
    from prefect.events.schemas.automations import AutomationCore

    try:
        return AutomationCore.model_validate(entry)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ConfigError(f"{file}: {found}") from error


def _with_blocks(entry: dict[str, Any], id_of: Callable[[dict[str, Any]], UUID | None]) -> dict[str, Any]:
    """Put the ids of blocks in the place of their names (`block`); an action whose block is not there is left out."""
    if not isinstance(entry, dict) or not isinstance(entry.get("actions"), list):
        return entry  # which Prefect has more to say about
    actions = []
    for action in entry["actions"]:
        if not isinstance(action, dict) or BLOCK not in action:
            actions.append(action)
        elif found := id_of(action):
            actions.append({key: value for key, value in action.items() if key != BLOCK} | {"block_document_id": found})
    return entry | {"actions": actions}


def _put(entry: dict[str, Any], file: Path) -> bool:
    """Make an automation, or change the one of that name, so that nothing happens twice; False if it has no action."""
    from prefect.client.orchestration import get_client

    from pipelines.prefect_runs import server_errors

    with server_errors("refused an automation"), get_client(sync_client=True) as client:
        blocks = client.read_block_documents(include_secrets=False)
        known = {(each.name, bool(each.block_type and each.block_type.slug == WEBHOOK)): each.id for each in blocks}
        found = _with_blocks(entry, lambda action: known.get((action[BLOCK], action["type"] == CALL)))
        if not found["actions"]:
            return False
        automation = _checked(found, file)
        before = client.read_automations_by_name(automation.name)
        if before:
            client.update_automation(before[0].id, automation)
        else:
            client.create_automation(automation)
    return True
