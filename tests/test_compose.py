"""The compose file and the Dockerfile hold together: no engine runs here, so both are read.

Against the Compose specification's own JSON schema (as check-jsonschema carries it), and for what a
schema cannot say: secrets, users, pins, networks, health, order, and that what is copied is there.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml
from dockerfile_parse import DockerfileParser

from flows.bootstrap import CLIENT_ENVIRONMENT, SERVER_ENVIRONMENT, WORK_POOL

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
LASTING = {name for name, service in SERVICES.items() if service["restart"] == "unless-stopped"}
SECRET = re.compile(r"PASSWORD|SECRET|KEY|TOKEN|AUTH")
VARIABLE = re.compile(r"\$\{(\w+)(:?[-?][^}]*)?\}")


def each_service(check):
    return pytest.mark.parametrize("name", SERVICES)(check)


def test_it_follows_the_compose_specification():
    package = importlib.util.find_spec("check_jsonschema").submodule_search_locations[0]
    kept = Path(package) / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(kept.read_text())
    checker = jsonschema.validators.validator_for(schema)(schema)
    assert list(checker.iter_errors(COMPOSE)) == []
    wrong = {**COMPOSE, "services": {"a": {"image": "b", "helthcheck": {}}}}
    assert list(checker.iter_errors(wrong)), "the schema lets everything pass"


@each_service
def test_a_service_has_no_rights_to_lose(name):
    service = SERVICES[name]
    uid, gid = map(int, service["user"].split(":"))
    assert uid * gid > 0, "root"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    assert service.get("network_mode") is None
    if name not in {"worker", "trainer"}:  # which run unread code, in a sandbox of their own
        assert len(service["security_opt"]) == 1


@each_service
def test_a_service_is_pinned_bounded_and_kept_alive(name):
    service = SERVICES[name]
    tag = service["image"].rpartition(":")[2]
    assert re.search(r"\d", tag), f"{service['image']} is no version"
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= set(limits)
    assert ("healthcheck" in service) == (name in LASTING)
    assert service["restart"] in {"unless-stopped", "on-failure"}
    assert service["logging"]["options"]["max-size"]


def test_what_is_needed_is_healthy_or_done():
    for name, service in SERVICES.items():
        for need, how in service.get("depends_on", {}).items():
            wanted = "service_healthy" if need in LASTING else "service_completed_successfully"
            assert how["condition"] == wanted, f"{name} needs {need}"


def test_every_address_can_be_reached():
    """A host named in a service's environment shares a network with it, and is a service."""
    for name, service in SERVICES.items():
        said = " ".join([*map(str, service.get("environment", {}).values())])
        hosts = re.findall(r"(?:://|@)([a-z]+):\d+(?![\w@])", VARIABLE.sub("SECRET", said))
        for host in hosts:
            assert set(SERVICES[host]["networks"]) & set(service["networks"]), f"{name} to {host}"
    assert SERVICES["worker"]["environment"]["AWS_ENDPOINT_URL"] == "http://store:8333"


def test_the_database_is_reached_by_prefect_alone():
    reach = {name for name, service in SERVICES.items() if "database" in service["networks"]}
    assert reach == {"database", "prefect"}
    assert SERVICES["database"]["networks"] == ["database"]
    assert COMPOSE["networks"]["database"] == {"internal": True}


def test_ports_are_published_on_loopback_alone():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_volumes_and_networks_are_declared_and_used():
    volumes = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", [])}
    networks = {network for s in SERVICES.values() for network in s["networks"]}
    assert volumes == set(COMPOSE["volumes"])
    assert networks == set(COMPOSE["networks"])


def test_no_secret_has_a_default():
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if not SECRET.search(variable):
                continue
            used = VARIABLE.findall(value)
            assert used, f"{name}: {variable} stands in the file"
            assert all(how == ":-" or how.startswith(":?") for _, how in used), variable
    missing = {name for name in example()[1] if SECRET.search(name)}
    assert missing == {"TEACHER_API_KEY", "HANDOFF_KEY"}, "secrets that change what is done"


def test_the_example_names_every_variable_and_no_other():
    secrets, choices = example()
    used = dict(VARIABLE.findall(TEXT))
    assert set(used) == secrets | choices
    required = {name for name, how in used.items() if how.startswith(":?")}
    assert required == secrets


def example():
    """Variables of .env.example: those without a value, and those with one (in quotes)."""
    lines = re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    return {n for n, v in lines if not v}, {n for n, v in lines if v}


def test_the_command_of_the_example_makes_secrets(tmp_path):
    shutil.copy(ROOT / ".env.example", tmp_path)
    command = re.search(r"^#\s+(\(umask.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)[1]
    seen = []
    for _ in range(2):
        subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
        made = tmp_path / ".env"
        assert made.stat().st_mode & 0o077 == 0, "others may read it"
        values = dict(re.findall(r"^(\w+)=(.*)$", made.read_text(), re.MULTILINE))
        assert set(values) == set().union(*example())
        seen += [values[name] for name in example()[0]]
        made.unlink()
    assert len(set(seen)) == len(seen), "a secret was made twice"
    assert all(re.fullmatch(r"[0-9a-f]{64}", secret) for secret in seen)


def test_heartbeats_and_patience_are_those_of_the_bootstrap():
    for name in ("worker", "trainer", "bootstrap"):
        assert CLIENT_ENVIRONMENT.items() <= SERVICES[name]["environment"].items()
    assert SERVER_ENVIRONMENT.items() <= SERVICES["prefect"]["environment"].items()
    command = SERVICES["worker"]["command"]
    assert command[command.index("--pool") + 1] == WORK_POOL


def test_everybody_is_silent():
    for name, service in SERVICES.items():
        said = service.get("environment", {})
        if any(variable.startswith("PREFECT_") for variable in said):
            assert said["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false", name
            assert said["DO_NOT_TRACK"] == "1", name


def test_only_what_is_asked_for_has_a_profile():
    profiles = {n: s["profiles"] for n, s in SERVICES.items() if "profiles" in s}
    assert profiles == {"teacher": ["teacher"], "trainer": ["gpu"]}
    devices = SERVICES["trainer"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]


def test_docker_accepts_it():
    docker = shutil.which("docker") or "docker"
    if not shutil.which("docker") or run(docker, "compose", "version").returncode:
        pytest.skip("no docker compose command on this machine")
    done = run(docker, "compose", "config", "--quiet", **dict.fromkeys(example()[0], "x"))
    assert done.returncode == 0, done.stderr


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def dockerfile():
    return DockerfileParser(path=str(ROOT / "Dockerfile"), cache_content=True)


def instructions(dockerfile, *names):
    return [s["value"] for s in dockerfile.structure if s["instruction"] in names]


def test_the_dockerfile_uses_what_it_may(dockerfile):
    known = {"FROM", "RUN", "COPY", "ARG", "ENV", "WORKDIR", "USER", "VOLUME", "ENTRYPOINT", "CMD",
             "COMMENT"}  # fmt: skip
    assert {s["instruction"] for s in dockerfile.structure} <= known, "ADD fetches, for one"
    for command in instructions(dockerfile, "RUN"):
        if "apt-get install" in command:
            assert "--no-install-recommends" in command
            assert "rm -rf /var/lib/apt/lists" in command
        assert "curl" not in command
        assert "sudo" not in command
    for said in instructions(dockerfile, "ENV", "ARG"):
        assert not SECRET.search(said), said


def test_every_stage_stands_on_a_pinned_image_and_ends_without_root(dockerfile):
    stages, user = {}, {}
    for step in dockerfile.structure:
        if step["instruction"] == "FROM":
            base, _, stage = step["value"].split()
            assert base in stages or re.search(r":\d+\.\d+\.\d+", base), f"{base} is no version"
            stages[stage] = base
            user[stage] = user.get(base, "root")
        elif step["instruction"] == "USER":
            user[stage] = step["value"]
    ours = {s["build"]["target"]: s["user"] for s in SERVICES.values() if "build" in s}
    assert set(ours) == {"application", "trainer"}
    assert {stage: user[stage] for stage in ours} == ours
    assert "useradd --uid 10001" in " ".join(instructions(dockerfile, "RUN"))


def test_the_image_holds_every_package_and_only_what_is_there(dockerfile):
    copied = set()
    for words in (value.split() for value in instructions(dockerfile, "COPY")):
        if not words[0].startswith("--from"):
            copied |= set(words[:-1])
    assert all((ROOT / name).exists() for name in copied), copied
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "packages"
    ]
    assert {*packages, "recipes", "prefect.yaml", "pyproject.toml"} <= copied
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored, "what nobody thought of goes to the builder"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_what_compose_mounts_belongs_to_the_user_of_the_image(dockerfile):
    made = " ".join(instructions(dockerfile, "RUN"))
    for name, service in SERVICES.items():
        if service["user"] == "10001:10001" and "build" in service:
            targets = {volume.split(":")[1] for volume in service.get("volumes", [])}
            assert targets <= {"/runs", "/home/primer"}, name
    assert "install -d -o primer -g primer /runs" in made
    assert "--create-home" in made
