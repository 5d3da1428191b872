# shellcheck shell=sh disable=SC2154 # the values stand before it

# Images from 2026-02-16 on have `pi` with nologin, and cloud-init leaves an existing user's shell alone.
mend_shell() {
  if ! getent passwd "$user" >/dev/null; then return 0; fi
  case $(getent passwd "$user" | cut -d: -f7) in
    */nologin | */false | '') usermod --shell /bin/bash "$user" ;;
  esac
}
