# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Keywords that a drop-in of sshd_config(5) can have, and the values of those that have only a few. Pure.

From OpenSSH 10.2 and Debian's patches; former names still work. sshd -t on the node checks all else.
"""

from __future__ import annotations

_SWITCH = ("yes", "no")
_FORWARDING = (*_SWITCH, "all", "local", "remote")
_SWITCHES = """
    AllowAgentForwarding ChallengeResponseAuthentication DebianBanner DisableForwarding ExposeAuthInfo
    GSSAPIAuthentication GSSAPICleanupCredentials GSSAPIKeyExchange GSSAPIStoreCredentialsOnRekey
    GSSAPIStrictAcceptorCheck HostbasedAuthentication HostbasedUsesNameFromPacketOnly IgnoreUserKnownHosts
    KbdInteractiveAuthentication KerberosAuthentication KerberosGetAFSToken KerberosOrLocalPasswd KerberosTicketCleanup
    PasswordAuthentication PermitEmptyPasswords PermitTTY PermitUserRC PrintLastLog PrintMotd PubkeyAuthentication
    RefuseConnection StreamLocalBindUnlink StrictModes TCPKeepAlive UseDNS UsePAM X11Forwarding X11UseLocalhost
"""
_OTHERS = """
    AcceptEnv AllowGroups AllowUsers AuthenticationMethods AuthorizedKeysCommand AuthorizedKeysCommandUser
    AuthorizedKeysFile AuthorizedPrincipalsCommand AuthorizedPrincipalsCommandUser AuthorizedPrincipalsFile Banner
    CASignatureAlgorithms ChannelTimeout ChrootDirectory Ciphers ClientAliveCountMax ClientAliveInterval DenyGroups
    DenyUsers ForceCommand GSSAPIKexAlgorithms HostCertificate HostKey HostKeyAgent HostKeyAlgorithms
    HostbasedAcceptedAlgorithms HostbasedAcceptedKeyTypes IPQoS KexAlgorithms ListenAddress LogVerbose LoginGraceTime
    MACs MaxAuthTries MaxSessions MaxStartups ModuliFile PAMServiceName PerSourceMaxStartups PerSourceNetBlockSize
    PerSourcePenalties PerSourcePenaltyExemptList PermitListen PermitOpen PermitUserEnvironment PidFile Port
    PubkeyAcceptedAlgorithms PubkeyAcceptedKeyTypes PubkeyAuthOptions RekeyLimit RequiredRSASize RevokedKeys
    SecurityKeyProvider SetEnv SshdAuthPath SshdSessionPath StreamLocalBindMask Subsystem SyslogFacility
    TrustedUserCAKeys UnusedConnectionTimeout VersionAddendum X11DisplayOffset XAuthLocation
"""
CHOICES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_SWITCHES.split(), _SWITCH),
    "AddressFamily": ("any", "inet", "inet6"),
    "AllowStreamLocalForwarding": _FORWARDING,
    "AllowTcpForwarding": _FORWARDING,
    "Compression": (*_SWITCH, "delayed"),
    "FingerprintHash": ("md5", "sha256"),
    "GatewayPorts": (*_SWITCH, "clientspecified"),
    "IgnoreRhosts": (*_SWITCH, "shosts-only"),
    "LogLevel": ("QUIET", "FATAL", "ERROR", "INFO", "VERBOSE", "DEBUG", "DEBUG1", "DEBUG2", "DEBUG3"),
    "PermitRootLogin": (*_SWITCH, "prohibit-password", "without-password", "forced-commands-only"),
    "PermitTunnel": (*_SWITCH, "point-to-point", "ethernet"),
}
KEYWORDS = frozenset({*CHOICES, *_OTHERS.split()})
