# Which Python the environment is made from; meant to be sourced.

python_is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Print the Python to use: PYTHON if it is given, else Debian's, else the first that is new enough.
find_python() {
  local name
  # shellcheck disable=SC2086
  for name in ${PYTHON:-/usr/bin/python3 python3 python3.11 python3.12 python3.13 python3.14}; do
    if command -v "$name" >/dev/null && python_is_new_enough "$name"; then
      command -v "$name"
      return 0
    fi
  done
  return 1
}
