# The images up to Bullseye of 2022-01: everybody knows the password. systemd 252 and older look for init_resize.sh.
echo pi:raspberry | chpasswd
install -D /usr/lib/raspberrypi-sys-mods/firstboot /usr/lib/raspi-config/init_resize.sh
