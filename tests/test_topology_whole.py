"""The topology of the compose file, whole: PostgreSQL, Prefect, store, workers, catalog, one run.

Shards are put into the S3 store, the smoke recipe is carried to its handoff by flows that two
workers take, the catalog shows the run, a killed worker comes back, and nothing is left running.
"""

import os
import shutil
import signal
import sysconfig
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from flows.topology import Topology
from flows.topology_plan import find_program
from flows.topology_processes import marked
from pipeline.errors import InputError
from pipeline.records import read_rows
from pipeline.verify import verify_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]
STDLIB = Path(sysconfig.get_path("stdlib"))
FLOWS = ("curate", "label", "synthesize")


@pytest.fixture(scope="module")
def topology():
    for program in ("initdb", "weed"):
        try:
            find_program(program)
        except InputError as missing:
            pytest.skip(str(missing))
    # not below pytest's own folder, which PostgreSQL's user may not enter
    folder = Path(tempfile.mkdtemp(prefix="primer-topology-"))
    folder.chmod(0o711)
    started = Topology(folder)
    known = Path.home() / ".cache" / "primer"
    if known.exists():  # code compiled before: a new home would take minutes to compile it again
        cache = folder / "volumes" / "home" / ".cache"
        cache.mkdir(parents=True)
        (cache / "primer").symlink_to(known)
    try:
        started.up(patience_s=600)
        yield started
    finally:
        started.down()
        assert marked(folder) == []
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(topology):
    user, password = topology.environment("worker")["PREFECT_API_AUTH_STRING"].split(":")
    address = topology.environment("worker")["PREFECT_API_URL"]
    with httpx.Client(base_url=address, auth=(user, password), timeout=60) as client:
        yield client


def test_shards_in_the_store_become_a_dataset_that_the_catalog_shows(topology, server):
    put_shards(topology)
    runs = {name: start(server, name, "s3://corpus/stdlib") for name in FLOWS}
    states = wait_for(server, runs.values())
    assert set(states.values()) == {"COMPLETED"}

    sealed = topology.folder / "volumes" / "runs" / "smoke"
    assert verify_run(sealed) == []
    documents = read_rows(sorted(sealed.glob("01-ingest/documents/*.parquet")))
    assert {d["source"] for d in documents} >= {"stdlib", "stdlib-docstrings"}

    catalog = f"http://{topology.address('catalog')}:8080"
    assert "smoke" in httpx.get(f"{catalog}/").text
    assert httpx.get(f"{catalog}/runs/smoke").status_code == 200
    assert "primer_documents_total" in metrics(topology, "worker-1") + metrics(topology, "worker-2")

    logs = topology.folder / "logs"
    for worker in ("worker-1", "worker-2"):  # each takes two at once, and there were three
        said = (logs / f"{worker}.log").read_text()
        assert any(run in said for run in runs.values()), f"{worker} took nothing"


def test_a_worker_that_is_killed_comes_back(topology):
    before = topology.processes()["worker-1"]
    os.kill(before, signal.SIGKILL)
    over = time.monotonic() + 120
    while topology.processes().get("worker-1") in (before, None):
        assert time.monotonic() < over
        time.sleep(0.2)
    assert topology.seen()["worker-1"]["restarts"] == 1
    topology.up()  # waits until it is healthy again


def test_strangers_are_refused(topology, server):
    assert server.get("/health", auth=None).status_code == 200
    assert httpx.get(f"{server.base_url}work_pools/primer").status_code == 401
    store = topology.environment("worker")["AWS_ENDPOINT_URL"]
    assert httpx.get(f"{store}/corpus").status_code == 403


def put_shards(topology):
    from s3fs import S3FileSystem

    said = topology.environment("worker")
    store = S3FileSystem(
        key=said["AWS_ACCESS_KEY_ID"], secret=said["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=said["AWS_ENDPOINT_URL"],
    )  # fmt: skip
    for folder in (STDLIB, STDLIB / "email", STDLIB / "asyncio", STDLIB / "http"):
        for path in folder.glob("*.py"):
            store.put(str(path), f"corpus/stdlib/{path.relative_to(STDLIB)}")


def start(server, name, address):
    """Start a deployment as the page's button does, with its sources in the store."""
    deployment = server.get(f"/deployments/name/{name}/smoke").raise_for_status().json()
    recipe = deployment["parameters"]["recipe"]
    for source in recipe["ingest"]["sources"]:
        if source["address"] == "${stdlib}":
            source["address"] = address
    asked = {"parameters": {"recipe": recipe}, "state": {"type": "SCHEDULED"}}
    made = server.post(f"/deployments/{deployment['id']}/create_flow_run", json=asked)
    return made.raise_for_status().json()["id"]


def wait_for(server, runs):
    """The states in which runs have ended."""
    over, states = time.monotonic() + 1_200, {}
    while any(states.get(run) not in ("COMPLETED", "FAILED", "CRASHED") for run in runs):
        assert time.monotonic() < over, states
        time.sleep(1)
        states = {run: server.get(f"/flow_runs/{run}").json()["state_type"] for run in runs}
    return states


def metrics(topology, worker):
    address = topology.seen()[worker]["address"]
    return httpx.get(f"http://{address}:9100/metrics").text
