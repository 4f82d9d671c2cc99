"""Serves folders as repositories of the Hugging Face hub, to clients that know no difference.

`python tests/hub_server.py ROOT` prints its port and answers until it is ended. Below ROOT lie
`models/OWNER/NAME` and `datasets/OWNER/NAME`, with one folder per commit and `refs.json` (branches
and tags to commits), as `Repository` writes them; all is read anew for every request, so that a
branch can move meanwhile. `requests.log` holds one line per request. What the endpoints answer
follows huggingface_hub 1.33 (hf_api.py, file_download.py, utils/_http.py).
"""

import hashlib
import json
import shutil
import sys
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

LOG = "requests.log"
LARGE = (".safetensors", ".bin", ".parquet")
"""Kept in large-file storage by the hub: served by another address, named by SHA-256."""


@dataclass(frozen=True)
class Repository:
    """One repository below the root: its commits, its branches and tags, and who may read it."""

    folder: Path

    @classmethod
    def at(cls, root: Path, kind: str, name: str) -> "Repository":
        """The repository of `kind` (models, datasets); it need not exist yet."""
        return cls(root / kind / name)

    def commit(self, source: Path, *names: str) -> str:
        """Keeps what `source` holds as a commit, to which each name then points; its 40 digits."""
        digest = hashlib.sha1(usedforsecurity=False)
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            digest.update(f"{file.relative_to(source).as_posix()}\0".encode() + file.read_bytes())
        found = digest.hexdigest()
        shutil.copytree(source, self.folder / found, dirs_exist_ok=True)
        for name in names:
            self.point(name, found)
        return found

    def point(self, name: str, commit: str) -> None:
        """Moves or makes a branch or tag."""
        (self.folder / "refs.json").write_text(json.dumps({**self.refs, name: commit}))

    def close(self, token: str, status: int) -> None:
        """Only who sends the token may read files; anybody else gets `status` (401, 403)."""
        (self.folder / "gate.json").write_text(json.dumps({"token": token, "status": status}))

    def fail(self, status: int) -> None:
        """Every request is answered with `status` (5xx), as by a hub that is down."""
        (self.folder / "down").write_text(str(status))

    @property
    def refs(self) -> dict[str, str]:
        """Commits by the names of branches and tags."""
        file = self.folder / "refs.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, tag or commit stands for."""
        found = self.refs.get(revision, revision)
        return found if (self.folder / found).is_dir() else None

    def refuses(self, authorization: str) -> int | None:
        """The status for somebody who may not read files."""
        file = self.folder / "gate.json"
        gate = json.loads(file.read_text()) if file.exists() else None
        opened = gate is None or authorization == f"Bearer {gate['token']}"
        return None if opened else gate["status"]


def entry(file: Path, place: Path) -> dict[str, object]:
    """A file or folder as the hub lists it."""
    path = file.relative_to(place).as_posix()
    if file.is_dir():
        return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
    content = file.read_bytes()
    found: dict[str, object] = {"type": "file", "path": path, "size": len(content)}
    found["oid"] = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    if file.suffix in LARGE:
        oid = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 100}
    return found


class Refusal(Exception):
    """A status with the hub's code for it."""

    def __init__(self, status: int, code: str, message: str, commit: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {"X-Error-Code": code, "X-Error-Message": message}
        if commit is not None:
            self.headers["X-Repo-Commit"] = commit


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    root: Path

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        with (self.root / LOG).open("a") as log:
            log.write(f"{self.command} {self.path} {code}\n")

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self._body = parse_qs(self.rfile.read(length).decode())
        url = urlsplit(self.path)
        self._query = parse_qs(url.query)
        try:
            self._route([unquote(part) for part in url.path.strip("/").split("/")])
        except Refusal as refusal:
            self._json({"error": refusal.message}, refusal.status, refusal.headers)

    def _route(self, parts: list[str]) -> None:
        match parts:
            case ["api", ("models" | "datasets") as kind, owner, name]:
                self._info(kind, f"{owner}/{name}", "main")
            case ["api", ("models" | "datasets") as kind, owner, name, "revision", revision]:
                self._info(kind, f"{owner}/{name}", revision)
            case ["api", ("models" | "datasets") as kind, owner, name, "tree", revision, *path]:
                self._tree(kind, f"{owner}/{name}", revision, "/".join(path))
            case ["api", ("models" | "datasets") as kind, owner, name, "paths-info", revision]:
                self._paths(kind, f"{owner}/{name}", revision)
            case ["cdn", kind, owner, name, commit, *path]:
                self._file(self.root / kind / owner / name / commit / "/".join(path), {})
            case ["datasets", owner, name, "resolve", revision, *path]:
                self._resolve("datasets", f"{owner}/{name}", revision, "/".join(path))
            case [owner, name, "resolve", revision, *path]:
                self._resolve("models", f"{owner}/{name}", revision, "/".join(path))
            case _:
                raise Refusal(HTTPStatus.NOT_FOUND, "NotFound", "Sorry, we can't find that")

    def _place(self, kind: str, name: str, revision: str) -> tuple[Repository, str]:
        repository = Repository.at(self.root, kind, name)
        if not repository.folder.is_dir():
            raise Refusal(HTTPStatus.NOT_FOUND, "RepoNotFound", "Repository not found")
        down = repository.folder / "down"
        if down.exists():
            raise Refusal(int(down.read_text()), "Down", "Service unavailable")
        commit = repository.resolve(revision)
        if commit is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository, commit

    def _info(self, kind: str, name: str, revision: str) -> None:
        repository, commit = self._place(kind, name, revision)
        place = repository.folder / commit
        files = sorted(path for path in place.rglob("*") if path.is_file())
        self._json(
            {
                "id": name,
                "sha": commit,
                "private": False,
                "gated": "manual" if repository.refuses("") else False,
                "tags": [],
                "siblings": [{"rfilename": file.relative_to(place).as_posix()} for file in files],
            }
        )

    def _tree(self, kind: str, name: str, revision: str, path: str) -> None:
        repository, commit = self._place(kind, name, revision)
        place = repository.folder / commit
        folder = place / path
        if not folder.is_dir():
            raise Refusal(HTTPStatus.NOT_FOUND, "EntryNotFound", f"{path} does not exist")
        deep = self._query.get("recursive", [""])[0].lower() in ("true", "1")
        self._json([entry(file, place) for file in sorted(folder.glob("**/*" if deep else "*"))])

    def _paths(self, kind: str, name: str, revision: str) -> None:
        repository, commit = self._place(kind, name, revision)
        place = repository.folder / commit
        asked = [place / path for path in self._body.get("paths", [])]
        self._json([entry(file, place) for file in asked if file.exists()])

    def _resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        repository, commit = self._place(kind, name, revision)
        status = repository.refuses(self.headers.get("Authorization", ""))
        if status is not None:
            raise Refusal(status, "GatedRepo", f"Access to {kind[:-1]} {name} is restricted.")
        file = repository.folder / commit / path
        if not file.is_file():
            raise Refusal(HTTPStatus.NOT_FOUND, "EntryNotFound", "Entry not found", commit)
        if file.suffix not in LARGE:
            self._file(file, {"X-Repo-Commit": commit})
            return
        size, etag = file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest()
        elsewhere = self.headers["Host"].replace("127.0.0.1", "localhost")  # another host: the CDN
        place = f"http://{elsewhere}/cdn/{kind}/{name}/{commit}/{path}"
        linked = {"X-Linked-Size": str(size), "X-Linked-Etag": f'"{etag}"'}
        self._send(HTTPStatus.FOUND, b"", {"X-Repo-Commit": commit, "Location": place, **linked})

    def _file(self, file: Path, headers: dict[str, str]) -> None:
        content = file.read_bytes()
        etag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        headers = {**headers, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        asked, status, whole = self.headers.get("Range"), HTTPStatus.OK, len(content)
        if asked is not None:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or whole - 1), whole - 1)
            content, status = content[start : end + 1], HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {start}-{end}/{whole}"
        self._send(status, content, headers)

    def _json(
        self, value: object, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None
    ) -> None:
        kind = {"Content-Type": "application/json"}
        self._send(status, json.dumps(value).encode(), {**kind, **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def main() -> None:
    """Serves until the process is ended."""
    Handler.root = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
