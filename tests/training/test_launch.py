"""How a process was started, from options and from the environments that schedulers make."""

from __future__ import annotations

import pytest

from jfsr.training import launch
from jfsr.training.launch import Launch

# As `srun --ntasks=4 --nodes=2` sets them for the third task of step 1.
SRUN = {
    "SLURM_JOB_ID": "9001", "SLURM_STEP_ID": "1", "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_JOB_NUM_NODES": "2",
}  # fmt: skip
# As sbatch sets them for the script of a job of two nodes: a first task, and no step.
SBATCH = {
    "SLURM_JOB_ID": "9001", "SLURM_JOB_NODELIST": "gpu[07-08]", "SLURM_NTASKS": "4", "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0", "SLURM_JOB_NUM_NODES": "2",
}  # fmt: skip
MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}


def test_alone():
    assert launch.find({}) == Launch("alone")
    assert launch.find({"SLURM_CLUSTERS": "x"}) == Launch("alone")


def test_srun():
    port = launch.FIRST_PORT + (9001 + 31) % launch.PORTS
    assert launch.find(SRUN) == Launch("by SLURM's srun", 4, 2, f"gpu07:{port}")
    other = launch.find(SRUN | {"SLURM_STEP_ID": "2"})
    assert other.coordinator != launch.find(SRUN).coordinator  # two steps of a job side by side
    # One task on a node of eight GPUs is one process with all of them, and needs nobody.
    assert launch.find(SRUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) == Launch("one task of SLURM")


def test_a_slurm_job_without_srun_trains_on_its_node_and_says_what_it_leaves():
    found = launch.find(SBATCH)
    assert (found.processes, found.coordinator) == (1, "")
    assert "2 nodes and 4 tasks" in found.note
    assert "start it by srun" in found.note
    one = SBATCH | {"SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "1"}
    assert launch.find(one) == Launch("in a SLURM job, without srun")
    salloc = {"SLURM_JOB_ID": "1", "SLURM_NNODES": "1"}  # an interactive shell
    assert launch.find(salloc).processes == 1
    step = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "a", "SLURM_STEP_NUM_TASKS": "8"}  # ssh with its variables
    assert launch.find(step).processes == 1


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("a", "a"),
        ("a1,b2", "a1"),
        ("gpu[07-08],x", "gpu07"),
        ("rack1-n[3,7-9]", "rack1-n3"),
        ("n[01-02]-ib,z", "n01-ib"),
    ],
)
def test_the_first_node_of_a_list(nodes, first):
    assert launch.first_node(nodes) == first


def test_open_mpi_4_and_5():
    uri = {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"}
    assert launch.find(MPI | uri).coordinator == f"10.96.0.1:{launch.FIRST_PORT + 1531576320 // 4096 % 4096}"
    found = launch.find(MPI | {"PMIX_NAMESPACE": "prterun-node-a-4711@1"})
    assert found == Launch("by Open MPI", 4, 3, f"node-a:{launch.FIRST_PORT + 4711 % 4096}")
    here = launch.find(MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "PMIX_NAMESPACE": "prterun-node-a-4711@1"})
    assert here.coordinator.startswith("127.0.0.1:")
    with pytest.raises(ValueError, match="does not say where mpirun is: give --coordinator=HOST:PORT"):
        launch.find(MPI)
    assert launch.find(MPI, coordinator="n1:99") == Launch("by hand", 4, 3, "n1:99")
    assert launch.find({"OMPI_COMM_WORLD_SIZE": "1"}).processes == 1


def test_by_hand_by_options_by_variables_and_both():
    assert launch.find({}, coordinator="h:9", processes=2, process=1) == Launch("by hand", 2, 1, "h:9")
    env = {"JAX_COORDINATOR_ADDRESS": "h:9", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}
    assert launch.find(env) == Launch("by hand", 2, 0, "h:9")
    assert launch.find(env, process=1).process == 1
    assert launch.find({}, processes=1).processes == 1


@pytest.mark.parametrize(
    ("env", "options", "says"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "h:9"}, {}, r"--processes \(or JAX_NUM_PROCESSES\) and --process \(or JAX_PROC"),
        ({}, {"processes": 2, "process": 0}, r"started by hand \(processes 2, process 0\), and --coordinator"),
        ({}, {"coordinator": "h", "processes": 2, "process": 0}, "--coordinator is 'h'; it takes HOST:PORT"),
        ({}, {"coordinator": "h:99999", "processes": 2, "process": 0}, "it takes HOST:PORT"),
        ({}, {"coordinator": "h:9", "processes": 2, "process": 2}, "--process is 2 of --processes=2; it counts from 0"),
        ({"JAX_NUM_PROCESSES": "two"}, {"coordinator": "h:9", "process": 0}, "--processes is 'two'; it takes a number"),
        (SRUN | {"SLURM_STEP_NODELIST": ","}, {}, "names no node"),
    ],
)
def test_what_does_not_fit_is_said_with_its_remedy(env, options, says):
    with pytest.raises(ValueError, match=says):
        launch.find(env, **options)
