# shellcheck shell=sh disable=SC2154 # the values stand before it

# A zone or locale that this image does not know leaves its own in place.
set_timezone() {
  [ -n "$timezone" ] || return 0
  [ -e "/usr/share/zoneinfo/$timezone" ] || return
  ln -sf "/usr/share/zoneinfo/$timezone" /etc/localtime && printf '%s\n' "$timezone" >/etc/timezone
}

set_locale() {
  [ -n "$locale" ] || return 0
  sed -i "s/^# *\($locale \)/\1/" /etc/locale.gen || return
  locale-gen && update-locale "LANG=$locale"
}
