# shellcheck shell=bash
# Which Python runs Muniment, and has it everything it needs? Sourced by ops/start and ops/test.

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
environment="$repository/.venv"

_python() {
  local candidate
  for candidate in python3.11 "$HOME"/.pyenv/versions/3.11.*/bin/python3.11; do
    # A pyenv shim may exist for a version that is not selected: ask it, do not trust its name.
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "Muniment needs python3.11, and none was found" >&2
  return 1
}

# Make the environment hold the requirements, by their hashes, and the project itself.
# The stamp is the checksum of what was installed, and is written last: an installation that was
# interrupted has no stamp and is done again.
prepare() {
  local requirements="$repository/ops/$1" stamp="$environment/.installed-$1" wanted python
  wanted="$(cat "$requirements" "$repository/pyproject.toml" | sha256sum) $repository"
  if [[ -x "$environment/bin/python" && "$(cat "$stamp" 2>/dev/null)" == "$wanted" ]]; then
    return
  fi
  echo "installing ops/$1 into .venv, which is done again only when it changes" >&2
  # One whose making was interrupted has no pip, and in one that was moved the programs name
  # another place: both are made anew.
  if ! { grep -qF -- "$environment" "$environment/pyvenv.cfg" &&
    "$environment/bin/python" -m pip --version; } >/dev/null 2>&1; then
    python="$(_python)"
    "$python" -m venv --clear "$environment"
  fi
  local -a install=("$environment/bin/python" -m pip install --quiet --disable-pip-version-check)
  [[ "$EUID" -ne 0 ]] || install+=(--root-user-action=ignore)
  # The lock is the whole closure. Resolving what depends on what again could choose a release that
  # came after the lock, which has no hash in it: `coverage[toml]` did, once there was a newer one.
  "${install[@]}" --no-deps --require-hashes --requirement "$requirements"
  "${install[@]}" --no-deps --no-build-isolation --config-settings editable_mode=compat \
    --editable "$repository"
  echo "$wanted" >"$stamp"
}
