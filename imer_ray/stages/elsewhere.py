"""A broker's side of the claims: it waits for what other drivers of its store compute, and keeps them off its own."""

from __future__ import annotations

import asyncio

from imer_ray.errors import StageStopped
from imer_ray.stages.claim import Claims
from imer_ray.stages.job import Begin, Job, Status
from imer_ray.stages.store import Store
from imer_ray.stages.threads import in_thread


class Elsewhere:
    """What other drivers do.

    Args:
        claims: this driver's; None: there are no others.
    """

    def __init__(self, store: Store, claims: Claims | None) -> None:
        self._store, self._claims = store, claims

    async def computes(self, job: Job) -> bool:
        """Wait as long as another driver computes a stage; whether one did.

        Raises:
            StageStopped: nobody wants it any more.
        """
        waited, key = False, job.stage.key
        while self._claims is not None and (other := await in_thread(self._claims.holder, key)) is not None:
            if not job.is_wanted():
                raise StageStopped("nobody waits for it any more")
            why = f"which another search computes (process {other.pid} on {other.host})"
            waited, job.status = True, Status(state="elsewhere", why=why)
            await asyncio.sleep(self._claims.look_seconds)
            if await in_thread(self._store.find, key) is not None:
                break
        return waited

    async def leaves(self, job: Job) -> Begin:
        """Whether a stage that is about to run is left to this driver, which has claimed it then."""
        if self._claims is None:
            return Begin.RESUMED
        if job.releasing is not None:
            await job.releasing  # which would take the new claim back
        other = await in_thread(self._claims.take, job.stage.key)
        job.claimed = other is None
        if not job.claimed:
            return Begin.NOT
        looked = in_thread(self._store.find, job.stage.key), in_thread(self._store.workspaces.lacks, job.stage.key)
        manifest, lacks = await asyncio.gather(*looked)
        if manifest is not None:
            return Begin.NOT
        return Begin.ANEW if lacks else Begin.RESUMED

    async def release(self, job: Job) -> None:
        """The stage runs no more. Whoever waits for its result does not wait for this, but the next run does."""
        if job.claimed and self._claims is not None:
            job.claimed = False
            job.releasing = asyncio.create_task(in_thread(self._claims.release, job.stage.key))
