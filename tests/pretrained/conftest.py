import dataclasses
import http.server
import threading

import pytest


@dataclasses.dataclass
class FileServer:
    """An HTTP server on loopback that serves one file, well or badly."""

    content: bytes
    supports_range: bool = True
    status: int | None = None  # answer every request with this error
    break_after: int | None = None  # close the connection after so many bytes of the body
    requested_ranges: list = dataclasses.field(default_factory=list)
    url: str = ""

    def respond(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        requested = handler.headers.get("Range")
        self.requested_ranges.append(requested)
        if self.status:
            handler.send_error(self.status)
            return
        start = int(requested[6:-1]) if requested and self.supports_range else 0
        if start and start >= len(self.content):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(self.content)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: self.break_after])


@pytest.fixture
def file_server(monkeypatch):
    """A `FileServer` at `url`; set its fields to make it misbehave."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    files = FileServer(bytes(range(256)) * 40)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            files.respond(self)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        files.url = f"http://127.0.0.1:{server.server_port}/network-00000000.pth"
        yield files
        server.shutdown()
