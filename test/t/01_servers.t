# The scripts that everything else stands on: private servers on free loopback ports, kill -9 and restart, nothing left behind.
use strict;
use warnings;
use FindBin;
use Test::More;

my $servers = "$FindBin::Bin/../servers";
my @names = map { "house$_-$$" } 1, 2;

sub run { my ($kind, @args) = @_; open my $in, '-|', "$servers/$kind", @args or die $!; local $/; my $out = <$in> // ''; close $in; return $out =~ s/\n+$//r }
sub ok_run { my ($kind, @args) = @_; return system("$servers/$kind", @args) == 0 }
sub env { my ($kind, $name) = @_; return map { /^(\w+)=(.*)$/ ? ($1, $2) : () } split /\n/, run($kind, 'env', $name) }
sub gone { my ($pid) = @_; return !-e "/proc/$pid" || `cat /proc/$pid/stat` =~ /\) Z / }
END { my $rc = $?; for my $n (@names) { system("$servers/$_", 'drop', $n) for qw(pg mariadb) } $? = $rc }

for my $kind (qw(pg mariadb))
{
	ok(ok_run($kind, 'start', $_), "$kind $_ starts") for @names;
	my (%one, %two);
	(%one, %two) = () if !(%one = env($kind, $names[0])) || !(%two = env($kind, $names[1]));
	my ($port, $socket) = $kind eq 'pg' ? qw(PGPORT PGHOST) : qw(MYPORT MYSOCKET);
	isnt($one{$port}, $two{$port}, "$kind: two at once, two ports");
	my $dir = $kind eq 'pg' ? $one{$socket} : $one{$socket} =~ s{/[^/]+$}{}r;
	is(sprintf('%o', (stat $dir)[2] & 07777), '700', "$kind: the socket's folder is closed");
	my @listen = map { /^\s*\d+: (\w+):(\w{4}) \S+ 0A / && hex $2 == $one{$port} ? $1 : () } `cat /proc/net/tcp /proc/net/tcp6`;
	is("@listen", '0100007F', "$kind: listens on 127.0.0.1 and nowhere else");
	my @ask = $kind eq 'pg' ? ('psql', $names[0], '-Atc') : ('sql', $names[0], '-N', '-e');
	is(run($kind, @ask, 'SELECT 40 + 2'), '42', "$kind: answers");
	my $pid = run($kind, 'pid', $names[0]);
	ok(ok_run($kind, 'kill9', $names[0]), "$kind: kill9");
	ok(gone($pid), "$kind: it is gone");
	ok(!ok_run($kind, 'status', $names[0]), "$kind: status says so");
	ok(ok_run($kind, 'status', $names[1]), "$kind: the other one runs on");
	ok(ok_run($kind, 'restart', $names[0]), "$kind: restarts after kill -9");
	is(run($kind, @ask, 'SELECT 40 + 2'), '42', "$kind: answers again");
	ok(ok_run($kind, 'stop', $names[1]) && !ok_run($kind, 'status', $names[1]), "$kind: stops");
}

is(run('pg', 'psql', $names[0], '-Atc', 'SHOW shared_preload_libraries'), 'tapdata', 'pg: tapdata is preloaded');
like(run('pg', 'psql', $names[0], '-Atc', 'SHOW data_directory'), qr{/\Q$names[0]\E/data$}, 'pg: a data directory of its own');
my $lib = run('pg', 'psql', $names[0], '-Atc', q{SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'});
like($lib, qr{/install-\d+/}, 'pg: runs from the private copy, not from the machine\'s own PostgreSQL');
my %pg = env('pg', $names[0]);
{
	local $ENV{PGPASSWORD} = 'wrong';
	isnt(system("psql -X -h 127.0.0.1 -p $pg{PGPORT} -U postgres -c 'SELECT 1' >/dev/null 2>&1"), 0, 'pg: a wrong password is refused over TCP');
	local $ENV{PGPASSWORD} = $pg{PGPASSWORD};
	is(system("psql -X -h 127.0.0.1 -p $pg{PGPORT} -U postgres -d postgres -c 'SELECT 1' >/dev/null 2>&1"), 0, 'pg: the right one is taken');
}
my %my = env('mariadb', $names[0]);
is(run('mariadb', 'sql', $names[0], '-N', '-e', 'SELECT @@log_bin, @@binlog_format, @@sync_binlog, @@innodb_flush_log_at_trx_commit'), "1\tROW\t1\t1",
	'mariadb: a durable row binlog');
is(run('mariadb', 'sql', $names[0], '-N', '-e', "SELECT count(*) FROM mysql.global_priv WHERE User = ''"), '0', 'mariadb: no anonymous user');
is(`mariadb --no-defaults -N -h 127.0.0.1 -P $my{MYPORT} -u $my{REPL_USER} -p$my{REPL_PASSWORD} -e 'SELECT current_user()' 2>/dev/null`, "tapdata_repl@%\n",
	'mariadb: the replication user comes in over TCP');
isnt(system("mariadb --no-defaults -h 127.0.0.1 -P $my{MYPORT} -u root -e 'SELECT 1' >/dev/null 2>&1"), 0, 'mariadb: root needs the password');
ok(!ok_run('pg', 'start', '../evil'), 'a name that is a path is refused');
for my $kind (qw(pg mariadb))
{
	my $pid = run($kind, 'pid', $names[0]);
	ok(ok_run($kind, 'drop', $names[0]) && gone($pid), "$kind: drop ends it");
	ok(!grep({ $_ eq $names[0] } split /\n/, run($kind, 'list')), "$kind: and nothing is left");
}
done_testing();
