"""Delivers a sealed plan: reads its batches, sends them, books what came back.

Before a batch is sent, it is noted as sent; when its answer is there, the verdicts are booked. Both are durable, the
answer of one batch and the note of the next in one small commit: whatever happens in between, the next run knows which
batches may have been applied.

One thread (the caller's) talks to the database; as many as the destination allows talk to the platform. At most that
many batches are in memory, and at most that many are without an answer when the process dies.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

import sqlalchemy as sa

from audience_syncs.destinations.stopping import stops_with
from audience_syncs.engine.isolation import Call, Isolation
from audience_syncs.engine.phases import DELIVERY_ORDER, SENDING
from audience_syncs.engine.plan import Plan
from audience_syncs.engine.prepare import fields_of, outgoing
from audience_syncs.model.errors import DestinationError
from audience_syncs.model.values import Batch, ChangeKind, Outgoing, Progress, Verdict, VerdictKind
from audience_syncs.warehouse.connection import Warehouse, lost
from audience_syncs.warehouse.jobs import Jobs

GIVE_UP_AFTER = 3
"""Batches in a row without one answer, each after all its retries, before the platform is taken to be down."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """A batch on its way: the plan rows behind its members, by position."""

    phase: int
    batch: int
    seqs: Sequence[int]
    call: Call
    content: Batch


@dataclass(slots=True)
class _Answer:
    """What came of a batch. ``stop`` is the error that ends the run; members it left unanswered are retryable."""

    verdicts: list[Verdict]
    stop: DestinationError | None = None
    silent: bool = field(default=False)
    """Not one member got through: the platform may be down."""


def deliver(
    connection: sa.Connection,
    warehouse: Warehouse,
    plan: Plan,
    call_of: Callable[[int], Call],
    concurrency: int,
    *,
    fields: Sequence[str],
    progress: Callable[[Progress], None],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Sends the plan, phase by phase; ``call_of``: what delivers a batch of a phase; ``fields``: those of the mapping.

    Every answer that arrived is booked, also when this raises: DestinationError when the platform refuses our access,
    the list is gone, or it is down.
    """
    booker = _Booker(connection, warehouse, plan, fields, clock)
    stop = threading.Event()
    total = sum(plan.rows.values())
    done = 0
    with ThreadPoolExecutor(concurrency, thread_name_prefix="deliver") as threads:
        for phase in DELIVERY_ORDER:
            silent = 0
            # Closed at once when this raises, so that what is under way is still booked.
            flight = _in_flight(booker, threads, concurrency, call_of(phase), plan, phase, stop)
            with closing(flight) as answers, _stopped_when_cancelled(stop):
                for sent, answer in answers:
                    done += len(sent.seqs)
                    progress(Progress("deliver", done, total))
                    if answer.stop is not None:
                        raise answer.stop
                    silent = silent + 1 if answer.silent else 0
                    if silent >= GIVE_UP_AFTER:
                        said = answer.verdicts[0].reason
                        raise DestinationError(
                            f"{silent} batches in a row, not one member got through; the platform seems to be down, or to "
                            f"refuse everything: {said}",
                            code="DESTINATION_DOWN",
                            remedy="nothing is lost: the next run settles what is open and sends the rest",
                        )


@contextmanager
def _stopped_when_cancelled(stop: threading.Event) -> Iterator[None]:
    """Somebody cancels the run: what is under way is answered and booked, but nothing waits to be tried again."""
    try:
        yield
    except (Exception, GeneratorExit):
        raise
    except BaseException:
        stop.set()
        raise


def _in_flight(
    booker: _Booker,
    threads: ThreadPoolExecutor,
    concurrency: int,
    call: Call,
    plan: Plan,
    phase: int,
    stop: threading.Event,
) -> Generator[tuple[_Sent, _Answer]]:
    """Keeps as many batches under way as the destination allows, and books each answer before yielding it; durably,
    before anything else goes out.

    When the caller stops listening (an error, a cancelled run), batches under way are waited for and booked.
    """
    waiting: dict[Future[_Answer], _Sent] = {}
    batches = iter(range(1, plan.batches.get(phase, 0) + 1))
    try:
        with _stopped_when_cancelled(stop):
            while True:
                ready = [booker.read(call, phase, number) for number in islice(batches, concurrency - len(waiting))]
                for sent in ready:
                    booker.note_sent(sent)
                # The answers of before and what goes out now: one commit, and nothing goes out before it.
                booker.commit()
                waiting |= {threads.submit(_send, sent, stop): sent for sent in ready}
                if not waiting:
                    return
                yield from _book_finished(booker, waiting)
    finally:
        while waiting:
            for _ in _book_finished(booker, waiting):
                pass
        booker.commit()


def _book_finished(booker: _Booker, waiting: dict[Future[_Answer], _Sent]) -> Iterator[tuple[_Sent, _Answer]]:
    finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in finished:
        sent = waiting.pop(future)
        answer = future.result()
        booker.book(sent, answer.verdicts)
        yield sent, answer


class _Booker:
    """The database's side of delivery."""

    def __init__(
        self,
        connection: sa.Connection,
        warehouse: Warehouse,
        plan: Plan,
        fields: Sequence[str],
        clock: Callable[[], datetime],
    ) -> None:
        self._connection = connection
        self._warehouse = warehouse
        self._plan = plan
        self._fields = fields
        self._clock = clock
        self._jobs = Jobs(warehouse, plan.sync)

    def read(self, call: Call, phase: int, number: int) -> _Sent:
        """One batch of the plan, as it was sealed."""
        plan = self._warehouse.tables.plan
        query = (
            sa.select(plan.c.seq, plan.c.identifiers, plan.c.payload, plan.c.remote_id, plan.c.kind)
            .where(plan.c.sync == self._plan.sync, plan.c.plan_id == self._plan.id)
            .where(plan.c.phase == phase, plan.c.batch == number)
            .order_by(plan.c.seq)
        )
        rows = self._connection.execute(query).all()
        sending = phase in SENDING
        members = [
            outgoing(payload, remote_id, new=kind == ChangeKind.ADD)
            if sending
            else Outgoing(fields_of(identifiers), remote_id, new=kind == ChangeKind.ADD)
            for _, identifiers, payload, remote_id, kind in rows
        ]
        content = Batch(
            members,
            number=number,
            of=self._plan.batches[phase],
            session=_session(self._plan, phase),
            total=self._plan.rows[phase],
            fields=self._fields,
            jobs=self._jobs,
        )
        return _Sent(phase, number, [row.seq for row in rows], call, content)

    def note_sent(self, sent: _Sent) -> None:
        """From now on this batch may have been applied."""
        self._connection.execute(
            sa.insert(self._warehouse.tables.batches).values(
                plan_id=self._plan.id, phase=sent.phase, batch=sent.batch, sent_at=self._clock()
            )
        )

    def book(self, sent: _Sent, verdicts: Sequence[Verdict]) -> None:
        """Writes the verdicts that are not plain acceptance, and that the batch has been answered."""
        if len(verdicts) != len(sent.seqs):
            raise DestinationError(
                f"the destination answered for {len(verdicts)} of {len(sent.seqs)} members",
                code="DESTINATION_CONTRACT",
                remedy="report this: a destination must give one verdict per member",
            )
        tables = self._warehouse.tables
        rows = [
            (
                self._plan.id,
                seq,
                verdict.kind.value,
                verdict.reason_code,
                verdict.reason[:500],
                verdict.remote_id,
            )
            for seq, verdict in zip(sent.seqs, verdicts, strict=True)
            if verdict.kind is not VerdictKind.ACCEPTED or verdict.remote_id is not None
        ]
        if rows:
            columns = ("plan_id", "seq", "verdict", "reason_code", "reason", "remote_id")
            self._warehouse.dialect.copy_rows(self._connection, tables.verdicts, columns, rows)
        batches = tables.batches
        self._connection.execute(
            sa.update(batches)
            .where(
                batches.c.plan_id == self._plan.id,
                batches.c.phase == sent.phase,
                batches.c.batch == sent.batch,
            )
            .values(booked_at=self._clock())
        )

    def commit(self) -> None:
        """Makes durable what was noted and booked; nothing, once the connection is lost."""
        if not lost(self._connection):
            self._connection.commit()


def _session(plan: Plan, phase: int) -> int:
    """A positive 63-bit number, the same for all batches of a phase and different for every other."""
    text = f"{plan.sync}\n{plan.id}\n{plan.digest}\n{phase}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1 or 1


def _send(sent: _Sent, stopping: threading.Event) -> _Answer:
    """Runs in a delivery thread: sends one batch and turns whatever comes back into verdicts."""
    isolation = Isolation(sent.call, len(sent.content))
    stop: DestinationError | None = None
    try:
        with stops_with(stopping):
            isolation.send(sent.content)
    except DestinationError as error:
        stop = error
    left = Verdict(VerdictKind.RETRYABLE, stop.code if stop else "NOT_SENT", "the run stopped before this was sent")
    verdicts = [left if verdict is None else verdict for verdict in isolation.verdicts]
    silent = all(verdict.kind in (VerdictKind.RETRYABLE, VerdictKind.UNKNOWN) for verdict in verdicts)
    return _Answer(verdicts, stop, silent and bool(verdicts))
