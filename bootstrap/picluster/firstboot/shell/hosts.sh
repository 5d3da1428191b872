# shellcheck shell=sh disable=SC2154 # the values stand before it

# So that the node knows its own name: every sudo asks for it.
set_hosts() {
  hosts=$(sed "s/^127\.0\.1\.1[[:space:]].*/127.0.1.1\t$name/" /etc/hosts)
  # A power cut may have emptied the file.
  for line in '127.0.0.1\tlocalhost' "127.0.1.1\t$name"; do
    case $hosts in
      *"${line%%\\*}"[[:space:]]*) ;;
      *) hosts=$(printf "%s\n$line" "$hosts") ;;
    esac
  done
  printf '%s\n' "$hosts" >/etc/hosts
}
