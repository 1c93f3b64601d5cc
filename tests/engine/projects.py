"""A project for docker compose: a web server, a database with a volume, three workers."""

SERVES = ["sh", "-c", "while :; do echo $$WORD | nc -l -p $$PORT; done"]
SHOP = {
    "services": {
        "web": {
            "image": "busybox",
            "command": SERVES,
            "environment": {"WORD": "a page", "PORT": "80"},
            "ports": ["8081:80"],
            "depends_on": ["db"],
        },
        "db": {
            "image": "busybox",
            "command": SERVES,
            "environment": {"WORD": "a row", "PORT": "5432"},
            "volumes": ["data:/data"],
        },
        "worker": {"image": "busybox", "command": ["sh", "-c", "echo works; sleep 1000"], "scale": 3},
    },
    "volumes": {"data": {}},
}
for _service in SHOP["services"].values():
    _service["stop_grace_period"] = "1s"
