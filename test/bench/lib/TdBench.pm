# What the cases of `make bench` share: the servers, the clock, medians, and the row a case prints.
#
# A case measures ours and the other thing in turns (A B A B ...), so that both meet the same noise, and prints its figure as
# a ratio of medians.  Before each turn it waits until the machine is quiet: other work on two cores ruins any figure.
package TdBench;
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use File::Copy qw(copy);
use POSIX ();
use Time::HiRes qw(sleep time);

our ($top);
BEGIN { $top = abs_path(dirname(__FILE__) . '/../../..'); $ENV{TD_TOP} = $top }
use lib "$top/test/t/lib";
use TdBank qw(my_connect pg_connect);

our @EXPORT_OK = qw($top pg_server maria_server drop_server pg maria median timed rounds row say_now quiet turns
	connection wait_status catch_up fresh make_items run_shell conf_text seconds);

# Set on every PostgreSQL of the bench, ours and the other side alike; what Debian gives otherwise.
my @pg_conf = ('fsync = on', 'shared_buffers = 512MB', 'max_wal_size = 4GB', 'track_commit_timestamp = on',
	"log_min_messages = warning");
my @my_conf = ('--innodb-buffer-pool-size=1G', '--innodb-log-file-size=1G');

sub conf_text
{
	return join('; ', 'PostgreSQL: ' . join(', ', @pg_conf[0 .. 3], 'wal_level = logical'),
		'MariaDB: ' . join(' ', @my_conf) . ' --sync-binlog=1 --innodb-flush-log-at-trx-commit=1 (0 and 0 in the backlog case, whose making is not measured)');
}

sub server
{
	my ($kind, $name, @conf) = @_;
	system("$top/test/servers/$kind", 'start', $name, @conf) == 0 or die "no $kind server\n";
	my %env = map { /^(\w+)=(.*)$/ ? ($1, $2) : () } split /\n/, `$top/test/servers/$kind env $name`;
	return \%env;
}

# A new server each time: nothing is left of what an earlier case did.
sub pg_server { my ($name, @more) = @_; drop_server('pg', $name); return server('pg', $name, @pg_conf, @more) }
sub maria_server { my ($name) = @_; drop_server('mariadb', $name); return server('mariadb', $name, @my_conf) }
sub drop_server { my ($kind, $name) = @_; system("$top/test/servers/$kind", 'drop', $name); return }

sub pg { return pg_connect(@_) }
sub maria { return my_connect(@_) }

# How often each side is measured: TD_BENCH_ROUNDS, else what the case asks for.
sub rounds { my ($n) = @_; return $ENV{TD_BENCH_ROUNDS} || $n }

sub median { my @s = sort { $a <=> $b } @_; return @s % 2 ? $s[$#s / 2] : ($s[@s / 2 - 1] + $s[@s / 2]) / 2 }

sub timed { my ($code) = @_; my $t = time; $code->(); return time - $t }

sub seconds { return sprintf '%.2f s', $_[0] }

sub say_now { print STDERR '# ', @_, "\n"; return }

sub run_shell
{
	my ($command) = @_;
	system('/bin/bash', '-o', 'pipefail', '-c', $command) == 0 or die "failed: $command\n";
	return;
}

sub cpu_times { open my $f, '<', '/proc/stat' or die $!; my (undef, @t) = split ' ', readline $f; my $all = 0; $all += $_ for @t[0 .. 7]; return ($all, $t[3] + $t[4]) }

# Waits until the machine did next to nothing for a second (TD_BENCH_BUSY = highest busy part, 0.15; at most 15 minutes).
sub quiet
{
	my $limit = $ENV{TD_BENCH_BUSY} // 0.15;
	my $said = 0;
	for (1 .. 900)
	{
		my ($all, $idle) = cpu_times();
		sleep 1;
		my ($all2, $idle2) = cpu_times();
		my $busy = 1 - ($idle2 - $idle) / ($all2 - $all);
		return if $busy <= $limit;
		say_now(sprintf 'waiting: %.0f %% of the machine is busy with something else', 100 * $busy) if !$said++;
	}
	die "the machine never became quiet\n";
}

# Measures named things in turns.  turns(5, ours => sub {...}, pipe => sub {...}): each sub returns seconds (or undef when
# it took no measure); gives {ours => median, pipe => median}, and the single figures on stderr.
sub turns
{
	my ($n, @things) = @_;
	my (%found, @names);
	for my $round (1 .. $n)
	{
		for (my $i = 0; $i < @things; $i += 2)
		{
			my ($name, $code) = @things[$i, $i + 1];
			quiet();
			my $t = $code->($round);
			push @{ $found{$name} }, $t;
			say_now(sprintf 'round %d, %-24s %.3f', $round, $name, $t);
		}
	}
	return { map { $_ => median(@{ $found{$_} }) } keys %found };
}

# A new extension and one connection "src" to database "bench" of this MariaDB.
sub connection
{
	my ($p, $my) = @_;
	$p->do('CREATE EXTENSION tapdata');
	$p->do(q{SELECT tapdata.create_connection('src', 'mysql', ?::jsonb, ?::jsonb)}, undef,
		qq({"host": "127.0.0.1", "port": $my->{MYPORT}, "database": "bench"}),
		qq({"user": "$my->{REPL_USER}", "password": "$my->{REPL_PASSWORD}"}));
	return;
}

# Waits until a pipeline has this status; dies with its error when it fails or makes no headway.
sub wait_status
{
	my ($p, $name, $wanted, $limit) = @_;
	my $sth = $p->prepare('SELECT status, sqlstate, error FROM tapdata.pipelines WHERE name = ?');
	my $end = time + ($limit || 600);
	while (time < $end)
	{
		$sth->execute($name);
		my ($status, $sqlstate, $error) = $sth->fetchrow_array;
		return if ($status // '') eq $wanted;
		die "pipeline $name $status: $sqlstate $error\n" if ($status // '') =~ /^(failed|retrying|fenced|waiting_for_worker)$/;
		sleep 0.005;
	}
	die "pipeline $name did not become $wanted\n";
}

sub catch_up { my ($p, $name) = @_; $p->do('SELECT tapdata.wait_pipeline(?, ?)', undef, $name, '900 s'); return }

# A clean start for both sides: what earlier turns left to be written is written now, outside the measure.
sub fresh { $_->do('CHECKPOINT') for @_; return }

# The table of the load and transaction cases: 6 columns, about 70 bytes.  ids: an SQL condition on `seq`.
sub make_items
{
	my ($m, $last, $where) = @_;
	$m->do('CREATE DATABASE IF NOT EXISTS bench');
	$m->do('USE bench');
	$m->do('CREATE TABLE items (id BIGINT PRIMARY KEY, n INT NOT NULL, name VARCHAR(40) NOT NULL, price DECIMAL(10,2) NOT NULL,
		made DATETIME NOT NULL, note VARCHAR(40) NOT NULL)');
	$m->do('INSERT INTO items SELECT ' . item_columns('seq') . " FROM seq_1_to_$last WHERE $where");
	$m->do('ANALYZE TABLE items');
	return;
}

# One row of `items` made from a number.
sub item_columns
{
	my ($id) = @_;
	return "$id, $id * 7 % 1000003, concat('item ', $id), ($id * 13 % 9999999) / 100, '2026-01-01' + INTERVAL $id SECOND, left(md5($id), 20)";
}
push @EXPORT_OK, 'item_columns';

# ---- decoding alone: a spool in a session of its own, by the test module of capture ----

# Builds the module and makes its functions in this server.
sub decoder
{
	my ($pg) = @_;
	my $library = "$pg->{TD_PG_DATA}/../td_capture_test";
	system("make -s -C $top/test/unit/td_capture_test PG_CONFIG=$pg->{TD_PG_BIN}/pg_config >&2") == 0 or die "td_capture_test does not build\n";
	copy("$top/test/unit/td_capture_test/td_capture_test.so", "$library.so") or die "$library.so: $!";
	chmod 0755, "$library.so";
	system("$pg->{TD_PG_BIN}/psql", '-qX', '-h', $pg->{PGHOST}, '-p', $pg->{PGPORT}, '-U', 'postgres', '-d', 'postgres', '-v', 'ON_ERROR_STOP=1', '-v', "td_capture_test=$library",
		'-f', "$top/test/unit/td_capture_test/td_capture_test.sql") == 0 or die "the test functions can't be made\n";
	return;
}

# Seconds until so many images of columns (attribute numbers) of a table are in the spool.  The slot is made at the first call and never confirmed, so each begins where the first did.
sub decode
{
	my ($pg, $slot, $table, $columns, $wanted) = @_;
	my $s = pg($pg);
	my $images = 0;
	my $t = timed(sub {
		$s->do(q{SELECT cap.open(1001, $1)}, undef, $slot);
		$s->do(q{SELECT cap.want(1, $1, $2)}, undef, "{$table}", qq({"$columns"}));
		($images) = $s->selectrow_array('SELECT rows FROM cap.spool(600000)');
	});
	$s->do('SELECT cap.close()');
	die "$images images instead of $wanted\n" if $images != $wanted;
	sleep 0.02 while $s->selectrow_array('SELECT active FROM pg_replication_slots WHERE slot_name = $1', undef, $slot);
	$s->disconnect;
	return $t;
}
push @EXPORT_OK, qw(decoder decode);

# ---- views: pgbench as the writers ----

# A pgbench database of this scale; the view's query reads its accounts.
sub pgbench_init
{
	my ($env, $scale) = @_;
	run_shell(pgbench_of($env) . " -i -q -s $scale postgres > /dev/null 2>&1");
	return;
}

sub pgbench_of { my ($env) = @_; return "PGHOST='$env->{PGHOST}' PGPORT=$env->{PGPORT} PGUSER=postgres '$env->{TD_PG_BIN}/pgbench'" }

# Runs pgbench for some seconds; gives its TPS, and with `log` also the sorted latencies in ms.  A log that is a sub gets each transaction instead: its client, its
# number there (from 1), when it was committed (microseconds), ms from when it was meant to begin, and ms that it began later than that.
sub pgbench_run
{
	my ($env, $seconds, $more, $log) = @_;
	my $prefix = "/tmp/tapdata-bench-log.$$";
	unlink glob "$prefix*";
	my $out = `cd /tmp && @{[pgbench_of($env)]} -n -M prepared -c 4 -j 2 -T $seconds $more @{[$log ? "-l --log-prefix=$prefix" : '']} postgres 2>&1`;
	my ($tps) = $out =~ /^tps = ([\d.]+)/m or die "pgbench: $out\n";
	my @latency;
	for my $file (glob "$prefix*")
	{
		open my $f, '<', $file or die "$file: $!";
		while (<$f>)
		{
			my ($client, $n, $took, undef, $s, $us, $lag) = split;
			if (ref $log) { $log->($client, $n, $s * 1_000_000 + $us, $took / 1000, ($lag // 0) / 1000) }
			else { push @latency, $took / 1000 }
		}
		unlink $file;
	}
	return ($tps, sort { $a <=> $b } @latency);
}

sub percentile { my ($part, @sorted) = @_; return $sorted[ POSIX::ceil($part * @sorted) - 1 ] }
push @EXPORT_OK, 'percentile';

# A live view, streaming.
sub live_view
{
	my ($p, $name, $query, $options) = @_;
	$p->do('SELECT tapdata.create_view($1, $2, $3::jsonb)', undef, $name, $query, $options || '{}');
	$p->do("SELECT tapdata.wait_view('$name', '600 s')");
	return;
}

sub exact_view { my ($p, $name) = @_; my ($n) = $p->selectrow_array("SELECT count(*) FROM tapdata.check_view('$name')"); die "$name is not exact\n" if $n; return }
push @EXPORT_OK, qw(pgbench_init pgbench_run live_view exact_view);

# The line that `run` reads: what, figure, target, does it hold, how it came about.
sub row
{
	my ($what, $figure, $target, $holds, $detail) = @_;
	$| = 1;
	print join("\t", 'ROW', $what, $figure, $target, $holds ? 'holds' : 'MISSED', $detail), "\n";
	return;
}

1;
