# Runs in the fresh root file system, with BOOT set: what pi-gen does after the packages.
echo raspberrypi >/etc/hostname
printf '127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n\n127.0.1.1\t\traspberrypi\n' >/etc/hosts
printf 'proc  /proc  proc  defaults  0  0\nPARTUUID=@DISKID@-01  %s  vfat  defaults,flush  0  2\nPARTUUID=@DISKID@-02  /  ext4  defaults,noatime  0  1\n' "$BOOT" >/etc/fstab
mkdir -p "$BOOT"
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/ssh/ssh_host_*
: >/etc/resolv.conf
useradd --create-home --uid 1000 --shell /bin/bash --groups adm,dialout,cdrom,audio,users,sudo,video,games,plugdev pi
echo 'pi ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/010_pi-nopasswd
chmod 440 /etc/sudoers.d/010_pi-nopasswd
sed -i "s|/boot/firmware/|$BOOT/|" /etc/systemd/system/sshswitch.service
systemctl enable regenerate_ssh_host_keys.service sshswitch.service
systemctl disable ssh.service
