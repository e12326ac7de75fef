"""Which configurations of a study are known: they have results, or run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imer_ray.tuning.study.points import name
from imer_ray.tuning.study.proposal import key


class Known:
    """Configurations by their identity: equal for those that would give the same results.

    Args:
        identify: the identity of a resolved configuration; takes milliseconds.
        configure: the resolved configuration of some values.
        code: stamp of the code that the identities depend on: what the same code has noted is not worked out again.
            None: nothing is noted, and all is worked out.
    """

    def __init__(
        self,
        identify: Callable[[Mapping[str, Any]], str],
        configure: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        code: str | None = None,
    ) -> None:
        self._identify = identify
        self._configure = configure
        self._code = code
        self._rows: dict[str, Mapping[str, Any] | None] = {}  # by identity; None while it runs
        self._of_values: dict[tuple[Any, ...], str] = {}  # identities of values that were asked for
        self.of_point: dict[tuple[int, int], str] = {}  # identities of the rows, by trial and point

    def __contains__(self, identity: str) -> bool:
        return identity in self._rows

    def row(self, identity: str) -> Mapping[str, Any] | None:
        """What is known of it; None while it runs, or if nothing is."""
        return self._rows.get(identity)

    def of(self, values: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> str:
        """The identity of some values of the space; ``config`` is theirs, if it is at hand."""
        if (asked := key(values)) not in self._of_values:
            self._of_values[asked] = self._identify(self._configure(values) if config is None else config)
        return self._of_values[asked]

    def is_new(self, values: Mapping[str, Any]) -> bool:
        return self.of(values) not in self

    def of_rows(self, rows: Sequence[Mapping[str, Any]], noted: Mapping[str, Any] | None = None) -> Sequence[str]:
        """The identities of rows; of ``noted``, if this code noted it for them."""
        if noted is not None and noted["code"] == self._code and len(noted["of"]) == len(rows):
            known: list[str] = noted["of"]
            return known
        return [self._identify(json.loads(row["config"])) for row in rows]

    def note(self, identities: Sequence[str]) -> dict[str, Any] | None:
        """What `of_rows` is to be given the next time, if that is of use."""
        return None if self._code is None else {"code": self._code, "of": list(identities)}

    def begin(self, identity: str) -> None:
        """It runs now."""
        self._rows[identity] = None

    def end(self, row: Mapping[str, Any], identity: str) -> None:
        """It has a row, which counts if there is no complete one."""
        self.of_point[name(row)] = identity
        known = self._rows.get(identity)
        if known is None or known["status"] != "complete":
            self._rows[identity] = row

    def forget_failed(self, row: Mapping[str, Any]) -> bool:
        """Have a failed row's configuration be unknown again; False if another trial has been there."""
        identity = self.of_point[name(row)]
        known = self._rows.get(identity)
        if known is not None and known["status"] != "failed":
            return False
        self._rows.pop(identity, None)
        return True
