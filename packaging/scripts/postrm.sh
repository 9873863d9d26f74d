#!/bin/sh
# The files of @NAME@ are gone. Its users and its state stay.
set -e
if [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
