# shellcheck shell=sh disable=SC2154 # the values stand before it

# The radio is off in stock images until the country is known, in three places (pi-gen, stage2/02-net-tweaks).
unblock_wifi() {
  ! command -v rfkill >/dev/null || rfkill unblock wifi
  for state in /var/lib/systemd/rfkill/*:wlan; do
    [ ! -e "$state" ] || echo 0 >"$state"
  done
  # A NetworkManager that runs already would write its own state over the file's.
  ! command -v nmcli >/dev/null || nmcli radio wifi on 2>/dev/null || :
  state=/var/lib/NetworkManager/NetworkManager.state
  [ ! -f "$state" ] || sed -i 's/^WirelessEnabled=false/WirelessEnabled=true/' "$state"
  [ ! -f /etc/default/crda ] || sed -i "s/^REGDOMAIN=.*/REGDOMAIN=$regdomain/" /etc/default/crda
}
