# The stream: transactions whole and in order, statements, positions, and everything that must stop it.
use strict;
use warnings;
use FindBin qw($Bin);
use lib $Bin;
use Test::More;
use Time::HiRes qw(time sleep);
use Source;

server('mysql_stream');
my $root = "mariadb --defaults-file=$env{TD_MARIADB_CNF} shop";

# Records from a position without SCHEMA lines; COMMIT without position and time unless asked for.
sub stream
{
	my ($from, @tables) = @_;
	my @lines = drive({}, 'stream', $from, 3, 'to=' . position(), @tables);
	return grep { !/^(SCHEMA|STREAMING|DETAIL)/ } map { s/^COMMIT \S+ -?\d+/COMMIT/r } @lines;
}

# What a piece of SQL becomes; all tables of the argument are followed.
sub becomes
{
	my ($sql, $want, $what, @tables) = @_;
	my $from = position();
	sql($sql);
	my @lines = stream($from, @tables ? @tables : ('shop.t', 'shop.u'));
	my $got = join("\n", map { s/^HINT .*//r } @lines);
	$got =~ s/\s+$//;
	ref $want ? like($got, $want, $what) : is($got, $want, $what);
}

sql("CREATE TABLE t (id int PRIMARY KEY, v varchar(20)); CREATE TABLE u (id int PRIMARY KEY, v varchar(20)); CREATE TABLE m (id int PRIMARY KEY, v varchar(20)) ENGINE = MyISAM;"
	  . "CREATE TABLE other (id int PRIMARY KEY, v varchar(20)); CREATE DATABASE second; CREATE TABLE second.t (id int PRIMARY KEY, v varchar(20));");

# ---- transactions ----
becomes("INSERT INTO t VALUES (1, 'a'), (2, 'b')", "INSERT 1 1|a\nINSERT 1 2|b\nCOMMIT", 'one statement');
becomes("BEGIN; INSERT INTO t VALUES (3, 'c'); INSERT INTO u VALUES (3, 'x'); UPDATE t SET v = 'C' WHERE id = 3; DELETE FROM t WHERE id = 1; COMMIT",
	"INSERT 1 3|c\nINSERT 2 3|x\nUPDATE 1 3|c -> 3|C\nDELETE 1 1|a\nCOMMIT", 'a transaction over two tables');
becomes("BEGIN; INSERT INTO t VALUES (9, 'no'); ROLLBACK; INSERT INTO t VALUES (4, 'd')", "INSERT 1 4|d\nCOMMIT", 'a rolled back one is not there');
becomes("BEGIN; INSERT INTO t VALUES (5, 'e'); SAVEPOINT s; INSERT INTO t VALUES (6, 'no'); ROLLBACK TO s; COMMIT", "INSERT 1 5|e\nCOMMIT", 'a savepoint');
becomes("INSERT INTO other VALUES (1, 'a'); INSERT INTO other VALUES (2, 'b'); INSERT INTO second.t VALUES (1, 'z')", "COMMIT", 'others only move the position on, by one record');
becomes("UPDATE t JOIN u ON t.id = u.id SET t.v = 'both', u.v = 'both'", qr/^(UPDATE 1 3\|C -> 3\|both\n|UPDATE 2 3\|x -> 3\|both\n){2}COMMIT$/, 'an UPDATE of two tables');
becomes("DELETE t, u FROM t JOIN u ON t.id = u.id", qr/^DELETE [12] 3\|both\nDELETE [12] 3\|both\nCOMMIT$/, 'a DELETE of two tables');
becomes("UPDATE t SET id = 40 WHERE id = 4", "UPDATE 1 4|d -> 40|d\nCOMMIT", 'a key changes');
becomes("REPLACE INTO t VALUES (40, 'D'); INSERT INTO t VALUES (40, 'x') ON DUPLICATE KEY UPDATE v = 'E'", "UPDATE 1 40|d -> 40|D\nCOMMIT\nUPDATE 1 40|D -> 40|E\nCOMMIT", 'REPLACE and ON DUPLICATE KEY');
becomes("INSERT INTO m VALUES (1, 'a'), (2, 'b')", "INSERT 1 1|a\nINSERT 1 2|b\nCOMMIT", 'MyISAM', 'shop.m');
becomes("BEGIN; INSERT INTO t VALUES (7, 'no'); INSERT INTO m VALUES (3, 'stays'); ROLLBACK", "INSERT 2 3|stays\nCOMMIT", 'MyISAM in a rolled back transaction', 'shop.t', 'shop.m');
sql("CREATE TRIGGER tr BEFORE INSERT ON other FOR EACH ROW INSERT INTO t VALUES (NEW.id, 'trigger')");
becomes("INSERT INTO other VALUES (50, 'x')", "INSERT 1 50|trigger\nCOMMIT", 'rows that a trigger wrote');
sql("DROP TRIGGER tr");
becomes("XA START 'a'; INSERT INTO other VALUES (60, 'x'); XA END 'a'; XA PREPARE 'a'; XA COMMIT 'a'; INSERT INTO t VALUES (60, 'after')", qr/^(COMMIT\n)?INSERT 1 60\|after\nCOMMIT$/, 'XA on other tables');
becomes("XA START 'a'; INSERT INTO t VALUES (61, 'x'); XA END 'a'; XA COMMIT 'a' ONE PHASE", "INSERT 1 61|x\nCOMMIT", 'XA in one phase');
becomes("XA START 'a'; INSERT INTO t VALUES (62, 'x'); XA END 'a'; XA PREPARE 'a'; XA COMMIT 'a'", qr/ERROR 0A000 a prepared \(XA\) transaction with changes of mirrored tables, in transaction 0-\d+-\d+/, 'XA in two phases is refused by name');
becomes("SET gtid_domain_id = 5; INSERT INTO t VALUES (70, 'five'); SET gtid_domain_id = 0; INSERT INTO t VALUES (71, 'null')", "INSERT 1 70|five\nCOMMIT\nINSERT 1 71|null\nCOMMIT", 'two domains');
like(position(), qr/^0-\d+-\d+,5-\d+-1$/, 'a position of two domains');
becomes("INSERT INTO t VALUES (80, REPEAT('x', 20)); SET SESSION binlog_annotate_row_events = 0; INSERT INTO t VALUES (81, NULL)", "INSERT 1 80|" . 'x' x 20 . "\nCOMMIT\nINSERT 1 81|\\N\nCOMMIT", 'annotations');
becomes("FLUSH BINARY LOGS; INSERT INTO t VALUES (82, 'new file'); FLUSH BINARY LOGS; FLUSH TABLES; INSERT INTO t VALUES (83, 'next file')", qr/^(COMMIT\n)?INSERT 1 82\|new file\nCOMMIT\nINSERT 1 83\|next file\nCOMMIT$/, 'rotation');

# ---- commit: time and position ----
{
	my $from = position();
	my $now = time();
	sql("INSERT INTO t VALUES (90, 'time')");
	my ($commit) = grep { /^COMMIT/ } drive({}, 'stream', $from, 60, 'until1', 'shop.t');
	my (undef, $position, $usec) = split(/ /, $commit);
	is($position, position(), 'the position of a COMMIT is where the source is');
	cmp_ok(abs($usec / 1e6 + 946684800 - $now), '<', 2, 'the time of a COMMIT');
}

# ---- one record for each commit, positions in order, resuming at each ----
{
	my $from = position();
	sql(join('', map { "INSERT INTO t VALUES (1000 + $_, 'r'); INSERT INTO other VALUES (1000 + $_, 'r'); " } 1 .. 20));
	my @lines = grep { /^(INSERT|COMMIT)/ } drive({}, 'stream', $from, 1, 'shop.t');
	my @positions = map { /^COMMIT (\S+)/ } @lines;
	my $bad = 0;
	for my $i (0 .. $#positions)
	{
		my $rest = join("\n", (stream($positions[$i], 'shop.t')));
		my $want = 20 - grep { /^INSERT/ } @lines[0 .. (grep { $lines[$_] =~ /^COMMIT \Q$positions[$i]\E / } 0 .. $#lines)[0]];
		my $got = () = $rest =~ /^INSERT/mg;
		$bad++ if $got != $want;
	}
	is($bad, 0, 'resuming at any COMMIT loses and repeats nothing');
	is((drive({}, 'covers', $positions[1], $positions[0]))[0], 'yes', 'a later position covers an earlier one');
	is((drive({}, 'covers', $positions[0], $positions[1]))[0], 'no', 'an earlier position does not cover a later one');
}
is((drive({}, 'covers', '0-1-10,5-2-3', '5-7-3'))[0], 'yes', 'domains are compared each by itself');
is((drive({}, 'covers', '0-1-10', '0-1-9,1-1-1'))[0], 'no', 'a domain that is missing is not covered');
is((drive({}, 'covers', '0-1-10', ''))[0], 'yes', 'the empty position is covered by all');
is((drive({}, 'covers', '0-1-9', '0-1-10'))[0], 'no', 'numbers are compared as numbers');
for my $bad ('x', '0-1', '0-1-2,', '0-1-2,0-1-3', '-1-1-1', '0-1-99999999999999999999', '4294967296-1-1', '0-1-1;', '0-1-1\'')
{
	like(join(' ', drive({}, 'covers', $bad, '0-1-1')), qr/^ERROR 22P02 invalid position/, "not a position: $bad");
}

# ---- skip_to ----
{
	my $from = position();
	sql("INSERT INTO t VALUES (2001, 'a'); INSERT INTO u VALUES (2001, 'a'); TRUNCATE u;");
	my $to = position();
	sql("INSERT INTO t VALUES (2002, 'b'); INSERT INTO u VALUES (2002, 'b')");
	is(join(' ', stream($from, 'shop.t', "shop.u\@$to")), 'INSERT 1 2001|a COMMIT INSERT 1 2002|b COMMIT INSERT 2 2002|b COMMIT', 'rows up to skip_to are left out, table by table')
	  or diag(join("\n", stream($from, 'shop.t', "shop.u\@$to")));
}

# ---- statements ----
becomes("TRUNCATE TABLE t", "TRUNCATE 1\nCOMMIT", 'TRUNCATE');
becomes("INSERT INTO t VALUES (1, 'a'); truncate /* c */ `shop` . t; INSERT INTO t VALUES (2, 'b')", "INSERT 1 1|a\nCOMMIT\nTRUNCATE 1\nCOMMIT\nINSERT 1 2|b\nCOMMIT", 'TRUNCATE between rows');
becomes("USE second; TRUNCATE t; TRUNCATE shop.u", "TRUNCATE 2\nCOMMIT", 'TRUNCATE by the default database');
for my $ddl ("CREATE TABLE new (id int)", "CREATE TABLE IF NOT EXISTS t (id int)", "DROP TABLE new", "CREATE INDEX iv ON t (v)", "DROP INDEX iv ON t", "ANALYZE TABLE t", "OPTIMIZE TABLE t",
	"ALTER TABLE other ADD COLUMN w int", "CREATE VIEW vt AS SELECT * FROM t", "DROP VIEW vt", "GRANT SELECT ON shop.t TO td\@'%'", "CREATE TEMPORARY TABLE t (x int); DROP TEMPORARY TABLE t",
	"ALTER TABLE t DISABLE KEYS", "CREATE TABLE copy SELECT * FROM t", "ALTER TABLE second.t ADD COLUMN w int", "RENAME TABLE copy TO copy2", "CREATE TRIGGER tt BEFORE DELETE ON t FOR EACH ROW SET \@x = 1; DROP TRIGGER tt")
{
	becomes($ddl, qr/^(COMMIT)?$/, "harmless: $ddl");
}
my %after = ("ALTER TABLE t ADD COLUMN w int" => "ALTER TABLE t DROP COLUMN w", "RENAME TABLE other TO o2, t TO t2" => "RENAME TABLE t2 TO t, o2 TO other", "DROP TABLE IF EXISTS nowhere, t" => "CREATE TABLE t (id int PRIMARY KEY, v varchar(20))",
	"ALTER TABLE u RENAME TO u2" => "ALTER TABLE u2 RENAME TO u", "CREATE OR REPLACE TABLE u (id int PRIMARY KEY, v varchar(20))" => '', "SET STATEMENT max_statement_time = 10 FOR ALTER TABLE t COMMENT 'x'" => '',
	"/*!50000 ALTER */ /* x */ TABLE `shop`.`t` COMMENT = 'y'" => '', "USE second; ALTER TABLE shop.u MODIFY v varchar(30)" => "ALTER TABLE u MODIFY v varchar(20)", "ALTER TABLE t ADD INDEX iv (v)" => "ALTER TABLE t DROP INDEX iv");
for my $ddl (sort keys %after)
{
	my ($table) = $ddl =~ /\bu\b/ ? 2 : 1;
	my $gone = $ddl =~ /^(DROP|RENAME|ALTER TABLE u RENAME)/ ? '' : " $table";
	(my $text = $ddl) =~ s/^USE second; //;
	my $pattern = $ddl =~ /^DROP/ ? qr/^DDL$gone \S+ DROP TABLE IF EXISTS `?nowhere`?,\s*`?t`?/ : qr/^DDL$gone 0-\d+-\d+,5-\d+-\d+ .*\Q$text\E/;
	becomes($ddl, $pattern, "stops: $ddl");
	sql($after{$ddl}) if $after{$ddl};
}
becomes("DROP DATABASE second", qr/^DDL \S+ DROP (TABLE|DATABASE).*second/, 'DROP DATABASE', 'second.t');

# ---- changes that come as statements ----
like(join(' ', do { my $from = position(); sql("SET SESSION binlog_format = STATEMENT; UPDATE t SET v = 'q'"); stream($from, 'shop.t') }),
	qr/ERROR 55000 table "shop.t" was changed by a statement instead of rows, in transaction 0-\d+-\d+ .*HINT .*binlog_format = 'ROW'/, 'a change in statement format is refused, with its transaction');
becomes("SET SESSION binlog_format = STATEMENT; INSERT INTO other (id, v) VALUES (77, 'q')", qr/^(COMMIT)?$/, 'a change of another table in statement format');

# ---- images that lack columns ----
like(join(' ', do { my $from = position(); sql("SET SESSION binlog_row_image = MINIMAL; INSERT INTO t VALUES (501, 'q'); UPDATE t SET v = 'r' WHERE id = 501"); stream($from, 'shop.t') }),
	qr/ERROR 55000 a row event of table "shop.t" lacks column "(v|id)" .*HINT .*binlog_row_image = FULL/, 'an image without all columns');

# ---- a table that has changed since the position ----
{
	my $from = position();
	sql("INSERT INTO t VALUES (601, 'old'); ALTER TABLE t ADD COLUMN w int");
	like(join(' ', stream($from, 'shop.t')), qr/ERROR 55000 table "shop.t" has changed since this position HINT .*reset_pipeline/, 'rows of an older shape');
	$from = position();
	sql("ALTER TABLE t DROP COLUMN w");
	sql("SET GLOBAL binlog_row_metadata = FULL");
	$from = position();
	sql("INSERT INTO t VALUES (602, 'old'); ALTER TABLE t CHANGE v v2 varchar(20)");
	like(join(' ', stream($from, 'shop.t')), qr/ERROR 55000 table "shop.t" has changed/, 'rows of older names, where the binlog has names');
	sql("ALTER TABLE t CHANGE v2 v varchar(20); SET GLOBAL binlog_row_metadata = NO_LOG");
	$from = position();
	sql("INSERT INTO t VALUES (603, 'old'); ALTER TABLE t MODIFY id int unsigned");
	sql("ALTER TABLE t MODIFY id int");
}
{
	my $from = position();
	sql("CREATE TABLE brief (id int PRIMARY KEY)");
	my $made = position();
	sql("INSERT INTO brief VALUES (1); DROP TABLE brief");
	like(join(' ', stream($from, 'shop.brief')), qr/^DDL 0-\S+ CREATE TABLE brief .*ERROR 42P01 table "shop.brief" does not exist at the source, or may not be read, but changed, in transaction 0-/, 'rows of a table that is gone');
	sql("CREATE TABLE brief (id int PRIMARY KEY); DROP TABLE brief; INSERT INTO u VALUES (700, 'x')");
	like(join(' ', stream($made, 'shop.u', 'shop.brief')), qr/ERROR 42P01/, 'likewise beside another one');
}

# ---- large rows and large transactions come in pieces, and whole ----
{
	sql("CREATE TABLE blobs (id int PRIMARY KEY, b longblob)");
	my $from = position();
	sql("SET GLOBAL max_allowed_packet = 1073741824");
	sql("INSERT INTO blobs VALUES (1, REPEAT('a', 16777210)), (2, REPEAT('b', 100)); INSERT INTO blobs SELECT 3, REPEAT('c', 40000000)", '--max-allowed-packet=1G');
	is(scalar(grep { /^INSERT/ } drive({ quiet => 0 }, 'stream', $from, 60, 'until2', 'shop.blobs')), 3, 'rows past 16 MB, the size of a packet');
	my ($counts) = grep { /^insert/ } drive({ quiet => 1 }, 'stream', $from, 60, 'until2', 'shop.blobs');
	like($counts, qr/^insert 3 .* commit 2 bytes 56777\d\d\d /, 'all their bytes are there');
	my ($load) = grep { /^insert/ } drive({ quiet => 1 }, 'snapshot', 'shop', 'blobs');
	like($load, qr/^insert 3 .* bytes 56777\d\d\d /, 'the load reads as many');
}

# ---- latency, and a poll that waits does so without burning the processor ----
{
	my ($f, $pid) = background({}, 'stream', position(), 4, 'shop.u');
	await_start($f);
	open(my $client, '|-', 'mariadb', "--defaults-file=$env{TD_MARIADB_CNF}", '--unbuffered', 'shop') or die;
	$client->autoflush(1);
	my @times;
	for my $i (1 .. 20)
	{
		my $start = time();
		print $client "REPLACE INTO u VALUES (9000, '$i');\n";
		while (my $l = <$f>) { last if $l =~ /^COMMIT/ }
		push @times, (time() - $start) * 1000;
	}
	close $client;
	@times = sort { $a <=> $b } @times;
	diag(sprintf('statement to COMMIT record: median %.2f ms, worst %.2f ms', $times[10], $times[19]));
	cmp_ok($times[10], '<', 20, 'a change arrives at once');
	my @before = times_of($pid);
	sleep(1.5);
	my @after = times_of($pid);
	cmp_ok($after[0] - $before[0], '<=', 5, 'an idle stream uses no processor time');
	close $f;
}
sub await_start { my $f = shift; while (my $l = <$f>) { return if $l =~ /^STREAMING/ } }
sub times_of { my $pid = shift; open(my $f, '<', "/proc/$pid/stat") or return 0; my @s = split(/ /, <$f>); return $s[13] + $s[14]; }

# ---- the source goes away ----
{
	my ($f, $pid) = background({}, 'stream', position(), 30, 'shop.u');
	await_start($f);
	my ($id) = map { $_->[0] } rows("SELECT id FROM information_schema.processlist WHERE command = 'Binlog Dump'");
	my $start = time();
	sql("KILL $id");
	my @rest = <$f>;
	like("@rest", qr/ERROR (08006|57014|57P01) retryable/, 'a killed stream is an error that may go away');
	cmp_ok(time() - $start, '<', 3, 'it is seen at once');
	close $f;
}
{
	my ($f, $pid) = background({}, 'stream', position(), 60, 'shop.u');
	await_start($f);
	open(my $p, '-|', "$top/test/servers/mariadb", 'pid', 'mysql_stream');
	chomp(my $server = <$p>);
	close $p;
	my $start = time();
	kill 'STOP', $server;
	my @rest = <$f>;
	kill 'CONT', $server;
	like("@rest", qr/ERROR 08006 retryable .*heartbeat/, 'a stalled source is noticed');
	cmp_ok(time() - $start, '<', 20, 'within 20 s');
	close $f;
}

# ---- positions the source no longer has, or never had ----
{
	my $old = position();
	sql("INSERT INTO u VALUES (9100, 'x'); FLUSH BINARY LOGS; INSERT INTO u VALUES (9101, 'x'); FLUSH BINARY LOGS; SET GLOBAL slave_connections_needed_for_purge = 0;") if 0;
	sql("INSERT INTO u VALUES (9100, 'x'); FLUSH BINARY LOGS; INSERT INTO u VALUES (9101, 'x'); FLUSH BINARY LOGS;");
	sleep(0.5);
	my ($file) = map { $_->[0] } rows("SHOW MASTER STATUS");
	sql("PURGE BINARY LOGS TO '$file'");
	my $text = join(' ', drive({}, 'stream', $old, 2, 'shop.u'));
	like($text, qr/^ERROR 55000 the source no longer has binlog position \Q$old\E .*reset_pipeline/, 'a purged position');
	$text = join(' ', drive({}, 'stream', '', 2, 'shop.u'));
	like($text, qr/^ERROR 55000 the source no longer has binlog position/, 'the beginning, which is purged');
	$text = join(' ', drive({}, 'stream', '0-1-999999999', 2, 'shop.u'));
	like($text, qr/^ERROR 55000 .*reset_pipeline/, 'a position of another source');
}
done_testing();
