#!/bin/sh
# Runs columba. A broker that the network reaches must know who may log in: COLUMBA_USER with COLUMBA_PASSWORD_FILE (or COLUMBA_PASSWORD), or
# COLUMBA_ALLOW_ANONYMOUS=1. With neither, the first start makes a password for the user "columba", prints it once, and keeps its hash alone.
set -eu

data=${COLUMBA_DATA:-/var/lib/columba}
users=$data/users

if [ "${1:-}" = serve ]; then
    shift
    if [ "${COLUMBA_ALLOW_ANONYMOUS:-}" = 1 ]; then
        set -- --allow-anonymous "$@"
    elif [ -z "${COLUMBA__AUTH__PASSWORD__FILE:-}" ]; then
        user=${COLUMBA_USER:-columba}
        if [ -n "${COLUMBA_PASSWORD_FILE:-}" ]; then
            password=$(cat "$COLUMBA_PASSWORD_FILE")
        elif [ -n "${COLUMBA_PASSWORD:-}" ]; then
            password=$COLUMBA_PASSWORD
        elif [ ! -e "$users" ]; then
            password=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
            echo "columba: the password of user \"$user\" is $password (shown this once)" >&2
        else
            password=
        fi
        if [ -n "$password" ]; then
            verb=add
            if [ -e "$users" ] && columba user ls --file "$users" | grep -qxF "$user"; then
                verb=passwd
            fi
            printf '%s\n' "$password" | columba user "$verb" "$user" --file "$users" >&2
        fi
        set -- --set "auth.password.file=$users" "$@"
    fi
    set -- serve "$@"
fi
unset COLUMBA_PASSWORD COLUMBA_PASSWORD_FILE || true
exec columba "$@"
