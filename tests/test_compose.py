"""The compose file holds together: no engine runs here, so its references are checked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def test_services_volumes_and_images_hold_together():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = compose["services"]
    for name, service in services.items():
        assert ("image" in service) != ("build" in service), name
        assert ":" in service.get("image", "pinned:x"), f"{name}: the image has no tag"
        assert set(service.get("depends_on", {})) <= set(services)
        named = {
            v.split(":")[0] for v in service.get("volumes", []) if not v.startswith((".", "/"))
        }
        assert named <= set(compose["volumes"])
    secrets = [v for s in services.values() for v in s.get("environment", {}).values()]
    assert not any("PASSWORD:-" in value for value in secrets), "a default password"


def test_the_image_copies_only_what_the_repository_holds():
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--from"):
            for name in words[1:-1]:
                assert (ROOT / name).exists(), f"COPY {name}"


def test_docker_accepts_it():
    docker = shutil.which("docker") or "docker"
    if not shutil.which("docker") or run(docker, "compose", "version").returncode:
        pytest.skip("no docker compose command on this machine")
    done = run(docker, "compose", "config", "--quiet", POSTGRES_PASSWORD="x")
    assert done.returncode == 0, done.stderr


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
