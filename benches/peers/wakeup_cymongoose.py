"""cymongoose's AsyncManager: a wakeup to a handler on its thread, and a callback scheduled from there.

wakeup_cymongoose.py ROUNDS ASKS,ANSWERS: the number of round trips, and the cores of the two threads. Prints JSON.
"""

import asyncio
import json
import os
import sys
import time

from cymongoose import MG_EV_WAKEUP, AsyncManager

WARMUP = 200


async def main():
    rounds = int(sys.argv[1])
    asks, answers = (int(cpu) for cpu in sys.argv[2].split(","))
    done = asyncio.Event()

    def handler(conn, event, data):
        if event == MG_EV_WAKEUP:
            if data == b"stay":
                os.sched_setaffinity(0, {answers})
            manager.schedule(done.set)

    times = []
    async with AsyncManager() as manager:
        listener = manager.listen("tcp://127.0.0.1:0", handler)
        os.sched_setaffinity(0, {asks})
        for n in range(1 + WARMUP + rounds):
            done.clear()
            start = time.perf_counter_ns()
            manager.wakeup(listener.id, b"x" if n else b"stay")
            await done.wait()
            times.append(time.perf_counter_ns() - start)
    times = sorted(times[1 + WARMUP :])
    print(json.dumps({"p50_us": times[len(times) // 2] / 1e3, "p99_us": times[len(times) * 99 // 100] / 1e3}))


asyncio.run(main())
