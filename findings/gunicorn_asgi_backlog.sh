#!/usr/bin/env bash
# gunicorn 27.0.1, worker class "asgi": the setting `backlog` does not reach the listening socket.
#
# gunicorn listens with its `backlog` (here 1024), and then asyncio's create_server(sock=…) listens again
# on the same socket with its own default of 100. A guess from the documentation would be 1024. A crowd
# that connects at once therefore waits in a queue of 100. The thread worker keeps 1024.
#
# Prints the length of the accept queue as the kernel knows it (`ss -ltn`, column Send-Q), for both workers.
set -euo pipefail
place=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check gunicorn==27.0.1
cat > "$place/app.py" <<'APP'
def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
APP

queue_of() { # worker class, application: the length of the accept queue once the worker serves
    local port
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "$place/venv/bin/gunicorn" --chdir "$place" --worker-class "$1" --backlog 1024 --bind "127.0.0.1:$port" \
        --log-level error "app:$2" &
    server=$!
    for _ in $(seq 200); do
        [ "$(curl -s "http://127.0.0.1:$port/")" = ok ] && break
        sleep 0.05
    done
    queue=$(ss -ltnH "sport = :$port" | awk '{print $3}')
    kill "$server"
    wait "$server" 2>/dev/null || true
}

queue_of gthread wsgi
threads=$queue
queue_of asgi asgi
echo "gunicorn 27.0.1 with --backlog 1024: gthread listens with $threads, asgi with $queue"
[ "$threads" = 1024 ] && [ "$queue" = 100 ]
