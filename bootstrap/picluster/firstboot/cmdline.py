"""The kernel's command line in cmdline.txt: ours is added at its end, the stock words stay byte for byte."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from picluster.cards.bootfiles import BootFiles
    from picluster.firstboot.settings import Settings

NAME = "cmdline.txt"
# How the init script is started; the one place, because it must be found again on a card that was prepared before.
INIT = "panic=10 init=/bin/bash -c"
# What we, or another tool, wrote for a first boot that did not happen yet. The card is told anew, not twice.
_EARLIER = re.compile(
    r"""[ ](?:ds=nocloud(?:;\S*)?(?=[ ]|$)
        |systemd\.run(?:_success_action|_failure_action)?=(?:"[^"]*"|[^ ]*)
        |systemd\.unit=kernel-command-line\.target
        |panic=10[ ]init=/bin/bash[ ]-c[ ]"[^"]*")""",
    re.VERBOSE,
)
# A 32-bit kernel takes 1024 bytes (COMMAND_LINE_SIZE of ARM) and drops the end, where ours are; the firmware puts up to
# 400 of its own before these.
_LONGEST = 624
_COUNTRY = re.compile(r" cfg80211\.ieee80211_regdom=[^ ]*")


def extend(boot: BootFiles, words: str, settings: Settings) -> bytes:
    """Return the command line with words at its end: one line, LF.

    The country stands before them and for good: it is a parameter of the Wi-Fi driver, and raspi-config puts it there,
    too (do_wifi_country, Bookworm and later). Refuses an empty stock file, because a board without root= does not boot;
    a second line, which the firmware leaves out and which may not come to life here; and a result that is too long for
    a kernel.
    """
    # Whatever bytes a site has added come back as they were.
    text = boot.texts.get(NAME, b"").decode("utf-8", "surrogateescape")
    line, *others = (part.strip() for part in re.split(r"\r\n|\r|\n", text))
    if any(others):
        raise PiclusterError(
            "cmdline.txt on the boot partition has more than one line, and the board reads the first alone:"
            " leave in the image only the line that it needs"
        )
    if not line:
        raise PiclusterError("cmdline.txt on the boot partition is missing or empty: the image is damaged")
    line = _EARLIER.sub("", line)
    added: Sequence[str] = [words]
    if settings.country:
        line = _COUNTRY.sub("", line)
        added = [f"cfg80211.ieee80211_regdom={settings.country}", words]
    whole = " ".join([line, *added]).encode("utf-8", "surrogateescape") + b"\n"
    if len(whole) > _LONGEST:
        raise PiclusterError(
            f"cmdline.txt would be {len(whole)} bytes long with the words of the first boot, and every board takes"
            f" {_LONGEST}: take words out of the image's line"
        )
    return whole
