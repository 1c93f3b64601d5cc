"""One thread that does many things: coroutines that wait for descriptors, for time, and for each other.

asyncio would do the same with 5 MB more, and it imports ssl and threads, which make a process unfit to fork.
"""

import select
import time
from collections import deque
from errno import EBADF
from heapq import heapify, heappop, heappush

from foundation.linux import os
from pyrund.errors import show_bug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import Any, Generic, TypeVar

    T = TypeVar("T")
else:
    T = None

    class Generic:  # without importing typing
        def __class_getitem__(cls, _):
            return cls


_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_BROKEN = select.EPOLLERR | select.EPOLLHUP
_LONGEST_WAIT = 3600.0  # seconds; epoll_wait(2) takes an int of milliseconds, which end after 24 days


class Future(Generic[T]):
    """A result that comes later. Any number of coroutines may `await` it, also when it is there already."""

    def __init__(self) -> None:
        self.is_done = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._watchers: list[Callable[[], None]] = []

    def set(self, result: "T") -> None:
        """Give the result; does nothing if there is one."""
        self._finish(result, None)

    def fail(self, error: BaseException) -> None:
        """Raise `error` in all that wait for the result."""
        self._finish(None, error)

    def spoil(self, error: BaseException) -> None:
        """Raise `error` in those that have not taken the result yet."""
        self._error = error

    def when_done(self, watcher: "Callable[[], None]") -> None:
        if self.is_done:
            watcher()
        else:
            self._watchers.append(watcher)

    def forget(self, watcher: "Callable[[], None]") -> None:
        """Take back what when_done() was given, if it has not been called."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def __await__(self) -> "Generator[Future[T], None, T]":
        if not self.is_done:
            yield self
        return self.result()

    def result(self) -> "T":
        """Return the result, which must be there, or raise the error."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[no-any-return]

    def _finish(self, result: object, error: "BaseException | None") -> None:
        if self.is_done:
            return
        self.is_done, self._result, self._error = True, result, error
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher()


class Task(Future[T]):
    """A coroutine under way. Its result is the coroutine's; an error that nobody waits for is printed: it is a bug."""

    def __init__(self, loop: "Loop", coroutine: "Coroutine[Future[Any], None, T]") -> None:
        super().__init__()
        self._loop = loop
        self._coroutine = coroutine
        loop.soon(self._step)

    def _step(self) -> None:
        try:
            awaited = self._coroutine.send(None)
        except StopIteration as end:
            self.set(end.value)
        except Exception as failure:
            if not self._watchers:
                show_bug(failure)
            self.fail(failure)
        else:
            awaited.when_done(lambda: self._loop.soon(self._step))


class Loop:
    """Runs tasks. All descriptors must be non-blocking, and be closed with close()."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, dict[int, Future[None]]] = {}  # descriptor -> {EPOLLIN, EPOLLOUT or 0: its future}
        self._woken: dict[int, list[Future[None]]] = {}  # descriptor -> what is done, and perhaps not noticed yet
        self._timers: list[tuple[float, int, Future[None]]] = []
        self._count = 0  # tells timers of the same time apart
        self._unneeded = 0  # timers whose futures are done before their time
        self._ready: deque[Callable[[], object]] = deque()

    def run(self, task: "Task[T]") -> "T":
        """Run everything until `task` is done; return its result."""
        while not task.is_done:
            while self._ready and not task.is_done:
                self._ready.popleft()()
            if not task.is_done:
                self._wait()
        return task.result()

    def spawn(self, coroutine: "Coroutine[Any, Any, T]") -> "Task[T]":
        """Start a coroutine, which runs as soon as the present one waits."""
        return Task(self, coroutine)

    def soon(self, call: "Callable[[], object]") -> None:
        self._ready.append(call)

    # What a coroutine can wait for.

    def readable(self, fd: int) -> "Future[None]":
        """Wait until a read of `fd` would not block."""
        return self._ready_for(fd, _IN)

    def writable(self, fd: int) -> "Future[None]":
        return self._ready_for(fd, _OUT)

    def broken(self, fd: int) -> "Future[None]":
        """Wait until nothing can come from the connection `fd` or go there any more."""
        return self._ready_for(fd, 0)

    def sleep(self, seconds: float) -> "Future[None]":
        future: Future[None] = Future()
        self._count += 1
        heappush(self._timers, (time.monotonic() + seconds, self._count, future))
        return future

    async def in_time(self, awaited: "Future[Any]", seconds: float) -> bool:
        """Wait until `awaited` is done, but at most for some `seconds`; return whether it is.

        The timer goes with the wait: a client that sends byte by byte would leave one behind for each of them.
        """
        limit = self.sleep(seconds)
        await first(awaited, limit)
        if not limit.is_done:
            limit.set(None)
            self._unneeded += 1
            if 2 * self._unneeded > len(self._timers):
                self._timers = [timer for timer in self._timers if not timer[2].is_done]
                heapify(self._timers)
                self._unneeded = 0
        return awaited.is_done

    async def read(self, fd: int, size: int) -> bytes:
        """Return at most `size` bytes, b"" at the end, and if `fd` is closed meanwhile."""
        while (data := read_now(fd, size)) is None:
            try:
                await self.readable(fd)
            except OSError:
                return b""
        return data

    async def write_all(self, fd: int, data: "bytes | memoryview") -> None:
        """Write all of `data`. Raises the OSError of write(2)."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(fd, rest) :]
            except BlockingIOError:
                await self.writable(fd)

    def close(self, fd: int) -> None:
        """Close `fd`. Whoever waits for it gets an OSError: its number may soon be that of another file.

        If another process has a copy of it, epoll would go on to report it: epoll(7), Questions and answers.
        """
        waiting = self._waiting.pop(fd, None)
        if waiting is not None:
            self._epoll.unregister(fd)
            for future in waiting.values():
                future.fail(OSError(EBADF, os.strerror(EBADF)))
        for future in self._woken.pop(fd, ()):
            future.spoil(OSError(EBADF, os.strerror(EBADF)))
        os.close(fd)

    def _ready_for(self, fd: int, event: int) -> "Future[None]":
        waiting = self._waiting.get(fd)
        if waiting is None:
            self._epoll.register(fd, event)
            waiting = self._waiting[fd] = {}
        elif event not in waiting:
            self._epoll.modify(fd, event | sum(waiting))
        return waiting.setdefault(event, Future())

    def _wait(self) -> None:
        self._woken.clear()  # whoever has waited for that has had his turn
        pause = self._timers[0][0] - time.monotonic() if self._timers else _LONGEST_WAIT
        for fd, events in self._epoll.poll(min(max(0.0, pause), _LONGEST_WAIT)):
            self._wake(fd, events)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heappop(self._timers)[2]
            self._unneeded -= timer.is_done
            timer.set(None)

    def _wake(self, fd: int, events: int) -> None:
        waiting = self._waiting.get(fd, {})
        woken = [waiting.pop(event) for event in list(waiting) if events & (event | _BROKEN)]
        if waiting:
            self._epoll.modify(fd, sum(waiting))
        elif woken:
            del self._waiting[fd]
            self._epoll.unregister(fd)
        self._woken[fd] = woken
        for future in woken:
            future.set(None)


def read_now(fd: int, size: int) -> "bytes | None":
    """Return at most `size` bytes, None if there are none yet, b"" at the end: also that of a terminal that was hung up
    (EIO), or of a broken connection."""
    try:
        return os.read(fd, size)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def first(*futures: "Future[Any]") -> "Future[None]":
    """Wait until one of `futures` is done; the others go on, and nothing of this stays with them."""
    any_: Future[None] = Future()

    def finish() -> None:
        for future in futures:
            future.forget(finish)
        any_.set(None)

    for future in futures:
        if not any_.is_done:
            future.when_done(finish)
    return any_


class Turns:
    """Lets one coroutine after the other into a block: `async with turns:`. They come in the order of their arrival."""

    def __init__(self) -> None:
        self._is_taken = False
        self._queue: deque[Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self._is_taken:
            turn: Future[None] = Future()
            self._queue.append(turn)
            await turn  # whoever leaves hands the block over, so nobody who comes later gets it before
        self._is_taken = True

    async def __aexit__(self, *_: object) -> None:
        if self._queue:
            self._queue.popleft().set(None)
        else:
            self._is_taken = False
