"""cymongoose: mongoose under Python. The address IP:PORT is the only argument."""

import signal
import sys

from cymongoose import MG_EV_HTTP_MSG, Manager

HEADERS = {"Content-Type": "text/plain; charset=utf-8"}


def handler(conn, event, data):
    if event == MG_EV_HTTP_MSG:
        conn.reply(200, "Hello, World!", HEADERS)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    manager = Manager(handler)
    manager.listen(f"http://{sys.argv[1]}")
    while True:
        manager.poll(1000)


if __name__ == "__main__":
    main()
