#!/bin/sh
# Stands in for OpenWrt's /lib/functions.sh: the functions that Postern's scripts use, with the real uci.
# shellcheck shell=dash disable=SC1090,SC2317 # whom it calls, and who calls it, is decided elsewhere

# Stands in for the program: writes down what it was told. A function, because the shell of Debian's busybox-static
# takes its own applet before any program on the PATH.
logger() {
	echo "logger $*" >>/tmp/calls
}

config_load() {
	local said
	CONFIG_SECTIONS=''
	# Each line of an export is a call of one of these.
	package() { :; }
	config() {
		CONFIG_SECTION=$2
		CONFIG_SECTIONS="$CONFIG_SECTIONS $2"
		eval "CONFIG_$2_TYPE=\$1"
	}
	option() { eval "CONFIG_${CONFIG_SECTION}_$1=\$2"; }
	list() {
		local length
		eval "length=\$((\${CONFIG_${CONFIG_SECTION}_$1_LENGTH:-0} + 1))"
		eval "CONFIG_${CONFIG_SECTION}_$1_LENGTH=$length CONFIG_${CONFIG_SECTION}_$1_ITEM$length=\$2"
	}
	said=$(uci -S -n export "$1" 2>/dev/null) || return
	eval "$said"
}

config_get() {
	eval "$1=\${CONFIG_$2_$3:-\$4}"
}

config_get_bool() {
	config_get "$@"
	eval "case \$$1 in
		1 | on | true | yes | enabled) $1=1 ;;
		0 | off | false | no | disabled) $1=0 ;;
		*) $1=\$4 ;;
	esac"
}

config_foreach() {
	local each=$1 wanted=$2 section type
	for section in $CONFIG_SECTIONS; do
		config_get type "$section" TYPE
		[ "$type" != "$wanted" ] || "$each" "$section"
	done
}

config_list_foreach() {
	local section=$1 name=$2 each=$3 length item number=1
	config_get length "$section" "${name}_LENGTH" 0
	while [ "$number" -le "$length" ]; do
		config_get item "$section" "${name}_ITEM$number"
		"$each" "$item"
		number=$((number + 1))
	done
}

# Where opkg, or apk, has what a package brought; `pkgname` says which, or the name of the script.
list_of_files() {
	local root=$IPKG_INSTROOT
	name=${pkgname:-$(basename "${1%.*}")}
	info=$root/usr/lib/opkg/info/$name
	list=$root/lib/apk/packages/$name.list
	[ -f "$list" ] || list=$info.list
}

# What a package's scripts call: of the files that it brought, some are run.
default_postinst() {
	local name info list root=$IPKG_INSTROOT file
	list_of_files "$1"
	pkgname=$name add_group_and_user
	if [ -f "$info.postinst-pkg" ]; then
		(. "$info.postinst-pkg")
	fi
	while read -r file; do
		case $file in
			/etc/uci-defaults/*)
				[ -n "$root" ] || { (. "$file") && rm -f "$file"; }
				;;
			/etc/init.d/*)
				if [ -n "$root" ]; then
					sh "$root/etc/rc.common" "$root$file" enable
				else
					[ "$PKG_UPGRADE" = 1 ] || "$file" enable
					"$file" start
				fi
				;;
		esac
	done <"$list"
}

default_prerm() {
	local name info list file
	list_of_files "$1"
	if [ -f "$info.prerm-pkg" ]; then
		(. "$info.prerm-pkg")
	fi
	grep '^/etc/init.d/' "$list" | while read -r file; do
		[ "$PKG_UPGRADE" = 1 ] || "$file" disable
		"$file" stop
	done
}

# The accounts that a package asks for, as NAME=NUMBER:GROUP=NUMBER.
add_group_and_user() {
	local root=$IPKG_INSTROOT wanted user group
	wanted=$(sed -n 's/^Require-User: *//p' "$root/usr/lib/opkg/info/$pkgname.control" 2>/dev/null)
	[ ! -f "$root/lib/apk/packages/$pkgname.rusers" ] || wanted=$(cat "$root/lib/apk/packages/$pkgname.rusers")
	[ -n "$wanted" ] || return 0
	user=${wanted%%:*} group=${wanted##*:}
	grep -q "^${group%=*}:" "$root/etc/group" || echo "${group%=*}:x:${group#*=}:" >>"$root/etc/group"
	grep -q "^${user%=*}:" "$root/etc/passwd" ||
		echo "${user%=*}:x:${user#*=}:${group#*=}:${user%=*}:/var/run/${user%=*}:/bin/false" >>"$root/etc/passwd"
}
