"""What a run leaves can be read by its user alone. All of a real run: `tests/pipelines/test_secrets.py`."""

import os
import subprocess
import sys
from pathlib import Path

WRITE = """
import os, sys
from pathlib import Path
os.umask(0)
from components.core.home import keep_files_private
from components.core.store import Store
from components.judging.cache import Cache, verdicts_path
from components.judging.verdicts import scored

keep_files_private()
home = Path(sys.argv[1])

def write(out):
    (out / "raw").mkdir()
    (out / "raw/table.csv").write_text("text,label")
    return {"rows": 1}

Store(home / "store").produce("download", "0" * 32, write)
with Cache(verdicts_path(home)) as cache:
    cache.keep({"key": scored(50, "good")})
    cache.remember("judge", None)
    print(sorted(path.name for path in home.iterdir()))
"""


def test_store_and_verdicts(tmp_path: Path) -> None:
    home = tmp_path / "home"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", WRITE, home], cwd=root, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    paths = [home, *home.rglob("*")]
    assert {"table.csv", "manifest.json", "verdicts.sqlite"} <= {path.name for path in paths}
    assert {oct(path.stat().st_mode & 0o777) for path in paths if path.is_dir()} == {"0o700"}
    assert {oct(path.stat().st_mode & 0o777) for path in paths if path.is_file()} == {"0o600"}
