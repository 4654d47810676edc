# src/apply against hand-built records (test/unit/td_test): SQL files, and other sessions that write into a target meanwhile.
# TD_SEED chooses the random oracle's seed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use File::Copy;
use TdProcs;

my $top = "$FindBin::Bin/../..";
my $pg = start_server('applying');
my $so = "$pg->{TD_PG_DATA}/../td_test.so";
system("make -s -C $top/test/unit/td_test PG_CONFIG=$pg->{TD_PG_BIN}/pg_config") == 0 or BAIL_OUT('td_test does not build');
copy("$top/test/unit/td_test/td_test.so", $so) or BAIL_OUT("td_test.so: $!");
chmod 0755, $so;
my @psql = ("$pg->{TD_PG_BIN}/psql", '-qAtX', '-h', $pg->{PGHOST}, '-p', $pg->{PGPORT}, '-U', 'postgres', '-F', "\n", '-v', 'ON_ERROR_STOP=1');
execute('postgres', 'CREATE DATABASE unit');
execute('unit', 'CREATE EXTENSION tapdata', 'CREATE EXTENSION pgtap');
is(system(@psql, '-d', 'unit', '-v', 'td_test=' . ($so =~ s/\.so$//r), '-f', "$top/test/unit/td_test/td_test.sql"), 0, 'td_test is there');

# ---- SQL files ----
my $seed = $ENV{TD_SEED} // int(rand(1 << 31));
for my $file (sort glob "$top/test/unit/td_test/sql/*.sql")
{
	my $name = $file =~ s{.*/}{}r;
	my @args = $name =~ /oracle/ ? ('-v', "seed=$seed") : ();
	open my $out, '-|', 'sh', '-c', '"$@" 2>&1', 'sh', @psql, '-d', 'unit', @args, '-f', $file or die;
	my @lines = <$out>;
	close $out;
	my $status = $?;
	my ($plan) = map { /^1\.\.(\d+)/ ? $1 : () } @lines;
	my $good = grep { /^ok / } @lines;
	my $bad = grep { /^not ok / } @lines;
	ok($status == 0 && $plan && $good == $plan && !$bad, "$name: $good of " . ($plan // '?') . ($name =~ /oracle/ ? ", seed $seed" : ''))
		or diag(grep { !/^ok / } @lines);
}

# ---- other sessions write too ----
execute('unit', 'CREATE SCHEMA s', 'CREATE SCHEMA d', 'CREATE TABLE s.t (id int PRIMARY KEY, v text)', 'CREATE TABLE d.t (id int PRIMARY KEY, v text)',
	'CREATE TABLE s.h (id int, v text)', 'CREATE TABLE d.h (id int, v text)', 'CREATE TABLE d.g (id int PRIMARY KEY, v text)',
	'CREATE FUNCTION d.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(new, old); END $$',
	'CREATE TRIGGER g BEFORE UPDATE OR DELETE ON d.g FOR EACH ROW EXECUTE FUNCTION d.f()', 'ALTER TABLE d.g ENABLE ALWAYS TRIGGER g');

# The query runs in a session of its own until it waits for the user's transaction; then that commits, and the query ends.
sub meanwhile
{
	my ($user_sql, $open, $changes) = @_;
	my $user = psql('unit', fresh => 1);
	my $apply = psql('unit', fresh => 1);
	$apply->do("SELECT td_test.open($open)");
	my $pid = $apply->{pg_pid};
	$user->begin_work;
	$user->do($user_sql);
	my $sth = $apply->prepare('SELECT rows FROM td_test.feed(?)', { pg_async => DBD::Pg::PG_ASYNC() });
	$sth->execute($changes);
	my $waited = eventually(sub { value('unit', "SELECT count(*) FROM pg_locks WHERE pid = $pid AND NOT granted") });
	$user->commit;
	my $result = eval { $sth->pg_result; my ($n) = $sth->fetchrow_array; $sth->finish; $n } // $apply->errstr;
	$_->disconnect for $user, $apply;
	return ($waited ? 'waited, ' : 'did not wait, ') . $result;
}

my $few = q{SELECT 1, 'u', NULL::s.t, row(1, 'ours')::s.t, NULL::text[]};
my $many = q{SELECT 1, 'u', NULL::s.t, row(1, 'ours')::s.t, NULL::text[] UNION ALL SELECT 1, 'i', NULL, row(g, 'n')::s.t, NULL FROM generate_series(101, 120) g};
for my $case ([ 'one by one', $few, 1 ], [ 'as sets', $many, 21 ])
{
	my ($how, $changes, $n) = @$case;
	for my $table ('t', 'g')
	{
		next if $table eq 'g' && $how eq 'as sets';
		my $open = "'{s.t}', '{d.$table}'";
		my $label = $table eq 'g' ? 'with a trigger' : $how;
		execute('unit', "TRUNCATE d.$table", "INSERT INTO d.$table VALUES (1, 'before')");
		is(meanwhile("UPDATE d.$table SET v = 'user' WHERE id = 1", $open, $changes), "waited, $n", "$label: a row that a user is updating is waited for");
		is(rows('unit', "SELECT v FROM d.$table WHERE id = 1"), 'ours', 'and overwritten');
		execute('unit', "DELETE FROM d.$table WHERE id > 100");
		is(meanwhile("DELETE FROM d.$table WHERE id = 1", $open, $changes), "waited, $n", "$label: a row that a user is deleting");
		is(rows('unit', "SELECT count(*) FROM d.$table WHERE id = 1"), '0', 'is gone');
	}
}
execute('unit', 'TRUNCATE d.t');
is(meanwhile("INSERT INTO d.t VALUES (110, 'user')", "'{s.t}', '{d.t}'", $many), 'waited, 21', 'as sets: a row that a user is inserting');
is(rows('unit', "SELECT count(*) || ' ' || min(v) || ' ' || max(v) FROM d.t"), '20 n n', 'is overwritten');
execute('unit', 'TRUNCATE d.h', "INSERT INTO d.h VALUES (1, 'a'), (1, 'a'), (2, 'b')");
is(meanwhile('DELETE FROM d.h WHERE ctid = (SELECT min(ctid) FROM d.h)', "'{s.h}', '{d.h}'", q{SELECT 1, 'd', row(1, 'a')::s.h, NULL::s.h, NULL::text[]}), 'waited, 1',
	'without a key: one of two equal rows is deleted by a user');
is(rows('unit', 'SELECT * FROM d.h ORDER BY 1'), '2|b', 'then the other one is ours');
is(meanwhile('LOCK TABLE d.t IN ACCESS EXCLUSIVE MODE', "'{s.t}', '{d.t}'", $many), 'waited, 21', 'a locked table is waited for');

# ---- a database that is not UTF-8 ----
execute('postgres', "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
execute('latin', 'CREATE EXTENSION tapdata');
system(@psql, '-d', 'latin', '-v', 'td_test=' . ($so =~ s/\.so$//r), '-f', "$top/test/unit/td_test/td_test.sql");
execute('latin', 'CREATE TABLE s (id int PRIMARY KEY, t td_test.raw_text, j td_test.raw_json)', 'CREATE TABLE d (id int PRIMARY KEY, t varchar(2), j jsonb)',
	"SELECT td_test.open('{s}', '{d}')");
my $feed = sub { my ($t, $j) = @_; return try_do(psql('latin'), qq{SELECT td_test.feed(\$\$SELECT 1, 'i', NULL::s, row(1, '$t', '$j')::s, NULL::text[]\$\$)}) };
is($feed->('\xc3a4c3b6', '\x7b2261223a22c3a4227d'), '', 'text is converted');
is(rows('latin', "SELECT encode(convert_to(t || (j ->> 'a'), 'LATIN1'), 'hex') FROM d"), 'e4f6e4', 'to the encoding of the database');
like($feed->('\xe282ac', '{}'), qr/^22P05 .*column "t".*key \(id\)=\(1\): text has a character that encoding "LATIN1"/s, 'a character it lacks is an error');

server('drop');
done_testing();
