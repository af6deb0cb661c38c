#!/bin/sh
# Installs this bundle on a machine without a network, or upgrades what an earlier bundle installed there.
#
#   sh install.sh [FOLDER]        where Corral shall be; by default /opt/corral
#
# It needs Docker with Compose. `cargo xtask bundle` puts it beside the images, the model and the Compose files.
set -eu

say() { printf '%s\n' "$*" >&2; }
fail() { say "install.sh: $*"; exit 1; }

here=$(cd "$(dirname "$0")" && pwd -P)
folder=${1:-/opt/corral}
[ -f "$here/SHA256SUMS" ] || fail "this is not a whole bundle; unpack the archive again"
command -v docker >/dev/null || fail "docker is not on PATH; install Docker Engine with its Compose plugin"
docker compose version >/dev/null 2>&1 || fail "docker has no Compose plugin; install docker-compose-plugin"
architecture=$(docker version --format '{{.Server.Arch}}' 2>/dev/null) ||
  fail "the Docker Engine does not answer; start it, or run this as a user who may use it (root, or the group docker)"
[ "$architecture" = "$(cat "$here/ARCHITECTURE")" ] ||
  fail "this bundle is for $(cat "$here/ARCHITECTURE"), and this machine is $architecture; make one on a machine like this one"

say "1/5 checking $(du -sh "$here" | cut -f 1) of files"
(cd "$here" && sha256sum --quiet --strict -c SHA256SUMS >&2) || fail "the bundle is damaged: copy it again. Nothing was changed"

mkdir -p "$folder" 2>/dev/null || fail "cannot make $folder; name another folder: sh install.sh FOLDER"
folder=$(cd "$folder" && pwd -P)
start=up
if [ -x "$folder/deploy/corral" ] && [ -n "$("$folder/deploy/corral" compose ps -aq 2>/dev/null)" ]; then
  say "    an earlier version runs in $folder: it is backed up first, and comes back if the new one does not work"
  "$folder/deploy/corral" keep
  start=switch
fi

say "2/5 loading the images"
docker load -q -i "$here/images.tar.gz" >&2 || fail "the images cannot be loaded; make room for Docker and run it again"

say "3/5 copying the files to $folder"
cp -R "$here/files/." "$folder/" || fail "cannot write to $folder; make room, or name another folder"
if [ -f "$folder/.env.local" ]; then
  say "    .env.local stays as it is, but for CORRAL_VERSION; the bundle's settings are in $here/settings"
  (
    umask 077
    { grep -v '^CORRAL_VERSION=' "$folder/.env.local" || true; } >"$folder/.env.local.new"
    grep '^CORRAL_VERSION=' "$here/settings" >>"$folder/.env.local.new" || true
    cat "$folder/.env.local.new" >"$folder/.env.local"
    rm "$folder/.env.local.new"
  )
else
  cp "$here/settings" "$folder/.env.local"
fi

say "4/5 taking the model"
chmod -R a+rX "$here/model" # the containers' user reads it
"$folder/deploy/corral" secrets
files=$(grep '  model/.*\.gguf$' "$here/SHA256SUMS")
if [ "$(printf '%s\n' "$files" | wc -l)" = 1 ]; then
  MODEL_SHA256=${files%% *} # a model in several files has no single digest; SHA256SUMS has covered each
  export MODEL_SHA256
fi
"$folder/deploy/corral" import "$here/model" ||
  fail "the lines above say what is wrong: write what is missing into $folder/.env.local, then run this again"
unset MODEL_SHA256

say "5/5 starting"
"$folder/deploy/corral" "$start" ||
  fail "all is in place but not running: write what is missing into $folder/.env.local, then run $folder/deploy/corral up"
say "Corral is in $folder. $folder/deploy/corral shows its commands."
