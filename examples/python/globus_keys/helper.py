"""The process that has the store: docs/helper-protocol.md, the client's side."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import threading
import typing as t
import weakref

from .errors import GlobusKeysError, Unavailable, from_answer

MAX_LINE = 1 << 20  # bytes of a request or an answer, with its LF
TIMEOUT = 300.0  # seconds: a keychain's dialog has 120, locks 30 each, a refresh 40
PATIENCE = 5  # seconds that close waits for a helper, which may have a login to store
ENDING = 45  # seconds after which one is killed that is to end: it may store for 40

Answer = t.Dict[str, t.Any]


class Helper:
    """One ``globus-keys credential-helper``, started when it is needed.

    Threads take turns. A forked child starts a helper of its own. One that was
    killed is started again, and asked again, once: every request may be made twice.
    One that does not answer within timeout seconds (None: no limit) is done with.
    """

    def __init__(
        self,
        program: str,
        arguments: t.Sequence[str],
        timeout: float | None = TIMEOUT,
    ) -> None:
        self._program = program
        self._arguments = arguments
        self._timeout = timeout
        self._process: _Process | None = None
        self._turn = threading.Lock()
        _all.add(self)

    def ask(self, op: str, **fields: t.Any) -> Answer:
        """Ask for something and return the answer, or raise what went wrong.

        What JSON cannot hold is a ValueError or a TypeError, and nothing is sent.
        """
        json.dumps(fields, allow_nan=False, ensure_ascii=False).encode()
        with self._turn:
            started = self._process is None
            try:
                answer = self._exchange(op, fields)
            except _Gone as gone:
                if started:
                    raise Unavailable(str(gone), code="unavailable") from None
                answer = self._once_more(op, fields)
        if "error" in answer:
            raise from_answer(answer["error"])
        return answer

    def close(self) -> None:
        """End the helper. The next request starts another one."""
        with self._turn:
            self._drop()

    def _once_more(self, op: str, fields: Answer) -> Answer:
        try:
            return self._exchange(op, fields)
        except _Gone as gone:
            raise Unavailable(str(gone), code="unavailable") from None

    def _exchange(self, op: str, fields: Answer) -> Answer:
        try:
            if self._process is None:
                self._process = _Process(self._command(), self._timeout)
                if "error" in (answer := self._process.exchange("hello", {})):
                    return answer
            return self._process.exchange(op, fields)
        except _TooLong:
            raise
        except BaseException:  # ^C too: the answer to this would be the next one's
            self._drop()
            raise

    def _command(self) -> list[str]:
        program = _find(self._program)
        if program is None:
            raise Unavailable(
                f"the command {self._program!r} is not installed, or not in PATH",
                hint="https://github.com/globus-keys/globus-keys says how to install it",
                code="unavailable",
            )
        return [program, *self._arguments]

    def _drop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _forked(self) -> None:
        """In a child: the pipes are the parent's, and so is whoever had the turn."""
        self._turn = threading.Lock()
        process, self._process = self._process, None
        if process is not None:
            process.disown()


class _Gone(Exception):
    """There is no answer, and there will be none."""


class _TooLong(GlobusKeysError):
    """The request does not fit into a line. Nothing was sent."""


class _Process:
    """A helper that is running. Each pipe has a thread, which may be stuck in it."""

    def __init__(self, command: list[str], timeout: float | None) -> None:
        # stderr is the user's: warnings and what has no answer go there.
        try:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        except OSError as error:
            raise Unavailable(f"{command[0]}: {error.strerror}", code="unavailable")
        self._timeout = timeout
        self._requests: _Lines = queue.SimpleQueue()
        self._answers: _Lines = queue.SimpleQueue()
        self._id = 0
        self._end = weakref.finalize(self, _close, self._popen, self._requests)
        _begin(_write, self._popen.stdin, self._requests)
        _begin(_read, self._popen.stdout, self._answers)

    def exchange(self, op: str, fields: Answer) -> Answer:
        self._id += 1
        self._send({"v": 1, "id": self._id, "op": op, **fields})
        answer = self._receive()
        if answer.get("v") != 1 or answer.get("id") != self._id:
            raise _Gone("the helper of globus-keys has lost its place")
        return answer

    def _send(self, request: Answer) -> None:
        line = json.dumps(request, separators=(",", ":")).encode() + b"\n"
        if len(line) > MAX_LINE:
            raise _TooLong("this is too much for one request", code="too_large")
        self._requests.put(line)

    def _receive(self) -> Answer:
        try:
            line = self._answers.get(timeout=self._timeout)
        except queue.Empty:
            _begin(_kill, self._popen)
            raise Unavailable(
                f"the helper of globus-keys has not answered for {self._timeout:g} seconds",
                hint="globus-keys status, in a terminal, says how the store is",
                code="unavailable",
            ) from None
        if line is None:
            raise _Gone(self._ended())
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise _Gone("what answers is not the helper of globus-keys")
        return answer

    def _ended(self) -> str:
        try:
            code = self._popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return "the helper of globus-keys does not answer"
        ended = f"the helper of globus-keys has ended, with exit code {code}"
        return ended + "; standard error has its reason"

    def close(self) -> None:
        self._end()

    def disown(self) -> None:
        self._end.detach()
        for pipe in self._popen.stdin, self._popen.stdout:
            assert pipe is not None
            pipe.close()  # the threads are the parent's
        self._popen.returncode = 0  # it is no child of ours: nobody is to wait for it


_Lines = queue.SimpleQueue[t.Optional[bytes]]


def _begin(work: t.Callable[..., None], *arguments: t.Any) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()


def _write(pipe: t.BinaryIO, requests: _Lines) -> None:
    """In a thread: what is to be written, until there is no more."""
    with pipe:
        while line := requests.get():
            rest = memoryview(line)
            try:
                while rest:
                    rest = rest[pipe.write(rest) :]
            except OSError:
                return  # it has ended, which _read tells


def _read(pipe: t.BinaryIO, answers: _Lines) -> None:
    """In a thread: what is read, line by line, and None after the last."""
    rest = b""
    with pipe:
        while len(rest) <= MAX_LINE and (chunk := pipe.read(65536)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                answers.put(line)
    answers.put(None)


def _kill(popen: subprocess.Popen[bytes]) -> None:
    """In a thread: kill a helper that does not end by itself."""
    try:
        popen.wait(ENDING)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()


def _close(popen: subprocess.Popen[bytes], requests: _Lines) -> None:
    """End of input is the end of a helper. It finishes what it has to store."""
    requests.put(None)
    try:
        popen.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        pass  # it ends by itself


def _find(program: str) -> str | None:
    """The path of a command. Unlike shutil.which, never one in the current directory."""
    if os.name == "nt" and not os.path.splitext(program)[1]:
        program += ".exe"
    if os.path.dirname(program):
        return shutil.which(program)
    for directory in filter(os.path.isabs, os.get_exec_path()):
        if path := shutil.which(os.path.join(directory, program)):
            return path
    return None


_all: weakref.WeakSet[Helper] = weakref.WeakSet()


def _forked() -> None:
    for helper in list(_all):
        helper._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
