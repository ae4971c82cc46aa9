"""A real Slurm on loopback: munged, slurmctld and one slurmd, all of which end with the test.

Needs root (slurmd starts jobs as their users) and Debian's packages slurm-wlm and munge. Nothing of
the machine's own configuration in /etc is read or written: keys, ports, sockets and state are the
test's own.
"""

import os
import platform
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager

import pytest

PARTS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo", "scontrol")
CONFIG = """
ClusterName=loopback
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SchedulerParameters=batch_sched_delay=1,sched_interval=1
SlurmdParameters=config_overrides
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={node} Default=YES MaxTime=10 State=UP
PartitionName=shut Nodes={node} MaxTime=10 State=DOWN
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def daemon(*command, log):
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def slurm_cluster(home, cpus=2):
    """Yield once a job could start; SLURM_CONF points Slurm's commands at this cluster."""
    absent = [name for name in PARTS if shutil.which(name) is None]
    if absent:
        pytest.skip(f"no {', '.join(absent)}: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("slurmd starts jobs only as root")
    node = platform.node().split(".")[0]
    for name in ("state", "spool"):
        (home / name).mkdir()
    config, key = home / "slurm.conf", home / "munge.key"
    config.write_text(
        CONFIG.format(
            home=home, node=node, cpus=cpus, controller_port=free_port(), node_port=free_port()
        )
    )
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(config)
    try:
        with ExitStack() as daemons:
            munged = (
                "munged", "--foreground", "--force", f"--key-file={key}",
                f"--socket={home}/munge.socket", f"--pid-file={home}/munged.pid",
                f"--seed-file={home}/munged.seed", f"--log-file={home}/munged-own.log",
            )  # fmt: skip
            daemons.enter_context(daemon(*munged, log=home / "munged.log"))
            wait_for((home / "munge.socket").exists, home / "munged.log")
            daemons.enter_context(daemon("slurmctld", "-D", log=home / "slurmctld.log"))
            daemons.enter_context(daemon("slurmd", "-D", "-N", node, log=home / "slurmd.log"))
            wait_for(lambda: "idle" in asked("sinfo", "-h", "-o", "%T"), home / "slurmd.log")
            yield
            asked("scancel", "--user=root")
    finally:
        del os.environ["SLURM_CONF"]
        if before is not None:
            os.environ["SLURM_CONF"] = before


def asked(*command):
    """What a command of Slurm prints; nothing while the controller does not answer yet."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def wait_for(happened, log, seconds=60):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, log.read_text() if log.is_file() else log
        time.sleep(0.2)
