#!/bin/sh
# curl against a running llm-proxy, and straight to llama-server for comparison.
#
# `cargo xtask test` runs it with CORRAL_PROXY_URL, CORRAL_ENGINE_URL, CORRAL_API_KEY and CORRAL_MODEL. It prints a line
# for each case and exits with 1 when one does not hold through the proxy; what llama-server alone does is only shown.

MODEL="$CORRAL_MODEL" QUESTION='"messages":[{"role":"user","content":"Name one colour."}],"max_tokens":8,"temperature":0'
failed=0 number=0

# The answer to the POST of $2 to $1/v1/chat/completions, header included.
post() {
    curl -sS -i --max-time 60 "$1/v1/chat/completions" -H "Authorization: Bearer $CORRAL_API_KEY" \
        -H 'Content-Type: application/json' -d "$2"
}

# Whether the text $1 holds all that follows.
holds() {
    text="$1"
    shift
    for part in "$@"; do
        case "$text" in *"$part"*) ;; *) return 1 ;; esac
    done
}

a_whole_answer_is_json() { holds "$(post "$1" "{\"model\":\"$MODEL\",$QUESTION}")" '200 OK' '"object":"chat.completion"' '"finish_reason":'; }
a_streamed_answer_ends_with_done() { holds "$(post "$1" "{\"model\":\"$MODEL\",$QUESTION,\"stream\":true}" | tr -d '\r')" 'text/event-stream' 'data: [DONE]'; }
the_model_is_listed() { holds "$(curl -sS "$1/v1/models" -H "Authorization: Bearer $CORRAL_API_KEY")" "\"id\":\"$MODEL\""; }
health_needs_no_key() { holds "$(curl -sS "$1/health")" '{"status":"ok"}'; }
no_key_is_401_with_a_code_that_is_text() { holds "$(curl -sS -i "$1/v1/models")" '401 Unauthorized' '"code":"'; }
broken_json_is_400_with_a_code_that_is_text() { holds "$(post "$1" '{')" '400 Bad Request' '"code":"'; }
a_form_is_415() { holds "$(curl -sS -i "$1/v1/chat/completions" -H "Authorization: Bearer $CORRAL_API_KEY" -d 'a=b')" '415 '; }
an_unknown_model_is_404() { holds "$(post "$1" "{\"model\":\"no-such-model\",$QUESTION}")" '404 Not Found' '"param":"model"'; }
a_wrong_method_is_405() { holds "$(curl -sS -i "$1/v1/chat/completions" -H "Authorization: Bearer $CORRAL_API_KEY")" '405 '; }
two_requests_share_a_connection() {
    holds "$(curl -sSv "$1/health" "$1/health" 2>&1 | tr 'R' 'r')" 're-using existing' || holds "$(curl -sSv "$1/health" "$1/health" 2>&1)" 'Reusing existing'
}

for name in a_whole_answer_is_json a_streamed_answer_ends_with_done the_model_is_listed health_needs_no_key \
    no_key_is_401_with_a_code_that_is_text broken_json_is_400_with_a_code_that_is_text a_form_is_415 an_unknown_model_is_404 \
    a_wrong_method_is_405 two_requests_share_a_connection; do
    number=$((number + 1)) through=ok straight=ok
    "$name" "$CORRAL_PROXY_URL" || through=differs
    "$name" "$CORRAL_ENGINE_URL" || straight=differs
    [ "$through" = ok ] || failed=$((failed + 1))
    printf '%-56s proxy: %-8s llama-server: %s\n' "$name" "$through" "$straight"
done
printf 'curl %s: %s of %s hold through the proxy\n' "$(curl --version | cut -d' ' -f2 | head -1)" "$((number - failed))" "$number"
[ "$failed" -eq 0 ]
