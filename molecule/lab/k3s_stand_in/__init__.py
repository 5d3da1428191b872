# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""k3s stand-in: NOT Kubernetes. It implements k3s's contract with an installer, and runs no containers.

For a lab that cannot have the real binary: config.yaml and flags, token files, sd_notify, agents that retry until their
server answers, /cacerts, /v1-k3s/readyz, k3s.yaml, `kubectl get nodes`. Names, paths and flags are those of k3s, so
that a role cannot tell; every version it prints says stand-in. It needs only the standard library and the openssl
program. `lab.stand_in_archive` packs it into the one file that the nodes install.
"""
