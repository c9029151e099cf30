"""Two machines that share a network and nothing else: a run whose machine is lost is taken up by the other."""

import re
import shutil
import signal
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from tests.deploy.hosts import OURS, Host, Network
from tests.deploy.service import Service, wait_until
from tests.pages import ROOT
from tests.ports import free_port

PASSWORD = "gradus:of-this-test"
EPOCHS = 15
pytestmark = [pytest.mark.slow, pytest.mark.minutes, pytest.mark.timeout(3600)]


class Hosts:
    """A Prefect server, an MLflow server and a bucket on this machine, and a worker on each of two others."""

    def __init__(self, folder: Path) -> None:
        self.network = Network()
        self.folder = folder
        self.tracking = f"http://{OURS}:{free_port()}"
        bucket, self.files = f"http://{OURS}:{free_port()}", f"http://{OURS}:{free_port()}"
        told = {
            "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
            "PREFECT_API_AUTH_STRING": PASSWORD,
            "MLFLOW_TRACKING_URI": self.tracking,
            "AWS_ENDPOINT_URL": bucket,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "GRADUS_STORE_REMOTE": "s3://gradus/store",
            "GRADUS_HOME": str(folder / "home"),
            "OMP_NUM_THREADS": "1",
        }
        self.service = Service(folder, told)
        self.service.api = self.service.api.replace("127.0.0.1", OURS)
        leases = "prefect.server.concurrency.lease_storage.filesystem"
        self.service.environment |= {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": leases}
        self.service.environment |= {"PREFECT_API_URL": self.service.api, "PREFECT_SERVER_API_HOST": OURS}
        self._start(bucket)
        self.hosts = [self._add(name) for name in "ab"]

    def _start(self, bucket: str) -> None:
        shutil.copy(ROOT / "components/data/samples/spam.tsv", self.folder / "messages.tsv")
        self.service.start("prefect server start")
        place = f"--backend-store-uri sqlite:///{self.folder}/mlflow.db --artifacts-destination {self.folder}/artifacts"
        port = self.tracking.rpartition(":")[2]
        self.service.start(f"mlflow server --host {OURS} --port {port} --allowed-hosts '*' --workers 1 {place}")
        self.service.start(f"moto_server -H {OURS} -p {bucket.rpartition(':')[2]}")
        self.source = self.service.start(f"python -m http.server --bind {OURS} {self.files.rpartition(':')[2]}")
        wait_until(self.service.answers, self.service)
        wait_until(lambda: self._bucket(bucket), self.service)
        for name in ("prefect.yaml", "automations.yaml"):
            text = (ROOT / "deploy" / name).read_text()
            (self.folder / name).write_text(text.replace("within: 180", "within: 75"))
        self.service.type(f"gradus deploy --file {self.folder}/prefect.yaml")

    def _bucket(self, address: str) -> bool:
        import boto3
        from botocore.exceptions import EndpointConnectionError

        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing-secret"}
        self.client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys)
        try:
            self.client.create_bucket(Bucket="gradus")
        except EndpointConnectionError:
            return False
        return True

    def _add(self, name: str) -> Host:
        folder = self.folder / name
        own = {"GRADUS_HOME": f"{folder}/home", "PREFECT_HOME": f"{folder}/prefect", "TMPDIR": str(folder)}
        host = self.network.add(name, self.service.environment | own, folder)
        host.start("prefect worker start --pool gradus --limit 1")
        return host

    def begin(self, epochs: int) -> str:
        """Start a training on data that one server has, and return its flow run's id."""
        digest = sha256((self.folder / "messages.tsv").read_bytes()).hexdigest()
        keys = [
            f"source.url={self.files}/messages.tsv",
            f"source.sha256={digest}",
            f"train.epochs={epochs}",
            "train.checkpoint_minutes=0.05",
            "tracking.system_metrics=false",
        ]
        parameters = yaml.safe_dump({"preset": "spam-demo", "overrides": keys}, default_flow_style=True, width=10**6)
        with self.service.client() as client:
            deployment = client.read_deployment_by_name("classification/training")
            return str(client.create_flow_run_from_deployment(deployment.id, parameters=yaml.safe_load(parameters)).id)

    def stored(self, name: str) -> list[str]:
        """Return the names of what the bucket holds that match."""
        found = self.client.list_objects_v2(Bucket="gradus").get("Contents", [])
        return [each["Key"] for each in found if re.search(name, each["Key"])]

    def busy(self) -> Host:
        """Return the host that has the training."""
        return next(host for host in self.hosts if list(host.folder.glob("home/store/fine_tune/.*-*")))

    def state(self, flow_run: str) -> Any:
        return self.service.flow_run(flow_run).state

    def mlflow_runs(self) -> list[Any]:
        """Return all runs, the first one first."""
        client = MlflowClient(self.tracking)
        experiments = [each.experiment_id for each in client.search_experiments()]
        return list(client.search_runs(experiments, order_by=["attributes.start_time ASC"]))

    def versions(self) -> list[Any]:
        return list(MlflowClient(self.tracking).search_model_versions("name = 'spam-demo'"))

    def stop(self) -> None:
        self.network.remove()
        self.service.stop()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    hosts = Hosts(tmp_path)
    try:
        yield hosts
    finally:
        hosts.stop()


def wait(hosts: Hosts, true: Any) -> None:
    try:
        wait_until(true, hosts.service, 900)
    except AssertionError as error:
        logs = "\n".join(host.log.read_text()[-4000:] for host in hosts.hosts)
        raise AssertionError(f"{error}\n{logs}") from None


def test_a_run_whose_host_is_gone_is_taken_up_by_the_other(hosts: Hosts) -> None:
    flow_run = hosts.begin(epochs=EPOCHS)
    wait(hosts, lambda: hosts.stored(r"fine_tune/\w+\.checkpoint\.json"))
    first = hosts.busy()
    (second,) = set(hosts.hosts) - {first}
    assert not (second.folder / "home/store").exists()
    first.lose()
    shutil.rmtree(first.folder / "home")
    hosts.source.send_signal(signal.SIGKILL)  # what it needs of the data was kept

    wait(hosts, lambda: hosts.state(flow_run).name == "Completed")
    said = second.log.read_text()
    assert re.search(r"going on from step [1-9]", said), said[-4000:]
    killed, done = hosts.mlflow_runs()
    assert (killed.info.status, done.info.status) == ("KILLED", "FINISHED")
    assert killed.data.tags["gradus.flow_run"] == done.data.tags["gradus.flow_run"] == flow_run
    assert "machine" in killed.data.tags["gradus.error"]
    assert done.data.tags["gradus.host"] == second.name
    points = MlflowClient(hosts.tracking).get_metric_history(done.info.run_id, "curve/train_loss")
    steps = [point.step for point in points]
    assert steps == sorted(set(steps)), "each point once"
    assert [version.run_id for version in hosts.versions()] == [done.info.run_id]
    assert not hosts.stored("checkpoint")
    assert hosts.stored(r"fine_tune/\w+\.json")


def test_a_host_that_was_cut_off_and_comes_back_harms_nothing(hosts: Hosts) -> None:
    flow_run = hosts.begin(epochs=EPOCHS)
    wait(hosts, lambda: hosts.stored(r"fine_tune/\w+\.checkpoint\.json"))
    first = hosts.busy()
    first.cut_off()
    wait(hosts, lambda: len(hosts.mlflow_runs()) == 2)
    first.bring_back()
    wait(hosts, lambda: hosts.state(flow_run).name == "Completed")
    wait(hosts, lambda: "RUNNING" not in {run.info.status for run in hosts.mlflow_runs()})
    lost, done = hosts.mlflow_runs()
    assert done.info.status == "FINISHED"
    assert lost.info.status in ("FINISHED", "FAILED")  # by when it came back; it said nothing of the other's flow run
    assert hosts.service.flow_run(flow_run).run_count == 2
    assert len(hosts.versions()) == 1
    assert "Timeout" not in lost.data.tags.get("gradus.error", "")
