"""Prefect's page shows a form for each deployment, which a person fills in a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, browser
from tests.deploy.service import Service, wait_until
from tests.patience import eventually

FORMS = {
    "classification/training": ("preset", "overrides"),
    "instruction/training": ("preset", "overrides"),
    "promotion/champion": ("model", "margin", "force", "back"),
    "sweep/sweep": ("preset", "grid", "seeds"),
    "judging/judging": ("run", "against"),
    "monitoring/daily": ("model", "data", "labelled"),
}
"""Some of the parameters of each deployment."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.minutes,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium; .ci/apt.txt names Debian's"),
]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, {"GRADUS_HOME": str(tmp_path / "home")})
    try:
        service.start("prefect server start")
        wait_until(service.answers, service)
        service.type("gradus deploy")
        yield service
    finally:
        service.stop()


def test_each_deployment_has_a_form_and_what_is_filled_in_is_run(service: Service, tmp_path: Path) -> None:
    from prefect.client.orchestration import SyncPrefectClient

    pages = f"{service.api.removesuffix('/api')}/deployments/deployment"
    (tmp_path / "browser").mkdir()
    with SyncPrefectClient(service.api) as client, browser(tmp_path / "browser", "about:blank") as shown:
        for name, parameters in FORMS.items():
            deployment = client.read_deployment_by_name(name)
            shown.call("Page.navigate", url=f"{pages}/{deployment.id}/run")
            shown.wait_for("!!document.querySelector('button[type=submit]')?.checkVisibility()")
            for parameter in parameters:
                shown.wait_for(f"document.body.innerText.includes({parameter!r})")
        shown.call("Page.navigate", url=f"{pages}/{client.read_deployment_by_name('classification/training').id}/run")
        field = shown.find("textarea")
        shown.wait_for(f"{field}.value === 'spam'")
        shown.evaluate(f"{field}.focus(); {field}.select()")
        shown.call("Input.insertText", text="spam-demo")
        shown.click("button", "Submit")
        (run,) = eventually(lambda: [each for each in client.read_flow_runs() if not each.auto_scheduled])
        assert run.parameters == {"preset": "spam-demo", "overrides": []}
        assert not shown.failures
