# Read by interactive shells.
case $- in
    *i*) ;;
    *) return ;;
esac
HISTCONTROL=ignoreboth
shopt -s histappend checkwinsize
alias ls='ls --color=auto'
alias grep='grep --color=auto'
