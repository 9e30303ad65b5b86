# SPDX-License-Identifier: GPL-2.0-or-later
"""This host as pylvs sees it: namespaces, interfaces, sysctls, neighbours, packets, probes, systemd."""
