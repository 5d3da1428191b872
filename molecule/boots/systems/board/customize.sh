# What makes the kernel run on CPUs of which it does not know all registers.
tcc -nostdlib -shared -o /usr/local/lib/xstate.so /usr/local/src/xstate.c
# The modules that a card's system needs of this kernel: FAT and what it reads its names with, and automounts, formats of programs.
mkdir -p /usr/lib/modules
mv /usr/lib/uml/modules/* /usr/lib/modules/
cd /usr/lib/modules/*/kernel
find . -type f ! -path './fs/fat/*' ! -path './fs/nls/*' ! -path './fs/autofs/*' ! -path './fs/binfmt_misc.ko' ! -path './net/ipv6/*' -delete
rm -f /etc/resolv.conf
