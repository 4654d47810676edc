# Private servers and a look at tapdata's processes, for the tests of src/workers.
#
# Waiting is by looking until a condition holds, never by guessing a time; the one exception is `quiet`, which proves that
# something does NOT happen.
package TdProcs;
use strict;
use warnings;
use DBI;
use Exporter 'import';
use Time::HiRes qw(sleep time);

our @EXPORT = qw(start_server server server_data clone_server on_server restart_server psql value rows execute try_do eventually quiet workers worker_pids pid_alive make_pipeline
	status_of reach finish);

my $top = $ENV{TD_TOP} || do { my $f = __FILE__; $f =~ s{/?test/t/lib/[^/]+$}{}; $f eq '' ? '.' : $f };
my %env;
my $instance;
my @started;
my %handles;

sub server { my (@args) = @_; return system("$top/test/servers/pg", shift @args, $instance, @args) == 0 }

sub server_data { return $env{TD_PG_DATA} }

# A fresh server of that name with these lines of configuration.
sub start_server
{
	my ($name, @conf) = @_;
	$instance = $name;
	server('drop');
	server('start', @conf) or die "no PostgreSQL server\n";
	push @started, $name;
	return read_env();
}

sub read_env { %env = map { /^(\w+)=(.*)$/ ? ($1, $2) : () } split /\n/, `$top/test/servers/pg env $instance 2>/dev/null`; return { %env } }

# A copy of the server in use, not started: see `clone` of test/servers/pg.
sub clone_server
{
	my ($name, $how) = @_;
	my $from = $instance;
	on_server($name, sub { server('drop'); server('clone', $from, $how) or die "no copy of the server\n" });
	push @started, $name;
	return;
}

# Everything in the code is done on that server; what it returns.
sub on_server
{
	my ($name, $code) = @_;
	my ($was, %was) = ($instance, %env);
	$instance = $name;
	read_env();
	my @r = eval { $code->() };
	my $error = $@;
	($instance, %env) = ($was, %was);
	die $error if $error;
	return wantarray ? @r : $r[0];
}

# mode: fast, immediate
sub restart_server
{
	my ($mode, @conf) = @_;
	close_all();
	server($mode eq 'immediate' ? 'kill9' : 'stop') or die "could not stop the server\n";
	server('start', @conf) or die "could not start the server\n";
	return;
}

# One kept connection for each database and user.
sub connect_to
{
	my ($db, $user, $fresh) = @_;
	my $key = "$instance/$db/$user";
	delete $handles{$key} if !$fresh && $handles{$key} && !$handles{$key}->ping;    # a forked child must not speak on its parent's
	return $handles{$key} if $handles{$key} && !$fresh;
	my $dbh = DBI->connect("DBI:Pg:host=$env{PGHOST};port=$env{PGPORT};dbname=$db", $user, '',
		{ RaiseError => 1, PrintError => 0, AutoCommit => 1, PrintWarn => 0 });
	$handles{$key} = $dbh unless $fresh;
	return $dbh;
}

# psql($db) = the kept connection; psql($db, fresh => 1) = one of its own
sub psql
{
	my ($db, %o) = @_;
	return connect_to($db, $o{user} // 'postgres', $o{fresh});
}

# Those of the server in use.
sub close_all { for (grep { m{^\Q$instance\E/} } keys %handles) { $handles{$_}->disconnect; delete $handles{$_} } return }

sub value { my ($db, $sql, @args) = @_; return scalar psql($db)->selectrow_array($sql, undef, @args) }
sub rows { my ($db, $sql) = @_; return join "\n", map { join '|', map { $_ // '' } @$_ } @{ psql($db)->selectall_arrayref($sql) } }
sub execute { my ($db, @sql) = @_; psql($db)->do($_) for @sql; return }

# '' or the SQLSTATE and message of the error
sub try_do
{
	my ($dbh, $sql) = @_;
	return '' if eval { $dbh->do($sql); 1 };
	return ($dbh->state // '') . ' ' . $dbh->errstr;
}

# Looks until the code gives a true value (and returns it), at most `$s` seconds; a connection that broke is no answer.
sub eventually
{
	my ($code, $s) = @_;
	my $end = time + ($s // 20);
	while (1)
	{
		my $v = eval { $code->() };
		return $v if $v;
		if (time > $end) { main::diag("last error: $@") if $@; return $v }
		sleep 0.02;
	}
}

# Nothing happens for that long: true as long as the code stays true.
sub quiet
{
	my ($s, $code) = @_;
	my $end = time + $s;
	while (time < $end) { return 0 unless $code->(); sleep 0.05 }
	return 1;
}

# "kind database object" of all processes but the launcher and hosts, sorted
sub workers
{
	my ($db) = @_;
	return join ', ', map { join ' ', grep { defined } @$_ } @{ psql($db // 'postgres')->selectall_arrayref(
		"SELECT kind, database, object FROM tapdata.worker_list() WHERE kind NOT IN ('launcher', 'host') ORDER BY 1, 2, 3") };
}

# pids by backend_type, as PostgreSQL itself sees them: works without the extension
sub worker_pids
{
	my ($kind, $database) = @_;
	return map { $_->[0] } @{ psql('postgres')->selectall_arrayref(
		'SELECT pid FROM pg_stat_activity WHERE backend_type = ? AND (?::text IS NULL OR datname = ?) ORDER BY 1', undef,
		"tapdata $kind", $database, $database) };
}

sub pid_alive
{
	my ($pid) = @_;
	open my $f, '<', "/proc/$pid/stat" or return 0;
	my $stat = <$f> // '';
	return $stat =~ /.*\) ([A-Z])/ && $1 !~ /[ZX]/;
}

# A pipeline that streams for ever from the null connector.
sub make_pipeline
{
	my ($db, $name, %o) = @_;
	my $dbh = $o{dbh} // psql($db);
	$dbh->do("SELECT tapdata.create_connection('$name', 'null', '{\"rows\": 10, \"interval_us\": 20000}')");
	$dbh->do("SELECT tapdata.mirror('$name')");
	return $dbh->selectrow_array("SELECT id FROM tapdata.pipeline WHERE name = '$name'");
}

sub status_of { my ($db, $name) = @_;
	return value($db, 'SELECT s.status FROM tapdata.pipeline p JOIN tapdata.pipeline_state s ON s.pipeline = p.id WHERE p.name = ?', $name) }

# The pipeline reaches a status, and has (or has not) a worker to go with it.
sub reach
{
	my ($db, $name, $status, $s) = @_;
	my $live = $status eq 'streaming' || $status eq 'snapshot';
	return eventually(sub {
		my $n = value($db, "SELECT count(*) FROM tapdata.worker_list() WHERE kind = 'pipeline' AND database = current_database() AND object = ?", $name);
		(status_of($db, $name) // '') eq $status && ($n == 1) == $live }, $s) || do { main::diag("status is " . (status_of($db, $name) // 'undef')
			. ", error: " . (value($db, 'SELECT error FROM tapdata.pipeline p JOIN tapdata.pipeline_state s ON s.pipeline = p.id WHERE p.name = ?', $name) // '')); 0 };
}

sub finish { for my $name (@started) { on_server($name, sub { close_all(); server('drop') }) } return }

1;
