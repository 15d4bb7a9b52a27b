# Read by login shells.
ENV=$HOME/.shrc
export ENV
