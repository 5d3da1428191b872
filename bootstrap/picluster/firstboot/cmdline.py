"""The kernel's command line: ours is added at its end, the stock words stay byte for byte."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError
from picluster.firstboot import bootconfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from picluster.cards.bootfiles import BootFiles
    from picluster.firstboot.settings import Settings

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


def read(boot: BootFiles) -> dict[str, str]:
    """Return the command lines that boards read, by path; those that are missing or empty are left out."""
    # Whatever bytes a site has added come back as they were.
    texts = {path: boot.texts.get(path, b"") for path in bootconfig.read(boot).cmdlines}
    return {path: text.decode("utf-8", "surrogateescape") for path, text in texts.items() if text.strip()}


def extend(boot: BootFiles, words: str, settings: Settings) -> Mapping[str, bytes]:
    """Return each command line that boards read, by path, with words at its end.

    Refuses an image without any, because a board without root= does not boot.
    """
    lines = read(boot)
    if not lines:
        path = bootconfig.read(boot).cmdlines[0]
        raise PiclusterError(f"{path} on the boot partition is missing or empty: the image is damaged")
    return {path: _extended(path, text, words, settings) for path, text in lines.items()}


def _extended(path: str, text: str, words: str, settings: Settings) -> bytes:
    """Return a command line with words at its end: one line, LF.

    The country stands before them and for good: it is a parameter of the Wi-Fi driver, and raspi-config puts it there,
    too (do_wifi_country, Bookworm and later). Refuses a second line, which the firmware leaves out and which may not
    come to life here; and a result that is too long for a kernel.
    """
    line, *others = (part.strip() for part in re.split(r"\r\n|\r|\n", text))
    if any(others):
        raise PiclusterError(
            f"{path} on the boot partition has more than one line, and the board reads the first alone:"
            " leave in the image only the line that it needs"
        )
    line = _EARLIER.sub("", line)
    added: Sequence[str] = [words]
    if settings.country:
        line = _COUNTRY.sub("", line)
        added = [f"cfg80211.ieee80211_regdom={settings.country}", words]
    whole = " ".join([line, *added]).encode("utf-8", "surrogateescape") + b"\n"
    if len(whole) > _LONGEST:
        raise PiclusterError(
            f"{path} would be {len(whole)} bytes long with the words of the first boot, and every board takes"
            f" {_LONGEST}: take words out of the image's line"
        )
    return whole
