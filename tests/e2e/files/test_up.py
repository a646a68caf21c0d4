"""A Compose file on the real engine, by the real program: up, up again, changed, exported, down."""

from pathlib import Path

import httpx
import pytest
from tests.e2e.faults.conftest import Server
from tests.e2e.files.conftest import naru
from tests.ports import free_port

COMPOSE = """
x-site: &site
  image: files:${VERSION:-1}
  stop_grace_period: 1s
  healthcheck: {interval: 300ms}
services:
  web:
    <<: *site
    ports: ["${PORT:?choose a port}:8080"]
    deploy: {replicas: 2, resources: {limits: {memory: 64m}}}
    environment: {GREETING: "${GREETING:-hello}", PRICE: "5$$"}
    volumes: [data:/data]
    secrets: [token]
    depends_on: {api: {condition: service_healthy}}
    x-naru: {health: "http:/", proof: {count: 5, interval: 20ms}}
  api:
    <<: *site
    expose: ["8080"]
    healthcheck: {test: [CMD, wget, -q, -O-, "http://127.0.0.1:8080/"], interval: 300ms, start_period: 10s}
volumes: {data: }
secrets: {token: {file: token.txt}}
"""


@pytest.mark.needs("docker", "caddy")
def test_a_compose_file_runs_changes_and_goes_on_the_real_engine(server: Server, tmp_path: Path):
    port = free_port()
    file = tmp_path / "compose.yaml"
    file.write_text(COMPOSE)
    (tmp_path / "token.txt").write_text("s3cret")
    project = server.name("files")
    asked = ("-f", str(file), "-p", project)
    web, api = f"{project}-web", f"{project}-api"

    def containers(app: str) -> set[str]:
        filters = f'{{"label": ["naru.app={app}"]}}'
        found = server.docker("GET", "/containers/json", params={"all": "1", "filters": filters}).json()
        return {one["Id"] for one in found}

    up = naru(server, "up", *asked, PORT=str(port))
    assert up.returncode == 0, up.stdout + up.stderr
    assert up.stdout.index(f"{api}: deploy") < up.stdout.index(f"{web}: deploy")
    assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).text == "files 1\n"
    assert naru(server, "exec", web, "--", "cat", "/run/secrets/token").stdout == "s3cret"
    assert "PRICE=5$\n" in naru(server, "exec", web, "--", "env").stdout
    before = containers(web)
    assert len(before) == 2

    again = naru(server, "up", *asked, PORT=str(port))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing to do" in again.stdout
    assert containers(web) == before

    changed = naru(server, "up", *asked, PORT=str(port), VERSION="2")
    assert changed.returncode == 0, changed.stdout + changed.stderr
    assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).text == "files 2\n"
    assert not containers(web) & before

    exported = naru(server, "export", web)
    (tmp_path / "exported.yaml").write_text(exported.stdout)
    same = naru(server, "up", "-f", str(tmp_path / "exported.yaml"))
    assert "nothing to do" in same.stdout, same.stdout + same.stderr

    down = naru(server, "down", *asked, "--volumes", "--yes", PORT=str(port))
    assert down.returncode == 0, down.stdout + down.stderr
    assert containers(web) == containers(api) == set()
    assert server.docker("GET", f"/volumes/naru-{web}-data", check=False).status_code == 404
