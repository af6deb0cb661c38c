# shellcheck shell=sh
# `deploy/corral switch-model`: another model in the stack that runs, without a cut. deploy/corral reads this file.
#
# A new llama_server answers a question before it gets requests, and the old one ends its answers before it stops. With
# enough memory both run for a while. Otherwise the old one stops first, and requests wait in llm_proxy's queue.

drained= # addresses that get no requests because of this command
trial=   # set while the new llama_server is only tried
new=

in_proxy() { compose exec -T llm_proxy /usr/local/bin/llm-proxy "$@" >&2; }

# HOST:PORT at which llm_proxy asks the llama_server $1.
address() {
  for network in $(docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}' "$proxy"); do
    docker inspect -f "{{with index .NetworkSettings.Networks \"$network\"}}{{.IPAddress}}:8080{{end}}" "$1"
  done | grep -m 1 '^[^:]'
}

# Gives the llama_server $1 no requests until `release`, and waits until its answers have ended.
drain() {
  upstream=$(address "$1") || return 1
  drained="$drained $upstream"
  in_proxy drain "$upstream"
}

release() {
  for upstream in $drained; do in_proxy resume --wait 0 "$upstream" || true; done
  drained=
}

# What `cleanup` calls: without the new one, and with nothing drained, the stack is as before.
undo_switch() {
  [ -z "$trial" ] || [ -z "$new" ] || docker rm -f "$new" >/dev/null 2>&1 || true
  release
}

choose() {
  HF_REPO_ID=$1 HF_FILENAME=$2 HF_REVISION=$3
  export HF_REPO_ID HF_FILENAME HF_REVISION LLM_MODEL
}

# Whether the memory is enough for both models, in MiB. The new one takes its file, and for the context what the old one
# takes beside its file, but at least half of the file.
fits_both() {
  files=$HF_FILENAME
  case $files in *-00001-of-*) files="${files%-00001-of-*}-*-of-${files##*-of-}" ;; esac
  # shellcheck disable=SC2016 # the container's shell expands it
  docker exec "$old" sh -c 'stat -Lc "file %s" $1; cat /proc/meminfo /proc/[0-9]*/status 2>/dev/null' - "/models/$files" |
    awk '
      $1 == "file" { file += $2 / 1048576 }
      $1 == "MemAvailable:" { free = $2 / 1024 }
      $1 == "RssAnon:" { beside += $2 / 1024 }
      END {
        if (beside < file / 2) beside = file / 2
        printf "the new model takes about %d MiB; %d MiB are free\n", file + beside, free
        exit !(file > 0 && file + beside < free * 0.85)
      }' >&2
}

# Starts a llama_server with the chosen model; the rest are arguments for `up`. Sets `new`, and fails unless it works.
start_new() {
  drained="$drained new"
  in_proxy drain new || return 1
  # With what it depends on: without, Compose would start another one at the next `up`.
  is_started=
  if compose up -d --no-build "$@" llama_server >&2; then is_started=yes; fi
  new=$(compose ps -aq llama_server | grep -vx "$old") || return 1
  [ -n "$is_started" ] || return 1
  say "waiting until the model is loaded"
  until is_loaded; do
    sleep 1
    [ -z "$is_broken" ] || return 1
  done
  # shellcheck disable=SC2016 # the container's shell expands it
  docker exec "$new" sh -c '
    printf "Authorization: Bearer %s" "${LLAMA_API_KEY:-$(cat "$LLAMA_ARG_API_KEY_FILE")}" |
      curl -fsS -m 300 -o /dev/null -H @- -H "Content-Type: application/json" \
        -d "{\"messages\":[{\"role\":\"user\",\"content\":\"Say yes.\"}],\"max_tokens\":4}" \
        http://127.0.0.1:8080/v1/chat/completions' >&2 && in_proxy resume "$(address "$new")"
}

# Sets `is_broken` when it ended or never became healthy.
is_loaded() {
  is_broken=
  case $(docker inspect -f '{{.RestartCount}} {{.State.Status}} {{.State.Health.Status}}' "$new") in
  '0 running healthy') ;;
  '0 running starting') return 1 ;;
  *)
    is_broken=yes
    return 1
    ;;
  esac
}

give_up() {
  say "the new model does not work; the last lines of its llama_server:"
  docker logs --tail 10 "$new" >&2 || true
}

# Both run until the new one has shown that it works.
beside() {
  say "the old model serves until the new one does; nobody waits"
  trial=yes
  if ! start_new --no-recreate --scale llama_server=2; then
    give_up
    fail "the old model serves as before"
  fi
  trial=
  say "the new model serves; the old one ends its answers"
  drain "$old" || fail "llm_proxy does not say when the old model is idle; \`deploy/corral up\` leaves one llama_server"
  docker stop "$old" >/dev/null
  docker rm "$old" >/dev/null
}

# The old one stops first.
in_its_place() {
  wanted="$HF_REPO_ID $HF_FILENAME $HF_REVISION"
  say "the old model ends its answers and stops, then the new one loads; requests wait in the queue meanwhile"
  drain "$old" || fail "llm_proxy does not say when the old model is idle; it serves as before"
  if start_new; then return; fi
  give_up
  say "the old model comes back"
  choose "$@"
  old=$new
  start_new || fail "the old model does not come back; \`deploy/corral up\` starts it again"
  fail "$wanted was given up; the old model serves again"
}

switch_model() {
  drain_first=
  if [ "${1-}" = --drain ]; then
    drain_first=yes
    shift
  fi
  case "$#${1-}:${2-}" in
  [23]*/*:*.gguf) ;;
  *) fail "name the model: deploy/corral switch-model [--drain] OWNER/NAME FILE.gguf [REVISION]" ;;
  esac
  need_docker
  proxy=$(compose ps -q llm_proxy)
  old=$(compose ps -q llama_server)
  case $proxy/$old in # an id is hexadecimal; two ids have a space between them
  /* | */ | *[!0-9a-f/]*) fail "one llm_proxy and one llama_server must run; start them with: deploy/corral up" ;;
  esac
  compose exec -T llm_proxy /usr/local/bin/llm-proxy top --json | grep -qF "\"$(address "$old")\"" ||
    fail "llm_proxy does not know llama_server by its address; set PROXY_UPSTREAMS=dns+http://llama_server:8080, or leave it out, and run: deploy/corral up"
  # What runs: the env files may name another model already.
  LLM_MODEL=$(docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' "$proxy" | sed -n 's/^LLM_MODEL=//p')
  old_file=$(docker inspect -f '{{index .Config.Cmd 1}}' "$old")
  old_file=${old_file#/models/}
  old_model=$(docker inspect -f '{{index .Config.Labels "corral.model"}}' "$old")
  old_model=${old_model%"/$old_file"}
  choose "$1" "$2" "${3:-main}"
  if [ "$HF_REPO_ID@$HF_REVISION/$HF_FILENAME" = "$old_model/$old_file" ]; then
    say "$HF_FILENAME is served already"
    return
  fi
  say "fetching $HF_FILENAME; callers go on calling it $LLM_MODEL"
  compose run --rm -T --no-deps llm_init >&2 || fail "the model is not there, for the reason above; the old one serves as before"
  if [ -z "$drain_first" ] && fits_both; then
    beside
  else
    in_its_place "${old_model%%@*}" "$old_file" "${old_model#*@}"
  fi
  release
  for name in HF_REPO_ID HF_FILENAME HF_REVISION LLM_MODEL; do set_local "$name" "$(printenv "$name")"; done
  # A container of llm_init with the old settings would have the next `up` start everything anew.
  compose up -d --no-deps --no-build llm_init >&2
  say "$HF_FILENAME is served, and .env.local names it for the next start"
}
