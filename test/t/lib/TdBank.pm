# The bank: writers on a MariaDB that move money between the accounts of two tables, with an append-only audit table
# without a key, and what must hold on the PostgreSQL side at every moment.
#
# Invariants it proves: the sum over both tables is constant in every snapshot (source transactions stay whole);
# the audit rows are the same multiset on both sides (nothing lost, nothing twice).
package TdBank;
use strict;
use warnings;
use DBI;
use Exporter 'import';
use JSON::PP qw(encode_json);
use POSIX ();
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(servers my_connect pg_connect make_bank start_writers stop_writers start_reader stop_reader
	expected_total differences seed proxy_start proxy_stop
	connect_source pipeline wait_status fails slurp apart drop_servers);

my $top = $ENV{TD_TOP} || do { my $f = __FILE__; $f =~ s{/test/t/lib/[^/]+$}{}; $f =~ m{^/} ? $f : "$ENV{PWD}/$f" };
my $accounts = 200;
my $opening = 1000;

# The seed of this run: TD_SEED, or from the clock; printed so that a failure can be run again.
sub seed { my $s = $ENV{TD_SEED} || (int(time * 1000) ^ $$) & 0x7fffffff; srand($s); return $s }

# Starts a pair of servers of this name; returns ({pg env}, {mariadb env}).
sub servers
{
	my ($name, @conf) = @_;
	return map {
		my $kind = $_;
		system("$top/test/servers/$kind", 'start', $name, $kind eq 'pg' ? @conf : ()) == 0 or die "no $kind server\n";
		my %env = map { /^(\w+)=(.*)$/ ? ($1, $2) : () } split /\n/, `$top/test/servers/$kind env $name`;
		\%env;
	} qw(pg mariadb);
}

sub my_connect
{
	my ($my, $db) = @_;
	return DBI->connect("DBI:MariaDB:host=127.0.0.1;port=$my->{MYPORT}" . ($db ? ";database=$db" : ''),
		'root', $my->{MYPASSWORD}, { RaiseError => 1, PrintError => 0, AutoCommit => 1 });
}

sub pg_connect
{
	my ($pg, $user) = @_;
	return DBI->connect("DBI:Pg:host=$pg->{PGHOST};port=$pg->{PGPORT};dbname=" . ($pg->{DB} || 'postgres'),
		$user || 'postgres', '', { RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1 });
}

sub drop_servers { my ($name) = @_; system("$top/test/servers/$_", 'drop', $name) for qw(pg mariadb); return }

# Database `bank`: savings and giro (keyed), audit (no key), ballast (keyed, `rows` rows: makes the load take its time).
sub make_bank
{
	my ($my, $ballast) = @_;
	my $dbh = my_connect($my);
	$dbh->do($_) for (
		'DROP DATABASE IF EXISTS bank', 'CREATE DATABASE bank',
		'CREATE TABLE bank.savings (id INT PRIMARY KEY, balance BIGINT NOT NULL, note VARCHAR(40))',
		'CREATE TABLE bank.giro (id INT PRIMARY KEY, balance BIGINT NOT NULL, note VARCHAR(40))',
		'CREATE TABLE bank.audit (writer INT NOT NULL, n INT NOT NULL, amount BIGINT NOT NULL, `at` DATETIME(6))',
		'CREATE TABLE bank.ballast (id BIGINT PRIMARY KEY, a VARCHAR(50), b DECIMAL(12,2), c DATETIME)');
	for my $t (qw(savings giro))
	{
		$dbh->do("INSERT INTO bank.$t SELECT seq, $opening, concat('account ', seq) FROM bank.seq" =~ s/bank\.seq/seq_1_to_$accounts/r)
			if $dbh->do('USE bank');
	}
	$dbh->do("INSERT INTO bank.ballast SELECT seq, md5(seq), seq / 100, '2026-01-01' + INTERVAL seq SECOND FROM seq_1_to_$ballast")
		if $ballast;
	$dbh->do("INSERT INTO bank.audit SELECT 0, seq, seq, NOW(6) FROM seq_1_to_1000");
	return;
}

sub expected_total { return 2 * $accounts * $opening }

# n processes that write until they are stopped; each survives a server that goes away.  Returns their pids.
sub start_writers
{
	my ($my, $n) = @_;
	my @pids;
	for my $writer (1 .. $n)
	{
		my $random = int(rand(1 << 30));
		my $pid = fork();
		die "fork: $!" unless defined $pid;
		if ($pid == 0) { eval { write_until_stopped($my, $writer, $random) }; warn $@ if $@; POSIX::_exit($@ ? 1 : 0) }
		push @pids, $pid;
	}
	return @pids;
}

sub write_until_stopped
{
	my ($my, $writer, $random) = @_;
	my ($dbh, $stop, $n) = (undef, 0, int(time * 10) % 1_000_000 * 1000);
	$SIG{TERM} = sub { $stop = 1 };
	srand($random);
	while (!$stop)
	{
		$dbh ||= eval { my_connect($my, 'bank') } or do { sleep 0.2; next };
		eval { one_transaction($dbh, $writer, ++$n); 1 } and next;
		my $code = $dbh->err // 0;
		{ local $SIG{__WARN__} = sub { }; eval { $dbh->rollback } }
		$dbh = undef unless $code == 1213 || $code == 1205;    # deadlock, lock time-out: as a bank would, again
	}
	return;
}

# One transfer, sometimes rolled back, sometimes with a savepoint, a key change, a delete and insert of the same account.
sub one_transaction
{
	my ($dbh, $writer, $n) = @_;
	my ($from, $to) = map { 1 + int(rand($accounts)) } 1 .. 2;
	my ($a, $b) = rand() < 0.5 ? qw(savings giro) : qw(giro savings);
	my $amount = 1 + int(rand(50));
	$dbh->begin_work;
	$dbh->do("UPDATE $a SET balance = balance - ?, note = ? WHERE id = ?", undef, $amount, "w$writer n$n", $from);
	my $kind = rand();
	if ($kind < 0.1) { $dbh->rollback; return }
	if ($kind < 0.2) { $dbh->do('SAVEPOINT s'); $dbh->do("UPDATE $b SET balance = 0 WHERE id = ?", undef, $to); $dbh->do('ROLLBACK TO s') }
	if ($kind > 0.9)
	{
		# the account moves to another number and back: a key change, or a delete and insert
		my ($sum) = $dbh->selectrow_array("SELECT balance FROM $b WHERE id = ? FOR UPDATE", undef, $to);
		if (defined $sum)
		{
			if ($kind > 0.95) { $dbh->do("UPDATE $b SET id = ? WHERE id = ?", undef, 100_000 + $writer, $to);
				$dbh->do("UPDATE $b SET id = ? WHERE id = ?", undef, $to, 100_000 + $writer) }
			else { $dbh->do("DELETE FROM $b WHERE id = ?", undef, $to);
				$dbh->do("INSERT INTO $b VALUES (?, ?, 'again')", undef, $to, $sum) }
		}
	}
	$dbh->do("UPDATE $b SET balance = balance + ? WHERE id = ?", undef, $amount, $to);
	$dbh->do('INSERT INTO audit VALUES (?, ?, ?, NOW(6))', undef, $writer, $n, $amount);
	$dbh->commit;
	sleep 0.004;
	return;
}

sub stop_writers
{
	my (@pids) = @_;
	kill 'TERM', @pids;
	my $bad = 0;
	for (@pids) { waitpid($_, 0); $bad++ if $? }
	return $bad == 0;
}

# A process that reads both tables in one statement, over and over; writes "reads wrong" at its end.
sub start_reader
{
	my ($pg, $schema) = @_;
	pipe(my $out, my $in) or die "pipe: $!";
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		my ($stop, $reads, $wrong, $dbh) = (0, 0, 0);
		$SIG{TERM} = sub { $stop = 1 };
		until ($stop)
		{
			$dbh ||= eval { pg_connect($pg) } or do { sleep 0.1; next };
			my ($sum) = eval { $dbh->selectrow_array("SELECT (SELECT sum(balance) FROM $schema.savings) + (SELECT sum(balance) FROM $schema.giro)") };
			if ($@) { $dbh = undef unless ($dbh->state // '') eq '42P01'; sleep 0.02; next }
			$reads++;
			$wrong++ if $sum != expected_total();
			sleep 0.002;
		}
		syswrite $in, "$reads $wrong\n";
		POSIX::_exit(0);
	}
	close $in;
	return { pid => $pid, out => $out };
}

sub stop_reader
{
	my ($reader) = @_;
	kill 'TERM', $reader->{pid};
	my $line = readline $reader->{out};
	waitpid($reader->{pid}, 0);
	return split ' ', $line // '0 -1';
}

# Rows that are on one side only, table by table; '' = equal.  Call it when the pipeline has caught up.
sub differences
{
	my ($pg, $my, $schema) = @_;
	my ($p, $m) = (pg_connect($pg), my_connect($my, 'bank'));
	my @found;
	for my $t (['savings', 'id, balance, note'], ['giro', 'id, balance, note'],
		['audit', 'writer, n, amount, `at`'], ['ballast', 'id, a, b, c'])
	{
		my ($name, $columns) = @$t;
		my %rows;
		for my $r (@{ $m->selectall_arrayref("SELECT $columns FROM $name") }) { $rows{ join '|', map { $_ // 'NULL' } @$r }++ }
		(my $c = $columns) =~ s/`at`/to_char(at, 'YYYY-MM-DD HH24:MI:SS.US')/;
		for my $r (@{ $p->selectall_arrayref("SELECT $c FROM $schema.$name") }) { $rows{ join '|', map { $_ // 'NULL' } @$r }-- }
		my @bad = grep { $rows{$_} } sort keys %rows;
		push @found, sprintf('%s: %d rows differ, e.g. %s (%+d on the source)', $name, scalar @bad, $bad[0], $rows{ $bad[0] }) if @bad;
	}
	return join "\n", @found;
}

# A TCP proxy on loopback before the given port.  kill USR1 = cut every connection; USR2 = stall, and on again.
sub proxy_start
{
	my ($port) = @_;
	require IO::Socket::INET;
	require IO::Select;
	my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 20, ReuseAddr => 1) or die "proxy: $!";
	my $pid = fork() // die "fork: $!";
	if ($pid == 0) { eval { proxy_run($listen, $port) }; warn $@ if $@; POSIX::_exit(0) }
	return { pid => $pid, port => $listen->sockport };
}

sub proxy_run
{
	my ($listen, $port) = @_;
	my ($stop, $cut, $stalled, %peer) = (0, 0, 0);
	$SIG{TERM} = sub { $stop = 1 };
	$SIG{USR1} = sub { $cut = 1 };
	$SIG{USR2} = sub { $stalled = !$stalled };
	$SIG{PIPE} = 'IGNORE';
	my $select = IO::Select->new($listen);
	until ($stop)
	{
		if ($cut) { $select->remove($_), close $_ for map { @$_ } values %peer; %peer = (); $cut = 0 }
		if ($stalled) { sleep 0.05; next }
		for my $s ($select->can_read(0.1))
		{
			if ($s == $listen)
			{
				my $client = $listen->accept or next;
				my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or do { close $client; next };
				$peer{ fileno $client } = [$client, $server];
				$peer{ fileno $server } = [$server, $client];
				$select->add($client, $server);
				next;
			}
			my $pair = defined fileno $s && $peer{ fileno $s } or next;    # closed with its peer a moment ago
			my $n = sysread($s, my $data, 65536);
			if ($n) { my $o = 0; while ($o < $n) { my $w = syswrite($pair->[1], $data, $n - $o, $o) or last; $o += $w } next }
			delete $peer{ fileno $_ } for @$pair;
			$select->remove($_), close $_ for @$pair;
		}
	}
	return;
}

sub proxy_stop { my ($proxy) = @_; kill 'TERM', $proxy->{pid}; waitpid($proxy->{pid}, 0); return }

# ---- one mirror and its states ----

# A connection to one database of this MariaDB; more options and other credentials may be given.
sub connect_source
{
	my ($p, $my, $name, $options, $credentials) = @_;
	my %o = (host => '127.0.0.1', port => $my->{MYPORT} + 0, database => $name, connect_timeout => 3, %{ $options || {} });
	my %c = (user => $my->{REPL_USER}, password => $my->{REPL_PASSWORD}, %{ $credentials || {} });
	delete $o{$_} for grep { !defined $o{$_} } keys %o;
	$p->do(q{SELECT tapdata.create_connection($1, 'mysql', $2::jsonb, $3::jsonb)}, undef, $name, encode_json(\%o), encode_json(\%c));
	return;
}

# The row of tapdata.pipelines.
sub pipeline
{
	my ($p, $name) = @_;
	return $p->selectrow_hashref('SELECT * FROM tapdata.pipelines WHERE name = $1', undef, $name) || { status => 'gone' };
}

# Waits until the status is one of those wanted; returns the row as it is then, or after the time is up.
sub wait_status
{
	my ($p, $name, $wanted, $seconds) = @_;
	my $until = time + ($seconds || 20);
	my $row;
	while (($row = pipeline($p, $name))->{status} !~ /^(?:$wanted)$/ && time < $until) { sleep 0.02 }
	return $row;
}

# What a statement fails with: "SQLSTATE message ... HINT: ..."; '' = it works.
sub fails
{
	my ($p, $sql, @values) = @_;
	return '' if eval { $p->do($sql, undef, @values); 1 };
	return $p->state . ' ' . $p->errstr;
}

# A file as bytes, '' when it can't be read.
sub slurp { my ($file) = @_; open my $f, '<:raw', $file or return ''; local $/ = undef; return scalar(<$f>) // '' }

# Rows of source database.table that are not in schema.table, and the other way round, as text; '' = equal.
sub apart
{
	my ($p, $m, $from, $into, $columns) = @_;
	my %rows;
	my $text = sub { join '|', map { $_ // 'NULL' } @{ $_[0] } };
	$rows{ $text->($_) }++ for @{ $m->selectall_arrayref("SELECT $columns FROM $from") };
	my $there = eval { $p->selectall_arrayref("SELECT $columns FROM $into") } or return $p->errstr;
	$rows{ $text->($_) }-- for @$there;
	return join "\n", map { sprintf '%s: %+d on the source', $_, $rows{$_} } grep { $rows{$_} } sort keys %rows;
}

1;
