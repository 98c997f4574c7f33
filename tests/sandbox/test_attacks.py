"""What a hostile program tries. Every attack is real, and checked from outside."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import Popen

import pytest
from confined import OTHER_USER, SMALL, Way, processes_with

FORK_BOMB = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
HOG = """
kept = []
while True:
    kept.append(bytearray(b"x") * 4_000_000)
"""
# No single process of it has more than a third of the limit.
SHARED_HOG = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        kept = bytearray(b"x") * 60_000_000
        time.sleep(60)
time.sleep(60)
"""
ONE_BITE = "bytearray(50 * 2**30)"
# Memory that no process shows as its own.
HIDDEN_HOG = """
import os, ctypes
libc = ctypes.CDLL(None, use_errno=True)
for folder in ("/dev/shm", "/tmp", "/run", "/run/user/0"):
    try:
        open(folder + "/hog", "wb").write(b"x")
        print("wrote to", folder)
    except OSError:
        pass
if libc.memfd_create(b"x", 0) >= 0:
    print("memfd")
if libc.shmget(0, 10**6, 0o1600) >= 0:
    print("shared memory")
"""


def test_a_fork_bomb_is_stopped(way: Way, scratch: Path, marker: str) -> None:
    outcome = way.run(FORK_BOMB, scratch, marker)
    assert outcome.limit == "processes"
    assert outcome.peak_processes <= SMALL.processes
    assert not list(processes_with(marker))


def test_a_memory_hog_is_stopped(way: Way, scratch: Path) -> None:
    outcome = way.run(HOG, scratch)
    assert outcome.limit == "memory"
    assert outcome.peak_memory_bytes < 1.3 * SMALL.memory_bytes


def test_memory_is_counted_over_all_processes(way: Way, scratch: Path, marker: str) -> None:
    outcome = way.run(SHARED_HOG, scratch, marker)
    assert outcome.limit == "memory"
    assert outcome.seconds < 20
    assert not list(processes_with(marker))


def test_memory_that_would_not_be_counted_is_not_to_be_had(own_way: Way, scratch: Path) -> None:
    outcome = own_way.run(HIDDEN_HOG, scratch)
    assert outcome.ok, outcome
    assert outcome.stdout == b""


def test_one_enormous_request_is_refused(own_way: Way, scratch: Path) -> None:
    outcome = own_way.run(ONE_BITE, scratch)
    assert outcome.limit == "memory"
    assert outcome.exit_code == 1


def test_memory_shared_between_processes_counts_once(own_way: Way, scratch: Path) -> None:
    shared = "import os, time\nkept = bytearray(b'x') * 90_000_000\nfor _ in range(4):\n    os.fork()\ntime.sleep(0.5)"
    outcome = own_way.run(shared, scratch)  # 16 processes with 90 MB each, the same
    assert outcome.ok, outcome


CALLS = """
import json, socket, sys
tcp, tcp6, udp, path, abstract = json.loads(sys.argv[1])
def attempt(name, call):
    try:
        call()
        print("REACHED", name)
    except OSError as error:
        print("refused", name)
attempt("tcp", lambda: socket.create_connection(("127.0.0.1", tcp), timeout=2).sendall(b"hello"))
attempt("tcp6", lambda: socket.create_connection(("::1", tcp6), timeout=2).sendall(b"hello"))
attempt("outside", lambda: socket.create_connection(("1.1.1.1", 53), timeout=2))
attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", ("127.0.0.1", udp)))
attempt("dns", lambda: socket.getaddrinfo("example.com", 80))
attempt("listen", lambda: socket.create_server(("127.0.0.1", 0)))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
def unix(where):
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(where)
        caller.sendall(b"hello")
attempt("unix", lambda: unix(path))
attempt("abstract", lambda: unix("\\0" + abstract))
"""


class Listener:
    """Servers of every kind on this machine, and what reached them."""

    def __init__(self, folder: Path, name: str) -> None:
        self.heard: list[str] = []
        self.path, self.abstract = str(folder / "socket"), name
        self._open: list[tuple[str, socket.socket]] = []
        tcp = self._listen("tcp", socket.AF_INET, ("127.0.0.1", 0))
        try:
            tcp6 = self._listen("tcp6", socket.AF_INET6, ("::1", 0))
        except OSError:  # a machine without IPv6
            tcp6 = tcp
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        self._open.append(("udp", udp))
        self._listen("unix", socket.AF_UNIX, self.path)
        Path(self.path).chmod(0o777)
        self._listen("abstract", socket.AF_UNIX, "\0" + name)
        self.addresses = [tcp, tcp6, udp.getsockname()[1], self.path, name]
        self.threads = [threading.Thread(target=self._hear, args=pair, daemon=True) for pair in self._open]
        for thread in self.threads:
            thread.start()

    def _listen(self, kind: str, family: socket.AddressFamily, address: object) -> int:
        server = socket.socket(family)
        server.bind(address)  # type: ignore[arg-type]
        server.listen()
        self._open.append((kind, server))
        name = server.getsockname()
        return name[1] if isinstance(name, tuple) else 0

    def _hear(self, kind: str, server: socket.socket) -> None:
        server.settimeout(0.1)
        while server.fileno() >= 0:
            try:
                if kind == "udp":
                    server.recv(100)
                else:
                    server.accept()[0].close()
                self.heard.append(kind)
            except TimeoutError:
                continue
            except OSError:
                return

    def close(self) -> None:
        time.sleep(0.2)  # what was sent is heard
        for _, server in self._open:
            server.close()
        for thread in self.threads:
            thread.join()


@contextmanager
def listening(folder: Path, name: str) -> Iterator[Listener]:
    listener = Listener(folder, name)
    try:
        yield listener
    finally:
        listener.close()


def test_nobody_can_be_called(way: Way, scratch: Path, room: Path, marker: str) -> None:
    data = room / "data"
    data.mkdir()
    with listening(data, marker) as listener:
        outcome = way.run(CALLS, scratch, json.dumps(listener.addresses), read_only=(data,))
    assert outcome.ok, outcome
    lines = outcome.stdout.decode().splitlines()
    assert len(lines) == 10
    assert not [line for line in lines if "REACHED" in line and line != "REACHED listen"]
    assert listener.heard == []


def test_the_listeners_of_these_tests_do_hear(room: Path, marker: str) -> None:
    with listening(room, marker) as listener:
        tcp, _, udp, path, abstract = listener.addresses
        with ExitStack() as stack:
            for family, address in (
                (socket.AF_INET, ("127.0.0.1", tcp)),
                (socket.AF_UNIX, path),
                (socket.AF_UNIX, f"\0{abstract}"),
            ):
                stack.enter_context(socket.socket(family)).connect(address)
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).sendto(
                b"x", ("127.0.0.1", udp)
            )
            end = time.monotonic() + 30
            while len(listener.heard) < 4 and time.monotonic() < end:
                time.sleep(0.01)
    assert sorted(listener.heard) == ["abstract", "tcp", "udp", "unix"]


READS = """
import os, sys
for path in sys.argv[1:]:
    for name, call in (("list", os.listdir), ("read", lambda p: open(p, "rb").read(1))):
        try:
            call(path)
            print("REACHED", name, path)
        except OSError:
            pass
try:
    for number in os.listdir("/proc"):
        if number.isdecimal() and int(number) != os.getpid():
            for name in ("environ", "cmdline", "maps", "mem", "root", "cwd", "fd"):
                try:
                    content = open(f"/proc/{number}/{name}", "rb").read(50)
                    print("REACHED", number, name, content)
                except OSError:
                    pass
except OSError:
    pass
"""


def test_the_home_folder_and_other_secrets_cannot_be_read(way: Way, scratch: Path, room: Path) -> None:
    home = room / "home"
    home.mkdir()
    (home / "secret.txt").write_text("secret")
    (home / "secret.txt").chmod(0o444)
    link = room / "data"
    link.mkdir()
    (link / "way-out").symlink_to(home)
    real_home = Path.home()
    targets = [home, home / "secret.txt", link / "way-out", link / "way-out" / "secret.txt", real_home]
    targets += [path for path in sorted(real_home.iterdir()) if path.is_file()][:5]
    targets += [Path(name) for name in ("/etc/passwd", "/etc/shadow", "/etc/hostname", "/var/log", "/home")]
    targets += [Path("/proc/1/environ"), Path("/proc/kcore"), Path("/dev/mem"), Path("/root"), room]
    outcome = way.run(READS, scratch, *map(str, targets), read_only=(link,))
    assert outcome.ok, outcome
    reached = [
        line for line in outcome.stdout.decode().splitlines() if "/environ" not in line or "REACHED" in line
    ]
    assert reached == [], reached


def test_variables_and_open_files_of_the_caller_do_not_leak(
    own_way: Way, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WISP_TEST_TOKEN", "secret")
    names = "import os; print(sorted(os.environ)); print(sorted(int(n) for n in os.listdir('/proc/self/fd')))"
    outcome = own_way.run(names, scratch, environment={"OMP_NUM_THREADS": "1"})
    variables, files = outcome.stdout.decode().splitlines()
    assert variables == "['HOME', 'LANG', 'LOGNAME', 'OMP_NUM_THREADS', 'PATH', 'TMPDIR', 'USER']"
    assert files == "[0, 1, 2, 3]"  # 3 is the listing itself


WRITES = """
import os, sys
target, data, prefix = sys.argv[1:4]
def attempt(name, call):
    try:
        call()
        print("DONE", name)
    except OSError:
        pass
for folder in (target, data, prefix, "/tmp", "/var/tmp", "/dev/shm", "/dev", "/", "/usr", "/etc", "/proc", "/run"):
    attempt("write " + folder, lambda: open(folder + "/written-by-a-test", "w").write("x"))
    attempt("mkdir " + folder, lambda: os.mkdir(folder + "/made-by-a-test"))
photo = data + "/photo.jpg"
for name, call in {
    "append": lambda: open(photo, "ab").write(b"x"),
    "truncate": lambda: os.truncate(photo, 0),
    "remove": lambda: os.remove(photo),
    "rename": lambda: os.rename(photo, "stolen.jpg"),
    "replace": lambda: os.replace("mine", photo),
    "hard link in": lambda: os.link(photo, "linked.jpg"),
    "hard link out": lambda: os.link("mine", target + "/linked"),
    "symlink": lambda: os.symlink("/etc/passwd", target + "/symlink"),
    "node": lambda: os.mknod("node", 0o020666, os.makedev(1, 1)),
}.items():
    open("mine", "w").write("x")
    attempt(name, call)
# These may say that they are done; nothing must have changed.
for call in (
    lambda: os.chmod(photo, 0o777), lambda: os.utime(photo, (1, 1)), lambda: os.chown(photo, os.getuid(), -1),
    lambda: os.setxattr(photo, "user.test", b"x"), lambda: os.fchmod(os.open(photo, os.O_RDONLY), 0o700),
):
    try:
        call()
    except OSError:
        pass
"""


def test_nothing_is_written_outside_the_scratch_folder(way: Way, scratch: Path, room: Path) -> None:
    open_to_all, data = room / "open", room / "data"
    for folder in (open_to_all, data):
        folder.mkdir()
        folder.chmod(0o777)
    photo = data / "photo.jpg"
    photo.write_bytes(b"photo")
    photo.chmod(0o666)
    if way.as_other_user:  # its own photos are the harder case
        for path in (data, photo, open_to_all):
            os.chown(path, OTHER_USER, OTHER_USER)
    before = photo.stat()
    outcome = way.run(
        WRITES, scratch, str(open_to_all), str(data), str(Path(os.__file__).parent), read_only=(data,)
    )
    assert outcome.exit_code == 0, outcome
    assert outcome.stdout == b"", outcome.stdout.decode()
    assert list(open_to_all.iterdir()) == []
    assert [path.name for path in data.iterdir()] == ["photo.jpg"]
    assert photo.read_bytes() == b"photo"
    after = photo.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (
        before.st_mode,
        before.st_uid,
        before.st_mtime_ns,
    )
    assert os.listxattr(photo) == []
    assert not Path("/tmp/written-by-a-test").exists()  # noqa: S108  (nothing is made there)


def test_an_endless_loop_is_stopped(way: Way, scratch: Path, marker: str) -> None:
    outcome = way.run("while True: pass", scratch, marker, limits=replace(SMALL, cpu_seconds=1))
    assert outcome.limit == "processor time"
    assert not list(processes_with(marker))


def test_many_busy_processes_share_one_limit_of_processor_time(own_way: Way, scratch: Path) -> None:
    busy = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    outcome = own_way.run(busy, scratch, limits=replace(SMALL, cpu_seconds=2))
    assert outcome.limit == "processor time"
    assert outcome.cpu_seconds < 4


def test_a_sleeper_that_ignores_every_signal_is_stopped(own_way: Way, scratch: Path, marker: str) -> None:
    deaf = """
import signal, time
for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
while True:
    time.sleep(60)
"""
    outcome = own_way.run(deaf, scratch, marker, limits=replace(SMALL, wall_seconds=0.7))
    assert outcome.limit == "wall time"
    assert outcome.seconds < 10
    assert not list(processes_with(marker))


def test_one_file_cannot_fill_the_disk(own_way: Way, scratch: Path) -> None:
    outcome = own_way.run("with open('f', 'wb') as f:\n    while True: f.write(bytes(10**6))", scratch)
    assert outcome.limit == "file size"
    assert (scratch / "f").stat().st_size <= SMALL.file_bytes


@pytest.mark.parametrize(
    "program",
    [
        # each below the largest size of a file
        "n = 0\nwhile True:\n    open(str(n), 'wb').write(b'x' * 10**6)\n    n += 1",
        # files that no folder shows any more
        "import os, time\nkept = []\nfor n in range(90):\n    f = open('f', 'wb')\n    f.write(b'x' * 10**6)\n"
        "    f.flush()\n    os.remove('f')\n    kept.append(f)\ntime.sleep(20)",
        # without a byte in them
        "n = 0\nwhile True:\n    open(str(n), 'wb').close()\n    n += 1",
    ],
    ids=["many files", "deleted files", "empty files"],
)
def test_many_files_cannot_fill_the_disk(own_way: Way, scratch: Path, program: str) -> None:
    outcome = own_way.run(program, scratch)
    assert outcome.limit == "disk", outcome
    assert outcome.seconds < 20


CLOSED_FOLDERS = """
import os, time
for n in range(90):
    os.mkdir(str(n))
    open(f"{n}/f", "wb").write(b"x" * 10**6)
    os.system("chmod 000 " + str(n))
time.sleep(20)
"""


def test_folders_closed_to_their_own_user_hide_nothing(way: Way, scratch: Path) -> None:
    outcome = way.run(CLOSED_FOLDERS, scratch)
    assert outcome.limit == "disk", outcome
    assert outcome.seconds < 20


ABANDONED = """
import os, sys, time
if os.fork() == 0:
    try:
        os.setsid()
    except OSError:
        pass
    if os.fork() == 0:
        os.close(1), os.close(2)
        time.sleep(60)
    os._exit(0)
os.wait()
print("main ends", flush=True)
"""
# It never sleeps, and no process of it lives long enough to be found and ended one by one.
RELAY = """
import os
if os.fork() == 0:
    while True:
        if os.fork() != 0:
            os._exit(0)
"""


@pytest.mark.parametrize("program", [ABANDONED, RELAY], ids=["abandoned", "relay"])
def test_no_process_survives_the_program(way: Way, scratch: Path, marker: str, program: str) -> None:
    outcome = way.run(program, scratch, marker)
    assert outcome.ok, outcome
    assert outcome.none_left
    assert not list(processes_with(marker))


def test_other_processes_get_no_signals(way: Way, scratch: Path) -> None:
    """Even those of the same user: the caller's own children stand for them."""
    attack = """
import os
for number in (9, 15, 19):
    for target in (os.getppid(), int(os.sys.argv[1])):
        if target > 1:
            try:
                os.kill(target, number)
                print("SENT", target)
            except OSError:
                pass
"""
    user = {"user": OTHER_USER, "group": OTHER_USER, "extra_groups": []} if way.as_other_user else {}
    with Popen(["/bin/sleep", "60"], **user) as victim:  # type: ignore[call-overload]
        try:
            outcome = way.run(attack, scratch, str(victim.pid))
            assert outcome.exit_code == 0, outcome
            assert b"SENT" not in outcome.stdout
            assert victim.poll() is None
        finally:
            victim.kill()


def test_privileges_cannot_be_won_back(way: Way, scratch: Path) -> None:
    attack = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
won = []
for call in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.chroot(".")):
    try:
        call()
        won.append("user")
    except OSError:
        pass
if os.getuid() != 0:
    for flags in (0x10000000, 0x20000, 0x40000000):  # user, mount, network namespace
        if libc.unshare(flags) == 0:
            won.append("unshare")
if libc.mount(b"none", b".", b"tmpfs", 0, None) == 0:
    won.append("mount")
if libc.ptrace(16, os.getppid(), 0, 0) == 0:
    won.append("ptrace")
if libc.syscall(425, 1, ctypes.byref(ctypes.create_string_buffer(200))) >= 0:
    won.append("io_uring")
print(os.getuid() == 0, won)
"""
    outcome = way.run(attack, scratch)
    assert outcome.stdout == b"False []\n", outcome


def test_root_files_cannot_be_opened_by_number(own_way: Way, scratch: Path) -> None:
    """The one power that stays with a program that root started must not open the disk behind its view."""
    attack = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
class Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("kind", ctypes.c_int), ("bytes", ctypes.c_ubyte * 128)]
handle = Handle(8, 1)
handle.bytes[0] = 2  # the root folder of an ext4 disk
here = os.open(".", os.O_RDONLY)
print(libc.open_by_handle_at(here, ctypes.byref(handle), 0), os.strerror(ctypes.get_errno()))
"""
    outcome = own_way.run(attack, scratch)
    assert outcome.stdout == b"-1 Operation not permitted\n"


def test_output_is_bounded(own_way: Way, scratch: Path) -> None:
    flood = "import sys\nprint('first')\nfor _ in range(3000): print('x' * 1000)\nprint('last')"
    outcome = own_way.run(flood, scratch)
    assert outcome.ok
    assert outcome.truncated
    assert len(outcome.stdout) == SMALL.output_bytes
    assert outcome.stdout.startswith(b"first\n")
    assert outcome.stdout.endswith(b"last\n")


def test_the_scratch_folder_cannot_become_a_trap(own_way: Way, scratch: Path) -> None:
    """A confined program may not leave files that run with somebody else's rights."""
    outcome = own_way.run("import os; open('tool', 'w').write('x'); os.chmod('tool', 0o4777)", scratch)
    assert outcome.exit_code in {0, 1}
    assert (scratch / "tool").stat().st_uid != 0
    assert stat.S_ISREG((scratch / "tool").stat().st_mode)
