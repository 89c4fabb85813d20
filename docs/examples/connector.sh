#!/bin/sh
# A connector for Gatehouse that keeps each account as a JSON file in a folder,
# with nothing but a shell and jq:
#
#     connector.sh FOLDER
#
# One call comes on standard input, one answer goes to standard output. Values
# never become part of a command: jq gets them as JSON and compares them itself.
set -eu
cd "$1"

no() { # no CLASS TEXT
    jq -cn --arg class "$1" --arg text "$2" '{error: {$class, $text}}'
    exit 0
}

# One at a time: two accounts of one name could come between the look and the write.
exec 9>.lock
flock 9

call=$(cat)
op=$(printf %s "$call" | jq -r .op)
id=$(printf %s "$call" | jq -r '.id // ""')

# all prints every account, one a line.
all() { find . -name '*.json' -exec cat {} +; }

# there fails unless the account is there. An ID is digits, and so never a path.
there() {
    case $id in '' | *[!0-9]*) return 1 ;; esac
    [ -e "$id.json" ]
}

# put writes an account whole or not at all.
put() {
    printf '%s\n' "$2" >"$1.part"
    mv "$1.part" "$1.json"
}

# taken tells whether another account has the user name of this one.
taken() {
    all | jq -es --argjson a "$1" --arg id "$2" 'any(.[]; .id != $id and .user_name == $a.user_name)' >/dev/null
}

case $op in
test)
    echo '{}'
    ;;
get)
    if there; then jq -c '{account: .}' "$id.json"; else echo '{"account": null}'; fi
    ;;
find)
    all | jq -cs --argjson q "$call" '{accounts: [.[] | select(
        if $q.external_id then .external_id == $q.external_id else .user_name == $q.user_name end)]}'
    ;;
create)
    account=$(printf %s "$call" | jq -c .account)
    if taken "$account" ""; then no conflict 'the user name is taken'; fi
    id=$(($(cat .last 2>/dev/null || echo 0) + 1))
    echo "$id" >.last
    put "$id" "$(printf %s "$account" | jq -c --arg id "$id" '.id = $id')"
    jq -cn --arg id "$id" '{account: {$id}}'
    ;;
update)
    there || no gone 'there is no such account'
    # Only what differs: other attributes belong to somebody else.
    next=$(jq -c --argjson q "$call" 'reduce $q.changed[] as $name (.;
        if $name | IN("user_name", "external_id", "active") then .[$name] = $q.account[$name]
        else .attributes[$name] = $q.account.attributes[$name] end)' "$id.json")
    if taken "$next" "$id"; then no conflict 'the user name is taken'; fi
    put "$id" "$next"
    echo '{}'
    ;;
delete)
    there || no gone 'there is no such account'
    rm "$id.json"
    echo '{}'
    ;;
list)
    all | jq -cs '{accounts: ., next: ""}'
    ;;
*)
    no invalid 'there is no such operation'
    ;;
esac
