"""The examples for Docker and Kubernetes, put to the tools that check them and to what they start."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from support.command import one_line, run
from support.server import EXAMPLES, PATIENCE_S, TESTS, Address, Server
from support.wire import Wire

KUBERNETES = EXAMPLES / "kubernetes"
DOCKERFILE = EXAMPLES / "docker" / "Dockerfile"
HADOLINT = shutil.which(
    "hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
)

# What makes a command process 1.
UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def manifest(name: str) -> Any:
    return yaml.safe_load((KUBERNETES / f"{name}.yaml").read_text())


def settings(arguments: list[str]) -> dict[str, Any]:
    ended = run("config", "show", "--json", *arguments, cwd=EXAMPLES, TIDEGATE_NO_SUPERVISOR="false")
    assert ended.returncode == 0, ended.stderr
    return {name: setting["value"] for name, setting in json.loads(ended.stdout).items()}


def seconds(value: str) -> int:
    return int(value.removesuffix("s"))


@pytest.mark.parametrize("version", ["1.30", "1.33", "1.37"])
@pytest.mark.parametrize("path", sorted(KUBERNETES.iterdir()), ids=lambda path: path.stem)
def test_the_manifests_are_valid(path, version):
    kubernetes_validate.validate(yaml.safe_load(path.read_text()), version, strict=True)


def test_the_manifests_fit_together():
    deployment = manifest("deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifest("service")["spec"]["selector"] == labels
    assert manifest("poddisruptionbudget")["spec"]["selector"]["matchLabels"] == labels
    target = manifest("horizontalpodautoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (deployment["kind"], deployment["metadata"]["name"])


def test_the_pod_is_given_the_time_that_its_server_takes():
    pod = manifest("deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = settings(container["args"])
    # A worker that has not ended five seconds after its grace is killed.
    needed = seconds(given["drain-delay"]) + seconds(given["graceful-timeout"]) + 5
    assert pod["terminationGracePeriodSeconds"] > needed
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= seconds(given["start-timeout"])
    for probe in (start, container["readinessProbe"]):
        assert probe["httpGet"] == {"path": given["ready-path"], "port": "http"}
    # It is seen to leave before it does.
    ready = container["readinessProbe"]
    assert seconds(given["drain-delay"]) > ready["periodSeconds"] * ready["failureThreshold"]


@pytest.mark.skipif(HADOLINT is None, reason="there is no hadolint for this kind of processor")
def test_the_dockerfile_has_nothing_that_its_linter_warns_of():
    # Debian's compiler may be of any version.
    checked = subprocess.run(
        [HADOLINT, "--no-color", "--ignore", "DL3008", str(DOCKERFILE)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_dockerfile_says_what_works():
    text = DOCKERFILE.read_text().replace("\\\n", "")
    entrypoint, command, health = (
        json.loads(re.search(rf"^{word}.*?(\[.*\])$", text, re.MULTILINE)[1])
        for word in ("ENTRYPOINT", "CMD", "HEALTHCHECK")
    )
    assert entrypoint == ["tidegate"]
    (address,) = re.findall(r"^ENV TIDEGATE_BIND=(.*)$", text, re.MULTILINE)
    assert address == "0.0.0.0:8000"
    with Server(command[0], cwd=EXAMPLES, supervised=True) as server:
        script = health[2].replace(":8000", f":{server.port}")
        assert health[:2] == ["python", "-c"] and script != health[2]
        healthy = [sys.executable, "-c", script]
        assert subprocess.run(healthy, capture_output=True, timeout=30).returncode == 0
        assert server.stop() == 0
        assert subprocess.run(healthy, capture_output=True, timeout=30).returncode != 0


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def may_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, timeout=30).returncode == 0


@pytest.mark.skipif(not may_unshare(), reason="only root may make a namespace of processes")
def test_as_process_1_it_reaps_what_the_application_leaves_and_ends_at_sigterm(tmp_path):
    control = f"--control-socket={tmp_path / 'control'}"
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [
        *UNSHARE,
        sys.executable,
        "-m",
        "tidegate",
        "--bind",
        "127.0.0.1:0",
        control,
        "apps.orphans:application",
    ]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        banner = next(line for line in lines if "listening on" in line)
        assert "pid 1)" in banner
        port = int(re.search(r":(\d+) ", banner)[1])
        (server,) = children(process.pid)
        workers = children(server)
        with Wire(Address("127.0.0.1", port).connect(PATIENCE_S)) as wire:
            assert wire.ask("GET", "/").status == 200
        # It has a child more now, which is nobody's but process 1's, and takes note of its end.
        deadline = time.monotonic() + PATIENCE_S
        while children(server) != workers:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # Another process cannot take its place.
        upgrade = run("ctl", "upgrade", control)
        assert "the upgrade has failed: it is process 1" in one_line(upgrade, status=1)
        os.kill(server, signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
