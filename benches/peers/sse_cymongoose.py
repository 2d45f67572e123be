"""cymongoose: mongoose under Python, with an event for every client each 20 ms. The address IP:PORT is the only argument."""

import signal
import sys

from cymongoose import MG_EV_CLOSE, MG_EV_HTTP_MSG, Manager

EVENT = "x" * 64
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
clients = set()


def handler(conn, event, data):
    if event == MG_EV_HTTP_MSG:
        conn.send(HEAD)
        clients.add(conn)
    elif event == MG_EV_CLOSE:
        clients.discard(conn)


def publish():
    for conn in clients:
        conn.http_sse("message", EVENT)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    manager = Manager(handler)
    manager.listen(f"http://{sys.argv[1]}")
    timer = manager.timer_add(20, publish, repeat=True)
    while timer:
        # Its timers run only when `poll` returns.
        manager.poll(10)


if __name__ == "__main__":
    main()
