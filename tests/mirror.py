"""A mirror on the loopback that tells lies when asked to, and a small Fashion-MNIST that is published there."""

import dataclasses
import gzip
import hashlib
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from initbench.datasets import published

SHAPES = ((30, 3, 4), (30,), (20, 3, 4), (20,))
ARCHIVES = [f"{name}.gz" for name in published.IDX_NAMES]


class Mirror(BaseHTTPRequestHandler):
    """Serves `server.pages`: path -> (status, headers, body); a body may be a function that writes."""

    def do_GET(self):
        self.server.asked.append(self.path)
        status, headers, body = self.server.pages.get(self.path, (404, {}, b""))
        self.send_response(status)
        length = {} if callable(body) else {"Content-Length": str(len(body))}
        for key, value in {**length, **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if callable(self.server.before_body):
            self.server.before_body()
        if callable(body):
            body(self.wfile)
        else:
            self.wfile.write(body)

    def log_message(self, *_args):
        pass


@contextmanager
def serving(context=None):
    """Yield a server with `pages`, `asked` and `url`; it speaks TLS where an SSLContext is given."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    http.pages, http.asked, http.before_body = {}, [], None
    http.url = f"{'https' if context else 'http'}://127.0.0.1:{http.server_port}"
    if context is not None:
        http.socket = context.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
        http.handle_error = lambda *_: None  # a client that does not trust us hangs up
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield http
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def publish(http, *folders):
    """Publish on the mirror's folder /good/ and return the source, whose mirrors are `folders` in turn."""
    archives, files = [], []
    for name, shape in zip(published.IDX_NAMES, SHAPES, strict=True):
        values = np.arange(np.prod(shape)) % (250 if len(shape) > 1 else 10)
        header = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)
        body = gzip.compress(header + values.astype(np.uint8).tobytes(), mtime=0)
        http.pages[f"/good/{name}.gz"] = (200, {}, body)
        archives.append(published.Archive(f"{name}.gz", hashlib.sha256(body).hexdigest(), len(body)))
        files.append(published.File(name, "", shape))
    return dataclasses.replace(
        published.FASHION_MNIST,
        files=tuple(files),
        archives=tuple(archives),
        mirrors=tuple(f"{http.url}/{folder}/" for folder in folders),
    )


def listing(folder):
    """Return the paths below a folder, or nothing where there is none."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) if folder.exists() else []
