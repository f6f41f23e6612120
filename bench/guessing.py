"""What agents notice of people who guess passwords: ``python -m bench.guessing``.

Four agents route tasks, each one request after the other, in turns with and without thirty people
who log in with wrong passwords, each from an address of its own and under names that nobody has.
The p95 of the agents' requests with the guessers may be at most twice that without. Neither the
rate limits nor the lockout help: only how the server hashes does.
"""

import argparse
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx2

from bench import ours, serving
from bench.errors import BenchError

AGENTS = 4
GUESSERS = 30
MOST_RATIO = 2.0
SETTLE_SECONDS = 1.0
LOGIN = "/admin/login/"

numbers = itertools.count()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.guessing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder,
        serving.run_postgres(Path(folder)) as server,
        ours.prepare_world(Path(folder), server) as world,
    ):
        environment = serving.server_environment(Path(folder), server)
        environment |= {"LOGIN_LIMIT_PER_MINUTE": "0", "TRUSTED_PROXIES": "1"}
        with serving.run_gunicorn(Path(folder) / "web.log", environment) as web:
            run = partial(_run, web.url, world.asking_key, options.seconds)
            run(guessers=0)  # warms up
            pairs = [(run(guessers=0), run(guessers=GUESSERS)) for _ in range(options.pairs)]
    _print_pairs(pairs)


def _print_pairs(pairs: list[tuple[list[float], list[float]]]) -> None:
    print("| guessers | requests | p50 ms | p95 ms |\n| --- | --- | --- | --- |")
    for guessers, side in ((0, 0), (GUESSERS, 1)):
        times = sorted(itertools.chain.from_iterable(pair[side] for pair in pairs))
        p50, p95 = statistics.median(times), _p95(times)
        print(f"| {guessers} | {len(times):,} | {1000 * p50:.1f} | {1000 * p95:.1f} |")
    ratio = statistics.median(_p95(with_) / _p95(without) for without, with_ in pairs)
    print(f"\nThe p95 is {ratio:.2f} of that without; at most {MOST_RATIO} is allowed.")


def _p95(times: list[float]) -> float:
    return sorted(times)[int(0.95 * len(times))]


def _run(url: str, key: str, seconds: float, *, guessers: int) -> list[float]:
    """How long each of the agents' requests took, in seconds. Raises BenchError where one fails."""
    over = threading.Event()
    with ThreadPoolExecutor(AGENTS + guessers) as pool:
        guessing = [pool.submit(_repeat, partial(_guess, url), over) for _ in range(guessers)]
        time.sleep(SETTLE_SECONDS)  # they fetch the form first
        agents = [pool.submit(_repeat, partial(_route, url, key), over) for _ in range(AGENTS)]
        time.sleep(seconds)
        over.set()
        for each in guessing:
            each.result()
        return list(itertools.chain.from_iterable(each.result() for each in agents))


def _repeat(
    act: Callable[[httpx2.Client], httpx2.Response | None], over: threading.Event
) -> list[float]:
    times = []
    # Plain HTTP: loading certificates for each client would take longer than all its requests.
    with httpx2.Client(timeout=60, verify=False) as client:
        act(client)
        while not over.is_set():
            start = time.perf_counter()
            act(client)
            times.append(time.perf_counter() - start)
    return times


def _route(url: str, key: str, client: httpx2.Client) -> None:
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": f"guess-{next(numbers)}"}
    answer = client.post(f"{url}/tasks/route", json=ours.ROUTE_BODY, headers=headers)
    if answer.status_code != 202:
        raise BenchError(f"POST /tasks/route answered {answer.status_code}: {answer.text[:200]}")


def _guess(url: str, client: httpx2.Client) -> None:
    number = next(numbers)
    address = {"X-Forwarded-For": f"198.51.{number // 250 % 250}.{number % 250 + 1}"}
    with suppress(httpx2.TimeoutException):
        if "csrftoken" not in client.cookies:
            client.get(url + LOGIN, headers=address)
        form = {"username": f"nobody{number}", "password": "guess"}
        form["csrfmiddlewaretoken"] = client.cookies["csrftoken"]
        client.post(url + LOGIN, data=form, headers=address)


if __name__ == "__main__":
    main()
