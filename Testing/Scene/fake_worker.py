"""A worker without a network, for tests: answers every request as docs/WORKER.md says, quickly or wrongly.

A denoising copies its frames. The environment variable FAKE_WORKER makes it misbehave: "hang" (never answers, nor obeys),
"slow" (a frame every 0.05 s), "nonsense" (prints what is no event between events), "die" (ends in the second frame),
"refuse" (answers with an error), "missing" (ends as Python without torch does).
"""

import json
import os
import queue
import sys
import threading
import time

import numpy as np

MOOD = os.environ.get("FAKE_WORKER", "")
requests, cancelled = queue.Queue(), set()


def send(name, event, **values):
    print(json.dumps({"id": name, "event": event, **values}), flush=True)


def listen():
    for line in sys.stdin:
        request = json.loads(line)
        if MOOD == "hang":
            continue
        if request["do"] == "quit":
            os._exit(0)
        if request["do"] == "cancel":
            cancelled.add(request["job"])
            send(request["id"], "done", found=True)
        else:
            requests.put(request)
    if MOOD != "hang":
        os._exit(0)


def denoise(request):
    frames, name = np.load(request["frames"]), os.path.basename(request["frames"])
    send(request["id"], "started", count=len(frames), device="cpu", reason="CPU, because this is a test.", model="fake",
         model_sha256="0" * 64, version="0", warnings=[f"{name} states no frame times; 15 are assumed.", f"{name} is dark."])
    for index in range(len(frames)):
        if MOOD == "die" and index == 1:
            os._exit(9)
        if MOOD == "nonsense":
            print("Traceback: {not json", "\N{SNOWMAN}", "[1]", '{"event": 3}', sep="\n", flush=True)
        if request["id"] in cancelled:
            return send(request["id"], "cancelled")
        time.sleep(0.05 if MOOD == "slow" else 0)
        send(request["id"], "frame", index=index, count=len(frames), eta_s=len(frames) - 1 - index)
    np.save(request["output"], frames)
    send(request["id"], "done", output=request["output"], frames=len(frames), clipped=0, pixels=frames.size,
         mean_change=0.0, seconds=0.1)


def preview(request):
    frames = np.load(request["frames"])
    np.save(request["output"], frames[request["index"]][None])
    send(request["id"], "done", output=request["output"], reach=1, device="cpu", seconds=0.1)


if __name__ == "__main__":
    if MOOD == "missing":
        sys.exit("ModuleNotFoundError: No module named 'torch'")
    threading.Thread(target=listen, daemon=True).start()
    while True:
        job = requests.get()
        if MOOD == "refuse":
            send(job["id"], "error", message="Frame 3 is broken; repair it.", exit_code=3)
        elif job["do"] in ("denoise", "preview"):
            {"denoise": denoise, "preview": preview}[job["do"]](job)
        else:
            send(job["id"], "done", **{name: value for name, value in job.items() if name not in ("id", "do")})
