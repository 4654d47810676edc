# Read by the scripts beside it: where state lives, who runs servers, free ports, pids.  POSIX sh plus flock and setpriv.
#
# State: $TD_STATE (default /var/tmp/tapdata-<user>), one folder per instance: <kind>/<NAME>/.  Servers listen on
# 127.0.0.1 and on a socket in a 0700 folder.  Nothing is ever stopped but by the pid in its own pid-file.
set -eu
umask 022

td_top=$(cd "$(dirname "$0")/../.." && pwd)
td_me=$(id -un)
TD_STATE=${TD_STATE:-/var/tmp/tapdata-$td_me}

die() { echo "${0##*/}: $*" >&2; exit 1; }

# The state folder is ours alone: /var/tmp is writable by everybody, so an existing one must belong to us.
td_state_make() {
	if [ ! -d "$TD_STATE" ]; then mkdir -m 711 -p "$TD_STATE"; fi
	[ -O "$TD_STATE" ] && [ ! -L "$TD_STATE" ] || die "$TD_STATE belongs to somebody else: set TD_STATE to another folder"
}

# As root, servers run as system user tapdata (initdb and mariadbd refuse root).
if [ "$(id -u)" = 0 ]; then
	td_run_user=tapdata
	td_user_make() {
		id tapdata >/dev/null 2>&1 ||
			useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tapdata
	}
	as_user() { setpriv --reuid=tapdata --regid=tapdata --clear-groups env -u XDG_RUNTIME_DIR -C "$td_dir" HOME="$td_dir" USER=tapdata LOGNAME=tapdata "$@"; }
else
	td_run_user=$td_me
	td_user_make() { :; }
	as_user() { env -C "$td_dir" HOME="$td_dir" "$@"; }
fi

# td_instance KIND NAME: sets td_dir
td_instance() {
	case $2 in ''|*[!a-zA-Z0-9_-]*) die "bad instance name \"$2\": letters, digits, _ and - only" ;; esac
	[ ${#2} -le 40 ] || die "instance name \"$2\" is too long (40)"
	td_dir=$TD_STATE/$1/$2
}

# Makes the instance folder and its private parts, owned by the user that runs the server.
td_instance_make() {
	td_state_make
	td_user_make
	mkdir -p -m 711 "$TD_STATE/$td_kind"
	mkdir -p -m 711 "$td_dir"
	mkdir -p "$td_dir/data" "$td_dir/sock" "$td_dir/log"
	chmod 700 "$td_dir/data" "$td_dir/sock" "$td_dir/log"
	[ "$td_run_user" = "$td_me" ] || chown "$td_run_user:" "$td_dir/data" "$td_dir/sock" "$td_dir/log"
}

# A port nobody listens on and no instance of ours has taken, below the ephemeral range.  Kept in $td_dir/port.
td_port() {
	if [ -s "$td_dir/port" ]; then cat "$td_dir/port"; return; fi
	(
		flock 9
		i=0
		while [ $i -lt 200 ]; do
			i=$((i + 1))
			p=$(perl -e 'print 20000 + int(rand(12000))')
			cat "$TD_STATE"/*/*/port 2>/dev/null | grep -qx "$p" && continue
			perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $ARGV[0], Listen => 1)' "$p" || continue
			echo "$p" > "$td_dir/port"
			echo "$p"
			exit 0
		done
		exit 1
	) 9>"$TD_STATE/ports.lock" || die "no free port"
}

td_secret() { perl -e 'open my $f, "<", "/dev/urandom" or die; read $f, my $b, 18; print unpack("H*", $b)'; }

# Is process $1 there, and not a zombie?
alive() {
	[ -n "${1:-}" ] && [ -r "/proc/$1/stat" ] || return 1
	case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in Z*|X*|'') return 1 ;; esac
}

# kill -9 of a server and all its descendants; returns when they are gone, reaped where init does that soon: a postmaster
# that is still a zombie looks alive to the next one.
td_kill9() {
	alive "$1" || return 0
	kids=$(td_descendants "$1")
	kill -9 $1 $kids 2>/dev/null || true
	for p in $1 $kids; do
		n=0
		while [ -e "/proc/$p" ]; do
			n=$((n + 1))
			if [ $n -gt 100 ]; then
				! alive "$p" || die "process $p survives kill -9"
				break
			fi
			sleep 0.05
		done
	done
}

td_descendants() {
	cat /proc/[0-9]*/stat 2>/dev/null | sed 's/ (.*) [A-Za-z] / /' | awk -v root="$1" '
		{ parent[$1] = $2 }
		END { for (p in parent) { q = p; n = 0; while (q in parent && n++ < 50) { q = parent[q]; if (q == root) { print p; break } } } }'
}
