# SPDX-License-Identifier: GPL-2.0-or-later
"""What nobody outside may bring about, tried: mutated packets, floods, two CPUs at once, kill -9, concurrent commands.

`make attack` runs all of it within ten minutes, `make test` a shorter form. Every round has a seed of its own, which
what it found names: `make attack ATTACK="--seed N --only NAME --round K"` does it again.
"""
