#!/bin/sh
# The host's tests once more, with the host itself under ASan and UBSan, under TSan, and under valgrind.
cd "$(dirname "$0")/../.." || exit 1
n=0
failed=0

# report WHAT: the status of the command before
report()
{
	status=$?
	n=$((n + 1))
	[ $status -eq 0 ] && { echo "ok $n - $1"; return; }
	failed=1
	echo "not ok $n - $1"
	sed 's/^/# /' build/sanitized.out | grep -v '^# ok' | head -n 40
}

# sanitized NAME FLAG: builds another host beside the ordinary one, and runs the tests with it
sanitized()
{
	make -s -C connectors/host OUT=../../build/host-"$1" BUILD=../../build/"$1" EXTRA=-fsanitize="$2" >build/sanitized.out 2>&1
	report "host built with $2"
	for test in host_null host_bad; do
		# leaks are valgrind's to find: the host ends by _exit
		TD_HOST=build/host-$1 ASAN_OPTIONS=detect_leaks=0:log_path=build/$1.log TSAN_OPTIONS=atexit_sleep_ms=0:log_path=build/$1.log \
			UBSAN_OPTIONS=log_path=build/"$1".log build/unit/$test >build/sanitized.out 2>&1
		report "$test with $2"
	done
	cat build/"$1".log* >build/sanitized.out 2>/dev/null
	[ ! -s build/sanitized.out ]
	report "no report of $2"
	rm -f build/"$1".log*
}

rm -f build/asan.log* build/tsan.log*
sanitized asan address,undefined
sanitized tsan thread
if command -v valgrind >/dev/null; then
	TD_WRAP='valgrind -q --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=99 --log-file=build/vg.%p' \
		build/unit/host_null >build/sanitized.out 2>&1
	report "host_null under valgrind"
	cat build/vg.* >build/sanitized.out
	rm -f build/vg.*
	[ ! -s build/sanitized.out ]
	report "no report of valgrind"
else
	n=$((n + 1))
	[ "$CI" = true ] && { echo "not ok $n - valgrind is not installed"; failed=1; } || echo "ok $n - under valgrind # SKIP valgrind is not installed"
fi
echo "1..$n"
exit $failed
