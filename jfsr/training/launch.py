"""How this process was started: alone, by hand, or as one of several by SLURM, Open MPI or another scheduler.

:func:`find` reads the options and the environment and touches nothing. What follows from it, meeting the others and
taking devices, is in :mod:`jfsr.training.cluster`.

| started | known by | coordinator |
|---|---|---|
| by hand | ``--coordinator``, ``--processes``, ``--process``, or the variables of :data:`BY_HAND` | as given |
| SLURM, by ``srun`` | the variables of a step, ``SLURM_STEP_…`` | the step's first node |
| SLURM, without ``srun`` | a job and no step of several tasks | none: this node alone |
| Open MPI 4 and 5 | ``OMPI_COMM_WORLD_…`` | the node of ``mpirun``; this node, if all ranks are on it |
| TPU pods, Kubernetes | JAX's own detection | JAX's |
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Mapping

# Options by hand, and the variables that mean the same; the first are JAX's own where it has one.
BY_HAND = {
    "coordinator": ("JAX_COORDINATOR_ADDRESS", "JFSR_COORDINATOR"),
    "processes": ("JAX_NUM_PROCESSES", "JFSR_PROCESSES"),
    "process": ("JAX_PROCESS_ID", "JFSR_PROCESS"),
}
FIRST_PORT, PORTS = 61440, 4096  # as JAX chooses: the last 4,096 ports


@dataclasses.dataclass(frozen=True)
class Launch:
    """How this process was started.

    Attributes:
      how: for people.
      processes: how many there are.
      process: number of this one.
      coordinator: HOST:PORT where process 0 is met; '' where there is only one.
      note: what the user should know, '' for nothing.
    """

    how: str
    processes: int = 1
    process: int = 0
    coordinator: str = ""
    note: str = ""


def find(env: Mapping[str, str], *, coordinator: str = "", processes: int = 0, process: int = -1) -> Launch:
    """How this process was started.

    Args:
      env: the environment.
      coordinator, processes, process: the options given by hand; '', 0 and -1 where the user says nothing.

    Raises:
      ValueError: an option by hand is missing, is no number or does not fit the others; names it and its remedy.
    """
    given: dict[str, str] = {
        "coordinator": coordinator,
        "processes": str(processes) if processes else "",
        "process": str(process) if process >= 0 else "",
    }
    for key, variables in BY_HAND.items():
        given[key] = given[key] or next((env[v] for v in variables if env.get(v)), "")
    found = _slurm(env) or _open_mpi(env) or _others(env) or Launch("alone")
    if not any(given.values()):
        if found.processes > 1 and not found.coordinator:
            raise ValueError(
                f"Open MPI started {found.processes} ranks and does not say where mpirun is: give "
                "--coordinator=HOST:PORT, a port of the node of rank 0"
            )
        return found
    if found.processes > 1:  # a scheduler knows what the user leaves out
        given = {
            "coordinator": given["coordinator"] or found.coordinator,
            "processes": given["processes"] or str(found.processes),
            "process": given["process"] or str(found.process),
        }
    if given["processes"] == "1":
        return Launch("by hand, alone")
    missing = [key for key, value in given.items() if not value]
    if missing:
        there = ", ".join(f"{key} {value}" for key, value in given.items() if value)
        options = " and ".join(f"--{key} (or {BY_HAND[key][0]})" for key in missing)
        raise ValueError(f"started by hand ({there}), and {options} is missing: give all three to every process")
    count, number = (_number(given[key], f"--{key}") for key in ("processes", "process"))
    if not 0 <= number < count:
        raise ValueError(f"--process is {number} of --processes={count}; it counts from 0 to {count - 1}")
    _check_address(given["coordinator"])
    return Launch("by hand", count, number, given["coordinator"])


def _slurm(env: Mapping[str, str]) -> Launch | None:
    if not env.get("SLURM_JOB_ID"):
        return None
    nodes = env.get("SLURM_STEP_NODELIST", "")
    count = _number(env.get("SLURM_STEP_NUM_TASKS") or env.get("SLURM_NTASKS") or "1", "SLURM_STEP_NUM_TASKS")
    if not nodes or count == 1 or "SLURM_PROCID" not in env:
        job_nodes = _number(env.get("SLURM_JOB_NUM_NODES") or env.get("SLURM_NNODES") or "1", "SLURM_JOB_NUM_NODES")
        tasks = _number(env.get("SLURM_NTASKS") or "1", "SLURM_NTASKS")
        note = ""
        if not nodes and max(job_nodes, tasks) > 1:
            note = (
                f"the SLURM job has {job_nodes} nodes and {tasks} tasks, and this process was started without srun: it "
                "trains on this node alone; start it by srun to use all"
            )
        return Launch("one task of SLURM" if nodes else "in a SLURM job, without srun", note=note)
    # Steps of one job that run side by side must not meet at one port.
    step = re.sub(r"\D", "", env.get("SLURM_STEP_ID", "0")) or "0"
    port = FIRST_PORT + (_number(env["SLURM_JOB_ID"], "SLURM_JOB_ID") + 31 * int(step)) % PORTS
    process = _number(env["SLURM_PROCID"], "SLURM_PROCID")
    return Launch("by SLURM's srun", count, process, f"{first_node(nodes)}:{port}")


def first_node(nodes: str) -> str:
    """The first host of a SLURM node list such as ``a1``, ``a1,b2``, ``a[1-3,7],b`` or ``rack1-n[01,03]``."""
    found = re.match(r"([^,\[]+)(?:\[([^\],-]+)[^\]]*\]([^,\[]*))?", nodes)
    if not found:
        raise ValueError(f"SLURM_STEP_NODELIST is {nodes!r}, which names no node")
    return "".join(part or "" for part in found.groups())


def _open_mpi(env: Mapping[str, str]) -> Launch | None:
    if "OMPI_COMM_WORLD_SIZE" not in env:
        return None
    number = lambda name: _number(env.get(f"OMPI_COMM_WORLD_{name}", "0"), f"OMPI_COMM_WORLD_{name}")
    count, process, local = number("SIZE"), number("RANK"), number("LOCAL_SIZE")
    if count == 1:
        return Launch("one rank of Open MPI")
    # Open MPI 4 gives the address of mpirun, 5 only the name of its job: prterun-HOST-PID@1 (jax#14576).
    uri, job = env.get("OMPI_MCA_orte_hnp_uri", ""), env.get("PMIX_NAMESPACE", "")
    v4 = re.match(r"(\d+)\..*?(?:tcp://([^,:]+)|tcp6://\[([^,\]]+))", uri)
    v5 = re.match(r"\w+?-(.+)-(\d+)@\d+$", job)
    seed = int(v4[1]) // 4096 if v4 else int(v5[2]) if v5 else 0
    host = "127.0.0.1" if local == count else (v4[2] or v4[3]) if v4 else v5[1] if v5 else ""
    return Launch("by Open MPI", count, process, f"{host}:{FIRST_PORT + seed % PORTS}" if host else "")


def _others(env: Mapping[str, str]) -> Launch | None:
    """TPU pods and Kubernetes, as JAX detects them; None elsewhere."""
    if not any(key.startswith(("TPU_", "KUBERNETES_", "CLOUD_TPU_", "MEGASCALE_")) for key in env):
        return None
    from jax._src.clusters import ClusterEnv  # JAX has no public name for it

    with warnings.catch_warnings():  # that the package kubernetes is missing, in a pod that is no member of a job
        warnings.simplefilter("ignore")
        kinds = [kind for kind in ClusterEnv._cluster_types if not kind.opt_in_only_method]
        kind = next((k for k in kinds if k.name not in ("slurm", "ompi") and k.is_env_present()), None)
    if kind is None or (count := kind.get_process_count()) == 1:
        return None
    address = kind.get_coordinator_address(timeout_secs=60, override_coordinator_port=None)
    return Launch(f"by {kind.__name__}, as JAX finds it", count, kind.get_process_id(), address)


def _number(text: str, name: str) -> int:
    if not re.fullmatch(r"\d+", text):
        raise ValueError(f"{name} is {text!r}; it takes a number")
    return int(text)


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"--coordinator is {address!r}; it takes HOST:PORT, a free port of the host of process 0")
