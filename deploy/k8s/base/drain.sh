#!/bin/sh
# llama-server's preStop hook: ends when no slot works, so that a pod leaves only after its running answers.
#
# A pod that is to end disappears from DNS at once, and llm-proxy learns of it at its next lookup. Until then it may send
# further requests, so the hook waits at least LLAMA_DRAIN_QUIET_SECONDS. After LLAMA_DRAIN_SECONDS it gives up with exit
# code 1, which Kubernetes shows as the event FailedPreStopHook; llama-server is then stopped in any case.
set -eu

url=${LLAMA_URL:-http://127.0.0.1:8080}
limit=${LLAMA_DRAIN_SECONDS:-600}
quiet=${LLAMA_DRAIN_QUIET_SECONDS:-20}
key_file=${LLAMA_ARG_API_KEY_FILE:-/run/secrets/upstream_api_key}
# While it is asked more often than once a second, llama-server may not notice callers that leave.
interval=2

# Sets state to idle, busy, slow (no answer in time), gone, or to the status that cannot be.
look() {
  # The key comes through standard input, because everybody in the pod can read a command line.
  if answer=$(printf 'header = "Authorization: Bearer %s"\n' "$(head -n 1 "$key_file")" |
    curl --config - --silent --max-time 5 --write-out ' %{http_code}' "$url/slots"); then
    ended=0
  else
    ended=$?
  fi
  case $ended in
    0) ;;
    7) state=gone; return ;; # nobody listens
    *) state=slow; return ;; # a long prompt can keep it from answering
  esac
  case $answer in
    *'"is_processing":true'*' 200') state=busy ;;
    *' 200' | *' 503') state=idle ;; # 503: it loads the model, so nothing runs
    *) state="refused with ${answer##* }" ;;
  esac
}

began=$(date +%s)
looks=0
while :; do
  waited=$(($(date +%s) - began))
  look
  looks=$((looks + 1))
  case $state in
    gone) echo "llama-server has ended"; exit 0 ;;
    idle)
      if [ "$waited" -ge "$quiet" ]; then
        echo "no slot works, after $waited s and $looks looks"
        exit 0
      fi
      ;;
    busy | slow) ;;
    *) echo "/slots $state, so nobody knows what runs" >&2; exit 1 ;;
  esac
  if [ "$waited" -ge "$limit" ]; then
    echo "still $state after $waited s: what runs is cut" >&2
    exit 1
  fi
  sleep "$interval"
done
