# bash completion for gov(1): gov itself is asked what there is.
_gov()
{
	local cur=${COMP_WORDS[COMP_CWORD]} words

	if [ "$COMP_CWORD" = 1 ]; then
		words=$(gov --help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p')
	elif [[ $cur == -* ]]; then
		words=$(gov "${COMP_WORDS[1]}" --help 2>/dev/null |
		    grep -oE -- '--[a-z-]+' | sort -u)
	elif [ "${COMP_WORDS[1]} $COMP_CWORD" = 'debug 2' ]; then
		words='digest dump fault metrics'
	elif [[ ${COMP_WORDS[1]} == debug && ${COMP_WORDS[2]} == fault ]]; then
		words=$(gov debug fault 2>/dev/null | cut -d ' ' -f 1)
	else
		compopt -o default
		return
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _gov gov
