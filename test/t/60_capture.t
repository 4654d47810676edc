# src/capture as its reader sees it (test/unit/td_capture_test): what comes of changes, DDL and failures, and what does not come.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use DBI;
use Test::More;
use File::Copy;
use POSIX ();
use TdProcs;
use Time::HiRes qw(sleep time);

my $top = "$FindBin::Bin/../..";
my $pg = start_server('capture', 'wal_writer_delay = 10s', 'max_slot_wal_keep_size = -1', 'autovacuum = off');
my $so = "$pg->{TD_PG_DATA}/../td_capture_test.so";
system("make -s -C $top/test/unit/td_capture_test PG_CONFIG=$pg->{TD_PG_BIN}/pg_config") == 0 or BAIL_OUT('td_capture_test does not build');
copy("$top/test/unit/td_capture_test/td_capture_test.so", $so) or BAIL_OUT("td_capture_test.so: $!");
chmod 0755, $so;
my $db = 'postgres';
execute($db, 'CREATE EXTENSION tapdata');    # a database without it is cleared of workers and slots
is(system("$pg->{TD_PG_BIN}/psql", '-qX', '-h', $pg->{PGHOST}, '-p', $pg->{PGPORT}, '-U', 'postgres', '-v', 'ON_ERROR_STOP=1', '-d', $db,
	'-v', 'td_capture_test=' . ($so =~ s/\.so$//r), '-f', "$top/test/unit/td_capture_test/td_capture_test.sql"), 0, 'td_capture_test is there');

my $cap;    # the session that reads
my $version = 0;

# A new reader; wants these: [table, "columns"]...
sub reader
{
	my ($group, @wanted) = @_;
	$cap->disconnect if $cap;
	$cap = psql($db, fresh => 1);
	eventually(sub { $cap->selectrow_array(q{SELECT cap.open(?, 'cap_' || ?, ?)}, undef, $group, $group, []) }) or die "no worker\n";
	wants(@wanted);
	return;
}

sub wants
{
	my (@wanted) = @_;
	$version++;
	$cap->do('SELECT cap.want(?, ?::regclass[], ?)', undef, $version, [map { $_->[0] } @wanted], [map { $_->[1] } @wanted]);
	return;
}

# Everything that came since, without versions: "begin; t +1 (1,a); commit"
sub got
{
	my $lines = eval { $cap->selectcol_arrayref('SELECT * FROM cap.read()') } or return 'ERROR ' . $cap->state . ' ' . $cap->errstr;
	return join '; ', map { s/^begin v\d+$/begin/r } @$lines;
}

# The same, of rows only.
sub got_rows { return got() =~ s/\b(begin|commit); |; commit$|^start( created)?(; |$)//gr }

# In a process of its own, with a session of its own (those of the parent are not to be touched).
sub writer
{
	my ($code) = @_;
	my $child = fork() // die $!;
	return $child if $child;
	my $s = DBI->connect("DBI:Pg:host=$pg->{PGHOST};port=$pg->{PGPORT};dbname=$db", 'postgres', '', { RaiseError => 1, PrintError => 0, AutoCommit => 1 });
	$code->($s);
	POSIX::_exit(0);
}

sub capture_pid { return (worker_pids('capture'))[0] }

sub finish_reader { $cap->do('SELECT cap.close()'); ok(eventually(sub { !capture_pid() }), $_[0] // 'the worker ends with its reader'); return }

is(value($db, 'SELECT cap.slot_name(7)'), 'tapdata_' . value($db, 'SELECT oid FROM pg_database WHERE datname = current_database()') . '_g7', 'names of slots');

# ---- rows and replica identities (slots of other names: the supervisor drops those of groups it does not know) ----
execute($db, 'CREATE TABLE f (id int PRIMARY KEY, v text, w int)', 'ALTER TABLE f REPLICA IDENTITY FULL',
	'CREATE TABLE d (id int PRIMARY KEY, v text)', 'CREATE TABLE i (a int NOT NULL, b int NOT NULL, v text)', 'CREATE UNIQUE INDEX i_ab ON i (a, b)',
	'ALTER TABLE i REPLICA IDENTITY USING INDEX i_ab', 'CREATE TABLE n (id int)', 'ALTER TABLE n REPLICA IDENTITY NOTHING', 'CREATE TABLE nobody (id int)');
reader(1001, ['f', '1,2'], ['d', '1'], ['i', '1,2'], ['n', '']);
is(got(), 'start created', 'the slot is made');
execute($db, q{INSERT INTO f VALUES (1, 'a', 1), (2, NULL, 2)});
is(got(), 'begin; f +1 (1,a); f +1 (2,null); commit', 'inserts');
execute($db, q{UPDATE f SET v = 'b' WHERE id = 1}, 'UPDATE f SET w = w + 1', 'UPDATE f SET v = v');
is(got(), 'begin; f -1 (1,a); f +1 (1,b); commit', 'an update of a wanted column; others send nothing, not even a transaction');
execute($db, 'DELETE FROM f WHERE id = 2');
is(got(), 'begin; f -1 (2,null); commit', 'a delete');
execute($db, q{INSERT INTO d VALUES (1, 'a')}, q{UPDATE d SET v = 'b'}, 'UPDATE d SET id = 2', 'DELETE FROM d');
is(got(), 'begin; d +1 (1); commit; begin; d -1 (1); d +1 (2); commit; begin; d -1 (2); commit', 'identity DEFAULT is enough for the key');
execute($db, q{INSERT INTO i VALUES (1, 2, 'a')}, q{UPDATE i SET v = 'b'}, 'UPDATE i SET b = 3', 'DELETE FROM i');
is(got(), 'begin; i +1 (1,2); commit; begin; i -1 (1,2); i +1 (1,3); commit; begin; i -1 (1,3); commit', 'identity by an index likewise');
execute($db, 'INSERT INTO n VALUES (1)', 'UPDATE n SET id = 2', 'DELETE FROM n');
is(got(), 'begin; n +1 (); commit; begin; n -1 (); commit', 'rows without columns need no identity');
execute($db, 'INSERT INTO nobody VALUES (1)');
is(got(), '', 'what is not wanted does not come');
wants(['d', '1,2'], ['n', '1']);
is(got(), '', 'another wanted set');
execute($db, q{INSERT INTO d VALUES (1, 'a')}, q{UPDATE d SET v = 'b'}, 'DELETE FROM d');
is(got(), 'begin; d +1 (1,a); commit; begin; d unknown old image; commit; begin; d unknown old image; commit', 'a key is not enough for other columns');
psql($db)->begin_work; execute($db, 'INSERT INTO n VALUES (1)', 'UPDATE n SET id = 2', 'UPDATE n SET id = 3', 'INSERT INTO n VALUES (4)'); psql($db)->commit;
is(got(), 'begin; n +1 (1); n unknown old image; commit', 'said once in a transaction, and no more rows after it');

# ---- values ----
execute($db, 'CREATE TABLE toasted (id int PRIMARY KEY, n int, doc text, small text)', 'ALTER TABLE toasted ALTER doc SET STORAGE EXTERNAL', 'ALTER TABLE toasted REPLICA IDENTITY FULL');
wants(['toasted', '1,2,3']);
got();
execute($db, q{INSERT INTO toasted SELECT 1, 1, repeat('wxyz', 5000), 's'}, 'UPDATE toasted SET n = 2', q{UPDATE toasted SET small = 't'}, q{UPDATE toasted SET doc = repeat('abcd', 6000)}, 'DELETE FROM toasted');
is(got(), 'begin; toasted +1 (1,1,wxyz~20000); commit; begin; toasted -1 (1,1,wxyz~20000); toasted +1 (1,2,wxyz~20000); commit; '
	. 'begin; toasted -1 (1,2,wxyz~20000); toasted +1 (1,2,abcd~24000); commit; begin; toasted -1 (1,2,abcd~24000); commit', 'a value out of line that an update leaves alone is whole, and equal');
execute($db, 'ALTER TABLE toasted ALTER doc SET STORAGE EXTENDED', q{INSERT INTO toasted SELECT 2, 1, repeat('wxyz', 500), 's'}, 'ALTER TABLE toasted ALTER doc SET STORAGE PLAIN',
	q{UPDATE toasted SET doc = repeat('wxyz', 500)});
is(got_rows(), 'toasted ddl; toasted +1 (2,1,wxyz~2000); toasted ddl', 'how a value is stored makes no difference');
execute($db, 'ALTER TABLE toasted REPLICA IDENTITY DEFAULT, ALTER doc SET STORAGE EXTERNAL', q{INSERT INTO toasted SELECT 3, 1, repeat('abcd', 5000), 's'}, 'UPDATE toasted SET n = 3 WHERE id = 3');
is(got_rows(), 'toasted ddl; toasted +1 (3,1,abcd~20000); toasted unknown old image', 'without an old image of it');

# ---- columns that come and go ----
execute($db, 'CREATE TABLE c (a int, b int, id int PRIMARY KEY)', 'ALTER TABLE c REPLICA IDENTITY FULL', 'INSERT INTO c VALUES (1, 2, 3)', 'ALTER TABLE c DROP COLUMN a',
	q{ALTER TABLE c ADD COLUMN d text DEFAULT 'old'});
got();
wants(['c', '2,3,4']);
is(got(), '', 'nothing of what was before');
execute($db, 'UPDATE c SET b = 4', q{INSERT INTO c (b, id, d) VALUES (5, 6, 'new')}, 'DELETE FROM c WHERE id = 3');
is(got_rows(), 'c -1 (2,3,old); c +1 (4,3,old); c +1 (5,6,new); c -1 (4,3,old)', 'a dropped column, and one with a default that no row had');
execute($db, q{INSERT INTO c (b, id, d) VALUES (7, 7, 'x')}, 'ALTER TABLE c ALTER b TYPE text', q{INSERT INTO c (b, id, d) VALUES ('8', 8, 'y')});
is(got_rows(), 'c +1 (7,7,x); c ddl; c +1 (8,8,y)', 'ALTER TYPE between a change and its reading');
psql($db)->begin_work;
execute($db, q{INSERT INTO c (b, id, d) VALUES ('9', 9, 'z')}, 'ALTER TABLE c ALTER b TYPE int USING b::int', 'INSERT INTO c (b, id) VALUES (10, 10)', 'ALTER TABLE c ADD COLUMN e int', 'INSERT INTO c (b, id, e) VALUES (11, 11, 11)');
psql($db)->commit;
is(got_rows(), 'c +1 (9,9,z); c +1 (10,10,old); c +1 (11,11,old); c ddl', 'DDL and changes in one transaction');
execute($db, 'INSERT INTO c (b, id, e) VALUES (12, 12, 12)', 'ALTER TABLE c DROP COLUMN d', 'INSERT INTO c (b, id, e) VALUES (13, 13, 13)');
is(got_rows(), 'c +1 (12,12,old); c ddl; c unknown column', 'a wanted column is dropped');
execute($db, 'CREATE TABLE later (id int PRIMARY KEY)', 'ALTER TABLE later REPLICA IDENTITY FULL');
finish_reader();
execute($db, 'INSERT INTO later VALUES (1)', 'ALTER TABLE later ADD COLUMN v int', 'INSERT INTO later VALUES (2, 2)');
reader(1001, ['later', '1,2']);
like(got(), qr/^start;.*later unknown column; commit; begin; later ddl; commit; begin; later \+1 \(2,2\); commit$/, 'a wanted column that was not there yet');

# ---- partitions ----
execute($db, 'CREATE TABLE p (id int, k int, v text) PARTITION BY RANGE (id)', 'CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)', 'ALTER TABLE p1 REPLICA IDENTITY FULL');
wants(['p', '1,3']);
got();
execute($db, q{INSERT INTO p VALUES (1, 1, 'a')}, q{UPDATE p SET v = 'b'});
is(got_rows(), 'p +1 (1,a); p -1 (1,a); p +1 (1,b)', 'rows of a partition are the table\'s');
execute($db, 'CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)', q{INSERT INTO p VALUES (11, 1, 'c')}, q{UPDATE p SET v = 'd' WHERE id = 11});
is(got_rows(), 'p ddl; p +1 (11,c); p unknown old image', 'a partition made later does not inherit the identity');
execute($db, 'CREATE TABLE p3 (extra int, v text, k int, id int)', 'ALTER TABLE p3 DROP COLUMN extra', 'ALTER TABLE p3 REPLICA IDENTITY FULL', q{INSERT INTO p3 VALUES ('e', 1, 21)},
	'ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30)', q{INSERT INTO p VALUES (22, 1, 'f')}, 'UPDATE p SET v = upper(v) WHERE id > 20');
is(got_rows(), 'p ddl; p +1 (22,f); p -1 (21,e); p +1 (21,E); p -1 (22,f); p +1 (22,F)', 'ATTACH: its rows of before do not come, columns are found by name');
execute($db, q{INSERT INTO p VALUES (23, 1, 'g')}, 'ALTER TABLE p DETACH PARTITION p3', q{INSERT INTO p3 VALUES ('h', 1, 24)});
is(got_rows(), 'p +1 (23,g); p ddl; p unknown not below', 'DETACH: nothing after it, and it is told that rows of before were sent');
execute($db, 'CREATE TABLE q (LIKE p) PARTITION BY RANGE (id)', 'CREATE TABLE q1 PARTITION OF q FOR VALUES FROM (30) TO (40)', 'ALTER TABLE q1 REPLICA IDENTITY FULL', q{INSERT INTO q VALUES (31, 1, 'i')});
is(got_rows(), '', 'another tree');
execute($db, 'ALTER TABLE p ATTACH PARTITION q FOR VALUES FROM (30) TO (40)', q{INSERT INTO q VALUES (32, 1, 'j')}, 'ALTER TABLE p DETACH PARTITION q', q{INSERT INTO q VALUES (33, 1, 'k')});
is(got_rows(), 'p ddl; p +1 (32,j); p ddl; p unknown not below', 'a tree below a tree, and away again');
execute($db, q{ALTER TABLE p RENAME COLUMN v TO vv}, q{INSERT INTO p VALUES (2, 1, 'l')});
is(got_rows(), 'p ddl; p +1 (2,l)', 'a renamed column');
wants(['p', '1'], ['p1', '3']);
got();
execute($db, q{INSERT INTO p VALUES (3, 1, 'm')});
is(got_rows(), 'p1 +1 (m); p +1 (3)', 'a partition that is wanted by itself too');
execute($db, 'TRUNCATE p1');
is(got(), 'begin; p1 unknown truncate; p unknown truncate; p1 ddl; p ddl; commit', 'TRUNCATE of a partition');
execute($db, 'TRUNCATE p');
is(got_rows() =~ /p unknown truncate/ ? 1 : got_rows(), 1, 'TRUNCATE of the table');
execute($db, 'DROP TABLE p2');
is(got_rows(), 'p ddl; p unknown not below', 'a partition is dropped');

# ---- DDL ----
wants(['f', '1'], ['d', '1']);
execute($db, 'CREATE TEMP TABLE first (id int)');    # the first one of all makes a schema
got();
execute($db, 'CREATE TABLE noise (id int PRIMARY KEY, v text)', 'CREATE TEMP TABLE tmp (id int)', 'DROP TABLE noise');
is(got(), '', 'DDL elsewhere is none of ours');
execute($db, 'CREATE FUNCTION fn() RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT 1 $$', 'ALTER TABLE f ENABLE ROW LEVEL SECURITY');
is(got(), 'begin; - ddl; commit; begin; f ddl; commit', 'functions, and row-level security');
execute($db, 'DROP TABLE d');
is(got(), 'begin; (gone) ddl; commit', 'a wanted table is dropped');
execute($db, 'ALTER TABLE f DISABLE ROW LEVEL SECURITY');
wants(['f', '1,2']);
got();

# ---- transactions ----
psql($db)->begin_work;
execute($db, q{INSERT INTO f VALUES (10, 'x', 0)}, 'SAVEPOINT s', q{INSERT INTO f VALUES (11, 'gone', 0)}, 'ROLLBACK TO s', q{INSERT INTO f VALUES (12, 'y', 0)}, 'SAVEPOINT s2', q{UPDATE f SET v = 'z' WHERE id = 12}, 'RELEASE s2');
psql($db)->commit;
is(got(), 'begin; f +1 (10,x); f +1 (12,y); f -1 (12,y); f +1 (12,z); commit', 'savepoints');
psql($db)->begin_work; execute($db, q{INSERT INTO f VALUES (13, 'gone', 0)}); psql($db)->rollback;
psql($db)->begin_work; execute($db, q{INSERT INTO f VALUES (14, 'p', 0)}); my ($xid) = value($db, 'SELECT txid_current()'); execute($db, q{PREPARE TRANSACTION 'one'});
psql($db)->{AutoCommit} = 1;
is(got(), '', 'a rolled back one never comes, a prepared one not yet');
execute($db, q{COMMIT PREPARED 'one'});
is(join('; ', @{ $cap->selectcol_arrayref('SELECT * FROM cap.read(20000, true, true)') }), "begin $xid; f +1 (14,p); commit", 'it comes with COMMIT PREPARED, under its own xid');
execute($db, q{SET synchronous_commit = off}, q{INSERT INTO f VALUES (15, 'async', 0)}, 'RESET synchronous_commit');
is($cap->selectrow_array('SELECT cap.nothing(3000)'), 0, 'a commit that nobody flushes comes by itself');
is(got(), '', 'once');

# ---- skipped origins ----
execute($db, q{SELECT pg_replication_origin_create('mine')}, q{SELECT pg_replication_origin_create('theirs')});
finish_reader();
$cap->disconnect; $cap = psql($db, fresh => 1);
$cap->do(q{SELECT cap.open(1001, 'cap_1001', ARRAY(SELECT roident::int FROM pg_replication_origin WHERE roname = ?))}, undef, 'mine');
wants(['f', '1']);
got();
for my $origin ('mine', 'theirs')
{
	my $s = psql($db, fresh => 1);
	$s->do("SELECT pg_replication_origin_session_setup('$origin')");
	$s->do('INSERT INTO f VALUES (?, ?, 0)', undef, $origin eq 'mine' ? 20 : 21, $origin);
	$s->disconnect;
}
is(got(), 'begin; f +1 (21); commit', 'exactly the origin that is left out');

# ---- what is not confirmed comes again; confirmations ----
finish_reader();
reader(1001, ['f', '1']);
like(got(), qr/^start; .*f \+1 \(20\); commit; begin; f \+1 \(21\); commit$/, 'what was not confirmed comes again');
my $lsn = value($db, 'SELECT pg_current_wal_lsn()');
got();
$cap->do('SELECT cap.confirm(?)', undef, $lsn);
ok(eventually(sub { value($db, q{SELECT confirmed_flush_lsn <= ?::pg_lsn AND confirmed_flush_lsn > ?::pg_lsn - 100 FROM pg_replication_slots WHERE slot_name = 'cap_1001'}, $lsn, $lsn) }), 'a confirmation arrives though nothing is written');
finish_reader();
reader(1001, ['f', '1']);
is(got(), 'start', 'and then it does not come again');

# ---- an idle server, and commits that do not concern us ----
sub switches { my $pid = capture_pid(); open my $f, '<', "/proc/$pid/status" or return -1; my ($n) = join('', <$f>) =~ /^voluntary_ctxt_switches:\s+(\d+)/m; return $n }
sleep 6;    # for five seconds after the last WAL it looks by itself
my $before = switches();
sleep 2;
cmp_ok(switches() - $before, '<=', 1, 'the worker does not run on an idle server');
execute($db, 'INSERT INTO nobody VALUES (2)');
is($cap->selectrow_array('SELECT cap.nothing(300)'), 1, 'the reader is not woken for what it does not want');
{
	# WAL is common to all databases: a worker that slept in an idle one would keep what the others write
	execute($db, 'CREATE DATABASE elsewhere');
	my $writer = psql('elsewhere', fresh => 1);
	$writer->do('CREATE TABLE t (v text)');
	got();
	$cap->do('SELECT cap.nothing(300)');    # gives the last block back, which wakes the worker
	ok(eventually(sub { my $n = switches(); sleep 2; switches() == $n }, 60), 'it sleeps, without a timeout');
	my $at = value($db, 'SELECT pg_current_wal_lsn()');
	for (1 .. 3) { $writer->do($_) for q{INSERT INTO t SELECT repeat(md5(g::text), 30) FROM generate_series(1, 1000) g}, 'SELECT pg_switch_wal()' }
	$writer->disconnect;
	ok(eventually(sub { $cap->do('SELECT cap.nothing(300)'); $cap->selectrow_array('SELECT cap.told() > ?', undef, $at) }, 5), 'and reads what another database writes');
	execute($db, 'DROP DATABASE elsewhere');
}

# ---- a large transaction in little memory ----
execute($db, q{ALTER SYSTEM SET tapdata.worker_memory = '4MB'}, 'SELECT pg_reload_conf()', 'CREATE TABLE big (id int, v text)');
wants(['big', '1,2']);
got();
my $pid = capture_pid();
execute($db, q{INSERT INTO big SELECT g, 'value ' || g FROM generate_series(1, 1000000) g});
my $lines = $cap->selectcol_arrayref('SELECT * FROM cap.read(120000, false)');
is($lines->[-1], 'commit of 1000000', 'a transaction of a million rows');
open my $status, '<', "/proc/$pid/status" or die $!;
my ($rss) = join('', <$status>) =~ /^RssAnon:\s+(\d+)/m;
cmp_ok($rss, '<', 60_000, "the worker stays small ($rss kB)");
execute($db, 'ALTER SYSTEM RESET tapdata.worker_memory', 'SELECT pg_reload_conf()');
execute($db, q{CREATE TABLE wide (id int, a text, b text)}, 'ALTER TABLE wide REPLICA IDENTITY FULL');
wants(['wide', '1,2,3']);
got();
execute($db, q{INSERT INTO wide VALUES (1, repeat('a', 20000000), repeat('b', 20000000))}, 'UPDATE wide SET id = 2');
is(got_rows(), 'wide +1 (1,aaaa~20000000,bbbb~20000000); wide -1 (1,aaaa~20000000,bbbb~20000000); wide +1 (2,aaaa~20000000,bbbb~20000000)', 'rows larger than queue and block');
if ($ENV{TD_HUGE})    # make soak: rows of more than 1 GB want 6 GB of memory, 6 GB of disk
{
	execute($db, q{INSERT INTO wide SELECT 3, repeat('a', 300000000), repeat('b', 300000000)}, q{UPDATE wide SET a = repeat('c', 400000000) WHERE id = 3},
		q{UPDATE wide SET a = repeat('a', 600000000), b = 'b' WHERE id = 3}, q{UPDATE wide SET b = repeat('b', 600000000) WHERE id = 3}, q{UPDATE wide SET id = 4 WHERE id = 2});
	$cap->do('SET statement_timeout = 0');
	my $counts = $cap->selectcol_arrayref('SELECT * FROM cap.read(200000, false)');
	is(join('; ', map { s/^begin v\d+$/begin/r } @$counts), 'begin; commit of 1; begin; commit of 2; begin; commit of 2; begin; wide unknown too large; commit of 0; begin; commit of 2', 'rows of nearly 1 GB, and more');
	psql($db)->begin_work;
	execute($db, q{INSERT INTO wide SELECT 5, repeat('s', 300), '' FROM generate_series(1, 600)}, q{INSERT INTO wide SELECT 6, repeat('a', 536000000), repeat('b', 537674000)});
	psql($db)->commit;
	$counts = $cap->selectcol_arrayref('SELECT * FROM cap.read(200000, false)');
	is($counts->[-1], 'commit of 601', 'the largest row there is, behind small ones');
}

# ---- the wanted set changes under load ----
execute($db, 'CREATE TABLE l1 (id serial PRIMARY KEY, x bigint DEFAULT txid_current())', 'CREATE TABLE l2 (LIKE l1 INCLUDING ALL)');
my $many = 'CREATE TABLE many (' . join(', ', map { "c$_ int" } 1 .. 1600) . ')';
execute($db, $many, map { "CREATE TABLE r$_ (a int, b int)" } 1 .. 200);
wants(['l1', '1,2']);
got();
my @writers = map { writer(sub { for my $i (1 .. 600) { $_[0]->do('INSERT INTO l1 DEFAULT VALUES'); $_[0]->do('INSERT INTO l2 DEFAULT VALUES') } }) } 1, 2;
my (%seen, @versions);
my $first = $version;
my $collect = sub {
	for (@{ $cap->selectcol_arrayref('SELECT * FROM cap.read()') })
	{
		push @versions, $1 if /^begin v(\d+)/;
		$seen{"$1 $versions[-1]"}++ if /^(l[12]) \+1/;
		$seen{$1}++ if /^(l[12]) \+1/;
	}
};
for (1 .. 20)
{
	wants(['l1', '1,2'], ($_ % 2 ? (['l2', '1']) : ()), ['many', join(',', 1 .. 1600)], map { ["r$_", '1,2'] } 1 .. 200);
	$collect->();
	sleep 0.02;
}
waitpid $_, 0 for @writers;
$collect->();
is($seen{l1}, 1200, 'nothing of what is wanted all the time is lost or doubled');
is(join(',', @versions), join(',', sort { $a <=> $b } @versions), 'versions only ascend');
ok(!(grep { /^l2 (\d+)/ && !(($1 - $first) % 2) } keys %seen), 'no row of what that version did not want');
execute($db, 'INSERT INTO many VALUES (' . join(',', 1 .. 1600) . ')');
is(got_rows(), 'many +1 (' . join(',', 1 .. 1600) . ')', '1600 columns');
execute($db, (map { "DROP TABLE r$_" } 1 .. 200), 'DROP TABLE many');

# ---- commits around the creation of a slot ----
finish_reader();
my $stop = "$pg->{TD_PG_DATA}/../stop_writers";
my @busy = map { my $n = $_; writer(sub { until (-e $stop) { $_[0]->begin_work; $_[0]->do('INSERT INTO l1 DEFAULT VALUES'); sleep 0.001 * $n; $_[0]->commit } }) } 1 .. 4;
for my $group (1010 .. 1014)
{
	reader($group, ['l1', '1,2']);
	$collect->();
	sleep 0.1;
	my ($x) = $cap->selectrow_array('SELECT cap.started()');
	$cap->do('SELECT cap.close()');
	eventually(sub { !capture_pid() });
	reader($group, ['l1', '1,2']);
	my (%begun, $at);
	for (@{ $cap->selectcol_arrayref('SELECT * FROM cap.read(20000, true, true)') }) { $at = $1 if /^begin (\d+)/; $begun{$1} = $at if /^l1 \+1 \(\d+,(\d+)\)/ }
	is_deeply([grep { $begun{$_} != $_ } keys %begun], [], "BEGIN has the transaction's xid") if $group == 1010;
	my $must = psql($db)->selectcol_arrayref('SELECT x FROM l1 WHERE x >= ?', undef, $x);
	my %later = map { /^l1 \+1 \(\d+,(\d+)\)/ ? ($1 => 1) : () } @{ $cap->selectcol_arrayref('SELECT * FROM cap.read()') };
	is_deeply([grep { !$begun{$_} && !$later{$_} } @$must], [], "group $group: every transaction from the noted xid on comes");
	$cap->do('SELECT cap.close()');
	eventually(sub { !capture_pid() });
	$cap->do(q{SELECT cap.slot_drop('cap_' || ?)}, undef, $group);
}
open my $touch, '>', $stop; close $touch;
waitpid $_, 0 for @busy;
unlink $stop;

# A slot that waits for a transaction to end, and whose reader gives up: no half slot stays.
psql($db)->begin_work;
execute($db, 'INSERT INTO nobody VALUES (3)');
$cap->disconnect; $cap = psql($db, fresh => 1);
$cap->do(q{SELECT cap.open(1020, 'cap_1020')});
my $look = psql($db, fresh => 1);
ok(eventually(sub { $look->selectrow_array(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tapdata capture' AND wait_event = 'transactionid'}) }), 'making a slot waits for open transactions');
$cap->do('SELECT cap.close()');
ok(eventually(sub { !$look->selectrow_array(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tapdata capture'}) }), 'a reader that gives up ends it');
is($look->selectrow_array(q{SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'cap_1020'}), 0, 'and leaves no slot');
psql($db)->rollback;
$look->disconnect;

# ---- ends of reader and worker ----
reader(1001, ['f', '1']);
got();
execute($db, q{INSERT INTO f VALUES (30, 'a', 0)});
kill 'TERM', capture_pid();
ok(eventually(sub { got() =~ /^ERROR/ }), 'the worker is terminated: the reader is told');
reader(1001, ['f', '1']);
like(got(), qr/f \+1 \(30\); commit$/, 'a new one delivers what is missing');
value($db, 'SELECT pg_terminate_backend(?)', $cap->{pg_pid});
ok(eventually(sub { !capture_pid() }), 'the reader is terminated: the worker ends');
eval { $cap->disconnect }; $cap = undef;
reader(1001, ['f', '1']);
like(got(), qr/f \+1 \(30\); commit$/, 'the next reader has it all');
# a reader that does not read while much is decoded, then goes
execute($db, 'CREATE TABLE flood (id int, v text)');
wants(['flood', '1,2']);
got();
execute($db, q{INSERT INTO flood SELECT g, repeat('x', 100) FROM generate_series(1, 100000) g});
is(worker_pids('capture') + 0, 1, 'a worker that waits for its reader');
sleep 0.5;
finish_reader('ends with it, in the middle of a transaction');

# ---- slots of others, slots lost ----
like(try_do(psql($db), q{SELECT pg_create_logical_replication_slot('hand', 'tapdata')}), qr/^0A000 .*own workers/, 'the plugin is not for slots made by hand');
value($db, q{SELECT pg_create_logical_replication_slot('cap_1030', 'test_decoding')});
reader(1030, ['f', '1']);
like(got(), qr/^ERROR 42710 .*is not one of tapdata's/, 'a slot of that name with another plugin');
$cap->do(q{SELECT cap.slot_drop('cap_1030')});
$cap->do(q{SELECT cap.slot_drop('cap_1030')});
is(value($db, q{SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'cap_1030'}), 0, 'dropped, also twice');
is(value($db, q{SELECT cap.slot_state('cap_1030') IS NULL}), 1, 'no state of what is not there');
execute($db, 'ALTER SYSTEM SET max_slot_wal_keep_size = 1', 'SELECT pg_reload_conf()');
for my $how ('at rest', 'in use')
{
	reader(1001, ['nobody', '1']) if $how eq 'in use';
	got() if $how eq 'in use';
	if ($how eq 'in use') { execute($db, q{INSERT INTO nobody SELECT generate_series(1, 1000)}) }
	for (1 .. 4) { execute($db, 'CREATE TABLE IF NOT EXISTS fill (v text)', q{INSERT INTO fill SELECT repeat('x', 1000) FROM generate_series(1, 20)}, 'SELECT pg_switch_wal()') }
	execute($db, 'CHECKPOINT');
	ok(eventually(sub { value($db, q{SELECT lost FROM cap.slot_state('cap_1001')}) }), "$how: a slot that holds too much WAL is lost");
	reader(1001, ['f', '1']) if $how eq 'at rest';
	like(got(), qr/^ERROR 55000 ERROR:  replication slot "\w+" was lost/, "$how: and the reader is told");
	$cap->do('SELECT cap.close()');
	eventually(sub { !capture_pid() });
	$cap->do(q{SELECT cap.slot_drop('cap_1001')});
}
reader(1001, ['f', '1']);
is(got(), 'start created', 'a new one is made');
execute($db, 'ALTER SYSTEM RESET max_slot_wal_keep_size', 'SELECT pg_reload_conf()');

# ---- kill -9 of the worker: the server restarts, nothing is lost ----
execute($db, q{INSERT INTO f VALUES (40, 'a', 0)});
like(got(), qr/f \+1 \(40\)/, 'before the crash');
kill 'KILL', capture_pid();
eventually(sub { !eval { $cap->do('SELECT 1') } });
ok(eventually(sub { value($db, 'SELECT 1') }), 'the server is back');
execute($db, q{INSERT INTO f VALUES (41, 'a', 0)});
$cap = undef;
reader(1001, ['f', '1']);
is(got(), 'start; begin; f +1 (40); commit; begin; f +1 (41); commit', 'everything comes again');
$cap->do('SELECT cap.close()');
eventually(sub { !capture_pid() });

if ($ENV{TD_HUGE})    # here, for nobody decodes it again
{
	reader(1001, ['wide', '1,2,3']);
	$cap->do('SET statement_timeout = 0');
	$cap->selectcol_arrayref('SELECT * FROM cap.read(200000, false)');
	execute($db, 'ALTER TABLE wide ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL', q{INSERT INTO wide SELECT 7, repeat('a', 600000000), 'b'}, q{UPDATE wide SET b = repeat('b', 600000000) WHERE id = 7});
	like(join('; ', @{ $cap->selectcol_arrayref('SELECT * FROM cap.read(200000, false)') }), qr/commit of 1; begin \w+; wide unknown too large; commit of 0$/, 'a row too large, one half of it in the old image only, not compressed');
	$cap->do('SELECT cap.close()');
	eventually(sub { !capture_pid() });
}

# ---- what the server lacks ----
is(try_do(psql($db), 'SELECT cap.require()'), '', 'a well-set server lacks nothing');
execute($db, 'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots');
$cap->disconnect;
restart_server('fast', 'wal_level = replica', (value($db, q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'}) ? 'output_plugin_libraries = pgoutput' : ()));
my $lacks = eval { psql($db)->do('SELECT cap.require()'); '' } // psql($db)->errstr;
like($lacks, qr/ALTER SYSTEM SET wal_level = logical;/, 'wal_level is asked for');
like($lacks, qr/ALTER SYSTEM SET output_plugin_libraries = pgoutput, tapdata;/, 'and the plugin') if value($db, q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'});
unlike(join('', grep { /PANIC|signal 11|signal 6|TRAP/ } do { open my $f, '<', $pg->{TD_PG_LOG}; <$f> }), qr/./, 'no crash but the one we made');
finish();
done_testing();
