#!/usr/bin/env bash
# Other people's programs read what ergometer writes: each file in tests/readers/ is one of them.
#
#   tests/readers.sh                     all of them
#   tests/readers.sh tensorboard …       some of them
#   RUNS=runs tests/readers.sh           with run directories of your own beside those that are made here
#
# A reader is a Python program, or another executable. It says in a line `# needs: …` what it wants of PyPI, with versions, and
# finds in its environment
#   ERGOMETER  the command                RUNS    a directory of run directories
#   PYTHON     Python with what it needs  LIVE    LIVE/runs, and what sinks wrote beside these, by the name of the sink
#   SCRATCH    an empty directory         WIDTHS  a training to watch: `$WIDTHS DIR` writes DIR/runs
#   MONITORED  one that tells servers: `$MONITORED DIR SECONDS`, and where by its environment
# It ends with 0, with 77 if it cannot be run here, having said why, or with anything else if it disagrees. What it starts, it
# stops. What several share lies in tests/readers/parts.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '== %s\n' "$*"; }
skip() { say "skipped: $*"; exit 0; }

readers=()
for reader in tests/readers/*; do
    name=$(basename "${reader%.*}")
    if [[ $reader == *.py || ( -f $reader && -x $reader ) ]] && { [[ $# == 0 ]] || [[ " $* " == *" $name "* ]]; }; then
        readers+=("$reader")
    fi
done
[[ ${#readers[@]} != 0 ]] || { say "no reader is called so: $*" >&2; exit 2; }

target=$(cargo metadata --format-version 1 --no-deps --offline | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
home=$target/readers
mkdir -p "$home"

command -v python3 > /dev/null || skip 'there is no python3 here'
[[ -x $home/venv/bin/pip ]] || python3 -m venv "$home/venv" > "$home/venv.log" 2>&1 \
    || skip "python3 makes no virtual environment here: $(tail -n 1 "$home/venv.log")"
mapfile -t needs < <(sed -n 's/^# needs: *//p' "${readers[@]}" | tr ' ' '\n' | sed '/^$/d' | sort -u)
say "Python: ${needs[*]}"
if [[ ${#needs[@]} != 0 ]] && ! "$home/venv/bin/pip" install --quiet --disable-pip-version-check "${needs[@]}" > "$home/pip.log" 2>&1; then
    tail -n 5 "$home/pip.log"
    grep -qiE 'connection|timed out|name resolution|unreachable|proxy' "$home/pip.log" \
        && skip 'PyPI cannot be reached from here'
    say 'pip does not install that' >&2
    exit 1
fi

profile=${PROFILE:-release}
say "our own programs ($profile)"
cargo build --quiet --profile "$profile" -p ergometer-cli -p ergometer-sinks --features ergometer-cli/tls,ergometer-sinks/tls --examples --bins
built=$target/$([[ $profile == dev ]] && echo debug || echo "$profile")
export ERGOMETER=$built/ergometer WIDTHS=$built/examples/widths MONITORED=$built/examples/monitored PYTHON=$home/venv/bin/python

work=$(mktemp -d "$home/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
given=${RUNS:-}
"$WIDTHS" "$work/live" > "$work/widths.log"
export RUNS=$work/runs LIVE=$work/live
cp -r "$work/live/runs" "$RUNS"
# The two frameworks take minutes to build, so that their runs are looked at where somebody has built them before.
sizes=$built/examples/compare_sizes
if [[ -z $given && -x $sizes ]]; then
    say 'compare_sizes, small'
    "$sizes" --sizes 32,64 --seeds 1,2 --epochs 5 --out "$RUNS" > "$work/sizes.log"
elif [[ -n $given ]]; then
    find "$given" -name run.json -print0 | while IFS= read -r -d '' manifest; do
        cp -r "$(dirname "$manifest")" "$RUNS"
    done
else
    say 'without the runs of compare_sizes: it is not built'
fi

failed=() skipped=()
for reader in "${readers[@]}"; do
    name=$(basename "${reader%.*}")
    say "$name"
    mkdir "$work/$name"
    status=0
    program=("$reader")
    [[ $reader != *.py ]] || program=("$PYTHON" "$reader")
    SCRATCH=$work/$name "${program[@]}" || status=$?
    case $status in
        0) ;;
        77) skipped+=("$name") ;;
        *) failed+=("$name") ;;
    esac
done
say "${#readers[@]} readers; skipped: ${skipped[*]:-none}; failed: ${failed[*]:-none}"
[[ ${#failed[@]} == 0 ]]
