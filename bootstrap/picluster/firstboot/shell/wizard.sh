# shellcheck shell=sh disable=SC2154 # the values stand before it

# The stock image asks for a user on its screen and holds multi-user.target back until somebody answers (userconf-pi), and
# with it the last stage of cloud-init, runcmd. It asks although the user is there, because he has no password. To disable
# it is not enough: this boot has it in the queue, and some builds of cloud-init enable it anew once they have made a user.
no_wizard() {
  [ -e /usr/lib/systemd/system/userconfig.service ] || return 0
  rm -f /etc/xdg/autostart/piwiz.desktop
  systemctl --quiet mask --now userconfig.service
}

# What rename-user, which those builds call, left for the wizard: its banner, its user, the console taken away.
no_leftovers() {
  [ -e /usr/lib/systemd/system/userconfig.service ] || return 0
  if [ -e /etc/ssh/sshd_config.d/rename_user.conf ] && command -v cancel-rename >/dev/null; then
    cancel-rename "$user"
  fi
  rm -f /etc/ssh/sshd_config.d/rename_user.conf
  systemctl --quiet enable getty@tty1.service
}
