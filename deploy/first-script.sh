# shellcheck shell=bash
# To be sourced: the request that shows that a server works, and the command for it.

first_script='{"script": "echo \"Hello World\"\ndate\npwd"}'

# The headers that this server asks for, and the words for them in a command. Where no secret can be found, $no_secret
# says why.
find_headers() {
    local file=${API_KEYS_FILE:-} secret
    no_secret=
    headers=("Content-Type: application/json")
    header_words='-H "Content-Type: application/json"'
    [ -n "$file" ] || return 0
    # The secret itself is for no screen. Whose digest alone is there nobody knows here.
    secret="sed -n '/^ *#/d;/^[^:]*: *sha256:/d;/:/{s/[^:]*: *//p;q;}' $(printf %q "$(cd "$(dirname "$file")" && pwd)/${file##*/}")"
    if [ ! -r "$file" ]; then
        no_secret="$(id -un) may not read $file"
    elif [ -z "$(eval "$secret")" ]; then
        no_secret="$file has digests only"
    fi
    if [ -n "$no_secret" ]; then
        header_words+=' -H "Authorization: Bearer SECRET"'
    else
        headers+=("Authorization: Bearer $(eval "$secret")")
        header_words+=" -H \"Authorization: Bearer \$($secret)\""
    fi
}

# Argument: the port.
tell_request() {
    find_headers
    echo "  curl -X POST http://localhost:$1/execute $header_words -d '$first_script'"
    command -v curl >/dev/null || echo "(Debian's package curl is not installed.)"
}
