"""Several processes as one run: they meet, take their devices, wait for each other, stop together and end together.

JAX's own runtime moves the arrays. Beside it, process 0 has a TCP connection of ours to each process, with a JSON
object per message. Over it

* the processes meet before JAX starts, and a missing one is named (``--join-timeout``);
* they learn who shares their node, so that each takes its share of the GPUs (:func:`share`);
* a barrier stands after whatever takes them unequally long. A collective on CPU hosts fails if one enters it 30 s after
  another;
* SIGTERM to one stops all after the same step;
* a connection that ends without a farewell is a dead process. The others name it and end with exit code
  :data:`jfsr.training.faults.FAULT`, so that a scheduler starts all of them again.

A run of one process has no such connections: every method then returns at once.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jfsr.training import faults
from jfsr.training.faults import FAULT, INPUT
from jfsr.training.launch import Launch

END = "the end"  # the last barrier
TOLD_EVERY_S = 10.0  # how often a process that waits says for whom
# A host that vanishes is noticed after KEEP_IDLE + KEEP_COUNT · KEEP_EVERY seconds, a process that dies at once.
KEEP_IDLE, KEEP_EVERY, KEEP_COUNT = 20, 5, 6


@dataclasses.dataclass(frozen=True)
class Member:
    """One process of the run: its number, host and pid, and the GPUs that it can see."""

    process: int
    host: str
    pid: int
    gpus: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"process {self.process} ({self.host}, pid {self.pid})"


# ---- Devices


def visible_gpus(env: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Identities of the GPUs that this process may use, in CUDA's order, without starting CUDA; () if none is known.

    The UUIDs that ``nvidia-smi`` tells, of which a scheduler's cgroup hides those of others, cut down by
    ``CUDA_VISIBLE_DEVICES``.
    """
    if not (program := shutil.which("nvidia-smi")):
        return ()
    try:
        said = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    gpus = [line.rpartition("UUID: ")[2].rstrip(")") for line in said.splitlines() if "UUID: " in line]
    chosen = env.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return tuple(gpus)
    picked: list[str] = []
    for name in filter(None, (x.strip() for x in chosen.split(","))):
        match = [gpus[int(name)]] if name.isdigit() and int(name) < len(gpus) else [g for g in gpus if g == name]
        if not match:  # as CUDA: the list ends at the first that does not exist
            break
        picked += match
    return tuple(picked)


def share(members: Sequence[Member], process: int, *, wanted: Sequence[int] | None = None) -> tuple[list[int], str]:
    """Which of its visible GPUs a process takes, as indices, and a warning about those of its node that none takes.

    All of them, if it is alone on its node, or if the processes of its node see different ones (the scheduler bound
    them); else its equal share, in the order of the processes.

    Args:
      members: every process of the run.
      process: number of the one that asks.
      wanted: ``--local-devices``, which overrules.

    Raises:
      ValueError: ``wanted`` names a GPU that is not there, or the processes of a node are more than its GPUs.
    """
    me = members[process]
    seen = len(me.gpus)
    if wanted is not None:
        if bad := [i for i in wanted if seen and not 0 <= i < seen]:
            raise ValueError(f"--local-devices names device {bad[0]}, and {me} sees {seen}, numbered from 0")
        return list(wanted), ""
    here = [m for m in members if m.host == me.host]
    if not seen or len(here) == 1 or len({m.gpus for m in here}) > 1:
        return list(range(seen)), ""
    if seen < len(here):
        raise ValueError(
            f"{len(here)} processes on {me.host} see the same {seen} GPUs: start at most one process for each, or give "
            "each its own by --local-devices"
        )
    each, rank = seen // len(here), [m.process for m in here].index(process)
    idle = seen - each * len(here)
    note = f"{idle} of the {seen} GPUs of {me.host} are used by no process" if idle else ""
    return list(range(rank * each, (rank + 1) * each)), note


# ---- The connections


class Connection:
    """JSON objects in either direction. Thread-safe to send."""

    def __init__(self, connection: socket.socket):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", KEEP_IDLE), ("TCP_KEEPINTVL", KEEP_EVERY), ("TCP_KEEPCNT", KEEP_COUNT)):
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # the same for what was sent and is not acknowledged
            limit_ms = 1000 * (KEEP_IDLE + KEEP_COUNT * KEEP_EVERY)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)
        self._socket, self._lock = connection, threading.Lock()
        self._reader = connection.makefile("r", encoding="utf-8")

    def send(self, **message: Any) -> None:
        """Sends a message; that the other side is gone is noticed where it is read."""
        with self._lock, contextlib.suppress(OSError):
            self._socket.sendall((json.dumps(message) + "\n").encode())

    def receive(self, timeout_s: float | None = None) -> dict[str, Any] | None:
        """The next message; None when the other side is gone. TimeoutError after ``timeout_s``."""
        self._socket.settimeout(timeout_s)
        try:
            text = self._reader.readline()
            return json.loads(text) if text.endswith("\n") else None
        except TimeoutError:
            raise
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Closes the connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Hub:
    """Process 0's end of all connections, its own included. Runs in threads of its own.

    Args:
      launch: how process 0 was started.
      timeout_s: how long it waits for the others.
    """

    def __init__(self, launch: Launch, *, timeout_s: float):
        self.count, self.timeout_s = launch.processes, timeout_s
        port = int(launch.coordinator.rpartition(":")[2])
        try:
            self.socket = socket.create_server(("", port), family=socket.AF_INET, backlog=launch.processes)
        except OSError as error:
            raise ValueError(
                f"process 0 cannot listen on port {port} of this host ({error.strerror}): another run may use it; give "
                "--coordinator=HOST:PORT with a free one"
            ) from error
        self.connections: dict[int, Connection] = {}
        self.members: dict[int, Member] = {}
        self._events: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        self.done = threading.Event()  # every process has said farewell or is gone
        threading.Thread(target=self._run, daemon=True, name="jfsr hub").start()

    def _run(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()
        begun = told = time.monotonic()
        while len(self.members) < self.count:
            with contextlib.suppress(queue.Empty):
                self._joined(*self._events.get(timeout=0.2))
            now = time.monotonic()
            missing = [i for i in range(self.count) if i not in self.members]
            if missing and now - begun > self.timeout_s:
                there = ", ".join(str(self.members[i]) for i in sorted(self.members))
                return self._all(
                    fault=f"{_processes(missing)} of {self.count} did not come within {self.timeout_s:.0f} s; "
                    f"there are {there}"
                )
            if missing and now - told > TOLD_EVERY_S:
                told = now
                self._all(waits=f"waits for {_processes(missing)} of {self.count} ({now - begun:.0f} s)")
        with socket.socket() as free:  # JAX's own port; it is bound again at once
            free.bind(("", 0))
            port = free.getsockname()[1]
        members = [dataclasses.asdict(self.members[i]) for i in range(self.count)]
        self._all(members=members, port=port)
        self._serve()
        self.done.set()

    def _accept(self) -> None:
        while True:
            try:
                opened, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(Connection(opened),), daemon=True).start()

    def _read(self, connection: Connection) -> None:
        """One process's messages, until it says farewell or is gone."""
        try:
            hello = connection.receive(timeout_s=30.0)
            member = Member(**{**hello["member"], "gpus": tuple(hello["member"]["gpus"])}) if hello else None
        except (TimeoutError, KeyError, TypeError):
            member = None
        if member is None or hello is None:
            return connection.close()  # no process of ours
        if hello["processes"] != self.count or member.process in self.members:
            other = self.members.get(member.process)
            why = f"{other} has that number" if other else f"process 0 was told of {self.count} processes"
            connection.send(fault=f"{member} of {hello['processes']} cannot join: {why}")
            return connection.close()
        self.connections[member.process] = connection
        self._events.put((member.process, {"member": member}))
        while (message := connection.receive()) is not None:
            self._events.put((member.process, message))
            if "farewell" in message:
                return None
        self._events.put((member.process, None))
        return None

    def _joined(self, process: int, message: dict[str, Any] | None) -> None:
        if message is None:
            self._all(fault=f"{self.members.pop(process)} ended while the others were awaited")
        elif "member" in message:
            self.members[process] = message["member"]
        elif "failed" in message:
            self._all(fault=f"{self.members[process]} failed: {message['failed']}", code=message["code"])

    def _serve(self) -> None:
        waiting: dict[str, set[int]] = {}
        steps: dict[int, int] = {}
        asked, here = False, set(range(self.count))
        while here:
            process, message = self._events.get()
            if message is None:
                here.discard(process)
                self._all(fault=f"{self.members[process]} is gone: killed, or its host is")
            elif "failed" in message:
                self._all(fault=f"{self.members[process]} failed: {message['failed']}", code=message["code"])
            elif "barrier" in message:
                name = message["barrier"]
                waiting.setdefault(name, set()).add(process)
                if len(waiting[name]) == self.count:
                    del waiting[name]
                    self._all(passed=name)
            elif "who" in message:  # a barrier took too long
                name = message["who"]
                late = sorted(set(range(self.count)) - waiting.get(name, set()))
                self._all(fault=f"{_processes(late)} did not come to {name!r} in time, where the others wait")
            elif "stop" in message and not asked:
                asked = True
                self._all(report=True)
            elif "at" in message:
                steps[process] = message["at"]
                if len(steps) == self.count:
                    self._all(halt=max(steps.values()))
            elif "farewell" in message:
                here.discard(process)

    def _all(self, **message: Any) -> None:
        for connection in list(self.connections.values()):
            connection.send(**message)


class Cluster:
    """This process among the others; of a run of one process, every method returns at once.

    Args:
      launch: how it was started.
      join_timeout_s: how long it waits for the others, at the start and at every barrier.
      gpus: what it sees.
      say: prints a line for people.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        join_timeout_s: float = 300.0,
        gpus: tuple[str, ...] = (),
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ):
        self.launch, self.timeout_s, self.say = launch, join_timeout_s, say
        me = Member(launch.process, socket.gethostname(), os.getpid(), gpus)
        self.members, self.address = [me], ""
        self._connection: Connection | None = None
        self._hub: Hub | None = None
        self._changed = threading.Condition()
        self._passed: set[str] = set()
        self._frozen, self._halt, self._committed, self._ending = False, -1, 0, False
        if launch.processes > 1:
            self._join(me)

    def _join(self, me: Member) -> None:
        host, _, port = self.launch.coordinator.rpartition(":")
        self._hub = Hub(self.launch, timeout_s=self.timeout_s) if me.process == 0 else None
        self._connection = self._connect("127.0.0.1" if self._hub else host, int(port))
        self._connection.send(member=dataclasses.asdict(me), processes=self.launch.processes)
        while True:
            try:
                message = self._connection.receive(timeout_s=self.timeout_s + 60.0)
            except TimeoutError:
                message = None
            if message is None:
                raise ValueError(f"process 0 at {self.launch.coordinator} ended before all processes had come")
            if "fault" in message:
                raise ValueError(message["fault"])
            if "waits" in message:
                self.say(f"process {me.process} {message['waits']}")
            if "members" in message:
                self.members = [Member(**{**m, "gpus": tuple(m["gpus"])}) for m in message["members"]]
                self.address = f"{host}:{message['port']}"
                break
        faults.outlive_aborts(me.process)
        threading.Thread(target=self._listen, daemon=True, name="jfsr connection").start()

    def _connect(self, host: str, port: int) -> Connection:
        begun = told = time.monotonic()
        while True:
            try:
                opened = socket.create_connection((host, port), timeout=10.0)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return Connection(opened)
            except OSError as error:
                now = time.monotonic()
                if now - begun > self.timeout_s:
                    raise ValueError(
                        f"no process 0 answers at {host}:{port} for {self.timeout_s:.0f} s ({error}): it has not "
                        "started, or the address (--coordinator) cannot be reached from here"
                    ) from error
                if now - told > TOLD_EVERY_S:
                    told = now
                    self.say(
                        f"process {self.launch.process} waits for process 0 at {host}:{port} ({now - begun:.0f} s)"
                    )
                time.sleep(0.2)

    def _listen(self) -> None:
        assert self._connection is not None
        while (message := self._connection.receive()) is not None:
            with self._changed:
                if "fault" in message and not self._ending:
                    self._fault(message["fault"], message.get("code", FAULT))
                if "passed" in message:
                    self._passed.add(message["passed"])
                    # From here on the others may be gone before this process has said farewell.
                    self._ending = self._ending or message["passed"] == END
                if "report" in message:
                    self._frozen = True
                    self._connection.send(at=self._committed)
                if "halt" in message:
                    self._halt, self._frozen = message["halt"], False
                self._changed.notify_all()
        if not self._ending:
            self._fault(f"{self.members[0]} is gone: killed, or its host is")

    def _fault(self, why: str, code: int = FAULT) -> None:
        """Ends this process at once: with a process gone, a collective would wait for ever.

        A fault of the input ends all with its code, whoever met it: started again, they would meet it again.
        """
        code, remedy = (code, "") if code == INPUT else (FAULT, "; start all processes again")
        # Straight to the descriptor: another thread may hold the lock of sys.stderr, for instance in a progress bar.
        os.write(2, f"process {self.launch.process} ends: {why}{remedy}\n".encode())
        if self._hub is not None:
            time.sleep(0.5)  # it ends with this process, and the others are to hear the reason first
        os._exit(code)

    def barrier(self, name: str) -> None:
        """Waits until every process has come here; a fault after the join time-out."""
        if self._connection is None:
            return
        self._connection.send(barrier=name)
        with self._changed:
            if not self._changed.wait_for(lambda: name in self._passed, self.timeout_s):
                self._connection.send(who=name)
                self._changed.wait_for(lambda: False, 30.0)  # the answer ends this process
                self._fault(f"no answer about {name!r}")
            self._passed.discard(name)

    def request_stop(self) -> None:
        """Asks all processes to stop after the same step."""
        if self._connection is not None:
            self._connection.send(stop=True)

    def may_step(self, step: int) -> bool:
        """Whether the step after ``step`` is to be made: False where all processes have agreed to stop."""
        if self._connection is None:
            return True
        with self._changed:
            # A process that is about to ask must not start a step that the others will not make.
            self._changed.wait_for(lambda: not self._frozen)
            if 0 <= self._halt <= step:
                return False
            self._committed = step + 1
            return True

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Says farewell, or tells the others why this process ends, so that they end too."""
        if self._connection is None:
            return
        if error is None:
            self.barrier(END)
            self._ending = True
            self._connection.send(farewell=True)
            self._connection = None
            if self._hub is not None:  # it ends with this process, and has to let the others go first
                self._hub.done.wait(30.0)
            return
        if faults.of_a_partner(error):
            time.sleep(15.0)  # if the partner died, the connection says which, and ends this process
        self._ending = True
        said = str(error).strip().splitlines()[0][:500] if str(error) else repr(error)
        self._connection.send(failed=said, code=faults.exit_code(error))
        time.sleep(0.5)  # process 0 still has to pass it on
        # Runs before what JAX has registered, which would wait 100 s for processes that have ended, and then abort.
        atexit.register(faults.leave, error)


def _processes(numbers: Sequence[int]) -> str:
    """'process 1', 'processes 1, 3 and 4'."""
    if len(numbers) == 1:
        return f"process {numbers[0]}"
    return f"processes {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
