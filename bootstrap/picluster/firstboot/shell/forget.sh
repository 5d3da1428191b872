# shellcheck shell=sh disable=SC2154 # the values stand before it

# netplan has the Wi-Fi's key by now, in a file of root's, and cloud-init reads this one for a new burn only. The boot
# partition shows its files to everybody on the node.
forget_wifi() {
  config=/boot/firmware/network-config
  grep -qs access-points /etc/netplan/*.yaml || return
  sed '/^  wifis:/,$d' "$config" >"$config.new" && sync && mv -f "$config.new" "$config" && sync
}
