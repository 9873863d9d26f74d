#!/bin/sh
# The files of @NAME@ are there: makes its users and directories, and has a
# service that runs go over to the new program: that takes over where it can, else the
# service starts again. It enables and starts nothing by itself.
set -e
case "$1" in
configure) upgraded=${2:-} ;; # deb: what was configured before
1) upgraded= ;;               # rpm: how many are installed now
[2-9]*) upgraded=yes ;;
*) exit 0 ;;
esac
root=${DPKG_ROOT:-}
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers ${root:+--root="$root"} @NAME@.conf
else
	echo "@NAME@: no systemd-sysusers here: make the users that /usr/lib/sysusers.d/@NAME@.conf names" >&2
fi
if command -v systemd-tmpfiles >/dev/null && [ -e "$root/usr/lib/tmpfiles.d/@NAME@.conf" ]; then
	# It says itself what it could not do; when the machine starts it does so again.
	systemd-tmpfiles ${root:+--root="$root"} --create @NAME@.conf || true
fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
	if [ -z "$upgraded" ]; then
		systemctl daemon-reload
		exit 0
	fi
	replaces=$(systemctl show -p CanReload --value @NAME@.service) || replaces=no # by the unit that runs
	systemctl daemon-reload
	if [ "$replaces" = yes ] && systemctl is-active --quiet @NAME@.service; then
		systemctl reload @NAME@.service && exit 0
		if ! @NAME@ --version >/dev/null; then
			echo "@NAME@: the program does not run here; the service goes on with the one before" >&2
			exit 0
		fi
	fi
	systemctl try-restart @NAME@.service || echo "@NAME@: the service has not started again: see systemctl status @NAME@" >&2
fi
