# Every type, three ways: read by the load, streamed from the binlog, and computed by the source itself.  All must agree.
use strict;
use warnings;
use FindBin qw($Bin);
use lib $Bin;
use Test::More;
use Source;

my $seed = $ENV{TD_SEED} || (time() ^ $$) & 0xFFFFFF;
my $n = $ENV{TD_ROWS} || 150;
srand($seed);
diag("seed $seed");
server('mysql_types');

sub pick { return $_[int(rand(@_))]; }
sub int_between { my ($lo, $hi) = @_; return pick($lo, $hi, 0, 1, int($lo / 2 + rand() * ($hi / 2 - $lo / 2))); }
sub hexbytes { my ($max, @set) = @_; return join('', map { sprintf '%02X', @set ? pick(@set) : int(rand(256)) } 1 .. int(rand($max + 1))); }
sub fraction { my $f = shift; return $f ? sprintf('.%0*d', $f, pick(0, 1, 10**$f - 1, int(rand(10**$f)))) : ''; }

# What print_text of drive does to bytes.
sub escaped { my $s = pack('H*', shift); $s =~ s/([\x00-\x1f|\\])/sprintf('\\%02x', ord $1)/ge; return $s; }

# The text of a numeric in PostgreSQL's binary form.
sub decimal
{
	my ($ndigits, $weight, $sign, $scale, @d) = unpack('n s> n n n*', pack('H*', shift));
	return 'bad digits' if $ndigits != @d || (@d && ($d[0] == 0 || $d[-1] == 0));
	my $whole = join('', map { sprintf '%04d', $d[$_] // 0 } 0 .. $weight);
	$whole =~ s/^0+//;
	my $frac = join('', map { sprintf '%04d', $_ >= 0 ? $d[$_] // 0 : 0 } $weight + 1 .. $weight + int(($scale + 3) / 4));
	return ($sign == 0x4000 ? '-' : '') . ($whole eq '' ? '0' : $whole) . ($scale ? '.' . substr($frac, 0, $scale) : '');
}

sub id { my ($c) = @_; return $c; }
my $text = [sub { "HEX(CONVERT($_[0] USING utf8mb4))" }, \&escaped, undef];
# The source counts year 0 as a common year: those dates are tested below.
my $micros = [sub { "IF(YEAR($_[0]) = 0, 'year 0', TIMESTAMPDIFF(MICROSECOND, '2000-01-01', $_[0]))" }, sub { $_[0] }];

sub text_column
{
	my ($type, $charset, $max, @set) = @_;
	my $trim = $type =~ /^char/;
	return ["$type CHARACTER SET $charset", sub { "_$charset X'" . hexbytes($max, @set) . "'" }, @$text[0, 1]];
}

# UTF-8 bytes of random characters.
sub unicode
{
	my ($max, $top) = @_;
	my $s = join('', map { my $c; do { $c = pick(32 + int(rand(95)), 0xE9, 0x20AC, 1 + int(rand($top))) } while $c >= 0xD800 && $c < 0xE000; chr $c } 1 .. int(rand($max + 1)));
	utf8::encode($s);
	return uc unpack('H*', $s);
}
sub unicode_column { my ($type, $charset, $max, $top) = @_; return ["$type CHARACTER SET $charset", sub { "CONVERT(_utf8mb4 X'" . unicode($max, $top) . "' USING $charset)" }, @$text[0, 1]]; }

sub integer { my ($type, $lo, $hi) = @_; return [$type, sub { int_between($lo, $hi) }, sub { "CAST($_[0] AS CHAR)" }, \&id]; }
sub decimal_column
{
	my ($p, $s, $more) = @_;
	return ["decimal($p,$s) $more", sub {
			my $w = $p - $s; my $d = join('', map { int(rand(10)) } 1 .. int(rand($w + 1))); my $f = join('', map { int(rand(10)) } 1 .. int(rand($s + 1)));
			my $v = pick(0, 1, 2) ? ($d eq '' ? '0' : $d) . ($f ne '' ? ".$f" : '') : ('9' x $w || '0') . ($s ? '.' . '9' x $s : '');
			return ($more eq '' && pick(0, 1) ? '-' : '') . $v; }, sub { "CAST($_[0] AS CHAR)" }, sub { my $v = shift; $v =~ s/^(-?)0+(?=\d)/$1/; $v }, \&decimal];
}
sub bit_column { my $b = shift; return ["bit($b)", sub { "b'" . join('', map { pick(0, 1) } 1 .. $b) . "'" }, sub { "LPAD(BIN($_[0] + 0), $b, '0')" },
		sub { unpack('H*', pack('L', $b)) . unpack('H*', pack('B*', $_[0])) }]; }
sub date_text { return sprintf('%04d-%02d-%02d', pick(0, 1, 999, 1970, 2024, 9999, int(rand(10000))), 1 + int(rand(12)), 1 + int(rand(28))); }

my @bytes8 = (1 .. 255);
my @columns = (
	integer('tinyint', -128, 127), integer('tinyint unsigned', 0, 255), integer('tinyint(1)', -128, 127),
	integer('smallint', -32768, 32767), integer('smallint unsigned', 0, 65535),
	integer('mediumint', -8388608, 8388607), integer('mediumint unsigned', 0, 16777215), integer('mediumint(9) zerofill', 0, 16777215),
	integer('int', -2147483648, 2147483647), integer('int unsigned', 0, 4294967295), integer('int(5) zerofill', 0, 4294967295),
	integer('bigint', '-9223372036854775808', '9223372036854775807'),
	['bigint unsigned', sub { pick(0, 1, '18446744073709551615', '9223372036854775808', int(rand(2**53))) }, sub { "CAST($_[0] AS CHAR)" }, \&id],
	decimal_column(10, 2, ''), decimal_column(65, 30, ''), decimal_column(65, 0, ''), decimal_column(38, 38, ''), decimal_column(1, 0, ''),
	decimal_column(9, 9, ''), decimal_column(18, 9, ''), decimal_column(27, 5, 'unsigned'), decimal_column(12, 3, 'unsigned zerofill'),
	['float', sub { pick(0, 1.5, -1e-38, 3.4e38, 0.1, 16777217, sprintf('%.9g', (rand() - 0.5) * 10**int(rand(60) - 30))) }, sub { "CAST($_[0] AS DOUBLE)" }, sub { sprintf '%a', $_[0] }],
	['float(7,3)', sub { sprintf '%.3f', (rand() - 0.5) * 9999 }, sub { "CAST($_[0] AS DOUBLE)" }, sub { sprintf '%a', $_[0] }],
	['double', sub { pick(0, 1.5, '-2.2250738585072014e-308', '1.7976931348623157e308', 0.1, sprintf('%.17g', (rand() - 0.5) * 10**int(rand(600) - 300))) }, id => sub { sprintf '%a', $_[0] }],
	['double(10,2)', sub { sprintf '%.2f', (rand() - 0.5) * 99999 }, id => sub { sprintf '%a', $_[0] }],
	bit_column(1), bit_column(7), bit_column(8), bit_column(13), bit_column(33), bit_column(64),
	text_column('char(10)', 'latin1', 10, @bytes8), text_column('varchar(300)', 'latin1', 300, @bytes8), text_column('char(200)', 'latin1', 200, @bytes8),
	text_column('text', 'latin1', 400, @bytes8), text_column('varchar(20)', 'ascii', 20, 1 .. 127), text_column('varchar(20)', 'cp1251', 20, 1 .. 0x97, 0x99 .. 255),
	text_column('varchar(20)', 'latin2', 20, @bytes8), text_column('varchar(20)', 'koi8r', 20, @bytes8),
	unicode_column('char(10)', 'utf8mb4', 10, 0x10FFFF), unicode_column('char(100)', 'utf8mb4', 100, 0x10FFFF), unicode_column('varchar(50)', 'utf8mb4', 50, 0x10FFFF),
	unicode_column('varchar(100)', 'utf8mb3', 100, 0xFFFD), unicode_column('tinytext', 'utf8mb4', 20, 0x10FFFF), unicode_column('mediumtext', 'utf8mb4', 300, 0x10FFFF),
	unicode_column('varchar(20)', 'ucs2', 20, 0xFFFD), unicode_column('char(20)', 'utf16', 20, 0x10FFFF), unicode_column('varchar(20)', 'utf16', 20, 0x10FFFF),
	unicode_column('varchar(20)', 'utf16le', 20, 0x10FFFF), unicode_column('char(20)', 'utf32', 20, 0x10FFFF),
	(map { my ($type, $max) = @$_; [$type, sub { "X'" . pick(hexbytes($max), hexbytes($max, 0, 32, 255)) . "'" }, sub { "LOWER(HEX($_[0]))" }, \&id] }
		['binary(1)', 1], ['binary(10)', 10], ['binary(255)', 255], ['varbinary(20)', 20], ['varbinary(400)', 400], ['tinyblob', 255], ['blob', 1000], ['mediumblob', 500], ['longblob', 500]),
	["enum('a','B','c d','it''s','back\\\\slash','new\\nline','','comma,','é','(')", sub { pick("'a'", "'B'", "'c d'", "'it''s'", "'back\\\\slash'", "'new\\nline'", "''", "'comma,'", "'é'", "'('", "'no such'") }, @$text[0, 1]],
	["enum(" . join(',', map { "'m$_'" } 1 .. 300) . ") CHARACTER SET latin1", sub { "'m" . int(1 + rand(300)) . "'" }, @$text[0, 1]],
	["set('x','Y z','it''s','ü') CHARACTER SET latin1", sub { "'" . join(',', grep { pick(0, 1) } 'x', 'Y z', "it''s", 'ü') . "'" }, @$text[0], sub { '{' . escaped($_[0]) . '}' }],
	["set(" . join(',', map { "'s$_'" } 1 .. 64) . ")", sub { "'" . join(',', map { "s$_" } grep { pick(0, 0, 1) } 1 .. 64) . "'" }, @$text[0], sub { '{' . escaped($_[0]) . '}' }],
	['json', sub { pick("'{\"a\": [1, 2.50, null, true], \"é\": \"\\\\u00e9\\\\ud83d\\\\ude00 x\"}'", "'[]'", "'\"\"'", "'-1e10'") }, @$text[0, 1]],
	['date', sub { "'" . date_text() . "'" }, sub { "IF(YEAR($_[0]) = 0, 'year 0', DATEDIFF($_[0], '2000-01-01'))" }, \&id],
	(map { my $f = $_; (["datetime($f)", sub { "'" . date_text() . sprintf(' %02d:%02d:%02d', int(rand(24)), int(rand(60)), int(rand(60))) . fraction($f) . "'" }, @$micros],
		["timestamp($f) NULL", sub { "'" . sprintf('%04d-%02d-%02d %02d:%02d:%02d', 1971 + int(rand(66)), 1 + int(rand(12)), 1 + int(rand(28)), int(rand(24)), int(rand(60)), int(rand(60))) . fraction($f) . "'" }, @$micros],
		["time($f)", sub { "'" . pick('', '-') . sprintf('%02d:%02d:%02d', pick(0, int(rand(24)), int(rand(839))), int(rand(60)), int(rand(60))) . fraction($f) . "'" },
			sub { "CAST(TIME_TO_SEC($_[0]) * 1000000 AS DECIMAL(20))" }, sub { "$_[0]us 0d 0m" }]) } 0 .. 6),
	['year', sub { pick(0, 1901, 2155, 1901 + int(rand(255))) }, sub { "$_[0] + 0" }, \&id],
	['uuid', sub { "'" . join('-', map { lc join('', map { sprintf '%X', int(rand(16)) } 1 .. $_) } 8, 4, 4, 4, 12) . "'" }, sub { "REPLACE($_[0], '-', '')" }, \&id],
	['uuid', sub { my $v = pick(1 .. 8); "'" . join('-', '0' x 8, '0000', "${v}000", pick('8', '9', 'a', 'b') . '000', '000000000000') . "'" }, sub { "REPLACE($_[0], '-', '')" }, \&id],
	['int GENERATED ALWAYS AS (id * 2) STORED', undef, sub { "CAST($_[0] AS CHAR)" }, \&id],
	['varchar(20) GENERATED ALWAYS AS (CONCAT(\'v\', id)) VIRTUAL', undef, @$text[0, 1]],
	['int INVISIBLE', sub { int(rand(100)) }, sub { "CAST($_[0] AS CHAR)" }, \&id],
);

# NULL columns in numbers that make every bitmap size, among them some NOT NULL.
my @names = map { "c$_" } 1 .. @columns;
sub create { my ($table, $engine) = @_; return "CREATE TABLE $table (id int PRIMARY KEY, " . join(', ', map { "$names[$_] $columns[$_][0]" } 0 .. $#columns) . ") $engine;\n"; }
sub insert
{
	my ($table, $id) = @_;
	my @with = grep { $columns[$_][1] } 0 .. $#columns;
	return "REPLACE INTO $table (id, " . join(', ', @names[@with]) . ") VALUES ($id, " .
		join(', ', map { rand() < 0.08 ? 'NULL' : $columns[$_][1]->() } @with) . ");\n";
}

sql(create('wide', '') . create('keyless', '') . "ALTER TABLE keyless DROP PRIMARY KEY;");
my $before = position();
sql(join('', map { insert('wide', $_) } 1 .. $n));
sql("INSERT INTO keyless (" . join(', ', 'id', grep { $columns[substr($_, 1) - 1][1] } @names) . ") SELECT " .
	join(', ', 'id', grep { $columns[substr($_, 1) - 1][1] } @names) . " FROM wide ORDER BY id;");

my @load = grep { /^INSERT/ } my @all = drive_ok({ chunk_rows => 100 }, 'snapshot', 'shop', 'wide');
my @stream = grep { /^INSERT 1 / } my @streamed = drive_ok({}, 'stream', $before, 60, 'until' . ($n + 1), 'shop.wide', 'shop.keyless');
my @keyless = map { s/^INSERT 2/INSERT 1/r } grep { /^INSERT 2 / } @streamed;
my @keyless_load = grep { /^INSERT/ } drive_ok({}, 'snapshot', 'shop', 'keyless');
is(scalar(@load), $n, 'all rows loaded');
is(scalar(@stream), $n, 'all rows streamed');

# Compares two lists of rows column by column, and says which types differ.
sub same
{
	my ($a, $b, $what) = @_;
	my %bad;
	for my $i (0 .. $#$a)
	{
		my @x = split(/\|/, $a->[$i] =~ s/^INSERT 1 //r, -1);
		my @y = split(/\|/, ($b->[$i] // '') =~ s/^INSERT 1 //r, -1);
		for my $c (0 .. $#columns)
		{
			next if ($x[$c + 1] // 'absent') eq ($y[$c + 1] // 'absent');
			$bad{$columns[$c][0]} //= "$columns[$c][0]: " . substr($x[$c + 1] // 'absent', 0, 200) . ' <> ' . substr($y[$c + 1] // 'absent', 0, 200) . " (row $x[0])";
		}
	}
	ok(!%bad && @$a == @$b, $what) or diag(join("\n", values %bad));
}

same(\@load, \@stream, 'load = stream');
same(\@load, \@keyless, 'load = stream of a table without a key');
same(\@load, \@keyless_load, 'load = load of a table without a key');

# The source's own account of each value.
my @oracle = rows('SELECT id, ' . join(', ', map { my $f = $columns[$_][2]; ref $f ? $f->($names[$_]) : $names[$_] } 0 .. $#columns) . ' FROM wide ORDER BY id');
my %wrong;
for my $i (0 .. $#oracle)
{
	my @x = split(/\|/, $load[$i] =~ s/^INSERT 1 //r, -1);
	for my $c (0 .. $#columns)
	{
		my (undef, undef, undef, $from_sql, $from_us) = @{ $columns[$c] };
		my $theirs = $oracle[$i][$c + 1];
		my $ours = $x[$c + 1];
		next if $theirs eq 'year 0';
		$theirs = $theirs eq 'NULL' ? '\N' : $from_sql->($theirs);
		$ours = $from_us->($ours) if $from_us && $ours ne '\N';
		$theirs =~ s/^0+(?=\d)// if $columns[$c][0] =~ /zerofill/;
		$wrong{ $columns[$c][0] } //= "$columns[$c][0]: $ours <> $theirs (row $x[0])" if $ours ne $theirs;
	}
}
ok(!%wrong, 'load = the source\'s own account') or diag(join("\n", values %wrong));

sql("CREATE TABLE year_zero (id int PRIMARY KEY, d date, t datetime(3)); INSERT INTO year_zero VALUES (1, '0000-01-01', '0000-01-01 00:00:00.001'), (2, '0000-12-31', '9999-12-31 23:59:59.999')");
is(join(' ', grep { /^INSERT/ } drive_ok({}, 'snapshot', 'shop', 'year_zero')),
	'INSERT 1 1|-730485|-63113903999999000 INSERT 1 2|-730120|252455615999999000', 'year 0 is 1 BC');

# Updates: the new image is what a second load reads, the old image what the first one read.
my $middle = position();
sql(join('', map { insert('wide', $_) } 1 .. $n));
my @again = grep { /^INSERT/ } drive_ok({}, 'snapshot', 'shop', 'wide');
my @updates = grep { /^UPDATE/ } drive_ok({}, 'stream', $middle, 3, "until$n", 'shop.wide');
is(scalar(@updates), $n, 'REPLACE comes as updates');
same(\@load, [map { (split(/ -> /, s/^UPDATE/INSERT/r))[0] } @updates], 'old images = first load');
same(\@again, [map { 'INSERT 1 ' . (split(/ -> /, $_))[1] } @updates], 'new images = second load');

my $last = position();
sql('DELETE FROM wide ORDER BY id;');
same(\@again, [map { s/^DELETE/INSERT/r } grep { /^DELETE/ } drive_ok({}, 'stream', $last, 60, 'until1', 'shop.wide')], 'deleted rows = second load');

# The same from a binlog that is compressed, and one with names in it.
for my $setting ('log_bin_compress = 1', 'log_bin_compress = 0; SET GLOBAL binlog_row_metadata = FULL', 'binlog_checksum = NONE', 'binlog_row_event_max_size = 65536')
{
	$setting =~ /event_max_size/ ? restart_server('--binlog-row-event-max-size=2097152') : sql("SET GLOBAL $setting;");
	my $from = position();
	sql("SET GLOBAL log_bin_compress_min_len = 10; TRUNCATE wide; BEGIN;" . join('', map { insert('wide', $_) } 1 .. 30) . "COMMIT; INSERT INTO keyless (id, c1, c37) SELECT seq, 5, REPEAT('x', 40) FROM seq_1_to_50000;");
	my @rows = grep { /^INSERT/ } drive_ok({}, 'snapshot', 'shop', 'wide');
	my @lines = drive_ok({}, 'stream', $from, 60, 'until3', 'shop.wide', 'shop.keyless');
	same(\@rows, [grep { /^INSERT 1 / } @lines], "load = stream with $setting");
	is(scalar(grep { /^INSERT 2 / } @lines), 50000, 'all rows of a large event');
}
# Damaged events of exactly these tables, and statements of all kinds.
SKIP:
{
	my ($log) = map { $_->[0] } rows('SHOW BINARY LOGS');
	my $file = "$env{TD_MARIADB_DATA}/$log";
	BAIL_OUT("$file can't be read") unless -r $file;
	my $make = "cc -std=gnu11 -D_GNU_SOURCE -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -I'$top/src' -I'$top/connectors/pdk' \$(mariadb_config --include)"
	  . " -o '$build/fuzz' '$top'/connectors/mysql/test/fuzz.c '$top'/connectors/mysql/*.c '$top'/src/stream/*.c \$(mariadb_config --libs) -lz -lpthread -lm";
	BAIL_OUT('fuzz does not compile') if system('sh', '-c', $make) != 0;
	my @lines = qx('$build/fuzz' '$file' @{[$ENV{TD_FUZZ_SECONDS} || 10]} $seed host=127.0.0.1 port=$env{MYPORT} user=td password=secret database=shop 2>&1);
	my $rc = $?;
	is(scalar(grep { /^not ok|^Bail|ERROR|runtime error/ } @lines), 0, 'fuzz') or diag(@lines);
	is($rc, 0, 'fuzz ends well') or diag(@lines[-40 .. -1]);
	diag(grep { /^# / } @lines);
}
done_testing();
