#!/bin/sh
# What the packages feed runs on a router of every architecture: PACKAGE VERSION.

[ "$1" = postern ] || exit 0

postern --version | grep -F "postern $2" || exit 1
postern check || exit 1
postern render >/dev/null
