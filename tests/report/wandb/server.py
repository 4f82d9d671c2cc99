"""A small server that answers as W&B does, and keeps what it is sent."""

import gzip
import json
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Knows ids that were deleted, and may never end an upload."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.deleted = set()
        self.stalled = False
        self.runs = []
        self.streamed = []
        self.told = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format, *args):
        pass

    def do_PUT(self):
        self._body()
        self._reply(200, {})

    def do_GET(self):
        self._reply(200, {})

    def do_POST(self):
        body = self._body()
        if self.path != "/graphql":
            if self.path.endswith("file_stream"):
                self.server.streamed.append(body)
                if self.server.stalled:
                    time.sleep(30)
            return self._reply(200, {})
        operation = re.search(r"(?:query|mutation)\s+(\w+)", body["query"])
        self.server.told.append((operation and operation[1], body.get("variables", {})))
        answer = ANSWERS.get(operation[1] if operation else "")
        if answer is None:
            return self._reply(200, {"data": {}})
        return answer(self, body.get("variables", {}))

    def run_resume_status(self, _):
        self._reply(200, {"data": {"model": {"id": "1", "name": "p", "bucket": None,
                                             "entity": {"id": "1", "name": "me"}}}})  # fmt: skip

    def upsert_bucket(self, variables):
        name = variables["name"]
        if name in self.server.deleted:
            message = f"run {name} was previously created and deleted; try a new run name"
            error = {"message": message, "path": ["upsertBucket"]}
            return self._reply(409, {"data": {"upsertBucket": None}, "errors": [error]})
        self.server.runs.append(variables)
        project = {"id": "1", "name": "p", "entity": {"id": "1", "name": "me"}}
        bucket = {"id": "1", "name": name, "displayName": "x", "config": "{}",
                  "historyLineCount": 0, "project": project}  # fmt: skip
        return self._reply(200, {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}})

    def viewer(self, _):
        viewer = {"id": "1", "entity": "me", "username": "me", "email": "", "admin": False,
                  "flags": "{}", "teams": {"edges": []}, "apiKeys": {"edges": []}}  # fmt: skip
        self._reply(200, {"data": {"viewer": viewer}})

    def artifact_type(self, _):
        self._reply(200, {"data": {"project": {"artifact": None}}})

    def create_artifact(self, variables):
        made = {"id": "1", "state": "COMMITTED", "artifactSequence": {"latestArtifact": None}}
        self._reply(200, {"data": {"createArtifact": {"artifact": made}}})

    def use_artifact(self, _):
        self._reply(200, {"data": {"useArtifact": {"artifact": {"id": "1"}}}})

    def project_internal_id(self, _):
        self._reply(200, {"data": {"project": {"internalId": "1"}}})

    def get_projects(self, _):
        node = {"id": "1", "name": "p", "entityName": "me", "createdAt": "2026-01-01T00:00:00",
                "isBenchmark": False, "internalId": "1", "user": None}  # fmt: skip
        page = {"endCursor": None, "hasNextPage": False}
        found = {"models": {"edges": [{"node": node, "cursor": "1"}], "pageInfo": page}}
        self._reply(200, {"data": found})

    def upsert_view(self, variables):
        project = {"id": "1", "name": "p", "entityName": "me"}
        user = {"id": "1", "username": "me", "name": "me"}
        now = "2026-01-01T00:00:00Z"
        made = {"id": "Vmlldw", "name": "v", "displayName": variables["displayName"],
                "type": "runs", "description": "", "project": project, "user": user,
                "spec": variables["spec"], "createdAt": now, "updatedAt": now}  # fmt: skip
        self._reply(200, {"data": {"upsertView": {"view": made, "inserted": True}}})

    def create_custom_chart(self, variables):
        self._reply(200, {"data": {"createCustomChart": {"chart": {"id": variables["chartName"]}}}})

    def create_run_files(self, variables):
        files = [{"name": n, "uploadUrl": f"{self.server.url}/up/{n}"} for n in variables["files"]]
        created = {"runID": "1", "uploadHeaders": [], "files": files}
        self._reply(200, {"data": {"createRunFiles": created}})

    def _body(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        raw = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
        try:
            return json.loads(raw)
        except ValueError:
            return {}

    def _reply(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


ANSWERS = {
    "RunResumeStatus": Answers.run_resume_status,
    "UpsertBucket": Answers.upsert_bucket,
    "Viewer": Answers.viewer,
    "ArtifactType": Answers.artifact_type,
    "CreateArtifact": Answers.create_artifact,
    "UseArtifact": Answers.use_artifact,
    "ProjectInternalId": Answers.project_internal_id,
    "GetProjects": Answers.get_projects,
    "UpsertView2": Answers.upsert_view,
    "upsertView": Answers.upsert_view,
    "CreateCustomChart": Answers.create_custom_chart,
    "CreateRunFiles": Answers.create_run_files,
}
"""The answer to each operation of GraphQL, by its name."""
