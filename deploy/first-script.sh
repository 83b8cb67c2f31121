# shellcheck shell=bash
# To be sourced: the request that shows that a server works, and the command for it.

first_script='{"script": "echo \"Hello World\"\ndate\npwd"}'

# The headers that this server asks for, and the words for them in a command.
find_headers() {
    local secret
    headers=("Content-Type: application/json")
    header_words='-H "Content-Type: application/json"'
    [ -n "${API_KEYS_FILE:-}" ] || return 0
    # The secret itself is for no screen.
    secret="sed -n '/^ *[^#].*:/{s/[^:]*: *//p;q;}' $(printf %q "$(cd "$(dirname "$API_KEYS_FILE")" && pwd)/${API_KEYS_FILE##*/}")"
    headers+=("Authorization: Bearer $(eval "$secret")")
    header_words+=" -H \"Authorization: Bearer \$($secret)\""
}

# Argument: the port.
tell_request() {
    find_headers
    echo "  curl -X POST http://localhost:$1/execute $header_words -d '$first_script'"
    command -v curl >/dev/null || echo "(Debian's package curl is not installed.)"
}
