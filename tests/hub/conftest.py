"""A local stand-in for the Hub: an HTTP server with the endpoints that huggingface_hub uses, and new processes."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

LARGE = (".safetensors", ".mp4", ".png")  # kept as LFS objects, as the Hub's .gitattributes has them
TOKEN = "hf_of_the_test"


@dataclass
class Repository:
    commits: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)  # path -> content, of the last commit
    gated: bool = False
    private: bool = False


@dataclass
class Hub:
    """What the server holds, what went wrong on purpose, and what it was asked."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)  # SHA-256 -> content
    cuts: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # file name -> times it is cut halfway
    damaged: set[str] = field(default_factory=set)  # file names of which a byte is sent wrong
    refused_uploads: int = 0  # so many uploads of large files are answered 403
    asked: list[str] = field(default_factory=list)  # "GET /path", and the range behind it
    uploaded: list[str] = field(default_factory=list)  # SHA-256 of each object that came
    url: str = ""

    def commit(self, name: str, files: dict[str, bytes]) -> str:
        """Puts files in a repository, which is made if there is none, and returns the commit."""
        repository = self.repositories.setdefault(name, Repository())
        repository.files |= files
        repository.commits.append(hashlib.sha1(repr(sorted(repository.files.items())).encode()).hexdigest())
        for path, content in files.items():
            if path.endswith(LARGE):
                self.large[hashlib.sha256(content).hexdigest()] = content
        return repository.commits[-1]


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def card_errors(content: str) -> list[str]:
    """What the Hub's validator says of a README: its metadata must be YAML, the license and the task among those it
    knows, and results complete."""
    found = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
    if not found:
        return ["metadata is missing"]
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return [f"YAML: {error}"]
    wrong = []
    if data.get("license", "mit") not in ("apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "openrail", "other"):
        wrong.append('"license" must be one of apache-2.0, mit, ...')
    if data.get("pipeline_tag", "image-to-video") not in ("image-to-video", "text-to-video", "text-to-speech"):
        wrong.append('"pipeline_tag" is none of the tasks')
    for model in data.get("model-index", []):
        for result in model["results"]:
            if {"task", "dataset", "metrics"} - result.keys() or not {"type", "name"} <= result["dataset"].keys():
                wrong.append('"model-index[0].results" is incomplete')
            wrong += ['"value" is no number' for m in result["metrics"] if not isinstance(m["value"], int | float)]
    return wrong


class Handler(BaseHTTPRequestHandler):
    """The calls of huggingface_hub 0.30 to 2.4 without Xet: create, preupload, LFS, commit, info, tree, resolve."""

    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *args):
        self.hub = hub
        super().__init__(*args)

    def log_message(self, *args) -> None:
        pass

    def answer(self, status: int, content: bytes | dict | list = b"", cut: bool = False, **headers: str) -> None:
        """cut: the line breaks halfway."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection |= cut

    def refuse(self, status: int, code: str = "", message: str = "") -> None:
        self.answer(status, {"error": message or code}, X_Error_Code=code, X_Error_Message=message)

    def do_HEAD(self) -> None:
        self.route()

    do_GET = do_POST = do_PUT = do_HEAD

    def route(self) -> None:
        path, _, _ = self.path.partition("?")
        span = self.headers.get("Range", "")
        self.hub.asked.append(f"{self.command} {path} {span}".strip())
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", TOKEN):
            return self.refuse(401, message="Invalid credentials in Authorization header")
        for pattern, act in self.routes:
            if found := re.fullmatch(pattern, path):
                writes = self.command in ("POST", "PUT") and "validate" not in path
                if writes and not token and not path.startswith("/lfs/"):
                    return self.refuse(401, message="Invalid username or password.")
                return act(self, *found.groups())
        self.refuse(404, "EntryNotFound")

    def readable(self, name: str, revision: str = "main") -> Repository | None:
        """The repository, or None after the answer that it can't be read."""
        repository, known = self.hub.repositories.get(name), bool(self.headers.get("Authorization"))
        if repository is None or repository.private and not known:
            return self.refuse(404 if known else 401, "RepoNotFound", "Repository not found")
        if revision not in ("main", *repository.commits):
            return self.refuse(404, "RevisionNotFound", "Invalid rev id")
        return repository

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        status = 409 if name in self.hub.repositories else 200
        if status == 200:
            self.hub.commit(name, {})
            self.hub.repositories[name].private = asked.get("visibility") == "private"
        self.answer(status, {"url": f"{self.hub.url}/{name}", "name": name})

    def validate(self) -> None:
        wrong = card_errors(json.loads(self.body)["content"])
        self.answer(400 if wrong else 200, {"errors": [{"message": text} for text in wrong], "warnings": []})

    def preupload(self, name: str, _: str) -> None:
        if (repository := self.readable(name)) is None:
            return
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": self.object_id(repository, file["path"]),
            }
            for file in json.loads(self.body)["files"]
        ]
        self.answer(200, {"files": files})

    def object_id(self, repository: Repository, path: str) -> str | None:
        content = repository.files.get(path)
        if content is None:
            return None
        return hashlib.sha256(content).hexdigest() if path.endswith(LARGE) else git_hash(content)

    def batch(self, name: str) -> None:
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            there = wanted["oid"] in self.hub.large
            href = f"{self.hub.url}/lfs/{wanted['oid']}"
            objects.append(wanted if there else wanted | {"actions": {"upload": {"href": href}}})
        self.answer(200, {"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        if self.hub.refused_uploads > 0 and self.hub.uploaded:
            self.hub.refused_uploads -= 1
            return self.refuse(403, message="no space left")
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.large[oid] = self.body
        self.hub.uploaded.append(oid)
        self.answer(200)

    def commit(self, name: str, _: str) -> None:
        files = {}
        for line in self.body.decode().splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                files[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            elif item["key"] == "lfsFile":
                files[item["value"]["path"]] = self.hub.large[item["value"]["oid"]]
        oid = self.hub.commit(name, files)
        self.answer(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{oid}", "commitOid": oid})

    def info(self, name: str, revision: str = "main") -> None:
        if (repository := self.readable(name, revision)) is None:
            return
        siblings = [{"rfilename": path} for path in repository.files]
        sha = repository.commits[-1] if revision == "main" else revision
        self.answer(200, {"id": name, "modelId": name, "sha": sha, "siblings": siblings, "private": False, "tags": []})

    def tree(self, name: str, revision: str) -> None:
        if (repository := self.readable(name, revision)) is None:
            return
        entries = []
        for path, content in repository.files.items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
            if path.endswith(LARGE):
                oid = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 130}
            entries.append(entry)
        self.answer(200, entries)

    def resolve(self, name: str, revision: str, path: str) -> None:
        if (repository := self.readable(name, revision)) is None:
            return
        if repository.gated:
            return self.refuse(403, "GatedRepo", "Access to this model is restricted.")
        if path not in repository.files:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        content, headers = repository.files[path], {"X_Repo_Commit": repository.commits[-1], "Accept_Ranges": "bytes"}
        if path.endswith(LARGE):
            oid, file = hashlib.sha256(content).hexdigest(), Path(path).name
            headers |= {"X_Linked_Etag": f'"{oid}"', "X_Linked_Size": str(len(content))}
            store = self.hub.url.replace("127.0.0.1", "localhost")  # another host than the Hub's, as it is with the Hub
            return self.answer(302, Location=f"{store}/cdn/{oid}/{file}", **headers)
        self.send(content, Path(path).name, ETag=f'"{git_hash(content)}"', **headers)

    def cdn(self, oid: str, file: str) -> None:
        self.send(self.hub.large[oid], file, ETag=f'"{oid}"', Accept_Ranges="bytes")

    def send(self, content: bytes, file: str, **headers: str) -> None:
        """The content, from where it is asked on; damaged or cut where the test wants that."""
        if file in self.hub.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        status, found = 200, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found:
            first = int(found[1])
            headers |= {"Content_Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
            status, content = 206, content[first:]
        cut = self.command == "GET" and self.hub.cuts[file] > 0
        self.hub.cuts[file] -= cut
        self.answer(status, content, cut, **headers)

    routes = (
        (r"/api/repos/create", create),
        (r"/api/whoami-v2", lambda self: self.answer(200, {"name": "org", "type": "user"})),
        (r"/api/validate-yaml", validate),
        (r"/api/models/([^/]+/[^/]+)/preupload/(.+)", preupload),
        (r"/api/models/([^/]+/[^/]+)/commit/(.+)", commit),
        (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", tree),
        (r"/api/models/([^/]+/[^/]+)/revision/(.+)", info),
        (r"/api/models/([^/]+/[^/]+)", info),
        (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", batch),
        (r"/lfs/(\w+)", upload),
        (r"/cdn/(\w+)/(.+)", cdn),
        (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", resolve),
    )


@pytest.fixture
def hub():
    """A Hub that is asked at `hub.url`, empty."""
    held = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, held))
    held.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield held
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def fresh(hub, tmp_path):
    """fresh(code or command, token=..., **environment) -> a finished process of its own, which knows no Hub but this
    one and begins with an empty cache, the same for one test."""

    def run(command: str | list[str], token: str | None = None, **environment: str) -> subprocess.CompletedProcess:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        ours = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf_home"), "HF_HUB_DISABLE_XET": "1"}
        ours |= {"HF_HUB_DISABLE_TELEMETRY": "1"} | ({"HF_TOKEN": token} if token else {})
        command = [sys.executable, "-c", command] if isinstance(command, str) else command
        return subprocess.run(command, capture_output=True, text=True, env=kept | ours | environment, cwd=tmp_path)

    return run


@pytest.fixture
def token() -> str:
    """One that the Hub knows."""
    return TOKEN
