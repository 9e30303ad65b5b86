# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs beside which the director is measured: run from a directory or from the system, never installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pylvs.errors import Unsupported

# `make bench` unpacks Debian's packages there; without it, what the system has is used.
FOLDER = os.path.abspath(os.environ["PYLVS_BENCH_PEERS"]) if os.environ.get("PYLVS_BENCH_PEERS") else ""
PLACES = ("usr/sbin", "usr/bin")

REAL_SERVER = """\
daemon off;
worker_processes 1;
user www-data;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    client_body_temp_path {directory}/1; proxy_temp_path {directory}/2; fastcgi_temp_path {directory}/3;
    uwsgi_temp_path {directory}/4; scgi_temp_path {directory}/5;
    server {{
        listen 80 backlog=4096;
        root {directory};
        location / {{ return 200 "{name}\\n"; }}
        location /large {{ }}
    }}
}}
"""

NGINX = """\
load_module {module};
daemon off;
worker_processes auto;
user www-data;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 4096; }}
stream {{
    upstream reals {{ {servers} }}
    server {{
        listen {vip}:80 backlog=4096;
        proxy_pass reals;
    }}
}}
"""

HAPROXY = """\
global
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen reals
    bind {vip}:80
    balance roundrobin
{servers}
"""

NFTABLES = """\
table ip bench {{
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        ip daddr {vip} tcp dport 80 dnat to numgen inc mod {count} map {{ {servers} }}
    }}
}}
"""


def find(program: str) -> str:
    """The path of a program; Unsupported if it is in neither place."""
    directories = [f"{FOLDER}/{place}" for place in PLACES] if FOLDER else []
    if found := shutil.which(program, path=os.pathsep.join([*directories, os.environ.get("PATH", ""), "/usr/sbin"])):
        return found
    raise Unsupported(f"no {program} on this machine; run: make bench")


def environment() -> dict[str, str]:
    """The environment in which the programs find the libraries that were unpacked with them."""
    libraries = [str(path) for path in Path(FOLDER).glob("usr/lib/*-linux-gnu")] if FOLDER else []
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else dict(os.environ)


def stream_module() -> Path:
    """nginx's stream module; Unsupported if there is none."""
    name = "usr/lib/nginx/modules/ngx_stream_module.so"
    for root in ([Path(FOLDER)] if FOLDER else []) + [Path("/")]:
        if (root / name).exists():
            return root / name
    raise Unsupported("no stream module of nginx on this machine; run: make bench")


def real_server(directory: Path, name: str) -> str:
    return REAL_SERVER.format(directory=directory, name=name)


def nginx(directory: Path, vip: str, rips: list[str]) -> str:
    servers = " ".join(f"server {rip}:80;" for rip in rips)
    return NGINX.format(directory=directory, vip=vip, servers=servers, module=stream_module())


def haproxy(vip: str, rips: list[str]) -> str:
    servers = "\n".join(f"    server {rip} {rip}:80" for rip in rips)
    return HAPROXY.format(vip=vip, servers=servers)


def nftables(vip: str, rips: list[str]) -> str:
    servers = ", ".join(f"{number} : {rip}" for number, rip in enumerate(rips))
    return NFTABLES.format(vip=vip, count=len(rips), servers=servers)
