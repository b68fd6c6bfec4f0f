# An `exec` handler of the scenarios: what it does is the name of the Task's handler.
case "$TASK_HANDLER" in
  copy) cat ;;
  nothing) cat >/dev/null ;;
  about) printf '{"name": "%s", "attempt": %s, "queue": "%s"}' "$TASK_NAME" "$TASK_ATTEMPT" "$TASK_QUEUE" ;;
  exit) exit "$(cat)" ;;
  code) echo "it went wrong: größer" >&2; exit 7 ;;
  garbage) printf 'not { json' ;;
  binary) printf '\377\376\000' ;;
  nan) printf '{"a": NaN}' ;;
  big) printf '"'; head -c 9000 /dev/zero | tr '\0' x; printf '"' ;;
  flood) exec yes ;;
  signal) kill -SEGV $$ ;;
  hang) trap '' TERM; while true; do sleep 1; done ;;
  daemon) sleep 300 & echo '"left one behind"' ;;
esac
