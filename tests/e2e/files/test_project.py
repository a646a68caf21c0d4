"""A Compose project on the real engine: its services know each other by name, in the order in which they need it."""

import json
from pathlib import Path

import pytest
from tests.e2e.faults.conftest import Server
from tests.e2e.files.conftest import naru

COMPOSE = """
x-site: &site {image: "files:1", stop_grace_period: 0s}
services:
  web:
    <<: *site
    ports: ["8080"]
    depends_on:
      db: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
  db:
    <<: *site
    expose: ["8080"]
    volumes: ["data:/data"]
    x-naru: {kind: stateful}
  migrate:
    <<: *site
    entrypoint: [/bin/sh, -c, "/bin/busybox nslookup db && echo migrated"]
    restart: "no"
    depends_on: [db]
  worker:
    <<: *site
    entrypoint: [/bin/sleep, "1000"]
    x-naru: {proof: {steady: 500ms}}
volumes: {data: }
"""


@pytest.mark.needs("docker", "caddy")
def test_services_of_a_file_reach_each_other_and_leave_nothing_behind(server: Server, tmp_path: Path):
    file = tmp_path / "compose.yaml"
    file.write_text(COMPOSE)
    project = server.name("mall")
    asked = ("-f", str(file), "-p", project)

    up = naru(server, "up", *asked)

    assert up.returncode == 0, up.stdout + up.stderr
    order = [up.stdout.index(f"{project}-{name}: deploy") for name in ("db", "migrate", "web")]
    assert order == sorted(order)
    assert "migrated" in naru(server, "logs", f"{project}-migrate").stdout
    found = naru(server, "exec", f"{project}-web", "--", "/bin/busybox", "nslookup", "db").stdout
    assert "Name:\tdb" in found
    status = json.loads(naru(server, "status", f"{project}-migrate", "-o", "json").stdout)
    assert status["instances"][0]["state"] == "completed"
    assert status["endpoint"]["url"] == ""
    assert json.loads(naru(server, "status", f"{project}-worker", "-o", "json").stdout)["ready"] == 1
    assert "nothing to do" in naru(server, "up", *asked).stdout
    assert server.docker("GET", f"/networks/naru_{project}").status_code == 200

    failing = ("--kind", "batch", "--restart", "never", "--command", "/bin/sh -c 'echo no such table; exit 9'")
    failed = naru(server, "deploy", "files:1", "--name", server.name("seed"), *failing)
    assert failed.returncode == 1
    assert "exited with code 9" in failed.stdout
    assert "no such table" in failed.stdout

    down = naru(server, "down", *asked, "--volumes", "--yes")

    assert down.returncode == 0, down.stdout + down.stderr
    assert server.docker("GET", f"/networks/naru_{project}", check=False).status_code == 404
