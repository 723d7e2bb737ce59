"""The workers of a CA that is served by several processes, as the kernel knows them."""

from __future__ import annotations

from pathlib import Path

from tests.served_process import Running

_ESTABLISHED = "01"


def workers_of(supervisor: Running | int) -> list[int]:
    """Return the process ids of a supervisor's workers."""
    pid = supervisor if isinstance(supervisor, int) else supervisor.process.pid
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(item) for item in text.split()]


def is_alive(pid: int) -> bool:
    """Return whether a process runs: not one that has ended and that nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def connections_at(pid: int, address: str) -> int:
    """Count the connections that a process has accepted at an address."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    accepted = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(port) and fields[3] == _ESTABLISHED:
                accepted.add(f"socket:[{fields[9]}]")
    return len(accepted & open_files(pid))


def open_files(pid: int) -> set[str]:
    """Return what a process has open, as the kernel names it."""
    found = set()
    for item in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(str(item.readlink()))
        except FileNotFoundError:
            continue
    return found
