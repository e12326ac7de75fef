"""Threads that wait for stores. `asyncio.to_thread` has only few on a machine of few processors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_threads = ThreadPoolExecutor(32, thread_name_prefix="store")


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """What a function that blocks gives; others run meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)
