# Runs in the fresh root file system: what pi-gen does after the packages.
echo raspberrypi >/etc/hostname
printf '127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\nff02::1\t\tip6-allnodes\nff02::2\t\tip6-allrouters\n\n127.0.1.1\traspberrypi\n' >/etc/hosts
printf 'proc                  /proc           proc    defaults          0       0\nPARTUUID=@DISKID@-01  /boot/firmware  vfat    defaults          0       2\nPARTUUID=@DISKID@-02  /               ext4    defaults,noatime  0       1\n' >/etc/fstab
mkdir -p /boot/firmware
# The stock locale; without one cloud-init 22.4 wants en_US, which nobody generated, and calls the boot a failure.
sed -i 's/^# *\(en_GB.UTF-8\)/\1/' /etc/locale.gen
locale-gen >/dev/null
update-locale LANG=en_GB.UTF-8
: >/etc/machine-id
# NetworkManager fills it.
: >/etc/resolv.conf
rm -f /var/lib/dbus/machine-id /etc/ssh/ssh_host_*
chmod 600 /usr/lib/netplan/00-network-manager-all.yaml
# The stock user from 2026-02-16 on: no password, no key, no login shell, no passwordless sudo.
useradd --create-home --uid 1000 --shell /usr/sbin/nologin --groups adm,dialout,cdrom,audio,users,sudo,video,games,plugdev,netdev,render pi
# cloud-init 22.4 takes network-config from a seed folder only, never by seedfrom (DataSourceNoCloud._get_data).
if [ "$(. /etc/os-release && echo "$VERSION_CODENAME")" = bookworm ]; then
	mkdir -p /var/lib/cloud/seed
	ln -s /boot/firmware /var/lib/cloud/seed/nocloud
fi
systemctl enable regenerate_ssh_host_keys.service sshswitch.service
systemctl disable ssh.service
