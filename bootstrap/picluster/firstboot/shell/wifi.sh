# shellcheck shell=sh disable=SC2154 # the values stand before it

# The key of the network must be on the node, and until now it was on the FAT partition, which has no permissions: who
# holds the card holds the key. From here on only root reads it.
set_wifi() {
  [ -n "$keyfile" ] || return 0
  if [ -e /etc/systemd/system/multi-user.target.wants/NetworkManager.service ]; then
    file=/etc/NetworkManager/system-connections/picluster-wifi.nmconnection
    content=$keyfile
  else
    file=/etc/wpa_supplicant/wpa_supplicant.conf
    content=$supplicant
    # Its own id for the radio, see set_hint.
    if [ -f /etc/dhcpcd.conf ] && ! grep -q '^interface wlan0$' /etc/dhcpcd.conf; then
      printf '\ninterface wlan0\nclientid\n' >>/etc/dhcpcd.conf || return
    fi
  fi
  # NetworkManager ignores a file that others may read.
  touch "$file" && chmod 600 "$file" && printf '%s\n' "$content" >"$file"
}
