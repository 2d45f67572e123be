"""cymongoose: mongoose under Python. Arguments: the address IP:PORT, and a folder whose files it serves instead."""

import signal
import sys

from cymongoose import MG_EV_HTTP_MSG, Manager

HEADERS = {"Content-Type": "text/plain; charset=utf-8"}


def handler(conn, event, data):
    if event == MG_EV_HTTP_MSG:
        conn.reply(200, "Hello, World!", HEADERS)


def files(folder):
    def handler(conn, event, data):
        if event == MG_EV_HTTP_MSG:
            conn.serve_dir(data, folder)

    return handler


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    manager = Manager(files(sys.argv[2]) if len(sys.argv) > 2 else handler)
    manager.listen(f"http://{sys.argv[1]}")
    while True:
        manager.poll(1000)


if __name__ == "__main__":
    main()
