"""At which addresses processes listen, as Linux tells."""

from __future__ import annotations

import os
import struct
from ipaddress import ip_address
from pathlib import Path


def note(config, context):
    """A stage: leaves in ``log`` at which addresses its process listens."""
    with open(config["log"], "a") as file:
        file.write(" ".join(listening({os.getpid()})) + "\n")
    return {"value": 0.0}


def listening(pids: set[int]) -> list[str]:
    """The addresses at which processes wait for connections."""
    inodes, found = _sockets_of(pids), []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                digits = words[1].partition(":")[0]
                parts = [int(digits[i : i + 8], 16) for i in range(0, len(digits), 8)]
                packed = struct.pack(f"={len(parts)}I", *parts)  # each four bytes in the machine's order
                found.append(str(ip_address(packed)))
    return found


def is_loopback(text: str) -> bool:
    address = ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _sockets_of(pids: set[int]) -> set[str]:
    """The inodes of the processes' sockets."""
    links = set()
    for pid in pids:
        for path in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                links.add(os.readlink(path))
            except FileNotFoundError:
                continue
    return {link[8:-1] for link in links if link.startswith("socket:[")}
