# The images up to Bullseye of 2022-01: everybody knows the password. Images before 2022-09 have init_resize.sh.
echo pi:raspberry | chpasswd
install -D /usr/lib/raspberrypi-sys-mods/firstboot /usr/lib/raspi-config/init_resize.sh
# Where /lib is not yet /usr/lib, the board's kernel looks for its modules there.
if [ ! -L /lib ]; then
	rm -rf /lib/modules
	mkdir -p /usr/lib/modules
	ln -s ../usr/lib/modules /lib/modules
fi
