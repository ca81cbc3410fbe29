#!/bin/sh
# Stands in front of rustup and refuses whatever would download; anything else goes to the real one, if there is one.

for argument in "$@"; do
    case $argument in
        add | install | update | upgrade)
            echo "rustup: refused to download (rustup $*)" >&2
            exit 1
            ;;
    esac
done

here=$(dirname "$0")
old_ifs=$IFS
IFS=:
for folder in $PATH; do
    if [ -x "$folder/rustup" ] && ! [ "$folder/rustup" -ef "$here/rustup" ]; then
        IFS=$old_ifs
        exec "$folder/rustup" "$@"
    fi
done
echo "rustup: there is none behind this stub" >&2
exit 127
