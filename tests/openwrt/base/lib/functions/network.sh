#!/bin/sh
# Stands in for OpenWrt's: the file /tmp/networks says which device a network has, NETWORK DEVICE on each line.
# shellcheck shell=dash

network_get_device() {
	local found
	found=$(sed -n "s/^$2 //p" /tmp/networks)
	[ -n "$found" ] && eval "$1=\$found"
}
