# The load: key order, resuming at any cursor for any type of key, tables without a key, values that can't be.
use strict;
use warnings;
use FindBin qw($Bin);
use lib $Bin;
use Test::More;
use Source;

my $seed = $ENV{TD_SEED} || (time() ^ $$) & 0xFFFFFF;
srand($seed);
diag("seed $seed");
server('mysql_load');

# ---- keys: value lists are SQL expressions of a row number n ----
my %keys = (
	int => ['a int', 'n * 7 - 1000'], bigint_unsigned => ['a bigint unsigned', '18446744073709551615 - n * 12345'],
	tinyint_pair => ['a tinyint, b tinyint unsigned', 'n DIV 20 - 8, n MOD 20 * 12'], decimal => ['a decimal(40,10)', '(n - 150) * 12345678901234567890.0123456789'],
	double => ['a double', 'EXP(n / 3) / 7'], float => ['a float', '(n - 150) / 7'],
	varchar_ci => ['a varchar(40)', "CONCAT(IF(n MOD 2, 'Ä', 'a'), n)"], latin1 => ['a varchar(20) CHARACTER SET latin1', "CONCAT(CHAR(192 + n MOD 60 USING latin1), n)"],
	char_bin => ['a char(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin', "CONCAT('é', n)"], utf16 => ['a varchar(20) CHARACTER SET utf16', "CONCAT('ω', n)"],
	binary => ['a binary(4)', "UNHEX(CONCAT(LPAD(HEX(n), 4, '0'), '0000'))"], varbinary => ['a varbinary(20)', "CONCAT(CHAR(n MOD 256), CHAR(0), n)"],
	date => ['a date', "'1999-06-01' + INTERVAL n DAY"], datetime => ['a datetime(6)', "'2024-01-01' + INTERVAL n * 1111111 MICROSECOND"],
	timestamp => ['a timestamp(3) NOT NULL DEFAULT 0', "'2024-10-27 00:00:00' + INTERVAL n * 1234567 MICROSECOND"], time => ['a time(2)', "SEC_TO_TIME((n - 150) * 123.45)"],
	year_int => ['a year, b int', '1950 + n DIV 5, n MOD 5'], enum_int => ["a enum('z','y','x','') CHARACTER SET latin1, b int", "1 + n MOD 4, n"],
	set_int => ["a set('c','b','a') CHARACTER SET latin1, b smallint", "n MOD 8, n"], bit => ['a bit(40)', 'n * 987654321'], uuid => ['a uuid', "CONCAT(LPAD(HEX(n * 7919 MOD 65536), 8, '0'), '-0000-', IF(n MOD 2, '1', '7'), '000-8000-', LPAD(HEX(n), 12, '0'))"],
	mixed3 => ['a varchar(10), b datetime, c int unsigned', "CONCAT('k', n MOD 3), '2024-01-01' + INTERVAL n DIV 30 HOUR, n"],
	text_prefix => ['a varchar(3000)', "CONCAT(REPEAT('x', 20), n)", 'a(30)'],
);

for my $name (sort keys %keys)
{
	my ($columns, $values, $key) = @{ $keys{$name} };
	my @names = $columns =~ /(?:^|, )(\w) /g;
	$key //= join(',', @names);
	sql("CREATE TABLE k_$name ($columns, filler longtext CHARACTER SET latin1, n int, PRIMARY KEY ($key));"
		  . "INSERT INTO k_$name (" . join(',', @names) . ", filler, n) SELECT $values, REPEAT('f', 8000), n FROM (SELECT CAST(seq AS SIGNED) AS n FROM seq_1_to_300) s;");
	my @lines = map { s/f{8000}/F/r } grep { /^(INSERT|CHUNK)/ } drive_ok({ chunk_rows => 100 }, 'snapshot', 'shop', "k_$name");
	my @rows = grep { /^INSERT/ } @lines;
	my %n = map { /\|(\d+)$/ ? ($1 => 1) : () } @rows;
	is(scalar(@rows) . ' ' . keys(%n), '300 300', "$name: all rows, each once, over several statements");
	my @order = map { $_->[0] } rows("SELECT n FROM k_$name ORDER BY " . join(',', @names));
	is(join(',', map { /\|(\d+)$/ } @rows), join(',', @order), "$name: in key order");
	my @seen;
	my $bad = 0;
	my $cursors = 0;
	for my $line (@lines)
	{
		push @seen, $line if $line =~ /^INSERT/;
		next unless $line =~ /^CHUNK 1 (.*)/;
		$cursors++;
		my @rest = map { s/f{8000}/F/r } grep { /^INSERT/ } drive_ok({}, 'snapshot', 'shop', "k_$name", $1);
		$bad++ if join("\n", @seen, @rest) ne join("\n", @rows);
	}
	ok($cursors && !$bad, "$name: goes on at each of $cursors cursors");
}

# ---- cursors are tested, not trusted ----
for my $cursor ("1) OR (1=1", "1,2", "x'00'", "'a'", '', '1;')
{
	my @lines = drive({}, 'snapshot', 'shop', 'k_int', $cursor, 1);
	like("@lines", $cursor eq '' ? qr/INSERT/ : qr/^ERROR 22P02/, "cursor \"$cursor\"");
}
like(join(' ', drive({}, 'snapshot', 'shop', 'k_varchar_ci', "x'41' OR x'")), qr/ERROR 22P02/, 'no SQL by a cursor');

# ---- limits, names, empty tables ----
is(scalar(grep { /^INSERT/ } drive_ok({}, 'snapshot', 'shop', 'k_int', '', 7)), 7, 'peek reads as many rows as asked for');
sql("CREATE TABLE `odd ``na.me\"` (`sel``ect` int, `a b` varchar(10), PRIMARY KEY (`a b`)); INSERT INTO `odd ``na.me\"` VALUES (1, 'x'), (2, 'y'); CREATE TABLE empty (id int PRIMARY KEY);");
is(scalar(grep { /^INSERT/ } drive_ok({}, 'snapshot', 'shop', 'odd `na.me"')), 2, 'a table with an odd name');
is(join(' ', map { /^(\w+)/ } drive_ok({}, 'snapshot', 'shop', 'empty')), 'SCHEMA END', 'an empty table');
sql("CREATE TABLE hundred (id int PRIMARY KEY); INSERT INTO hundred SELECT seq FROM seq_1_to_200");
is(scalar(grep { /^INSERT/ } drive_ok({ chunk_rows => 100 }, 'snapshot', 'shop', 'hundred')), 200, 'a table of exactly two statements');

# ---- without a key: the position is that of the snapshot, exactly, under load ----
sql("CREATE TABLE audit (a int, b varchar(20)); CREATE TABLE other (id int PRIMARY KEY); INSERT INTO audit SELECT seq, 'start' FROM seq_1_to_1000; INSERT INTO audit VALUES (NULL, NULL), (7, 'twice'), (7, 'twice');");
my $writer = fork();
if (!$writer)
{
	open(my $f, '|-', 'mariadb', "--defaults-file=$env{TD_MARIADB_CNF}", 'shop') or die;
	for my $i (1 .. 4000) { print $f "INSERT INTO audit VALUES ($i, 'w'); ", $i % 5 ? '' : "BEGIN; INSERT INTO audit VALUES ($i, 'p'); INSERT INTO audit VALUES ($i, 'q'); COMMIT; DELETE FROM audit WHERE a = $i AND b = 'q'; FLUSH STATUS;", "\n"; }
	close $f;
	require POSIX;
	POSIX::_exit(0);
}
my $rounds = 0;
my @checks;
for (1 .. 6)
{
	select(undef, undef, undef, 0.15);
	my @lines = drive_ok({}, 'snapshot', 'shop', 'audit');
	my ($position) = $lines[0] =~ /^POSITION (.*)/;
	push @checks, [$position, [map { s/^INSERT 1 //r } grep { /^INSERT/ } @lines]];
}
waitpid($writer, 0);
my ($end) = sort rows("SELECT CONCAT(COALESCE(a, 'NULL'), '|', COALESCE(b, 'NULL')) FROM audit") ? position() : '';
my @final = sort map { s/NULL/\\N/gr } map { $_->[0] } rows("SELECT CONCAT(COALESCE(a, 'NULL'), '|', COALESCE(b, 'NULL')) FROM audit");
my $moved = 0;
for my $check (@checks)
{
	my ($position, $rows) = @$check;
	my %bag;
	$bag{$_}++ for @$rows;
	$moved++ if $position ne $end;
	for (drive_ok({}, 'stream', $position, 1, 'shop.audit'))
	{
		if (/^INSERT 1 (.*)/) { $bag{$1}++ }
		elsif (/^DELETE 1 (.*)/) { delete $bag{$1} if --$bag{$1} == 0 }
	}
	my @all = sort map { my $r = $_; ($r) x $bag{$r} } keys %bag;
	is(join("\n", @all), join("\n", @final), "without a key: snapshot at $position and the changes after it make the table");
}
cmp_ok($moved, '>', 0, 'some snapshot was taken while rows were written');

# ---- a position covers what reads before have seen, and nothing that reads after it don't see ----
# (The source's own @@gtid_binlog_pos is ahead of what can be seen in most tries of this test.)
sql("CREATE TABLE race (id int AUTO_INCREMENT PRIMARY KEY)");
my ($base) = position() =~ /-(\d+)$/;
my @writers = map
{
	my $pid = fork();
	if (!$pid)
	{
		open(my $f, '|-', 'mariadb', "--defaults-file=$env{TD_MARIADB_CNF}", 'shop') or die;
		print $f "INSERT INTO race VALUES ();\n" x 1500;
		close $f;
		require POSIX;
		POSIX::_exit(0);
	}
	$pid;
} 1 .. 4;
my ($tries, $ahead, $behind) = (0, 0, 0);
for (1 .. 60)
{
	my ($before) = map { $_->[0] } rows('SELECT COUNT(*) FROM race');
	my ($seq) = position() =~ /-(\d+)$/;
	my ($after) = map { $_->[0] } rows('SELECT COUNT(*) FROM race');
	$tries++ if $after > $before;
	$ahead++ if $seq - $base > $after;
	$behind++ if $seq - $base < $before;
}
waitpid($_, 0) for @writers;
cmp_ok($tries, '>', 3, 'rows were written meanwhile');
is($ahead, 0, 'a position is never ahead of what a read sees');
is($behind, 0, 'nor behind what a read has seen');

# ---- values that can't be: table, column and key are named ----
my @refused = (
	['date', "'0000-00-00'", '22007', 'zero date'], ['date', "'2024-00-10'", '22007', 'zero date'], ['datetime', "'0000-00-00'", '22007', 'zero date'],
	['timestamp NULL', "'0000-00-00'", '22007', 'zero date'], ['date', "'2024-02-31'", '22007', 'invalid date'],
	['varchar(10)', "'a\\0b'", '22021', 'NUL'], ['varchar(10) CHARACTER SET latin1', "'a\\0b'", '22021', 'NUL'], ['text CHARACTER SET utf16', "'a\\0b'", '22021', 'NUL'],
	['json', "'{\"a\":\"\\\\u0000\"}'", '22P05', 'u0000'], ['json', "'\"\\\\ud800\"'", '22P05', 'surrogate'], ['varchar(10) CHARACTER SET cp1251', "_binary X'98'", '22021', 'character set cp1251'],
);
for my $r (@refused)
{
	my ($type, $value, $state, $what) = @$r;
	my $before = position();
	sql("SET sql_mode = 'ALLOW_INVALID_DATES', check_constraint_checks = 0; CREATE OR REPLACE TABLE bad (id int, code varchar(5), v $type, PRIMARY KEY (id, code)); INSERT INTO bad VALUES (1, 'ok', NULL), (17, 'xé', $value);");
	my $from = position();
	sql("SET sql_mode = 'ALLOW_INVALID_DATES', check_constraint_checks = 0; INSERT INTO bad SELECT id + 1, code, v FROM bad;");
	my $like = qr/ERROR $state table "shop\.bad", column "v", key \(id, code\) = \(17, xé\): .*$what/;
	like(join(' ', drive({}, 'snapshot', 'shop', 'bad')), $like, "load: $type $value");
	$like = qr/ERROR $state table "shop\.bad", column "v", key \(id, code\) = \(18, xé\): .*$what/;
	like(join(' ', drive({}, 'stream', $from, 2, 'shop.bad')), $like, "stream: $type $value");
}

# ---- discover ----
sql("CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE);"
	  . "CREATE TABLE place (id int PRIMARY KEY, at point); CREATE TABLE net (id int PRIMARY KEY, a inet6); CREATE TABLE sv (id int PRIMARY KEY) WITH SYSTEM VERSIONING;"
	  . "CREATE SEQUENCE sq; CREATE TABLE comp (id int PRIMARY KEY, t text COMPRESSED); CREATE TABLE myisam_nokey (a int) ENGINE = MyISAM; CREATE VIEW vw AS SELECT 1 AS one;"
	  . "CREATE TABLE gb (id int PRIMARY KEY, t varchar(10) CHARACTER SET gbk); CREATE TABLE emoji (id int PRIMARY KEY, e enum('😀', 'a'));");
my %found = map { /^shop\.(\S+) / ? ($1 => $_) : () } drive_ok({}, 'discover');
like($found{child}, qr/PROBLEM 0A000 table "shop.child" has a cascading foreign key/, 'cascade: the table that references');
like($found{parent}, qr/PROBLEM 0A000 .*cascading foreign key/, 'cascade: the table that is referenced');
like($found{place}, qr/PROBLEM 0A000 column "at" of table "shop.place" has type point, which is not supported HINT \S/, 'an unsupported type is named');
like($found{net}, qr/PROBLEM 0A000 column "a" .*inet6/, 'inet6');
like($found{sv}, qr/PROBLEM 0A000 "shop.sv" is a system-versioned table/, 'system-versioned table');
like($found{sq}, qr/PROBLEM 0A000 "shop.sq" is a sequence/, 'sequence');
like($found{comp}, qr/PROBLEM 0A000 .*compressed/, 'compressed column');
like($found{gb}, qr/PROBLEM 0A000 .*CONVERT TO CHARACTER SET utf8mb4/, 'a character set that is not decoded');
like($found{emoji}, qr/PROBLEM 0A000 .*question mark/, 'an enum whose members the source can not show');
like($found{myisam_nokey}, qr/PROBLEM 0A000 .*no primary key/, 'MyISAM without a key');
ok(!exists $found{vw}, 'views are no tables');
unlike($found{k_int}, qr/PROBLEM/, 'a plain table has no problem');
unlike(join(' ', grep { /^shop\.(child|parent) / } drive_ok({ cascades => 'ignore' }, 'discover')), qr/PROBLEM/, 'cascades: ignore');
is(join(' ', map { /^(\S+)/ } drive_ok({}, 'discover', 'k_t*')), 'shop.k_text_prefix shop.k_time shop.k_timestamp shop.k_tinyint_pair', 'a pattern');
is(join(' ', map { /^(\S+)/ } drive_ok({ database => undef }, 'discover', 'shop.k_d?te')), 'shop.k_date', 'a pattern without a database');
like(join(' ', drive({}, 'snapshot', 'shop', 'no_such')), qr/ERROR 42P01 table "shop.no_such" does not exist/, 'a table that is not there');
like(join(' ', drive({}, 'snapshot', 'shop', 'place')), qr/ERROR 0A000 column "at"/, 'a table with a problem is not read');
done_testing();
