# SPDX-License-Identifier: GPL-2.0-or-later
"""The host: commands, network namespaces, interfaces, routes, sysctls, neighbours, packets, probes, systemd."""
