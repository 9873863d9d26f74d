#!/bin/sh
# The files of @NAME@ are there: makes its users and directories, and has a
# service that runs start again. It enables and starts nothing by itself.
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
	systemctl daemon-reload
	if [ -n "$upgraded" ]; then
		systemctl try-restart @NAME@.service || echo "@NAME@: the service has not started again: see systemctl status @NAME@" >&2
	fi
fi
