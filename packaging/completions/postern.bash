# Made from the program's tables: make docs.
# bash completion for postern(8)

_postern()
{
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]} doors
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W 'run check render apply reload confirm remove status watch doctor open close lock unlock pardon knock export keygen resync help --help --version' -- "$word")
		return
	fi
	case $before in
	--config) mapfile -t COMPREPLY < <(compgen -f -- "$word"); compopt -o filenames 2>/dev/null; return ;;
	--on) mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net 2>/dev/null)" -- "$word"); return ;;
	--confirm-within | --from | --for | --delay | --next | --codes | --as | --like | --until | --code | --to) return ;;
	esac
	if [[ $word == -* ]]; then
		case $verb in
		run) mapfile -t COMPREPLY < <(compgen -W '--allow-none --take-over --procd --config --help' -- "$word") ;;
		check) mapfile -t COMPREPLY < <(compgen -W '--hand-over --allow-none --config --help' -- "$word") ;;
		render) mapfile -t COMPREPLY < <(compgen -W '--allow-none --config --help' -- "$word") ;;
		apply) mapfile -t COMPREPLY < <(compgen -W '--confirm-within --allow-none --config --help' -- "$word") ;;
		reload) mapfile -t COMPREPLY < <(compgen -W '--config --help' -- "$word") ;;
		confirm) mapfile -t COMPREPLY < <(compgen -W '--anyway --config --help' -- "$word") ;;
		remove) mapfile -t COMPREPLY < <(compgen -W '--config --help' -- "$word") ;;
		status) mapfile -t COMPREPLY < <(compgen -W '--json --config --help' -- "$word") ;;
		watch) mapfile -t COMPREPLY < <(compgen -W '--json --config --help' -- "$word") ;;
		doctor) mapfile -t COMPREPLY < <(compgen -W '--json --strict --config --help' -- "$word") ;;
		open) mapfile -t COMPREPLY < <(compgen -W '--all --from --on --for --config --help' -- "$word") ;;
		close) mapfile -t COMPREPLY < <(compgen -W '--all --from --config --help' -- "$word") ;;
		lock) mapfile -t COMPREPLY < <(compgen -W '--all --config --help' -- "$word") ;;
		unlock) mapfile -t COMPREPLY < <(compgen -W '--all --config --help' -- "$word") ;;
		pardon) mapfile -t COMPREPLY < <(compgen -W '--all --config --help' -- "$word") ;;
		knock) mapfile -t COMPREPLY < <(compgen -W '--close --wait -4 -6 --delay --next --codes --as --for --dry-run --json --config --help' -- "$word") ;;
		export) mapfile -t COMPREPLY < <(compgen -W '--secret --config --help' -- "$word") ;;
		keygen) mapfile -t COMPREPLY < <(compgen -W '--print --like --until --force --config --help' -- "$word") ;;
		resync) mapfile -t COMPREPLY < <(compgen -W '--code --to --config --help' -- "$word") ;;
		help) mapfile -t COMPREPLY < <(compgen -W '--help' -- "$word") ;;
		esac
		return
	fi
	case $verb in
	help) mapfile -t COMPREPLY < <(compgen -W 'run check render apply reload confirm remove status watch doctor open close lock unlock pardon knock export keygen resync help' -- "$word"); return ;;
	knock)
		if [ "$COMP_CWORD" -eq 2 ]; then
			doors=$(ls "${XDG_CONFIG_HOME:-$HOME/.config}/postern" 2>/dev/null)
		else
			doors=$(postern knock -- "${COMP_WORDS[2]}" 2>&1 | sed -n 's/.*; there are: //p' | tr -d ,)
		fi ;;
	open | close | lock | unlock | export | keygen | resync)
		doors=$(postern status 2>/dev/null | sed -n 's/^door \([^ :]*\).*/\1/p')
	[ -n "$doors" ] || doors=$(postern export 2>&1 | sed -n 's/.*; there are: //p' | tr -d ,)
	;;
	*) return ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$doors" -- "$word")
}
complete -F _postern postern
