"""`gradus sync`: send what runs have kept while MLflow was away."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.core.errors import TrackingError
from components.tracking.names import ERROR_TAG, NOTE_TAG, ORPHANED, OUTBOX_TAG
from components.tracking.outbox.journal import Outbox
from components.tracking.outbox.sending import POINTS_A_CALL, Sender
from components.tracking.relocation import OUTBOX
from components.tracking.stores import StoreAway, open_client, shown_store, without_password


@dataclass(frozen=True)
class Sent:
    """What became of a run that waited."""

    name: str
    run_id: str | None
    """MLflow's id of the run, if it has one."""
    error: str = ""
    """Why not all of it was sent; empty if it was."""
    by_itself: bool = False
    """Whether its own process, or another `gradus sync`, is sending it."""


def sync(home: Path) -> Iterator[Sent]:
    """Send what runs of this home have kept, one after the other, the oldest first.

    It may be stopped at any moment and run again: what has arrived is not sent again, or without effect. A run that is
    being sent by its own process or by another `gradus sync` is left to that (`Sent.by_itself`).

    Yields:
        What became of each run.

    Raises:
        TrackingError: if the store does not answer.
    """
    folders = [path for path in (home / OUTBOX).glob("[!.]*") if path.is_dir()]
    waiting = [Outbox(path) for path in sorted(folders, key=lambda path: path.stat().st_mtime)]
    if waiting:
        open_client(home)
    for outbox in waiting:
        if sent := send_kept(outbox.folder, home):
            yield sent
        elif outbox.folder.exists():
            yield Sent(str(outbox.state.get("name")), outbox.state.get("run_id"), by_itself=True)


def send_kept(folder: Path, home: Path) -> Sent | None:
    """Send what one run has kept and remove it; None if another process does."""
    outbox = Outbox(folder)
    if not outbox.hold():
        return None
    try:
        outbox.read_state()
        if not (error := _other_store(outbox, home)):
            _end_if_dead(outbox)
            sender = Sender(outbox, home, again=True, late=True)
            while (portion := outbox.read(POINTS_A_CALL))[0]:
                sender.send(*portion)
            outbox.remove()
    except StoreAway as away:
        error = str(away)
    except TrackingError as refused:
        error = f"{refused}; to give it up, delete {folder}"
    finally:
        outbox.release()
    return Sent(str(outbox.state.get("name")), outbox.state.get("run_id"), error)


def is_left_to_sync(tags: Mapping[str, str]) -> bool:
    """Tell whether a run that is open in MLflow, and has no process any more, needs nobody here to close it.

    If it came to its end and is kept on this machine's disk, `gradus sync` sends it. What a process that was killed has
    left is little, and is sent now.
    """
    folder = Path(tags.get(OUTBOX_TAG) or os.devnull)
    if not folder.is_dir():
        return False
    outbox = Outbox(folder)
    # Unless its end was written down by `_end_if_dead`, in a process that was killed before all was sent.
    dead = any(each["op"] == "tags" and each["values"].get(ERROR_TAG) == ORPHANED for each in outbox.operations())
    if outbox.ended and not dead:
        return True
    if outbox.position == outbox.size and outbox.hold():
        outbox.remove()
        return False
    sent = send_kept(folder, folder.parents[1])
    return sent is None or not sent.error or folder.is_dir()


def _other_store(outbox: Outbox, home: Path) -> str:
    """Say what to do if a run was meant for another store than the environment names."""
    then, now = without_password(outbox.state.get("store", "")), shown_store(home)
    if then == now or (now and "run_id" not in outbox.state):  # never reached: the address may have been wrong
        return ""
    if not then:
        return "it is in the local store: run `gradus sync` without MLFLOW_TRACKING_URI"
    return f"it belongs to {then}: set MLFLOW_TRACKING_URI to that"


def _end_if_dead(outbox: Outbox) -> None:
    """Write down that a run whose process is gone was killed; who asks holds its lock, so no process has it open."""
    if outbox.state.get("attached") or outbox.ended:
        return
    times = [operation["time"] for operation in outbox.operations()]
    if not times:
        return
    tags = {ERROR_TAG: ORPHANED, NOTE_TAG: f"Killed: {ORPHANED}"}
    outbox.append({"op": "tags", "time": times[-1], "values": tags})
    outbox.append({"op": "end", "time": times[-1], "status": "KILLED"})
