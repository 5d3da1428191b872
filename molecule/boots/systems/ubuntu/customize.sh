# Runs in the fresh root file system, with BOOT set: Ubuntu's way, with Debian's packages.
echo ubuntu >/etc/hostname
printf '127.0.0.1\tlocalhost\n::1\t\tip6-localhost ip6-loopback\n' >/etc/hosts
printf 'LABEL=rootfs  /  ext4  discard,errors=remount-ro  0  1\nLABEL=system-boot  %s  vfat  defaults  0  1\n' "$BOOT" >/etc/fstab
mkdir -p "$BOOT"
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/ssh/ssh_host_*
systemctl enable systemd-networkd.service ssh.service
