# How the set-up scripts speak; meant to be sourced.

say() { printf '%s\n' "set-up: $*"; }

# One sentence: what is missing, and what to do about it.
fail() {
  printf '%s\n' "set-up: $*" >&2
  exit 1
}
