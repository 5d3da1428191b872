# shellcheck shell=sh disable=SC2154 # the values stand before it
# What a node needs, for the sh of every image from Stretch to Trixie. Before this stand the values: boot (where the FAT
# partition is mounted), script (this file's name on it), cmdlines (the files with the kernel's command line on it), words
# (ours in each of them), instance (of this burn), name, user, keys.
# The raw commands serve every image alike, and a second run of them changes nothing; imager_custom, which newer images
# have, appends the keys each time and asks for less. Only userconf is called, for it knows the image's own wizard.

userconf=/usr/lib/userconf-pi/userconf
tried=$boot/$script.try
failed=

step() {
  "$@" || failed="$failed $1"
}

# Only our words go: an earlier boot may have written a new PARTUUID into the line, or dropped its init=. The new file is
# whole on the card before it takes the old one's place, because a board without a command line is dead; only on a full
# partition the old one is written over.
cut_words() {
  for cmdline in $cmdlines; do
    cut_line || return
  done
}

cut_line() {
  line=$(cat "$boot/$cmdline") || return
  case $line in
    *"$words"*) ;;
    *) return 0 ;;
  esac
  line=${line%%"$words"*}${line#*"$words"}
  if printf '%s\n' "$line" >"$boot/cmdline.new" && sync; then
    mv -f "$boot/cmdline.new" "$boot/$cmdline" && sync
  else
    rm -rf "$boot/cmdline.new"
    printf '%s\n' "$line" >"$boot/$cmdline" && sync
  fi
}

note_try() {
  printf '%s\n' "$instance" >"$tried"
}

# Cutting the words first would leave a half-made node after a power cut, with no way in, or with the stock password.
# Cutting them last could run forever. So the first try cuts them when all is done and on the card; a second try, which
# only a power cut or a failed step brings about, cuts them before it does anything. There is no third, unless the card
# cannot be written to at all: then nothing of this can be undone, and nothing more is done.
begin() {
  # A card that was prepared anew is a first try, whatever lies there from before. On a full partition the file is empty.
  again=
  if [ -e "$tried" ]; then
    case $(cat "$tried") in
      "$instance" | '') again=yes ;;
    esac
  fi
  if [ -n "$again" ]; then
    cut_words || { mount -o remount,rw "$boot" && cut_words; }
  else
    rm -f "$boot/$script.failed"
    note_try || { mount -o remount,rw "$boot" && note_try; } || [ -e "$tried" ] || return
    sync
  fi
}

finish() {
  sync
  if [ -n "$failed" ] && [ -z "$again" ]; then
    return 1
  fi
  # While the words are there, the script must be, too.
  cut_words || return
  # A board without a screen can still tell whoever looks at its card.
  [ -z "$failed" ] || printf 'These steps failed:%s\n' "$failed" >"$boot/$script.failed"
  rm -f "$boot/$script" "$tried" "$boot/cmdline.new"
  sync
}

set_name() {
  printf '%s\n' "$name" >/etc/hostname || return
  set_hosts
}

# The login name comes last: until then the user is not there, and after a power cut all of this is done again.
rename_user() { # OLD
  usermod --home "/home/$user" --move-home "$1" || return
  own_home "$1"
  ! getent group "$1" >/dev/null || groupmod --new-name "$user" "$1"
  for file in /etc/subuid /etc/subgid; do
    [ ! -f "$file" ] || sed -i "s/^$1:/$user:/" "$file"
  done
  # Desktop images log their user in by themselves.
  for file in /etc/lightdm/lightdm.conf /etc/systemd/system/getty@tty1.service.d/autologin.conf; do
    [ ! -f "$file" ] || sed -i -e "s/^autologin-user=$1\$/autologin-user=$user/" -e "s/--autologin $1 /--autologin $user /" "$file"
  done
  usermod --login "$user" "$1"
}

# A power cut while somebody was renamed, here or by userconf, leaves the old home, and only the name of the new one.
own_home() { # USER
  home=$(getent passwd "$1" | cut -d: -f6)
  for old in /home/*; do
    if [ ! -e "$home" ] && [ "$(stat -c %u "$old")" = "$(id -u "$1")" ]; then
      mv "$old" "$home"
    fi
  done
}

add_user() {
  useradd --create-home --shell /bin/bash "$user" || return
  for group in adm dialout cdrom sudo audio video plugdev games users input netdev render gpio i2c spi; do
    ! getent group "$group" >/dev/null || usermod --append --groups "$group" "$user"
  done
}

set_user() {
  first=$(getent passwd 1000 | cut -d: -f1)
  if [ -x "$userconf" ] && [ -n "$first" ] && { [ "$first" = "$user" ] || ! getent passwd "$user" >/dev/null; }; then
    # Without a password it renames the first user, if need be, and cancels the wizard of the first boot.
    "$userconf" "$user" ''
  fi
  systemctl --quiet disable userconfig 2>/dev/null
  rm -f /etc/xdg/autostart/piwiz.desktop
  if ! getent passwd "$user" >/dev/null; then
    if [ -n "$first" ]; then rename_user "$first"; else add_user; fi || return
  fi
  own_home "$user"
  mend_shell || return
  # `*` and not `passwd -l`: no password fits, the stock one is gone for good, and keys work even without PAM.
  for account in "$user" "$first"; do
    if getent passwd "$account" >/dev/null; then
      usermod --password '*' "$account" || return
      # With a clock at 1970 the day of change would be 0, which sshd takes for "must change the password now".
      chage --lastday -1 "$account"
    fi
  done
}

set_keys() {
  home=$(getent passwd "$user" | cut -d: -f6)
  group=$(id -gn "$user") || return
  [ -e "$home" ] || install -d -m 700 -o "$user" -g "$group" "$home" || return
  install -d -m 700 -o "$user" -g "$group" "$home/.ssh" || return
  printf '%s\n' "$keys" >"$home/.ssh/authorized_keys" || return
  chown "$user:$group" "$home/.ssh/authorized_keys" && chmod 600 "$home/.ssh/authorized_keys"
}

set_sudo() {
  printf '%s ALL=(ALL) NOPASSWD: ALL\n' "$user" >"/etc/sudoers.d/010_$user-nopasswd" || return
  chmod 0440 "/etc/sudoers.d/010_$user-nopasswd" || return
  # What was granted to pi is nobody's now, and must not be that of a later pi.
  getent passwd pi >/dev/null || rm -f /etc/sudoers.d/010_pi-nopasswd
}

# In sshd the first value counts: a drop-in that sorts first where the image includes them, else the top of the file.
set_sshd() {
  only_keys='PasswordAuthentication no\nKbdInteractiveAuthentication no'
  config=/etc/ssh/sshd_config
  if grep -q '^Include /etc/ssh/sshd_config\.d/' "$config"; then
    mkdir -p /etc/ssh/sshd_config.d
    # shellcheck disable=SC2059 # the format is ours
    printf "$only_keys\n" >/etc/ssh/sshd_config.d/00-picluster.conf || return
  elif ! head -n 1 "$config" | grep -q picluster; then
    sed -i "1i # By picluster: keys are the only way in.\n$only_keys" "$config" || return
  fi
  systemctl enable ssh
}

# The name as client-id (option 61); as host name (option 12) every client sends it by itself. On the cable only: one
# client-id on two interfaces of a net makes a server give both the same address.
set_hint() {
  if [ -f /etc/dhcpcd.conf ]; then
    # Not in the block that set_wifi adds.
    sed -i -e "1,/^interface wlan0$/ s/^#\{0,1\}clientid\>.*/clientid \"$name\"/" -e 's/^duid\>/#&/' /etc/dhcpcd.conf || return
    grep -q '^clientid ' /etc/dhcpcd.conf || sed -i "1i clientid \"$name\"" /etc/dhcpcd.conf || return
  fi
  if [ -d /etc/NetworkManager/conf.d ]; then
    printf '[connection-eth0]\nmatch-device=interface-name:eth0\nipv4.dhcp-client-id=%s\n' "$name" \
      >/etc/NetworkManager/conf.d/90-picluster-hint.conf
  fi
}

# Images that bring cloud-init without its files: on the next boot it would make the image's default user anew.
no_cloud_init() {
  [ ! -d /etc/cloud ] || touch /etc/cloud/cloud-init.disabled
}

set_node() {
  step set_user
  step set_keys
  step set_sshd
  step set_sudo
  step set_name
  step set_hint
  step no_cloud_init
}
