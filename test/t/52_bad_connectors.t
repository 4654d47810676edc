# Connectors that crash, hang, flood, lie or leak: each fails its own pipeline with a precise error, and nothing else:
# the server, five other sessions and another mirror go on, and no process is left behind.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdBank qw(servers my_connect pg_connect connect_source pipeline wait_status fails slurp apart drop_servers);
use DBD::Pg qw(:async);
use File::Copy qw(copy);
use Time::HiRes qw(sleep time);

my $tools = "$FindBin::Bin/../servers";
my $top = "$FindBin::Bin/../..";
my $secret = 'Tr0ub4dor-and-3-hunters';
my ($pg, $my) = servers('badcon', 'tapdata.connector_timeout = 2s', 'tapdata.worker_memory = 1MB', 'tapdata.spool_limit = 20MB');
END { my $status = $?; drop_servers('badcon'); $? = $status }

# Built here, and copied to where the server may read them.
system("make -s -C '$top' PG_CONFIG='$pg->{TD_PG_BIN}/pg_config' connectors/bad >&2") == 0 or die "the bad connectors can't be built\n";
my $path = $pg->{TD_PG_DATA} =~ s{/data$}{/connectors}r;
mkdir $path, 0755 or die "$path: $!";
my @built = glob "$top/build/connectors/bad/*.so";
for (@built) { my ($name) = m{([^/]+)$}; copy($_, "$path/$name") or die "$name: $!"; chmod 0755, "$path/$name" }
cmp_ok(scalar @built, '>=', 9, 'the bad connectors are built');

my ($m, $p) = (my_connect($my), pg_connect($pg));
$p->do("ALTER SYSTEM SET tapdata.connector_path = '$path'");
$p->do('SELECT pg_reload_conf()');
$p->do('CREATE EXTENSION tapdata');
$p->disconnect;
$p = pg_connect($pg);

# Five other sessions: idle, in a transaction, with a temporary table, with a cursor, in the middle of a long statement.
my @others = map { pg_connect($pg) } 1 .. 5;
my @pids = map { $_->selectrow_array('SELECT pg_backend_pid()') } @others;
$others[1]->begin_work;
$others[1]->do('SELECT txid_current()');
$others[2]->do('CREATE TEMP TABLE mine AS SELECT 42 AS a');
$others[3]->begin_work;
$others[3]->do('DECLARE c CURSOR FOR SELECT generate_series(1, 1000000)');
$others[4]->do(q{SELECT pg_sleep(3600)}, { pg_async => PG_ASYNC });

# And another mirror, of a real source.
$m->do($_) for ('CREATE DATABASE good', 'USE good', 'CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(20))', q{INSERT INTO t (v) VALUES ('first')});
connect_source($p, $my, 'good');
$p->do(q{SELECT tapdata.mirror('good')});
is(fails($p, q{SELECT tapdata.wait_pipeline('good', '30 s')}), '', 'another mirror streams');
my @workers = pids_of('good');
my $postmaster = `$tools/pg pid badcon`;
is(scalar @workers, 2, 'by a worker and a host');

sub pids_of
{
	my ($object) = @_;
	return @{ $p->selectcol_arrayref(q{SELECT pid FROM tapdata.workers WHERE object = $1 AND kind IN ('pipeline', 'host') ORDER BY kind}, undef, $object) };
}

# Everybody else goes on.
sub others_go_on
{
	$m->do(q{INSERT INTO t (v) VALUES ('more')});
	is(fails($p, q{SELECT tapdata.wait_pipeline('good', '10 s')}), '', 'the other mirror goes on');
	is(apart($p, $m, 'good.t', 'good.t', 'id, v'), '', 'and is exact');
	is_deeply([pids_of('good')], \@workers, 'with the same worker and host');
	is_deeply([map { $_->selectrow_array('SELECT pg_backend_pid()') } @others[0 .. 3]], [@pids[0 .. 3]], 'sessions go on');
	is($others[2]->selectrow_array('SELECT a FROM mine'), 42, 'with what they had');
	is(scalar @{ $others[3]->selectall_arrayref('FETCH 3 FROM c') }, 3, 'and were doing');
	ok(!$others[4]->pg_ready && kill(0, $pids[4]), 'a long statement goes on');
	is(`$tools/pg pid badcon`, $postmaster, 'the server is the same');
	return;
}

# All hosts of this very server that live: its connectors' folder is among their arguments (their other marks are not ours to read).
sub hosts
{
	my @found;
	for my $dir (glob '/proc/[0-9]*')
	{
		next unless slurp("$dir/stat") =~ /^\d+ \(tapdata-host\) [^ZX]/ && slurp("$dir/cmdline") =~ /\0\Q$path\E:/;
		push @found, $dir =~ m{(\d+)$};
	}
	return sort @found;
}

sub stops
{
	my ($name) = @_;
	my $began = time;
	is(fails($p, 'SELECT tapdata.stop_pipeline($1)', $name), '', 'stops');
	cmp_ok(time - $began, '<', 2, sprintf 'at once (%.2f s)', time - $began);
	is(pipeline($p, $name)->{status}, 'stopped', 'is stopped');
	return;
}

# One that fails while it runs.
sub bad
{
	my ($connector, $kind, $sqlstate, $error, %more) = @_;
	my $title = $connector . ($kind ? " ($kind)" : '');
	return if $ENV{TD_CASE} && $title !~ /$ENV{TD_CASE}/;
	subtest $title => sub {
		$p->do('SELECT tapdata.create_connection($1, $2, $3::jsonb, $4::jsonb)', undef, 'bad', $connector, $kind ? qq({"kind": "$kind"}) : '{}', qq({"password": "$secret"}));
		$p->do(q{SELECT tapdata.mirror('bad')});
		my $row = wait_status($p, 'bad', $more{status} || 'failed', 20);
		is("$row->{status} " . ($row->{sqlstate} // ''), ($more{status} || 'failed') . " $sqlstate", 'status and SQLSTATE') or diag explain $row;
		like($row->{error} // '', $error, 'error');
		like($row->{hint} // '', $more{hint} || qr/\S/, 'hint');
		is($p->selectrow_array(q{SELECT count(*) FROM tapdata.log WHERE object = 'bad' AND sqlstate = $1 AND message = $2}, undef, $sqlstate, $row->{error}) > 0, 1, 'the log has it too');
		unlike(join(' ', map { $_ // '' } values %$row), qr/\Q$secret/, 'without the secret');
		stops('bad');
		is_deeply([pids_of('bad')], [], 'no worker and no host of it is left');
		others_go_on();
		$p->do(q{SELECT tapdata.drop_pipeline('bad', drop_tables => true)});
		$p->do(q{SELECT tapdata.drop_connection('bad')});
		is($p->selectrow_array(q{SELECT count(*) FROM pg_class WHERE relnamespace = 'tapdata_state'::regnamespace}), 0, 'no load table');
	};
	return;
}

bad 'bad_crash', '', '38000', qr/^the connector "bad_crash" crashed: signal 11/;
bad 'bad_crash_open', '', '38000', qr/^the connector "bad_crash_open" crashed: signal 11/;
bad 'bad_hang', '', '38000', qr/"bad_hang" hangs in stream_poll/, hint => qr/connector_timeout/;
bad 'bad_hang_open', '', '38000', qr/"bad_hang_open" hangs in open/, hint => qr/connector_timeout/;
bad 'bad_flood', '', '54000', qr/larger than tapdata\.spool_limit/, hint => qr/Raise tapdata\.spool_limit/;
bad 'bad_flood', 'batch', '54000', qr/bad_flood/;
bad 'bad_garbage', $_, '38000', qr/bad_garbage/ for qw(size op mark end);
bad 'bad_garbage', 'row', '38000', qr{damaged};
bad 'bad_leak', '', '38000', qr/\*\*\*/, hint => qr/^/;    # the error is the connector's own, and so is its hint

# ---- stopped while they misbehave ----

for my $connector (grep { !$ENV{TD_CASE} || /$ENV{TD_CASE}/ } qw(bad_hang bad_hang_open bad_flood))
{
	subtest "$connector is stopped in the middle of it" => sub {
		$p->do('SELECT tapdata.create_connection($1, $2, $3::jsonb)', undef, 'bad', $connector, '{}');
		$p->do(q{SELECT tapdata.mirror('bad')});
		my $until = time + 5;
		sleep 0.02 until pids_of('bad') == 2 || time > $until;
		sleep 0.3;
		stops('bad');
		is_deeply([pids_of('bad')], [], 'no worker and no host of it is left');
		$p->do(q{SELECT tapdata.drop_pipeline('bad')});
		$p->do(q{SELECT tapdata.drop_connection('bad')});
	};
}

# ---- from a session ----

for my $case (['bad_crash_open', qr/^38000 .*crashed: signal 11/], ['bad_hang_open', qr/^38000 .*hangs in open/])
{
	my ($connector, $error) = @$case;
	next if $ENV{TD_CASE} && $connector !~ /$ENV{TD_CASE}/;
	$p->do('SELECT tapdata.create_connection($1, $2, $3::jsonb)', undef, 'bad', $connector, '{}');
	my $pid = $p->selectrow_array('SELECT pg_backend_pid()');
	like(fails($p, q{SELECT * FROM tapdata.peek('bad', 't')}), $error, "$connector: peek");
	my $item = $p->selectrow_hashref(q{SELECT item, ok::text, detail, hint FROM tapdata.test_connection('bad')});
	is("$item->{item} $item->{ok}", 'connect false', "$connector: test_connection says so in a row");
	like("38000 $item->{detail}", $error, 'with the reason');
	like($item->{hint} // '', qr/bug in the connector/, 'and a hint');
	is($p->selectrow_array('SELECT pg_backend_pid()'), $pid, 'the session lives on');
	my $began = time;
	$p->do(q{SET statement_timeout = '300ms'});
	like(fails($p, q{SELECT * FROM tapdata.discover('bad')}), qr/^57014 /, 'and can be cancelled') if $connector =~ /hang/;
	cmp_ok(time - $began, '<', 1.3, 'at once');
	$p->do('RESET statement_timeout');
	$p->do(q{SELECT tapdata.drop_connection('bad')});
}
if (!$ENV{TD_CASE})
{
	$p->do(q{SELECT tapdata.create_connection('bad', 'bad_leak', '{}', $1::jsonb)}, undef, qq({"password": "$secret"}));
	my $items = $p->selectall_arrayref(q{SELECT * FROM tapdata.test_connection('bad')});
	like(join(' ', map { $_->[2] // '' } @$items), qr/logged in with \*\*\*/, 'bad_leak: a secret is masked in what test_connection shows');
	$p->do(q{SELECT tapdata.drop_connection('bad')});
}

# ---- those that are no connectors ----

for my $case (['bad_magic', qr/another connector ABI/], ['bad_minor', qr/newer tapdata/], ['bad_slot', qr/lacks the function "stream_poll"/], ['bad_such', qr/does not exist/])
{
	my ($connector, $error) = @$case;
	next if $ENV{TD_CASE} && $connector !~ /$ENV{TD_CASE}/;
	my $said = fails($p, 'SELECT tapdata.create_connection($1, $2, $3::jsonb)', 'bad', $connector, '{}');
	like($said, qr/^(?:38000|42704) .*$error/s, "$connector is refused with the reason");
	is($p->selectrow_array(q{SELECT count(*) FROM pg_foreign_server WHERE srvname = 'bad'}), 0, 'and leaves no connection');
}
if (!$ENV{TD_CASE})
{
	my %listed = map { $_->[0] => $_->[1] } @{ $p->selectall_arrayref('SELECT name, version FROM tapdata.connectors') };
	is($listed{mysql}, '0.1', 'the good ones are listed beside them');
	ok(exists $listed{bad_magic} && !defined $listed{bad_magic}, 'a bad one without a version');

	# One that was good when its connection was made.
	$p->do(q{SELECT tapdata.create_connection('bad', 'bad_hang', '{}')});
	copy("$path/bad_slot.so", "$path/new.so") && rename("$path/new.so", "$path/bad_hang.so");
	$p->do(q{SELECT tapdata.mirror('bad')});
	my $row = wait_status($p, 'bad', 'failed', 20);
	is("$row->{status} $row->{sqlstate}", 'failed 38000', 'a connector that was replaced by a bad one');
	like($row->{error}, qr/"bad_hang" can't be used/, 'is named');
	like($p->selectrow_array(q{SELECT detail FROM tapdata.log WHERE object = 'bad' AND sqlstate = '38000' ORDER BY at DESC LIMIT 1}), qr/"bad_slot"|lacks the function/, 'with the reason');
	stops('bad');
	unlink "$path/bad_hang.so";
	$p->do(q{SELECT tapdata.start_pipeline('bad')});
	$row = wait_status($p, 'bad', 'failed', 20);
	is("$row->{status} $row->{sqlstate}", 'failed 42704', 'a connector that is gone');
	like($row->{error}, qr/"bad_hang"/, 'by name');
	$p->do(q{SELECT tapdata.drop_pipeline('bad')});
	$p->do(q{SELECT tapdata.drop_connection('bad')});
	others_go_on();
}

my @left = hosts();
is_deeply(\@left, [grep { slurp("/proc/$_/stat") =~ /tapdata-host/ } @workers], 'one host is left, the good mirror\'s');
$others[4]->pg_cancel;
my $log = slurp($pg->{TD_PG_LOG});
unlike($log, qr/\Q$secret/, 'no secret in the log of the server');
unlike($log, qr/server process .* was terminated|PANIC|TRAP/, 'no process of the server crashed');
$_->disconnect for @others, $p, $m;
done_testing();
