# How the set-up scripts speak; meant to be sourced.

# Whoever interrupts knows why it did not succeed: no step may explain its failure after that.
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '%s\n' "set-up: $*"; }

# One sentence: what is missing, and what to do about it.
fail() {
  printf '%s\n' "set-up: $*" >&2
  exit 1
}
