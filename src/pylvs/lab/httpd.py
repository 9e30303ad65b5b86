# SPDX-License-Identifier: GPL-2.0-or-later
"""A configuration of our own for the real Apache httpd, one per real server, without a service manager."""

from __future__ import annotations

import shutil
from pathlib import Path

from pylvs.errors import Unsupported

MODULES = Path("/usr/lib/apache2/modules")
MEGABYTE = 1 << 20

CONFIGURATION = """\
ServerRoot {run}
DefaultRuntimeDir {run}
PidFile {run}/httpd.pid
ServerName {address}
Listen {listen}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule dir_module {modules}/mod_dir.so
LoadModule dav_module {modules}/mod_dav.so
LoadModule dav_fs_module {modules}/mod_dav_fs.so
User www-data
Group www-data
ServerLimit 1
StartServers 1
ThreadsPerChild 64
MaxRequestWorkers 64
MinSpareThreads 1
MaxSpareThreads 64
KeepAlive On
KeepAliveTimeout 30
ErrorLog {run}/error.log
LogLevel warn
DocumentRoot {run}/htdocs
DirectoryIndex index.html
ForceType text/plain
DAVLockDB {run}/upload.lock
<Location /upload>
    DAV On
</Location>
"""


def binary() -> str:
    """Where the httpd is; Debian calls it apache2."""
    found = shutil.which("apache2", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if not found:
        raise Unsupported("no Apache httpd on this machine; run: apt-get install apache2-bin")
    return found


def configuration(run: Path, address: str, port: int, ipv6: bool) -> str:
    """The text of httpd.conf; every file of this httpd is under `run`."""
    listen = f"[::]:{port}" if ipv6 else f"0.0.0.0:{port}"
    return CONFIGURATION.format(run=run, address=address, listen=listen, modules=MODULES)


def lay_out(run: Path, address: str, port: int, ipv6: bool) -> None:
    """Write the configuration, the page `from ADDRESS`, a megabyte to fetch, and a directory to upload into."""
    upload = run / "htdocs/upload"
    upload.mkdir(parents=True, exist_ok=True)
    shutil.chown(upload, "www-data", "www-data")
    shutil.chown(run, "www-data")  # the lock database of uploads is made beside the configuration
    (run / "htdocs/index.html").write_text(f"from {address}\n")
    (run / "htdocs/megabyte").write_bytes(bytes(range(256)) * (MEGABYTE // 256))
    (run / "httpd.conf").write_text(configuration(run, address, port, ipv6))
