# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The programs that restore an unconfirmed change: a shell script and the unit that runs it at boot.

A shell script, because Ansible is not available then and Python may be what is broken.
"""

from __future__ import annotations

FOLDER = "/var/lib/picluster/rollback"
UNIT = "picluster-rollback.service"

SCRIPT = r"""#!/bin/sh
# Written by picluster. Restores the files of a change that was not confirmed.
#   restore NAME [TOKEN]   now; with TOKEN only if it is the current one
#   restore --boot         all, at boot, before network and sshd start
# Can be killed at any point and run again. Exit 1: a file could not be restored, run again.
set -u
LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd) || exit 1
status=0

same() { # same SAVED PATH
    if [ -h "$1" ] || [ -h "$2" ]; then
        [ -h "$1" ] && [ -h "$2" ] && [ "$(readlink "$1")" = "$(readlink "$2")" ]
    else
        cmp -s "$1" "$2" && [ "$(stat -c %a:%u:%g "$1")" = "$(stat -c %a:%u:%g "$2")" ]
    fi
}

put_back() { # put_back SAVED PATH: by a hard link, which needs no space on a full card
    temporary=$(dirname "$2")/.$(basename "$2").picluster-back
    mkdir -p "$(dirname "$2")" && rm -f "$temporary" || return 1
    # Never changed, or restored by an earlier attempt: mv refuses two links to one file.
    if same "$1" "$2"; then return 0; fi
    ln -P "$1" "$temporary" 2>/dev/null || cp -Pp "$1" "$temporary" || return 1
    mv -fT "$temporary" "$2" && sync "$(dirname "$2")"
}

remove() { # remove PATH
    rm -f "$1" || return 1
    if [ -d "$(dirname "$1")" ]; then sync "$(dirname "$1")"; fi
}

restore() { # restore NAME WORD [TOKEN]: the files, then the manifest's commands with that word
    folder=$here/$1
    if [ -e "$folder/manifest" ]; then
        [ -z "${3-}" ] || grep -qx "token $3" "$folder/manifest" || return 0
        # From here on a confirmation is too late.
        mv -f "$folder/manifest" "$folder/restoring" || return 1
    fi
    [ -e "$folder/restoring" ] || return 0
    failed=0
    while IFS=' ' read -r word rest; do
        case $word in
            file) put_back "$folder/${rest%% *}" "${rest#* }" || failed=1 ;;
            none) remove "$rest" || failed=1 ;;
        esac
    done <"$folder/restoring"
    if [ "$failed" = 1 ]; then
        echo "picluster: not all files of $1 could be restored" >&2
        return 1
    fi
    while IFS=' ' read -r word rest; do
        [ "$word" = "$2" ] || continue
        tries=0
        until timeout 90 sh -c "$rest" </dev/null 9>&-; do
            tries=$((tries + 1))
            if [ "$tries" = 3 ]; then
                echo "picluster: command failed, reboot the node instead: $rest" >&2
                break
            fi
            sleep 1
        done
    done <"$folder/restoring"
    while IFS=' ' read -r word rest; do
        if [ "$word" = marker ]; then rm -f "$rest"; fi
    done <"$folder/restoring"
    remove "$folder/restoring" || return 1
    rm -rf "$folder"
    echo "picluster: $1 was not confirmed and has been rolled back"
}

exec 9>"$here/lock" || exit 1
if command -v flock >/dev/null; then flock 9; fi
if [ "$1" = --boot ]; then
    for folder in "$here"/*/; do
        folder=${folder%/}
        for list in "$folder/manifest" "$folder/restoring"; do
            [ -e "$list" ] || continue
            marker=$(sed -n 's/^marker //p' "$list")
            # Armed in this boot: its timer is responsible.
            if [ -e "$marker" ]; then continue 2; fi
            restore "$(basename "$folder")" boot || status=1
            break
        done
    done
else
    restore "$1" run "${2-}" || status=1
fi
exit "$status"
"""

UNIT_TEXT = f"""# Written by picluster. Does nothing unless the power failed while a change was unconfirmed.
[Unit]
Description=Roll back unconfirmed changes of network, sshd and firewall
DefaultDependencies=no
RequiresMountsFor=/var/lib/picluster /etc
After=local-fs.target systemd-remount-fs.service
Before=sysinit.target network-pre.target picluster-firewall.service systemd-networkd.service networking.service
Before=ssh.service ssh.socket
Wants=network-pre.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {FOLDER}/restore --boot

[Install]
WantedBy=sysinit.target
"""
