#!/bin/sh
# curl against a running llm-proxy, and straight to llama-server for comparison.
#
# The rules are those of suite.py: a case holds on both sides, or `reason` says why not straight.

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

a_tool_is_called() {
    tool='{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}'
    holds "$(post "$1" "{\"model\":\"$MODEL\",\"messages\":[{\"role\":\"user\",\"content\":\"What is the weather in Rome?\"}],\"temperature\":0,\"max_tokens\":64,\"tools\":[$tool],\"tool_choice\":\"required\"}")" \
        '200 OK' '"name":"weather"' '"finish_reason":"tool_calls"'
}

# Why the case $1 does not hold when llama-server is asked straight.
reason() {
    case "$1" in
    no_key_is_401_with_a_code_that_is_text | broken_json_is_400_with_a_code_that_is_text) echo "llama-server's \`code\` is a number" ;;
    a_form_is_415) echo 'llama-server takes any Content-Type' ;;
    an_unknown_model_is_404) echo 'llama-server answers to any name' ;;
    a_wrong_method_is_405) echo 'llama-server says 404' ;;
    esac
}

for name in a_whole_answer_is_json a_streamed_answer_ends_with_done a_tool_is_called the_model_is_listed health_needs_no_key \
    no_key_is_401_with_a_code_that_is_text broken_json_is_400_with_a_code_that_is_text a_form_is_415 an_unknown_model_is_404 \
    a_wrong_method_is_405 two_requests_share_a_connection; do
    number=$((number + 1)) through=ok straight=ok
    "$name" "$CORRAL_TOOLS_PROXY_URL" || through=differs
    "$name" "$CORRAL_TOOLS_ENGINE_URL" || straight=differs
    reason=$(reason "$name") problem=
    [ "$through" = ok ] || problem='does not hold through the proxy'
    [ "$straight" = ok ] || [ -n "$reason" ] || problem='holds only through the proxy, and no reason is given'
    [ "$straight" = differs ] || [ -z "$reason" ] || problem='holds straight too: take its reason out'
    printf '%-62s proxy: %-8s llama-server: %s\n' "$name" "$through" "$straight"
    [ -z "$reason" ] || printf '    differs: %s\n' "$reason"
    if [ -n "$problem" ]; then
        failed=$((failed + 1))
        printf '    FAILED: %s\n' "$problem"
    fi
done
printf 'curl %s: %s of %s are as promised\n' "$(curl --version | cut -d' ' -f2 | head -1)" "$((number - failed))" "$number"
[ "$failed" -eq 0 ]
