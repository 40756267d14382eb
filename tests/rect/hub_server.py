"""A hub on loopback that speaks as much of the protocol as downloading a snapshot takes.

    python hub_server.py FOLDER

serves FOLDER/<kind>s/<owner>/<name>/<files>, prints its address, and logs each request to FOLDER/requests. The name
"gated" needs the token "open"; every repository has the revision "main" only.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import sys
from pathlib import Path

ROOT = Path(sys.argv[1])
COMMIT = "c0ffee" + "0" * 34


class Hub(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, b"{}", X_Error_Code=code, X_Error_Message=code)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        with (ROOT / "requests").open("a") as log:
            log.write(f"{self.command} {self.path}\n")
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[0] == "api":
            kind, owner, name, rest = parts[1], parts[2], parts[3], parts[4:]
        else:
            kind = "datasets" if parts[0] == "datasets" else "models"
            owner, name, *rest = parts[1:] if kind == "datasets" else parts
        folder = ROOT / kind / owner / name
        if not folder.is_dir():
            return self.refuse(404, "RepoNotFound")
        if name == "gated" and self.headers.get("Authorization") != "Bearer open":
            return self.refuse(403, "GatedRepo")
        if rest[1:2] and rest[1] not in ("main", COMMIT):
            return self.refuse(404, "RevisionNotFound")
        if parts[0] == "api":
            files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
            if rest[:1] == ["tree"]:
                tree = [
                    {"type": "file", "path": f, "size": (folder / f).stat().st_size, "oid": "0" * 40} for f in files
                ]
                return self.answer(200, json.dumps(tree).encode(), Content_Type="application/json")
            info = {"id": f"{owner}/{name}", "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]}
            return self.answer(200, json.dumps(info).encode(), Content_Type="application/json")
        file = folder / "/".join(rest[2:])
        if not file.is_file():
            return self.refuse(404, "EntryNotFound")
        body = file.read_bytes()
        return self.answer(200, body, ETag=f'"{hashlib.sha1(body).hexdigest()}"', X_Repo_Commit=COMMIT)


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
