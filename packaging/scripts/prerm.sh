#!/bin/sh
# Before the files of @NAME@ go, unless others come in their place: ends its service.
set -e
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
if [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
	systemctl disable --now @NAME@.service
fi
