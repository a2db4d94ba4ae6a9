"""What log collectors, loggers, terminals and people put around the lines of a log: each a function of a text."""

from __future__ import annotations

import html
import json
from collections.abc import Callable

Frame = Callable[[str], str]


def each_line(write: Callable[[str], str]) -> Frame:
    return lambda text: "\n".join(write(line) for line in text.split("\n"))


def counted(write: Callable[[int, str], str]) -> Frame:
    return lambda text: "\n".join(write(number, line) for number, line in enumerate(text.split("\n"), 1))


def broken(text: str, width: int) -> str:
    lines = text.split("\n")
    return "\n".join(line[at : at + width] for line in lines for at in range(0, max(1, len(line)), width))


FRAMES: dict[str, Frame] = {
    "ray's prefix": each_line(lambda line: f"(train pid=12, ip=10.0.0.2) {line}"),
    "ray's prefix in colour": each_line(lambda line: f"\x1b[36m(train pid=12)\x1b[0m {line}"),
    "colour without its escape": each_line(lambda line: f"[36m(train pid=12)[0m {line}"),
    "colour in caret notation": each_line(lambda line: f"^[[36m(train pid=12)^[[39m {line}"),
    "a name with brackets": each_line(lambda line: f"(PPO(env=CartPole-v1) pid=12) {line}"),
    "skypilot": each_line(lambda line: f"(head, rank=0, pid=2214) {line}"),
    "vllm": each_line(lambda line: f"ERROR 04-16 11:53:49 [core.py:387] {line}"),
    "vllm with a process": each_line(lambda line: f"(EngineCore_0 pid=187) ERROR 04-16 11:53:49 [core.py:387] {line}"),
    "vllm, older": each_line(lambda line: f"ERROR 01-17 12:00:00 multiproc_worker_utils.py:123] {line}"),
    "kubectl --timestamps": counted(lambda n, line: f"2025-07-28T08:40:{n % 60:02}.953000000Z {line}"),
    "kubectl --prefix": each_line(lambda line: f"[pod/ray-head-x2k/ray-head] {line}"),
    "containerd": counted(lambda n, line: f"2025-07-28T08:40:52.{n:09}+02:00 stderr F {line}"),
    "stern": each_line(lambda line: f"ray-head-x2k ray-head {line}"),
    "docker compose": each_line(lambda line: f"ray-head-1  | {line}"),
    "journald": counted(lambda n, line: f"Jul 28 08:40:{n % 60:02} node7 run.sh[442]: {line}"),
    "syslog": each_line(lambda line: f"<13>Jul  8 08:40:52 node7 run.sh[442]: {line}"),
    "airflow": each_line(lambda line: f"[2025-07-28, 08:40:52 UTC] {{subprocess.py:93}} INFO - {line}"),
    "logging with a time": counted(lambda n, line: f"2025-07-28 08:40:52,{n:03} - app - ERROR - {line}"),
    "logging without": each_line(lambda line: f"ERROR:root:{line}"),
    "hydra": each_line(lambda line: f"[2025-07-28 08:40:52,953][__main__][ERROR] - {line}"),
    "loguru": each_line(lambda line: f"2025-07-28 08:40:52.953 | ERROR    | app.train:main:12 - {line}"),
    "glog": each_line(lambda line: f"E0728 08:40:52.953000 4711 runner.cc:81] {line}"),
    "ray's logging": each_line(lambda line: f"2025-07-28 08:40:52,953\tERROR worker.py:409 -- {line}"),
    "a job's driver log": each_line(lambda line: f"[2025-07-28 08:40:52,953 ERROR app.py:3] {line}"),
    "torchrun": each_line(lambda line: f"[rank0]: {line}"),
    "mpirun": each_line(lambda line: f"[1,0]<stderr>:{line}"),
    "srun --label": each_line(lambda line: f"12: {line}"),
    "pytest": each_line(lambda line: f"E       {line}"),
    "a quotation": each_line(lambda line: f"> {line}"),
    "a quotation in HTML": each_line(lambda line: html.escape(f"> {line}")),
    "buildkite": each_line(lambda line: f"  | {line}"),
    "github actions": each_line(lambda line: f"2025-07-28T08:40:52.9530000Z {line}"),
    "line numbers": counted(lambda n, line: f"{n:>6}  {line}"),
    "an unknown collector": counted(lambda n, line: f"<<shipper-7 seq={n} zone=eu>> {line}"),
    "windows": lambda text: text.replace("\n", "\r\n"),
    "indented": each_line(lambda line: f"        {line}"),
    "non-breaking blanks": lambda text: text.replace("  ", "\xa0 "),
    "JSON lines": each_line(lambda line: json.dumps({"log": line + "\n", "stream": "stderr", "time": "2025"})),
    "JSON lines, nested": each_line(lambda line: json.dumps({"ts": 1, "jsonPayload": {"message": line, "pid": 7}})),
    "one JSON record": lambda text: json.dumps({"asctime": "2025", "levelname": "ERROR", "message": text}),
    "a printed list": lambda text: repr([text]),
    "printed bytes": lambda text: repr(text.encode()),
}

BROKEN: dict[str, Frame] = {
    "broken at 80": lambda text: broken(text, 80),
    "broken at 100": lambda text: broken(text, 100),
    "broken at 120": lambda text: broken(text, 120),
}
