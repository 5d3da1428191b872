# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Keys of k3s's config.yaml: the flags of k3s server and k3s agent. Pure.

k3s skips a key that it does not know. A newer release may know more, so only a near miss is wrong.
"""

from __future__ import annotations

_FLAGS = """
    advertise-address advertise-port agent-token agent-token-file airgap-extra-registry alsologtostderr bind-address
    cluster-cidr cluster-dns cluster-domain cluster-init cluster-reset cluster-reset-restore-path
    container-runtime-endpoint data-dir datastore-cafile datastore-certfile datastore-endpoint datastore-keyfile debug
    default-local-storage-path default-runtime disable disable-agent disable-apiserver disable-cloud-controller
    disable-controller-manager disable-default-registry-endpoint disable-etcd disable-helm-controller disable-kube-proxy
    disable-network-policy disable-scheduler docker egress-selector-mode embedded-registry enable-pprof etcd-arg
    etcd-disable-snapshots etcd-expose-metrics etcd-s3 etcd-snapshot-compress etcd-snapshot-dir etcd-snapshot-name
    etcd-snapshot-retention etcd-snapshot-schedule-cron flannel-backend flannel-cni-conf flannel-conf
    flannel-external-ip flannel-iface flannel-ipv6-masq helm-job-image https-listen-port
    image-credential-provider-bin-dir image-credential-provider-config image-service-endpoint kine-tls
    kube-apiserver-arg kube-cloud-controller-manager-arg kube-controller-manager-arg kube-proxy-arg kube-scheduler-arg
    kubelet-arg lb-server-port log node-external-dns node-external-ip node-internal-dns node-ip node-label node-name
    node-taint nonroot-devices pause-image prefer-bundled-bin private-registry protect-kernel-defaults resolv-conf
    rootless secrets-encryption secrets-encryption-provider selinux server service-cidr service-node-port-range
    servicelb-namespace snapshotter supervisor-metrics system-default-registry tls-san tls-san-security token token-file
    v vmodule vpn-auth vpn-auth-file with-node-id write-kubeconfig write-kubeconfig-group write-kubeconfig-mode
"""
FLAGS = frozenset(_FLAGS.split())
