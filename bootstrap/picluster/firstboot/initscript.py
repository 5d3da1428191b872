"""First boot by a script in place of init, for Raspbian Stretch, whose systemd 232 does not support systemd.run=."""

from __future__ import annotations

from picluster.firstboot import cmdline
from picluster.firstboot.script import ScriptBoot

# Without a dot and without `=` anywhere: the kernel takes a word with a dot for a module's parameter and drops it, one
# with `=` for a variable (init/main.c, unknown_bootoption). The shell would then be told to run nothing.
_SCRIPT = "firstinit"
# Of several init= the kernel takes the last, with the words behind it (init/main.c, init_setup). So the stock token,
# which grows the root partition, stays where it is, and is in force again as soon as ours is gone.
_WORDS = f'{cmdline.INIT} "mount -t proc proc /proc; mount -t sysfs sys /sys; mount /boot; source /boot/{_SCRIPT}"'
# Process 1 gets no PATH that its children could use, no network, and a clock that says 1970.
_START = """\
boot=/boot
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs tmp /run
mkdir -p /run/systemd
mount -o remount,rw /"""
# Not /proc/sysrq-trigger: it resets the whole machine whoever writes to it, in a container its host, too. Should
# reboot fail, the shell ends, which is a kernel panic, and panic=10 on the command line reboots 10 seconds later.
_END = """\
main
sync
umount /boot
mount -o remount,ro /
sync
reboot -f"""


class InitScript(ScriptBoot):
    """A script that the kernel starts as process 1."""

    name = "init-script"
    title = "Raspbian Stretch"
    script = _SCRIPT
    words = _WORDS
    start = _START
    end = _END
